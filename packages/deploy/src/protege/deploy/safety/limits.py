"""What the safety layer allows, as plain data."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Self

from ..errors import DeployError
from ..policy.metadata import Fall, Metadata

FORMER_NAMES = {"clipped_steps": "clipped_time", "frozen_steps": "frozen_time"}
"""Limits that were once counts of steps."""


@dataclass(frozen=True)
class Limits:
    """Bounds of `Safety`; None takes a check away.

    The robot's file says them, but for the last three, which are the program's; see `of`. The defaults are what the first exports
    meant, which do not say any. They leave a healthy student alone: see docs/results/deployment.md.

    Attributes:
        joint_margin: rad beyond the joint's range where a target is clipped.
        joint_reach: the same by the joint's servo, where that is further: what this share of its effort limit takes.
        target_rate: rad/s, above which a target is clipped.
        clipped_time: s for which targets may be clipped without a pause.
        torque: of the servo, as a share of its effort limit, that a target may ask for.
        position_margin: rad beyond the joint's range where a measured angle trips.
        frozen_time: s after which measurements that do not change trip.
        height: of the root, as a share of its height at the start, below which the robot has fallen.
        tilt: rad, of the root's vertical axis, above which it has fallen.
        silence: s without a sign of life of a commander that can fall silent.
        stall: s after its tick by which a step must have written a target; in real time only.
        missed_deadlines: steps in a row that overrun their period that trip; in real time only.
    """

    joint_margin: float | None = 0.25
    joint_reach: float | None = 0.0
    target_rate: float | None = 40.0
    clipped_time: float | None = 0.5
    torque: float | None = 2.0
    position_margin: float | None = 0.3
    frozen_time: float | None = 0.1
    height: float | None = Fall.root
    tilt: float | None = 1.2
    silence: float | None = 0.5
    stall: float | None = 0.1
    missed_deadlines: float | None = 5

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not 0.0 <= value < float("inf"):
                raise DeployError(f"the limit {name} is {value}, not a number from 0 up", "Or off, for none")

    @classmethod
    def of(cls, metadata: Metadata) -> Self:
        """Those of an export's robot."""
        return cls(height=metadata.fall.root, **metadata.safety)

    @classmethod
    def off(cls) -> Self:
        """No limits. What is not finite still trips."""
        return cls(**dict.fromkeys((field.name for field in fields(cls)), None))

    def changed(self, assignments: Iterable[str]) -> Self:
        """With some of the form `torque=1.5` or `tilt=off`.

        Raises:
            DeployError: an unknown name or no number.
        """
        values: dict[str, float | None] = {}
        for assignment in assignments:
            name, _, text = assignment.partition("=")
            if name in FORMER_NAMES:
                now = FORMER_NAMES[name]
                raise DeployError(
                    f"the limit {name} is now {now}, in seconds", f"Take {now}: steps over the control rate"
                )
            if name not in vars(self):
                near = get_close_matches(name, vars(self), n=1)
                remedy = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(vars(self))}"
                raise DeployError(f"unknown limit {name!r}", remedy)
            try:
                values[name] = None if text == "off" else float(text)
            except ValueError as error:
                raise DeployError(f"the limit {name} is {text!r}, not a number", "Or off, for none") from error
        return replace(self, **values)
