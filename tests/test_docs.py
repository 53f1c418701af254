"""The docs are correct: commands parse, overrides compose, link targets exist, tables are current."""

import re
import shlex
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import click
import config_reference
import docs_site
import pytest

from protege.core.cli.umbrella import main as umbrella
from protege.core.errors import UserError
from protege.core.runs.config import RunConfig, compose
from protege.sim.env_config import EnvConfig

ROOT = Path(__file__).parents[1]
PAGES = [
    page
    for pattern in ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "packages/*/README.md")
    for page in sorted(ROOT.glob(pattern))
]
PACKAGES = ("core", "sim", "teachers", "distill", "deploy")
OTHERS_OPTIONS = {"--no-sync", "--extra", "--package", "--follow-tags", "--logdir"}  # uv's, git's, TensorBoard's
OTHERS_OPTIONS |= {"--gres", "--gpus-per-task", "--ntasks-per-node", "--signal"}  # SLURM's
OTHERS_OPTIONS |= {"--rl", "--video", "--frontend", "--keyword"}  # Isaac Lab's; --rl_library up to its underscore
OTHERS_OPTIONS |= {"--skip", "--peer-path", "--episodes", "--iterations"}  # of scripts
NO_KEYS = {"env.num_env", "env.KEY", "agent.KEY"}  # examples of invalid keys, and placeholders
NO_KEYS |= {"env.track.hard_sampling", "env.track.hard_sampling_limit"}  # former names, which are still accepted
KEY = re.compile(r"(?<![\w./\"])(?:run|env|agent|model)\.[a-z]\w*(?:\.\w+)*")
GENERATED = {ROOT / "docs" / name for name in docs_site.pages()}  # pages of the site
EXPERIMENTS = {"core": "protege.core.runs.experiments", "teachers": "protege.teachers.experiments",
               "distill": "protege.distill.experiment"}  # fmt: skip


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    """Language and lines of each fenced block, lines that end in a backslash joined."""
    for language, body in re.findall(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        yield language, re.sub(r"\\\n\s*", "", textwrap.dedent(body)).splitlines()


def commands(text: str) -> Iterator[list[str]]:
    """Words of the Protégé commands in the blocks `sh`, `bash` and `console` (there after `$ ` if that occurs at all)."""
    for language, lines in blocks(text):
        if language not in ("sh", "bash", "console"):
            continue
        if language == "console" and any(line.startswith("$ ") for line in lines):
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        for line in lines:
            if "protege" not in line:
                continue  # other lines may not be shell commands
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            yield from protege_commands(list(lexer))


def protege_commands(words: list[str]) -> Iterator[list[str]]:
    """The parts of a line, separated by `&&`, `|`, `>` and similar operators, that call Protégé."""
    part: list[str] = []
    for word in [*words, ";"]:
        if word.strip("();<>|&"):
            part.append(word)
            continue
        while part and re.fullmatch(r"\w+=.*|uv|run|--no-sync", part[0]):  # variables and uv in front
            part = [] if part[0].startswith("_PROTEGE_COMPLETE=") else part[1:]  # prints a shell's completion script
        if part and re.fullmatch(r"protege(-\w+)?", part[0]):
            yield part
        part = []


def spans(text: str) -> list[str]:
    """The `code` in the running text and the tables."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL))


def mentioned(text: str) -> Iterator[list[str]]:
    """Words of the commands in the running text, with or without `protege` in front; `...` stands for anything."""
    for span in spans(text):
        words = [word.replace("...", "x") for word in span.split() if word != "..."]
        if len(words) < 2 or words[1].isupper():
            continue
        if words[0] in PACKAGES:
            words = ["protege", *words]
        if re.fullmatch(r"protege(-[a-z]+)?", words[0]):
            yield words


def options(command: click.Command) -> set[str]:
    """All options of a command and its subcommands."""
    mine = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    if isinstance(command, click.Group):
        context = click.Context(command)
        below = [command.get_command(context, name) for name in command.list_commands(context)]
        mine |= set().union(*(options(child) for child in below if child))
    return mine


def parse(words: list[str]) -> None:
    """Resolve a command and its options as click does when it runs, without running it.

    Raises:
        click.ClickException: click does not know the command or an option.
        UserError: the config does not know a key.
    """
    program, *args = words
    command: click.Command | None = umbrella
    if "-" in program:
        args = [program.removeprefix("protege-"), *args]
    context: click.Context | None = None
    try:
        while command:
            context = command.make_context(command.name, args, parent=context)
            if not isinstance(command, click.Group):
                break
            args = [*context._protected_args, *context.args]
            _, command, args = command.resolve_command(context, args)
    except click.exceptions.Exit:  # --help, --version
        return
    assert context is not None
    if context.info_name == "train":
        config(str(context.parent and context.parent.info_name), context.params["name"], context.params["overrides"])


def config(package: str, preset: str, overrides: tuple[str, ...], files: Sequence[Path] = ()) -> None:
    """Compose a command's config from its preset and arguments."""
    known = import_module(EXPERIMENTS[package]).EXPERIMENTS
    experiment = known.get(preset) or known[preset.split("/")[0]]
    compose({"run": RunConfig, "env": EnvConfig, **experiment.parts}, preset, overrides, files)


def slug(heading: str) -> str:
    """The anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_parse(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Files in examples need not exist.
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: Path(value))
    problems = []
    for words in commands(page.read_text()):
        try:
            parse(words)
        except (click.ClickException, UserError, KeyError) as error:
            message = error.format_message() if isinstance(error, click.ClickException) else f"{error!r}"
            problems.append(f"{shlex.join(words)}: {message}")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_in_the_text_parse(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: Path(value))
    text = page.read_text()
    for words in mentioned(text):
        with suppress(click.MissingParameter, click.exceptions.NoArgsIsHelpError):  # only the name of a command
            parse(words)
    named = {option for span in spans(text) for option in re.findall(r"(?<!\S)--[a-z-]+", span.replace("/", " "))}
    assert named <= options(umbrella) | OTHERS_OPTIONS


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_for_config_compose(page: Path, tmp_path: Path) -> None:
    for language, lines in blocks(page.read_text()):
        if language == "yaml":
            (tmp_path / "student.yaml").write_text("\n".join(lines))
            config("distill", "distillation/unified_lightweight", (), [tmp_path / "student.yaml"])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_link_targets_exist(page: Path) -> None:
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        if found in GENERATED:
            continue
        assert found.exists(), f"{name_of(page)}: {target}"
        if anchor and found.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
            assert anchor in map(slug, headings), f"{name_of(page)}: {target}"


def config_keys() -> set[str]:
    """Every key of the config and of a run's parts of it; names that a user chooses are `NAME`."""
    tables = (config_reference.rows(prefix, cls) for _, prefix, cls in config_reference.PARTS)
    keys = {re.sub(r"(teacher_models|rewards)\.\w+", r"\1.NAME", key) for rows in tables for key, _, _ in rows}
    return keys | {".".join(key.split(".")[:n]) for key in keys for n in range(1, key.count(".") + 1)}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_keys_in_the_text_are_keys(page: Path) -> None:
    known = config_keys() | NO_KEYS
    named = {key for span in spans(page.read_text()) for key in KEY.findall(span.replace("<name>", "NAME"))}
    named = {re.sub(r"(teacher_models|rewards)\.\w+", r"\1.NAME", key.replace(".config.", ".")) for key in named}
    assert {key for key in named if not key.endswith((".py", ".yaml", ".npy"))} <= known


def test_unknown_keys_are_recognised() -> None:
    assert KEY.findall("env.num_env=3") == ["env.num_env"]
    assert "env.num_env" not in config_keys() and "env.num_envs" in config_keys()
    assert "agent.teacher_models.NAME.weight" in config_keys()


def in_brackets(text: str) -> Iterator[tuple[str, str]]:
    """Config keys that are followed by a value in brackets: `` `env.track.adaptive_sampling` (0.5) ``."""
    yield from re.findall(r"`((?:run|env|agent|model)\.[\w.]+)` \(([\d.]+)(?= m\b| s\b|\))", text)


@pytest.mark.parametrize("page", [page for page in PAGES if "results" not in page.parts], ids=name_of)
def test_values_in_brackets_are_defaults(page: Path) -> None:
    parts = config_reference.PARTS
    known = {key: value for _, prefix, cls in parts for key, value, _ in config_reference.rows(prefix, cls)}
    wrong = [
        (key, value) for key, value in in_brackets(page.read_text()) if float(known.get(key, "nan")) != float(value)
    ]
    assert not wrong


def test_values_in_brackets_are_found() -> None:
    text = "`env.track.termination_distance` (0.5 m) and `agent.clip` (0.3), `env.num_envs` (many)"
    assert list(in_brackets(text)) == [("env.track.termination_distance", "0.5"), ("agent.clip", "0.3")]


def test_the_architecture_names_every_folder_and_existing_files() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    sources = [ROOT / f"packages/{package}/src/protege/{package}" for package in PACKAGES]
    rooms = {file.parent.name for source in sources for file in source.glob("*/__init__.py")}
    assert [room for room in sorted(rooms) if f"`{room}/`" not in text] == []
    there = {f"/{file.relative_to(source.parent)}" for source in sources for file in source.rglob("*.py")}
    named = [name for name in re.findall(r"[\w/]+\.py\b", text) if "NAME" not in name and not name.startswith("tests/")]
    assert named
    assert [name for name in named if not any(file.endswith(f"/{name}") for file in there)] == []


@pytest.mark.parametrize(
    "line",
    [
        "protege core trian full_body_tracker/laptop",
        "protege core train full_body_tracker/laptop --num-env 3",
        "protege core train full_body_tracker/laptop env.num_env=3",
        "protege-core train masked_mimic/laptop model.latent_dim=8",
        "protege deploy run",
        "uv run --no-sync protege distill evaluate --opt distillation/tasks/unified",
    ],
)
def test_invalid_commands_are_found(line: str) -> None:
    [words] = commands(f"```sh\n{line} # why\n```\n")
    with pytest.raises(Exception, match=r"No such|unknown key|Missing|not one of"):
        parse(words)


def test_commands_are_found() -> None:
    text = (
        "```console\n$ A=1 protege core train a \\\n    b=1 && protege-sim robots > file\nprotege-sim, version 1\n```\n"
    )
    assert list(commands(text)) == [["protege", "core", "train", "a", "b=1"], ["protege-sim", "robots"]]
