"""The options that all commands share that evaluate a policy."""

from collections.abc import Callable
from typing import Any

import click

from .lazy_choice import LazyChoice

EVALUATION_OPTIONS = (
    click.option("--seed", default=0, show_default=True),
    click.option("--robot", help="name or robot.yaml; default: the checkpoint's robot"),
    click.option("--simulator", help="default: the fastest one installed; on a CPU mujoco"),
    click.option("--motion-file", multiple=True, help="clips; default: those of the training"),
    click.option("--device", default="auto", show_default=True),
    click.option("--opt", "groups", multiple=True, type=LazyChoice("OPTIONS", "tasks"), help="a group of tasks"),
    click.option("--task", "tasks", multiple=True, type=LazyChoice("EVALUATED", "tasks"), help="one task; repeatable"),
)


def evaluation_options[F: Callable[..., Any]](command: F) -> F:
    """Add `EVALUATION_OPTIONS` to a command, in their order."""
    for option in reversed(EVALUATION_OPTIONS):
        command = option(command)
    return command
