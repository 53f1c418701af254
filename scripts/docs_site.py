"""MkDocs hook that generates pages of the site from the code when it is built (`make docs`); they are not tracked.

The pages are the command line, all keys of the config, the presets, the Python API and the examples, and copies of files outside
`docs/`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from protege.core.cli.umbrella import main as umbrella

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))  # because MkDocs loads a hook by its path

import config_reference  # noqa: E402
import preset_reference  # noqa: E402

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
COPIES = {"contributing.md": "CONTRIBUTING.md", "conduct.md": "CODE_OF_CONDUCT.md", "changelog.md": "CHANGELOG.md"}
"""Pages of the site that are copies of files outside `docs/`."""

SHOWN = {"cite.md": "CITATION.cff", **{f"examples/{file.stem}.md": f"examples/{file.name}" for file in EXAMPLES}}
"""Pages of the site that show the text of a file outside `docs/`."""

API = {
    "core": "env tasks observations errors robots.robot robots.state robots.rotation motions.clip motions.clip_file "
    "motions.library learning.policy learning.learner learning.rollout learning.ppo learning.imitation learning.masked_mimic "
    "runs.config runs.training runs.run runs.checkpoint runs.load_policy runs.evaluation",
    "sim": "env env_config robots simulators.simulator references.reference tasks.task tasks.command tasks.terms "
    "tasks.registry motions.source gym.env_cfg",
    "teachers": "teacher zoo",
    "distill": "config distillation curriculum evaluate report robustness.suite",
    "deploy": "runtime interface loop.loop loop.recording safety.safety safety.limits commands.commander commands.orders "
    "commands.order_kind robots.mujoco robots.udp export.export",
}
"""Modules of the Python reference by package: those that a program or another package would import."""


def commands(
    command: click.Command, name: str, parent: click.Context | None = None
) -> Iterator[tuple[str, click.Context]]:
    """Every command that is not a group, by its full name, with the context of its help."""
    context = click.Context(command, info_name=name, parent=parent)
    if not isinstance(command, click.Group):
        yield context.command_path, context
        return
    for short in command.list_commands(context):
        below = command.get_command(context, short)
        if below and not below.hidden:
            yield from commands(below, short, context)


def command_line() -> str:
    """The page of all commands with their options."""
    parts = ["# Command line\n\nGenerated from the commands. `protege PACKAGE` and `protege-PACKAGE` are the same."]
    for path, context in commands(umbrella, "protege"):
        usage = " ".join(context.command.collect_usage_pieces(context))
        about = context.command.help or ""
        parts.append(f"## {path}\n\n```text\n{path} {usage}\n```\n\n{about.strip().replace(chr(8), '')}")
        records = [record for param in context.command.params if (record := help_of(param, context))]
        if rows := [f"| `{names.replace('|', ', ')}` | {cell(meaning)} |" for names, meaning in records]:
            parts.append("\n".join(["| option | meaning |", "| --- | --- |", *rows]))
    return "\n\n".join(parts) + "\n"


def help_of(param: click.Parameter, context: click.Context) -> tuple[str, str] | None:
    """Names and meaning of an option; None for arguments and hidden options."""
    return param.get_help_record(context) if isinstance(param, click.Option) else None


def cell(text: str) -> str:
    """A text escaped for a table cell."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[")


def api(package: str) -> str:
    """The page of a package's modules, which mkdocstrings fills in."""
    modules = [f"## `protege.{package}.{name}`\n\n::: protege.{package}.{name}\n" for name in API[package].split()]
    return f"# protege.{package}\n\n" + "\n".join(modules)


def pages() -> dict[str, str]:
    """The pages that are generated from the code, by their path in the site."""
    keys = "# Every key of the configuration\n\nA default is the value of a key without a preset."
    presets = "# Presets\n\n`steps per rollout` is `agent.rollout_steps`. `acts with` is the number of the actor's parameters."
    return {
        "reference/cli.md": command_line(),
        "reference/keys.md": f"{keys}\n\n{config_reference.tables()}\n",
        "reference/presets.md": f"{presets}\n\n{preset_reference.tables()}\n",
        **{f"reference/api/{package}.md": api(package) for package in API},
        **{page: shown(ROOT / file) for page, file in SHOWN.items()},
    }


def shown(file: Path) -> str:
    """A page with the text of a file."""
    language = "python" if file.suffix == ".py" else "yaml"
    return f"# {file.name}\n\n```{language}\n{file.read_text()}```\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages and the copies."""
    generated = pages() | {page: (ROOT / file).read_text() for page, file in COPIES.items()}
    for path, text in generated.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links between `docs/` and files outside it lead to the site's copies."""
    for copy, file in {**COPIES, **SHOWN}.items():
        markdown = markdown.replace(f"](../{file}", f"]({copy}").replace(f"]({file}", f"]({copy}")
    return markdown.replace("](docs/", "](") if page.file.src_uri in COPIES else markdown
