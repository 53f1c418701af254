"""The rows of a robot in the arrays of a compiled MuJoCo model, found by name. The model may contain other bodies."""

from collections.abc import Sequence
from dataclasses import dataclass

from protege.core.errors import UserError
from protege.core.robots.robot import Robot

from ..engine import mujoco


@dataclass(frozen=True)
class Addresses:
    """Rows of a robot in a model's arrays, in the order of the robot's description. They are slices, which give views.

    Attributes:
        bodies: B rows of `xpos`, `cvel`, `body_mass` etc.
        qpos: 7 + J rows of `qpos`: the root's position, its quaternion wxyz, the joints' angles.
        qvel: 6 + J rows of `qvel`: the root's linear velocity (world frame) and angular velocity (its own axes), the joints' rates.
        actuators: J rows of `ctrl` and `actuator_gainprm`.
        joints: J rows of `jnt_range` and `jnt_actfrcrange`, without the root's.
    """

    bodies: slice
    qpos: slice
    qvel: slice
    actuators: slice
    joints: slice

    @property
    def root(self) -> int:
        """The root's row among the bodies."""
        return self.bodies.start

    @property
    def joint_pos(self) -> slice:
        """The joints' rows of `qpos`."""
        return slice(self.qpos.start + 7, self.qpos.stop)

    @property
    def joint_vel(self) -> slice:
        """The joints' rows of `qvel`."""
        return slice(self.qvel.start + 6, self.qvel.stop)


def body_rows(model: mujoco.MjModel, names: Sequence[str]) -> slice:
    """The rows of a robot's bodies; see `addresses`."""
    return _slice([model.body(name).id for name in names], "bodies")


def addresses(model: mujoco.MjModel, robot: Robot) -> Addresses:
    """Find a robot in a model by the names of its bodies, joints and servos (a servo has the name of its joint).

    Raises:
        UserError: the model has them in another order than the robot's description, or has others between them.
    """
    bodies = body_rows(model, robot.body_names)
    free = int(model.body_jntadr[bodies.start])
    joints = [free, *(model.joint(name).id for name in robot.joint_names)]
    qpos, qvel = model.jnt_qposadr[joints].tolist(), model.jnt_dofadr[joints].tolist()
    return Addresses(
        bodies=bodies,
        qpos=_slice([*range(qpos[0], qpos[0] + 7), *qpos[1:]], "joints"),
        qvel=_slice([*range(qvel[0], qvel[0] + 6), *qvel[1:]], "joints"),
        actuators=_slice([model.actuator(name).id for name in robot.joint_names], "servos"),
        joints=_slice(joints[1:], "joints"),
    )


def _slice(rows: Sequence[int], what: str) -> slice:
    if list(rows) != list(range(rows[0], rows[0] + len(rows))):
        raise UserError(
            f"the model has the robot's {what} in another order than its description, or others between them",
            "List bodies depth first, and joints and servos in the order of their bodies",
        )
    return slice(rows[0], rows[0] + len(rows))
