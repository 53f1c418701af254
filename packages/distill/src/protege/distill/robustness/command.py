"""`protege distill robustness`."""

from pathlib import Path
from typing import Any

import click

from ..lazy_choice import LazyChoice
from ..options import evaluation_options


@click.command()
@click.argument("overrides", nargs=-1, metavar="[KEY.PATH=VALUE]...")
@click.option(
    "--checkpoint", "checkpoints", multiple=True, required=True, help="run folder, checkpoint or release; repeatable"
)
@click.option("--suite", type=click.Choice(["quick", "full"]), default="quick", show_default=True)
@click.option(
    "--num-episodes", type=click.IntRange(1), help="episodes of each task and value; default: 20, full suite 100"
)
@click.option("--num-envs", type=click.IntRange(1), default=64, show_default=True, help="maximum number of envs")
@click.option("--rounds", type=click.IntRange(0, 20), help="bisection steps for each factor; default: 2, full suite 4")
@click.option(
    "--pass-at",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.9,
    show_default=True,
    help="success rate at which a value passes",
)
@evaluation_options
@click.option("--output", help="folder for the results; default: `robustness` in the first run's folder")
@click.option(
    "--factor", "factors", multiple=True, type=LazyChoice("NAMES", "robustness.suite"), help="one factor; repeatable"
)
def robustness(
    checkpoints: tuple[str, ...],
    suite: str,
    num_episodes: int | None,
    rounds: int | None,
    pass_at: float,
    output: str | None,
    groups: tuple[str, ...],
    tasks: tuple[str, ...],
    factors: tuple[str, ...],
    **conditions: Any,
) -> None:
    """Measure how much conditions may differ from training.

    One factor at a time differs, then mild values of all factors together.

    Whole episodes of the tasks are played at each value, as in `evaluate`. If a value fails, bisection searches for the tipping
    point. Writes robustness.json, robustness.html and robustness.md, which compare the policies. See docs/robustness.md.
    """
    from protege.core.errors import UserError
    from protege.core.files import writable_folder
    from protege.core.runs.evaluation import driven_robot
    from protege.core.runs.load_policy import load_policy
    from protege.sim.simulators.simulator import find_simulator

    from ..evaluate import default_output
    from ..tasks import OPTIONS, default_tasks
    from .measure import SUITES, Settings, measure, results, save
    from .report import write_report
    from .table import print_table

    if len(set(checkpoints)) < len(checkpoints):
        raise UserError("--checkpoint names the same policy twice", "Give each once")
    if conditions["simulator"]:
        find_simulator(conditions["simulator"])
    loaded = [load_policy(path) for path in checkpoints]
    for policy in loaded:  # check all policies before any is played
        driven_robot(policy, conditions["robot"])
    requested = [*(task for group in groups for task in OPTIONS[group]), *tasks] or default_tasks(loaded[0].kind)
    folder = Path(output) if output else default_output(Path(checkpoints[0])).with_name("robustness")
    writable_folder(folder)
    default_episodes, default_rounds = SUITES[suite]
    settings = Settings(
        suite=suite,
        tasks=tuple(dict.fromkeys(requested)),
        episodes=num_episodes or default_episodes,
        rounds=default_rounds if rounds is None else rounds,
        pass_at=pass_at,
        factors=factors,
        conditions=conditions,
        report_progress=lambda text: click.echo(f"{text} ...", err=True),
    )
    policies = []
    for policy in loaded:
        click.echo(str(policy.path), err=True)
        policies.append(measure(policy, settings))
        data = results(policies, settings)
        save(data, folder)  # keeps the results so far if a later policy fails
    print_table(data)
    click.echo(str(save(data, folder)))
    click.echo(str(write_report(folder)))
