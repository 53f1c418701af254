"""Profile a training: `protege ... train` with its arguments, each phase timed by the device's clock.

    python scripts/profile_training.py --skip 10 core train full_body_tracker/generalist --simulator mjwarp --max-iterations 60

On a GPU a phase lasts from the event before its first kernel to the event after its last one. Delays of the host in launching
kernels are included, and profiling adds no synchronisation.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from typing import Any
from unittest.mock import patch

import click
import torch

from protege.core.cli.umbrella import main as protege
from protege.core.learning.learner import Learner
from protege.core.learning.policy import ActorCritic
from protege.core.learning.world_model.learner import WorldModelLearner
from protege.core.runs.run import Run
from protege.distill.periodic_evaluation import PeriodicEvaluation
from protege.sim.env import HumanoidEnv

PHASES: list[tuple[str, Any, str]] = [
    ("environment", HumanoidEnv, "step"),
    ("policy acts", ActorCritic, "act"),
    ("updates", Learner, "update"),
    ("world model", WorldModelLearner, "_update_model"),
    ("policy in the world model", WorldModelLearner, "_update_policy"),
    ("evaluations", PeriodicEvaluation, "measure"),
    ("checkpoints", Run, "save"),
]
"""Phases, and the methods that they time. Only evaluations call another of them, that of the environment. Parts of a replayed CUDA
graph, such as teachers' labels, cannot be timed separately; they are in the rest."""


class Clock:
    """Sums the durations of phases, after the first `skip` iterations."""

    def __init__(self, skip: int) -> None:
        self.skip, self.iterations, self.inside = skip, 0, False
        self.spans: dict[str, list[tuple[Any, Any]]] = defaultdict(list)
        self.begin: Any = None

    def now(self) -> Any:
        if not torch.cuda.is_available():
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def timed(self, phase: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if self.inside or self.iterations < self.skip:
                return method(*args, **kwargs)
            self.inside, begin = True, self.now()
            try:
                return method(*args, **kwargs)
            finally:
                self.inside = False
                self.spans[phase].append((begin, self.now()))

        return wrapper

    def counted(self, log: Callable[..., None]) -> Callable[..., None]:
        @wraps(log)
        def wrapper(*args: Any, **kwargs: Any) -> None:
            log(*args, **kwargs)
            self.iterations += 1
            if self.iterations == self.skip:
                self.begin = self.now()

        return wrapper

    def report(self) -> None:
        """Print a Markdown table; `the rest` is the time between the phases."""
        end, count = self.now(), self.iterations - self.skip
        if count < 1:
            raise click.ClickException(f"{self.iterations} iterations are no more than --skip {self.skip}")
        whole = _seconds(self.begin, end)
        parts = {phase: sum(_seconds(*span) for span in spans) for phase, spans in self.spans.items()}
        parts["the rest"] = whole - sum(parts.values())
        click.echo("\n| phase | ms an iteration | share |\n| --- | --- | --- |")
        for phase, seconds in parts.items():
            click.echo(f"| {phase} | {1000.0 * seconds / count:.1f} | {seconds / whole:.0%} |")
        click.echo(f"| all | {1000.0 * whole / count:.1f} | |")


def _seconds(begin: Any, end: Any) -> float:
    if isinstance(begin, float):
        return end - begin
    end.synchronize()
    return begin.elapsed_time(end) / 1000.0


@click.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--skip",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="iterations before the timing begins, for compilation and capture",
)
@click.argument("command", nargs=-1, required=True)
def main(skip: int, command: tuple[str, ...]) -> None:
    """Run the training `protege COMMAND` and print the time of each phase."""
    clock = Clock(skip)
    for phase, owner, name in PHASES:
        patch.object(owner, name, clock.timed(phase, getattr(owner, name))).start()
    patch.object(Run, "log", clock.counted(Run.log)).start()
    protege.main(list(command), standalone_mode=False)
    clock.report()


if __name__ == "__main__":
    main()
