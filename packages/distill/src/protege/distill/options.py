"""What every command that evaluates a policy can be told."""

from collections.abc import Callable
from typing import Any

import click

from .known import Known

SHARED = (
    click.option("--seed", default=0, show_default=True),
    click.option("--robot", help="a name or a robot.yaml; by default the checkpoint's"),
    click.option("--simulator", help="by default the fastest that is installed: on a CPU mujoco"),
    click.option("--motion-file", multiple=True, help="clips; by default those that it was trained on"),
    click.option("--device", default="auto", show_default=True),
    click.option("--opt", "groups", multiple=True, type=Known("OPTIONS", "tasks"), help="a group of tasks"),
    click.option("--task", "tasks", multiple=True, type=Known("EVALUATED", "tasks"), help="one task; repeatable"),
)


def evaluation_options[F: Callable[..., Any]](command: F) -> F:
    """The options above, in their order."""
    for option in reversed(SHARED):
        command = option(command)
    return command
