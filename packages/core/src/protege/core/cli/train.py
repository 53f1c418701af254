"""The `train` and `presets` commands of a package that trains."""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from ..errors import UserError
from .group import Group, main_group

if TYPE_CHECKING:
    from ..runs.training import Experiment


def training_group(package: str, help: str, experiments: str) -> Group:
    """The root command of a package that trains, with `train NAME [options] [key.path=value ...]` and `presets`.

    Args:
        experiments: `module:ATTRIBUTE`, a dict of `Experiment` by preset name or by its first part. It is imported only for
            training, so that `--help` is fast.
    """
    group = main_group(package, help)

    def known() -> dict[str, "Experiment"]:
        module, attribute = experiments.split(":")
        return getattr(import_module(module), attribute)

    @group.command()
    def presets() -> None:
        """List the names that `train` accepts."""
        for name in preset_names(known()):
            click.echo(name)

    def completions(_: click.Context, __: click.Parameter, typed: str) -> list[str]:
        """The names of this package's presets that begin with what was typed. Importing all experiments would take seconds."""
        from ..runs.config import all_presets

        package = ".".join(experiments.split(".")[:2])
        return sorted(name for name, _ in all_presets(package) if name.startswith(typed))

    @group.command()
    @click.argument("name", shell_complete=completions)
    @click.argument("overrides", nargs=-1, metavar="[KEY.PATH=VALUE]...")
    @click.option(
        "--algorithm", type=click.Choice(["ppo", "world_model"]), help="world_model selects the preset NAME/world_model"
    )
    @click.option(
        "--config",
        "files",
        multiple=True,
        help="YAML file of keys; it overrides the preset, and key.path=value overrides it",
    )
    @click.option("--robot", help="robot to train: a name, or the path of a robot.yaml")
    @click.option("--simulator", help="mujoco, mjwarp or isaaclab")
    @click.option("--experiment-name", help="the run's folder in results/")
    @click.option(
        "--motion-file", multiple=True, help="clip, folder of clips or pattern; repeat it to train on several"
    )
    @click.option("--checkpoint", help="run folder, checkpoint or release whose weights to start from")
    @click.option("--num-envs", type=int, help="number of simulated envs")
    @click.option("--seed", type=int, help="seed of all random numbers")
    @click.option("--device", help="auto, cpu, cuda or cuda:1")
    @click.option("--max-time", type=float, help="seconds of training, over all sessions")
    @click.option("--max-iterations", type=int, help="iterations of training, over all sessions")
    @click.option("--results-dir", help="folder of all runs")
    @click.option("--resume/--no-resume", default=None, help="continue from last.ckpt (the default), or move it aside")
    def train(
        name: str,
        overrides: tuple[str, ...],
        files: tuple[str, ...],
        num_envs: int | None,
        algorithm: str | None,
        **options: Any,
    ) -> None:
        """Train the preset NAME in results/EXPERIMENT_NAME. Ctrl-C saves; the same command resumes."""
        from ..runs.plain_yaml import as_yaml
        from ..runs.training import train as train_preset

        if algorithm == "world_model":
            name = f"{name.split('/')[0]}/world_model"
        experiment = known().get(name, known().get(name.split("/")[0]))
        if experiment is None:
            raise UserError(f"cannot train {name!r} here", f"Known: {', '.join(preset_names(known()))}")
        given = {f"run.{key}": value for key, value in options.items() if value is not None and value != ()}
        if num_envs is not None:
            given["env.num_envs"] = num_envs
        run = train_preset(experiment, name, [*(f"{k}={as_yaml(v)}" for k, v in given.items()), *overrides], files)
        if run.group.first and run.interrupted:
            click.echo(f"stopped and saved: {run.folder / 'last.ckpt'}; the same command goes on", err=True)
        elif run.group.first:
            click.echo(str(run.folder / "last.ckpt"))
        if run.interrupted:
            raise SystemExit(130)

    return group


def preset_names(experiments: Mapping[str, "Experiment"]) -> list[str]:
    """Names that can be trained: the presets of these families, and the families with a built-in default."""
    from ..runs.config import all_presets

    own = {family for family, experiment in experiments.items() if experiment.base}
    return sorted(own | {name for name, _ in all_presets() if name.split("/")[0] in experiments})
