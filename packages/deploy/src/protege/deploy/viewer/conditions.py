"""Conditions of the viewer's robot and floor, to try a policy's robustness."""

from collections import deque
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

from ..geometry import Array
from ..interface import Mode, RobotReading
from ..policy.metadata import StartState
from ..robots.mujoco import MujocoRobot
from .ground import NAME, Ground

SETTLING = 20
"""How often a robot is lifted out of uneven ground at its start."""


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

    On uneven ground it measures its height from the level ground under it, as policies do in training.

    Args:
        folder: an export.
        ground: that it walks on.

    Attributes:
        conditions: the present conditions; see `apply`.
    """

    conditions = Conditions()

    def __init__(self, folder: str | Path, ground: Ground | None = None) -> None:
        self.ground = ground or Ground()
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
        if self.ground.terrain is not None:
            self._lift()
        self._noise, self._targets = np.random.default_rng(0), deque[Array]([self.data.ctrl[self._servos].copy()])

    def read(self) -> RobotReading:
        reading = super().read()
        if reading.root_pos_w is not None:
            reading.root_pos_w[2] -= self._level
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

    def _compile(self, path: str) -> mujoco.MjModel:
        return self.ground.compile(path)

    def _heights(self) -> tuple[float, float]:
        root, head = super()._heights()
        return root - self._level, head - self._level

    @property
    def _level(self) -> float:
        """Height of the level ground under the root, m."""
        return float(self.ground.level(self.data.qpos[:2]))

    def _lift(self) -> None:
        """Raise the robot to the level ground, and then until no shape is in the ground."""
        terrain = self.model.geom(NAME).id
        self.data.qpos[2] += self._level
        for _ in range(SETTLING):
            mujoco.mj_forward(self.model, self.data)
            depths = [contact.dist for contact in self.data.contact[: self.data.ncon] if terrain in contact.geom]
            if min(depths, default=0.0) >= 0.0:
                break
            self.data.qpos[2] -= min(depths)
        mujoco.mj_kinematics(self.model, self.data)
