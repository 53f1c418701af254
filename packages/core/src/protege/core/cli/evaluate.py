"""The options that every `evaluate` command has."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..runs.load_policy import LoadedPolicy

OPTIONS = [
    click.option("--checkpoint", required=True, help="run folder, checkpoint or release"),
    click.option("--num-episodes", type=click.IntRange(1), default=100, show_default=True),
    click.option(
        "--num-envs",
        type=click.IntRange(1),
        default=64,
        show_default=True,
        help="environments; each plays equally many episodes",
    ),
    click.option("--seed", default=0, show_default=True),
    click.option("--robot", help="by default the checkpoint's"),
    click.option("--simulator", help="by default the fastest that is installed: on a CPU mujoco"),
    click.option("--motion-file", multiple=True, help="clips; by default those that it was trained on"),
    click.option("--device", default="auto", show_default=True),
    click.option("--output", help="folder for the results"),
]


def evaluation_options(command: Callable) -> Callable:
    """Give a command the options of every `evaluate`."""
    for option in reversed(OPTIONS):
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
