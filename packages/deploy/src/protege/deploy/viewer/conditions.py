"""Conditions of the viewer's robot and floor, to try a policy's robustness."""

from collections import deque
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

from ..interface import Array, Mode, RobotReading
from ..policy.metadata import StartState
from ..robots.mujoco import MujocoRobot


@dataclass(frozen=True)
class Conditions:
    """Differences from the exported robot. The defaults are the exported robot.

    Attributes:
        friction: factor on the friction of the ground and all bodies.
        strength: factor on the joints' effort limits.
        payload: mass that the root carries besides its own, kg.
        delay: of the joint targets, s, rounded to whole physics steps.
        joint_vel_noise: standard deviation of the noise on the measured joint velocities, rad/s.
    """

    friction: float = 1.0
    strength: float = 1.0
    payload: float = 0.0
    delay: float = 0.0
    joint_vel_noise: float = 0.0


class ConditionedRobot(MujocoRobot):
    """The exported robot in MuJoCo, under conditions that may change between two control steps.

    Args:
        folder: an export.

    Attributes:
        conditions: the present conditions; see `apply`.
    """

    conditions = Conditions()

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder)
        model = self.model
        self._friction, self._effort = model.geom_friction.copy(), model.jnt_actfrcrange.copy()
        self._mass = float(model.body_mass[self._root])

    def apply(self, conditions: Conditions) -> None:
        """Change the conditions. Only the thread that steps the physics may call this."""
        self.model.geom_friction[:] = conditions.friction * self._friction
        self.model.jnt_actfrcrange[:] = conditions.strength * self._effort
        if conditions.payload != self.conditions.payload:
            self.model.body_mass[self._root] = self._mass + conditions.payload
            state = self.data.qpos.copy(), self.data.qvel.copy()
            mujoco.mj_setConst(self.model, self.data)  # it leaves the robot in its reference pose
            self.data.qpos[:], self.data.qvel[:] = state
        self.conditions = conditions

    def reset(self, start: StartState | None = None) -> None:
        super().reset(start)
        self._noise, self._targets = np.random.default_rng(0), deque[Array]([self.data.ctrl[self._servos].copy()])

    def read(self) -> RobotReading:
        reading = super().read()
        if self.conditions.joint_vel_noise:
            noise = self._noise.standard_normal(len(reading.joint_vel))
            reading.joint_vel = reading.joint_vel + self.conditions.joint_vel_noise * noise
        return reading

    def write(self, joint_target: Array, mode: Mode = Mode.CONTROL) -> None:
        substeps, late = self.metadata.substeps, round(self.conditions.delay / self.metadata.physics_dt)
        self._targets.appendleft(np.array(joint_target))
        while len(self._targets) > -(-late // substeps) + 1:
            self._targets.pop()
        self._stiffen(mode)
        for substep in range(substeps):
            # What arrives now was sent at the last start of a control step that is `late` physics steps ago.
            age = -((substep - late) // substeps)
            self.data.ctrl[self._servos] = self._targets[min(age, len(self._targets) - 1)]
            mujoco.mj_step(self.model, self.data)
