"""`protege-distill`: train the student, evaluate any policy, draw the report."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from protege.core.cli.train import training_group
from protege.core.runs.config import SPLITS
from protege.sim.terrain_params import TERRAIN_KINDS

from .options import evaluation_options
from .robustness.command import robustness

if TYPE_CHECKING:
    from protege.core.runs.load_policy import LoadedPolicy

main = training_group(
    "protege-distill",
    "Step 4: a small student of many teachers; evaluations.",
    "protege.distill.experiment:EXPERIMENTS",
)


main.add_command(robustness)


@main.command()
@click.argument("overrides", nargs=-1, metavar="[KEY.PATH=VALUE]...")
@click.option("--checkpoint", required=True, help="run folder, checkpoint or release")
@click.option("--num-episodes", type=click.IntRange(1), default=100, show_default=True)
@click.option(
    "--num-envs",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="number of envs; each plays the same number of episodes",
)
@evaluation_options
@click.option("--output", help="folder for the results")
@click.option(
    "--simulators", help="evaluate in several, as mujoco,mjwarp,isaaclab, and compare the others with the first"
)
@click.option(
    "--path-clock",
    type=click.Choice(["fixed", "waiting"]),
    help="waiting: a path waits for the robot, as in deployment; stricter, see docs/metrics.md",
)
@click.option("--split", "motion_split", type=click.Choice(SPLITS), help="split of a manifest; default: train")
@click.option(
    "--every-clip", is_flag=True, help="play each clip once, whole, instead of --num-episodes; see docs/metrics.md"
)
@click.option("--terrain", type=click.Choice(TERRAIN_KINDS), help="gentle: slopes, bumps and steps; see env.terrain")
@click.option("--push", type=click.FloatRange(0), help="force of forward pushes that last 0.2 s, N", default=0.0)
@click.option(
    "--films",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="failed and successful episodes of each task to be shown in the page; needs OpenGL",
)
def evaluate(
    checkpoint: str,
    groups: tuple[str, ...],
    tasks: tuple[str, ...],
    output: str | None,
    num_episodes: int,
    simulator: str | None,
    simulators: str | None,
    path_clock: str | None,
    every_clip: bool,
    films: int,
    **options: Any,
) -> None:
    """Play episodes of the tasks; report success and errors.

    Prints a table, and writes evaluation.json and evaluation.html. By default a student plays all tasks except masked tracking;
    any other policy plays the tasks that it was trained for. The default output folder is `evaluation` in the run's folder. With
    --simulators it contains one folder for each simulator, and simulators.json compares them. KEY.PATH=VALUE changes the env part
    of the config.
    """
    from protege.core.runs.load_policy import load_policy

    from .evaluate import default_output
    from .evaluate import evaluate as play
    from .every_clip import evaluate_clips, print_clips, require_clips, save_clips
    from .report import write_report
    from .sim2sim import compare as compare_simulators
    from .sim2sim import print_comparison, save
    from .table import print_table
    from .tasks import EVALUATED, OPTIONS, default_tasks

    names = _simulator_names(simulator, simulators)
    options["evaluation_only"] = [f"env.path_follower_params.clock={path_clock}"] if path_clock else []
    loaded = load_policy(checkpoint)
    default, messages = (None, []) if names else _one_simulator(loaded, simulator, options["device"])
    requested = [*(task for group in groups for task in OPTIONS[group]), *tasks] or default_tasks(loaded.kind)
    chosen = list(dict.fromkeys(requested))
    folder = Path(output) if output else default_output(Path(checkpoint))

    if every_clip:
        if names:
            raise click.UsageError("--every-clip is played in one simulator")
        if films:
            raise click.UsageError("--every-clip makes no page that could show --films")
        for task in chosen:
            require_clips(task)  # check all tasks before any is played
        for task in chosen:
            data = evaluate_clips(loaded, task, output=folder, simulator=default, **options)
            print_clips(data)
            click.echo(str(save_clips(data, folder)))
        return

    def evaluate_in(name: str | None, place: Path) -> dict[str, Any]:
        """Evaluate, save and write the report; returns the content of evaluation.json."""

        def announce(task: str) -> None:
            while messages:
                click.echo(messages.pop(), err=True)
            click.echo(f"{EVALUATED[task].title}{f', {name}' if names else ''} ...", err=True)

        evaluation = play(
            loaded, chosen, num_episodes, output=place, on_task_start=announce, films=films, simulator=name, **options
        )
        evaluation.save(place)
        report = write_report(place)
        if not names:
            print_table(evaluation.data)
            click.echo(str(report))
        return evaluation.data

    if not names:
        evaluate_in(default, folder)
        return
    comparison = compare_simulators({name: evaluate_in(name, folder / name) for name in names})
    print_comparison(comparison)
    click.echo(str(save(comparison, folder)))


def _one_simulator(loaded: "LoadedPolicy", simulator: str | None, device: str) -> tuple[str, list[str]]:
    """The simulator given on the command line, or the default one.

    Returns:
        its name, and messages that name a default simulator, to be printed on stderr once the first task's envs exist.
    """
    from protege.core.runs.evaluation import default_simulator

    if simulator:
        return simulator, []
    name, trained_in = default_simulator(loaded, device), loaded.config["run"]["simulator"]
    return name, [f"simulator: {name}" + (f" (trained in {trained_in})" if name != trained_in else "")]


def _simulator_names(simulator: str | None, simulators: str | None) -> list[str]:
    """The names in --simulators; none if it is not given. Raises if one is unknown or not installed, before any is used."""
    if simulators is None:
        return []
    from protege.sim.simulators.simulator import find_simulator

    names = [name.strip() for name in simulators.split(",")]
    if simulator or len(names) < 2 or len(set(names)) < len(names):
        raise click.UsageError("--simulators takes two names or more, each once, and no --simulator beside it")
    for name in names:
        find_simulator(name)
    return names


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def report(folder: Path) -> None:
    """Rebuild FOLDER/evaluation.html from the results in FOLDER."""
    from .report import write_report

    click.echo(str(write_report(folder)))


@main.command()
@click.argument("folders", nargs=2, type=click.Path(path_type=Path), metavar="FOLDER FOLDER")
@click.option("--output", type=click.Path(path_type=Path), help="folder for the page; default: the second FOLDER")
def compare(folders: tuple[Path, Path], output: Path | None) -> None:
    """Compare two evaluations; print tables, write comparison.html.

    They must be of the same robot and tasks. Each FOLDER contains an evaluation.json, or is a run's folder.
    """
    from .comparison_report import print_comparison, write_comparison

    page, data = write_comparison(folders, output or folders[1])
    print_comparison(data)
    click.echo(str(page))
