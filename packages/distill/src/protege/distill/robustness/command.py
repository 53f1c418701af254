"""`protege distill robustness`."""

from pathlib import Path
from typing import Any

import click

from ..known import Known
from ..options import evaluation_options


@click.command()
@click.argument("overrides", nargs=-1, metavar="[KEY.PATH=VALUE]...")
@click.option(
    "--checkpoint", "checkpoints", multiple=True, required=True, help="run folder, checkpoint or release; repeatable"
)
@click.option("--suite", type=click.Choice(["quick", "full"]), default="quick", show_default=True)
@click.option("--num-episodes", type=click.IntRange(1), help="of each task and value; by default 20, full suite 100")
@click.option("--num-envs", type=click.IntRange(1), default=64, show_default=True, help="environments, at most")
@click.option("--rounds", type=click.IntRange(0, 20), help="of bisection a factor; by default 2, full suite 4")
@click.option(
    "--pass-at",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.9,
    show_default=True,
    help="success at which a value counts as passed",
)
@evaluation_options
@click.option("--output", help="folder for the results; by default `robustness` in the first run's folder")
@click.option(
    "--factor", "factors", multiple=True, type=Known("NAMES", "robustness.suite"), help="one factor; repeatable"
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
    """How much the world may differ from the training: one factor at a time, then mild values of all together.

    Each value plays whole episodes of the tasks, as `evaluate` does. Where one fails, bisection looks for the tipping point. Writes
    robustness.json, robustness.html and robustness.md, policies side by side. See docs/robustness.md.
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
    for policy in loaded:  # all of them before the first is played
        driven_robot(policy, conditions["robot"])
    asked = [*(task for group in groups for task in OPTIONS[group]), *tasks] or default_tasks(loaded[0].kind)
    folder = Path(output) if output else default_output(Path(checkpoints[0])).with_name("robustness")
    writable_folder(folder)
    usual_episodes, usual_rounds = SUITES[suite]
    settings = Settings(
        suite=suite,
        tasks=tuple(dict.fromkeys(asked)),
        episodes=num_episodes or usual_episodes,
        rounds=usual_rounds if rounds is None else rounds,
        pass_at=pass_at,
        factors=factors,
        conditions=conditions,
        tell=lambda text: click.echo(f"{text} ...", err=True),
    )
    policies = []
    for policy in loaded:
        click.echo(str(policy.path), err=True)
        policies.append(measure(policy, settings))
        data = results(policies, settings)
        save(data, folder)  # what has been played is not lost
    print_table(data)
    click.echo(str(save(data, folder)))
    click.echo(str(write_report(folder)))
