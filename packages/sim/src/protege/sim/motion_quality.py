"""How gently robots move: measured in evaluations beside success and error, in any simulator, and rewarded in training.

Contact forces are not read, because a simulator would have to go through all contacts once more. A foot counts as touching when
its shapes reach the ground. The ground's impulse in a control step follows from the change of the robot's momentum.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from protege.core.robots import rotation as R
from protege.core.robots.robot import Geom, Robot
from protege.core.robots.state import RobotState

from .floor import Floor
from .references.rows import assign_where

GRAVITY = 9.81
"""m/s²."""
CONTACT_HEIGHT = 1e-3
"""m; a foot that is lower than this above the ground counts as touching it."""


class Measure(NamedTuple):
    """One measure of an episode: its title, its unit, and the statistic of the episode's values that is reported."""

    title: str
    unit: str
    statistic: Literal["mean", "max"]

    def column(self, name: str) -> str:
        """Its column in `Step.episodes`."""
        return f"{name}/{self.statistic}"


MEASURES = {
    "action_rate": Measure("change of the targets, root mean square over the joints", "rad/s", "mean"),
    "joint_acceleration": Measure("acceleration of the joints, root mean square", "rad/s²", "mean"),
    "foot_slip": Measure("speed of the feet along the ground while they touch it", "m/s", "mean"),
    "contact_impulse": Measure("the ground's hardest push in a control step, to that of the weight", "×", "max"),
}
"""Measures by name, in the order of the reports."""


class MotionQuality:
    """Motion quality of n envs. Tensors are changed in place.

    Args:
        robot: the robot of the envs; its masses and shapes are used.
        n: number of envs.
        floor: the ground; None for a flat one at height 0.

    Attributes:
        sent: (n, J) rad, joint targets of the last control step; the env overwrites them before it runs the physics.
        before: (n, J) rad, joint targets of the step before it.
        joint_vel: (n, J) rad/s, at the end of the previous step.
        rise: (n,) m/s, vertical velocity of the centre of mass at the end of the previous step.
        begun: (n,) bool, whether this episode already had a step.
    """

    saved_state: ClassVar[tuple[str, ...]] = ("sent", "before", "joint_vel", "rise", "begun")

    def __init__(self, robot: Robot, n: int, floor: Floor | None, device: torch.device) -> None:
        self.dt, self.floor = robot.control_dt, floor
        self.mass = torch.tensor([body.inertia.mass for body in robot.bodies], device=device)
        self.center = torch.tensor([body.inertia.center for body in robot.bodies], device=device)
        shapes = [(robot.body_names.index(name), geom) for name in robot.feet for geom in _shapes(robot, name)]
        self.body = torch.tensor([body for body, _ in shapes], device=device, dtype=torch.long)
        self.pos = torch.tensor([geom.pos for _, geom in shapes], device=device).reshape(-1, 3)
        self.quat = torch.tensor([geom.quat for _, geom in shapes], device=device).reshape(-1, 4)
        extents, radii = zip(*(_extent(geom) for _, geom in shapes), strict=True) if shapes else ((), ())
        self.extent = torch.tensor(extents, device=device).reshape(-1, 3)
        self.radius = torch.tensor(radii, device=device)
        servos = robot.joints
        self.stiffness = torch.tensor([joint.stiffness for joint in servos], device=device)
        self.damping = torch.tensor([joint.damping for joint in servos], device=device)
        self.effort = torch.tensor([joint.effort_limit for joint in servos], device=device)
        self.up, joints = torch.tensor([0.0, 0.0, 1.0], device=device), (n, robot.num_joints)
        self.sent, self.before = robot.default_pose(device).repeat(n, 1), robot.default_pose(device).repeat(n, 1)
        self.joint_vel, self.rise = torch.zeros(joints, device=device), torch.zeros(n, device=device)
        self.begun = torch.zeros(n, dtype=torch.bool, device=device)

    def measure(self, state: RobotState) -> Mapping[str, tuple[Tensor, Tensor]]:
        """Value and weight (n,) of each measure, for the control step that led to `state` (n, ...)."""
        always, rise = torch.ones_like(self.rise), self._rise(state)
        slip, touching = self._slip(state)
        measured = {
            "action_rate": (_rms((self.sent - self.before) / self.dt), self.begun.float()),
            "joint_acceleration": (_rms((state.joint_vel - self.joint_vel) / self.dt), always),
            "foot_slip": (slip, touching),
            "contact_impulse": (1.0 + (rise - self.rise) / (GRAVITY * self.dt), always),
        }
        self.before.copy_(self.sent)
        self.joint_vel.copy_(state.joint_vel)
        self.rise.copy_(rise)
        self.begun.fill_(True)
        return measured

    def power(self, state: RobotState) -> Tensor:
        """Sum over the joints of |torque · velocity|, divided by the robot's weight, (n,) W/N."""
        torque = self.stiffness * (self.sent - state.joint_pos) - self.damping * state.joint_vel
        work = (torque.clamp(-self.effort, self.effort) * state.joint_vel).abs().sum(1)
        return work / (GRAVITY * self.mass.sum())

    def restart(self, mask: Tensor, state: RobotState) -> None:
        """Start an episode in this state (n, ...) where mask (n,) is True."""
        assign_where(self.joint_vel, mask, state.joint_vel)
        assign_where(self.rise, mask, self._rise(state))
        self.begun.masked_fill_(mask, False)

    def state_dict(self) -> dict[str, Tensor]:
        return {name: getattr(self, name).clone() for name in self.saved_state}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for name in self.saved_state:
            getattr(self, name).copy_(state[name])

    def _rise(self, state: RobotState) -> Tensor:
        """Vertical velocity of the centres of mass, (n,) m/s."""
        arm = R.rotate(state.body_quat_w, self.center.expand_as(state.body_pos_w))
        velocity = state.body_lin_vel_w + R.cross(state.body_ang_vel_w, arm)
        return velocity[..., 2] @ self.mass / self.mass.sum()

    def _slip(self, state: RobotState) -> tuple[Tensor, Tensor]:
        """Mean horizontal speed of the lowest points of the feet's shapes that touch the ground, and whether any touches it."""
        quat = state.body_quat_w[:, self.body]
        turn = R.multiply(quat, self.quat.expand_as(quat))
        up = R.rotate_inverse(turn, self.up.expand(*turn.shape[:-1], 3))
        arm = R.rotate(quat, self.pos.expand(*quat.shape[:-1], 3)) + R.rotate(turn, -up.sign() * self.extent)
        arm = torch.cat([arm[..., :2], arm[..., 2:] - self.radius[:, None]], dim=-1)
        point = state.body_pos_w[:, self.body] + arm
        ground = 0.0 if self.floor is None else self.floor.height(point[..., :2])
        touches = (point[..., 2] - ground < CONTACT_HEIGHT).float()
        velocity = state.body_lin_vel_w[:, self.body] + R.cross(state.body_ang_vel_w[:, self.body], arm)
        speed, count = velocity[..., :2].norm(dim=-1), touches.sum(1)
        return (speed * touches).sum(1) / count.clamp_min(1.0), (count > 0).float()


def _shapes(robot: Robot, name: str) -> tuple[Geom, ...]:
    return robot.bodies[robot.body_names.index(name)].geoms


def _extent(geom: Geom) -> tuple[tuple[float, float, float], float]:
    """A shape as a box, a line or a point (half extents, m), with a radius (m) around it."""
    if geom.kind == "box":
        x, y, z = geom.size
        return (x, y, z), 0.0
    return (0.0, 0.0, geom.size[1] if geom.kind == "capsule" else 0.0), geom.size[0]


def _rms(values: Tensor) -> Tensor:
    """Root mean square, (n, J) -> (n,)."""
    return values.square().mean(1).sqrt()
