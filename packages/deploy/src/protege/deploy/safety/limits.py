"""The limits of the safety layer, as plain data."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Self

from ..errors import DeployError
from ..policy.metadata import Fall, Metadata

FORMER_NAMES = {"clipped_steps": "clipped_time", "frozen_steps": "frozen_time"}
"""Present names of limits that were counts of steps in earlier versions."""


@dataclass(frozen=True)
class Limits:
    """Bounds of `Safety`; None switches a check off.

    The robot's file gives all but the last three, see `of`. The defaults apply to the first exports, which contain none. A healthy
    student does not reach them: see docs/results/deployment.md.

    Attributes:
        joint_margin: rad beyond the joint's range at which a target is clipped.
        joint_reach: share of the joint's effort limit; if the offset for which its servo exerts this is larger than `joint_margin`,
            it replaces it.
        target_rate: rad/s, above which a target is clipped.
        clipped_time: s for which targets may be clipped without a pause.
        torque: share of its effort limit that a target may demand of a servo.
        position_margin: rad beyond the joint's range at which a measured angle trips.
        frozen_time: s after which measurements that do not change trip.
        height: of the root, as a share of its height at the start, below which the robot has fallen.
        tilt: rad, of the root's vertical axis, above which it has fallen.
        silence: s without an order or `keep_alive`, for command sources that can become silent.
        stall: s after its tick within which a step must write a target; in real time only.
        missed_deadlines: number of successive steps beyond their period that trips; in real time only.
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
        """The limits of an export's robot."""
        return cls(height=metadata.fall.root, **metadata.safety)

    @classmethod
    def off(cls) -> Self:
        """No limits. Values that are not finite still trip."""
        return cls(**dict.fromkeys((field.name for field in fields(cls)), None))

    def changed(self, assignments: Iterable[str]) -> Self:
        """A copy with changes of the form `torque=1.5` or `tilt=off`.

        Raises:
            DeployError: a name is unknown, or a value is not a number.
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
