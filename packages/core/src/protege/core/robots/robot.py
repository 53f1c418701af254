"""The description of a robot: plain, frozen data from which every simulator's model is built.

A robot is a tree of bodies joined by hinges. Body 0 is the floating root; a body's hinges all pass through its origin and
turn it in the order in which they are listed (MuJoCo's convention: the first hinge is the outermost).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch

Vec3 = tuple[float, float, float]
Quat = tuple[float, float, float, float]


@dataclass(frozen=True)
class Geom:
    """One collision shape, fixed to its body.

    Attributes:
        kind: `box` (size: half extents), `capsule` (size: radius, half length along local z), `sphere` (size: radius).
        size: metres.
        pos: centre in the body frame, m.
        quat: orientation in the body frame, wxyz.
        mass: kg.
    """

    kind: Literal["box", "capsule", "sphere"]
    size: tuple[float, ...]
    mass: float
    pos: Vec3 = (0.0, 0.0, 0.0)
    quat: Quat = (1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Body:
    """A rigid body: its parent's name (None for the root), its origin in the parent frame (m) and its shapes."""

    name: str
    parent: str | None
    offset: Vec3
    geoms: tuple[Geom, ...]


@dataclass(frozen=True)
class Joint:
    """A hinge with a PD position servo.

    Attributes:
        name: unique joint name.
        body: name of the body that it turns.
        axis: unit axis in the body frame.
        range: lower and upper limit, rad.
        stiffness: kp, N·m/rad.
        damping: kd, N·m·s/rad.
        effort_limit: largest torque, N·m, enforced at the joint, not in the servo.
        armature: rotor inertia, kg·m².
    """

    name: str
    body: str
    axis: Vec3
    range: tuple[float, float]
    stiffness: float
    damping: float
    effort_limit: float = 500.0
    armature: float = 0.02


@dataclass(frozen=True)
class Robot:
    """A robot's bodies and joints (in the order of every tensor in this repository) and its control rates.

    Attributes:
        name: registry name.
        bodies: parents come before children; body 0 is the root.
        joints: grouped by body, in body order.
        default_joint_pos: the pose about which actions are measured, rad, one a joint.
        feet, hands: names of the end bodies.
        head: name of the head body.
        control_dt: seconds between actions.
        physics_dt: seconds of one physics substep.
    """

    name: str
    bodies: tuple[Body, ...]
    joints: tuple[Joint, ...]
    default_joint_pos: tuple[float, ...]
    feet: tuple[str, ...]
    hands: tuple[str, ...]
    head: str
    control_dt: float = 1.0 / 30.0
    physics_dt: float = 1.0 / 120.0

    @property
    def num_bodies(self) -> int:
        return len(self.bodies)

    @property
    def num_joints(self) -> int:
        return len(self.joints)

    @property
    def substeps(self) -> int:
        """Physics steps an action."""
        return round(self.control_dt / self.physics_dt)

    @cached_property
    def body_names(self) -> tuple[str, ...]:
        return tuple(body.name for body in self.bodies)

    @cached_property
    def joint_names(self) -> tuple[str, ...]:
        return tuple(joint.name for joint in self.joints)

    @cached_property
    def parents(self) -> tuple[int, ...]:
        """Index of each body's parent, -1 for the root."""
        return tuple(-1 if b.parent is None else self.body_names.index(b.parent) for b in self.bodies)

    @property
    def mass(self) -> float:
        """Total mass, kg."""
        return sum(geom.mass for body in self.bodies for geom in body.geoms)

    def body_ids(self, names: tuple[str, ...]) -> list[int]:
        """Indices of the named bodies."""
        return [self.body_names.index(name) for name in names]

    def default_pose(self, device: torch.device | str = "cpu") -> torch.Tensor:
        """Default joint positions, (J,) rad."""
        return torch.tensor(self.default_joint_pos, dtype=torch.float32, device=device)

    def damping_time(self, device: torch.device | str = "cpu") -> torch.Tensor:
        """Damping over stiffness of each servo, (J,) s: a target that runs ahead by so much is followed without lag."""
        return torch.tensor([x.damping / x.stiffness for x in self.joints], dtype=torch.float32, device=device)

    def joint_range(self, device: torch.device | str = "cpu") -> torch.Tensor:
        """Joint limits, (J, 2) rad."""
        return torch.tensor([joint.range for joint in self.joints], dtype=torch.float32, device=device)
