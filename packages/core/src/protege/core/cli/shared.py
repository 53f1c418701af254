"""What the packages' command lines have in common."""

import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UserError
from ..launcher import launch

if TYPE_CHECKING:
    from rich.console import Console

    from ..runs.experiments import LoadedPolicy

PRECEDENCE = 2.0
"""s that other ranks leave the first one to say what is wrong: it is mostly the same, and the launcher then ends them."""


def print_anything() -> None:
    """Let stdout and stderr show a question mark for what their encoding lacks, such as é in ASCII, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def console(**options: Any) -> "Console":
    """A rich console that prints text as it is: brackets and colons in names are no markup."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, **options)


class OneLineError(click.ClickException):
    """A UserError on the command line: one line, exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        """Print it to stderr."""
        rank = launch().rank
        if rank:
            time.sleep(PRECEDENCE)
        click.echo(f"error: {self.message}" if not rank else f"error of rank {rank}: {self.message}", err=True)


class Group(click.Group):
    """A group whose commands may raise UserError, and print any text wherever they are run."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        print_anything()
        return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        from ..notices import notices

        try:
            with notices():
                return super().invoke(ctx)
        except UserError as error:
            raise OneLineError(str(error)) from error


def main_group(package: str, help: str, cls: type[Group] = Group) -> Group:
    """The root command of a package, with --help and --version."""
    group = cls(
        name=package.removeprefix("protege-"), help=help, context_settings={"help_option_names": ["-h", "--help"]}
    )
    return click.version_option(version(package), prog_name=package)(group)


def training_group(package: str, help: str, families: Sequence[str], experiments: str) -> Group:
    """The root command of a package that trains, with `train` and `presets`; see `train_command`."""
    group = main_group(package, help)
    group.add_command(train_command(families, experiments))

    @group.command()
    def presets() -> None:
        """List what `train` takes."""
        for name in preset_names(families):
            click.echo(name)

    return group


def train_command(families: Sequence[str], experiments: str) -> click.Command:
    """`train NAME [options] [key.path=value ...]`.

    Args:
        families: first parts of the names of the presets that can be trained.
        experiments: `module:ATTRIBUTE`, a dict of `Experiment` by family, imported when
            something is trained: `--help` is to be quick.
    """

    @click.command("train")
    @click.argument("name")
    @click.argument("overrides", nargs=-1, metavar="[KEY.PATH=VALUE]...")
    @click.option("--config", "files", multiple=True, help="YAML file of keys, between the preset and key.path=value")
    @click.option("--robot", help="robot to train")
    @click.option("--simulator", help="physics: mujoco, ...")
    @click.option("--experiment-name", help="the run's folder in results/")
    @click.option("--motion-file", multiple=True, help="clip, folder of clips or pattern; several are trained together")
    @click.option("--checkpoint", help="weights to start from")
    @click.option("--num-envs", type=int, help="worlds")
    @click.option("--seed", type=int)
    @click.option("--device", help="auto, cpu, cuda")
    @click.option("--max-time", type=float, help="seconds of training, over all sessions")
    @click.option("--max-iterations", type=int)
    @click.option("--results-dir", help="where runs are kept")
    @click.option("--resume/--no-resume", default=None, help="go on from last.ckpt (the default), or move it aside")
    def command(
        name: str, overrides: tuple[str, ...], files: tuple[str, ...], num_envs: int | None, **options: Any
    ) -> None:
        """Train NAME, a preset, in results/EXPERIMENT_NAME; run it again to go on. Ctrl-C saves."""
        from ..runs.experiments import train

        family = name.split("/")[0]
        if family not in families:
            raise UserError(f"cannot train {name!r} here", f"Known: {', '.join(preset_names(families))}")
        module, attribute = experiments.split(":")
        experiment = getattr(import_module(module), attribute)[family]
        given = {f"run.{key}": value for key, value in options.items() if value is not None and value != ()}
        if num_envs is not None:
            given["env.num_envs"] = num_envs
        run = train(experiment, name, [*(f"{k}={as_yaml(v)}" for k, v in given.items()), *overrides], files)
        if run.interrupted:
            if run.world.first:
                click.echo(f"stopped and saved: {run.folder / 'last.ckpt'}; the same command goes on", err=True)
            raise SystemExit(130)
        if run.world.first:
            click.echo(str(run.folder / "last.ckpt"))

    return command


def evaluation_options(command: Callable) -> Callable:
    """The options of every `evaluate`."""
    for option in reversed(
        [
            click.option("--checkpoint", required=True, help="run folder, checkpoint or release"),
            click.option("--num-episodes", type=click.IntRange(1), default=100, show_default=True),
            click.option(
                "--num-envs",
                type=click.IntRange(1),
                default=64,
                show_default=True,
                help="worlds; each plays equally many episodes",
            ),
            click.option("--seed", default=0, show_default=True),
            click.option("--robot", help="by default the checkpoint's"),
            click.option("--simulator", help="by default the fastest that is installed: on a CPU mujoco"),
            click.option("--motion-file", multiple=True, help="clips; by default those that it was trained on"),
            click.option("--device", default="auto", show_default=True),
            click.option("--output", help="folder for the results"),
        ]
    ):
        command = option(command)
    return command


def chosen_simulator(loaded: "LoadedPolicy", simulator: str | None, device: str) -> tuple[str, list[str]]:
    """The simulator of an evaluation: the one that was asked for, or else the default.

    Returns:
        its name, and what is to be said on stderr once nothing can go wrong any more: which the default is.
    """
    from ..runs.evaluation import default_simulator

    if simulator:
        return simulator, []
    name, trained_in = default_simulator(loaded, device), loaded.config["run"]["simulator"]
    return name, [f"simulator: {name}" + (f" (trained in {trained_in})" if name != trained_in else "")]


def preset_names(families: Sequence[str]) -> list[str]:
    """Presets of these families."""
    from ..runs.config import all_presets

    return sorted(name for name, _ in all_presets() if name.split("/")[0] in families)


def as_yaml(value: Any) -> str:
    """A value in YAML's one-line notation."""
    import yaml

    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True, width=10**6).removesuffix("\n").removesuffix("\n...")


def writable_folder(path: Path) -> Path:
    """The folder, made if it is not there.

    Raises:
        UserError: it cannot be made or written.
    """
    from ..runs.checkpoint import write_atomically

    write_atomically(path / ".writable", lambda file: file.write(b""))
    (path / ".writable").unlink()
    return path
