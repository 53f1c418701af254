"""Limits how fast a commanded direction turns: policies fall over in sharp turns at speed."""

from dataclasses import replace

import numpy as np

from ..geometry import Array
from ..interface import Command, RobotReading


class TurnLimit:
    """Turns the steering direction and the facing of each command towards what was ordered, at a limited rate.

    They begin at the robot's heading when steering begins. Other modalities are not changed.

    Args:
        rate: rad/s, the largest.
        period: s between two commands.
    """

    def __init__(self, rate: float, period: float) -> None:
        self._step = rate * period
        self._angles = dict[str, float]()

    def reset(self) -> None:
        """Begin again at the robot's heading."""
        self._angles.clear()

    def __call__(self, command: Command, reading: RobotReading) -> Command:
        """The command with limited directions."""
        names = ("steering_direction_w", "steering_facing_w")
        given = {name: value for name in names if (value := getattr(command, name)) is not None}
        before, self._angles = self._angles, {}
        for name, value in given.items():
            wanted, now = float(np.arctan2(value[1], value[0])), before.get(name, reading.yaw)
            turn = (wanted - now + np.pi) % (2.0 * np.pi) - np.pi
            self._angles[name] = now + float(np.clip(turn, -self._step, self._step))
        return replace(command, **{name: _unit(angle) for name, angle in self._angles.items()}) if given else command


def _unit(angle: float) -> Array:
    return np.array([np.cos(angle), np.sin(angle)])
