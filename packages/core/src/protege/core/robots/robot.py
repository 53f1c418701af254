"""The description of a robot: plain, frozen data from which every simulator's model is built.

A robot is a tree of bodies joined by hinges. Body 0 is the floating root. All hinges of a body pass through its origin and
rotate it in the order in which they are listed (MuJoCo's convention: the first hinge is the outermost).

No default is specific to a robot: required properties have no default, and optional features are off.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch

Vec3 = tuple[float, float, float]
Quat = tuple[float, float, float, float]
Rgba = tuple[float, float, float, float]
GeomKind = Literal["box", "capsule", "sphere"]
LookKind = Literal["box", "capsule", "sphere", "cylinder", "ellipsoid"]
FRICTION: Vec3 = (1.0, 0.005, 0.0001)
"""MuJoCo's default: sliding, torsional (m), rolling (m)."""
IDENTITY_QUAT: Quat = (1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Geom:
    """A collision shape, fixed to its body. It has no mass: see `Inertia`.

    Attributes:
        kind: `box` (size: half extents), `capsule` (size: radius, half length along local z), `sphere` (size: radius).
        size: metres.
        pos: centre in the body frame, m.
        quat: orientation in the body frame, wxyz.
        friction: with the ground: sliding, torsional (m), rolling (m). Between two shapes of the robot the larger value is used.
        condim: MuJoCo's contact dimension: 1 frictionless, 3 sliding, 4 also torsional, 6 also rolling friction. The ground's is 3;
            the larger of the two is used.
    """

    kind: GeomKind
    size: tuple[float, ...]
    pos: Vec3 = (0.0, 0.0, 0.0)
    quat: Quat = IDENTITY_QUAT
    friction: Vec3 = FRICTION
    condim: int = 3


@dataclass(frozen=True)
class Look:
    """A visual shape, fixed to its body. It has no collisions and no mass.

    Attributes:
        kind: as of a `Geom`; or `cylinder` (size: radius, half length along local z), `ellipsoid` (size: half axes).
        size: metres.
        pos: centre in the body frame, m.
        quat: orientation in the body frame, wxyz.
        rgba: colour and opacity, 0 to 1.
    """

    kind: LookKind
    size: tuple[float, ...]
    pos: Vec3 = (0.0, 0.0, 0.0)
    quat: Quat = IDENTITY_QUAT
    rgba: Rgba = (0.5, 0.5, 0.5, 1.0)


@dataclass(frozen=True)
class Inertia:
    """A body's mass and inertia.

    Attributes:
        mass: kg.
        center: centre of mass in the body frame, m.
        moments: about the principal axes through the centre of mass, kg·m².
        quat: orientation of the principal axes in the body frame, wxyz.
    """

    mass: float
    center: Vec3 = (0.0, 0.0, 0.0)
    moments: Vec3 = (0.0, 0.0, 0.0)
    quat: Quat = IDENTITY_QUAT


@dataclass(frozen=True)
class Body:
    """A rigid body.

    Attributes:
        name: unique.
        parent: its name; None for the root.
        offset: the body's origin in the parent frame, m.
        inertia: mass and its distribution.
        geoms: collision shapes.
        quat: the body's orientation in the parent frame when all its hinges are at zero, wxyz.
        looks: visual shapes; if empty, the collision shapes are drawn.
    """

    name: str
    parent: str | None
    offset: Vec3
    inertia: Inertia
    geoms: tuple[Geom, ...] = ()
    quat: Quat = IDENTITY_QUAT
    looks: tuple[Look, ...] = ()


@dataclass(frozen=True)
class Joint:
    """A hinge with a PD position servo.

    Attributes:
        name: unique joint name.
        body: name of the body that it rotates.
        axis: unit axis in the body frame.
        range: lower and upper limit, rad.
        stiffness: kp of the servo, N·m/rad.
        damping: kd of the servo, N·m·s/rad.
        effort_limit: torque limit, N·m, enforced at the joint, not in the servo.
        armature: rotor inertia, kg·m².
        frictionloss: torque of dry friction, N·m.
        passive_damping: torque of viscous friction, N·m·s/rad.
        action_scale: change of the target per unit of a network's output, rad.
        log_std: log of the initial standard deviation of actions in training, in units of `action_scale`.
    """

    name: str
    body: str
    axis: Vec3
    range: tuple[float, float]
    stiffness: float
    damping: float
    effort_limit: float
    armature: float = 0.0
    frictionloss: float = 0.0
    passive_damping: float = 0.0
    action_scale: float = 1.0
    log_std: float = 0.0


@dataclass(frozen=True)
class Site:
    """A frame fixed to a body: name of the body, and the frame's origin (m) and orientation (wxyz) in the body frame."""

    body: str
    pos: Vec3 = (0.0, 0.0, 0.0)
    quat: Quat = IDENTITY_QUAT


@dataclass(frozen=True)
class Groups:
    """Roles of bodies, so that tasks, masks and rendering need no body names of a particular robot.

    Attributes:
        left_foot, right_foot: names of the bodies of each foot, from the ankle outwards.
        left_hand, right_hand: names of the last bodies of the arms; empty for a robot without arms.
        torso: name of the body to which the arms are attached.
        head: name of the body that contains the head; the torso if there is no separate one.
        imu: mount of the IMU.
    """

    left_foot: tuple[str, ...]
    right_foot: tuple[str, ...]
    left_hand: tuple[str, ...]
    right_hand: tuple[str, ...]
    torso: str
    head: str
    imu: Site


@dataclass(frozen=True)
class Solver:
    """Settings of the physics solver, with MuJoCo's names.

    Attributes:
        integrator: an implicit one keeps stiff servos stable.
        iterations: maximum for the constraint solver.
        ls_iterations: maximum for its line search.
        cone: of friction.
        impratio: ratio of friction to normal impedance.
    """

    integrator: Literal["euler", "implicit", "implicitfast"] = "implicitfast"
    iterations: int = 10
    ls_iterations: int = 10
    cone: Literal["pyramidal", "elliptic"] = "pyramidal"
    impratio: float = 1.0


@dataclass(frozen=True)
class Camera:
    """Camera for pictures of the whole robot: `distance` from it, looking at a point at `height` over the ground, m."""

    distance: float
    height: float


@dataclass(frozen=True)
class Safety:
    """Limits of the deployed robot. Targets beyond a limit are clipped, or the robot trips and stays damped; None disables a check.

    Attributes:
        joint_margin: distance beyond the joint's range at which a target is clipped, rad.
        joint_reach: share of the effort limit. The target distance at which the servo applies this torque replaces `joint_margin`
            if it is larger. Soft servos need targets beyond the joints' ranges to carry the robot; stiff ones do not.
        target_rate: largest rate of change of a target, rad/s; faster targets are clipped.
        clipped_time: time for which targets may be clipped without interruption, s.
        torque: largest servo torque that a target may cause, as a multiple of the effort limit.
        position_margin: distance beyond the joint's range at which a measured angle trips, rad.
        frozen_time: time after which unchanging measurements trip, s.
        tilt: angle between the root's vertical axis and the world's above which the robot has fallen, rad.
    """

    joint_margin: float | None = 0.25
    joint_reach: float | None = 0.0
    target_rate: float | None = 40.0
    clipped_time: float | None = 0.5
    torque: float | None = 2.0
    position_margin: float | None = 0.3
    frozen_time: float | None = 0.1
    tilt: float | None = 1.2


@dataclass(frozen=True)
class Robot:
    """A robot's bodies and joints (in the order of every tensor in this repository), its control rates and its groups.

    Attributes:
        name: registry name.
        bodies: parents come before children; body 0 is the root.
        joints: grouped by body, in body order.
        default_joint_pos: the pose relative to which actions are given, rad, one value per joint.
        groups: roles of bodies: feet, hands, ...
        root_height: of the root over the ground in the default pose, m.
        control_dt: duration of a control step, s.
        physics_dt: duration of a physics step, s.
        camera: for pictures.
        solver: of the physics.
        self_collision: whether its bodies collide with each other. Parent and child never do.
        excluded_pairs: pairs of bodies that do not collide, despite `self_collision`.
        fallen_root, fallen_head: shares of the reference's heights of root and head below which the robot has fallen.
        safety: limits in deployment.
        source: origin of its figures.
        licence: of this description.
        menagerie: its name in MuJoCo Menagerie, whose meshes are used for pictures if available; empty for none.
    """

    name: str
    bodies: tuple[Body, ...]
    joints: tuple[Joint, ...]
    default_joint_pos: tuple[float, ...]
    groups: Groups
    root_height: float
    control_dt: float
    physics_dt: float
    camera: Camera
    solver: Solver = Solver()
    self_collision: bool = False
    excluded_pairs: tuple[tuple[str, str], ...] = ()
    fallen_root: float = 0.6
    fallen_head: float = 0.7
    safety: Safety = Safety()
    source: str = ""
    licence: str = ""
    menagerie: str = ""

    @property
    def num_bodies(self) -> int:
        return len(self.bodies)

    @property
    def num_joints(self) -> int:
        return len(self.joints)

    @property
    def substeps(self) -> int:
        """Physics steps per control step."""
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
    def feet(self) -> tuple[str, ...]:
        """Names of the bodies of both feet, left foot or hand first."""
        return self.groups.left_foot + self.groups.right_foot

    @property
    def hands(self) -> tuple[str, ...]:
        """Names of the bodies of both hands, left foot or hand first."""
        return self.groups.left_hand + self.groups.right_hand

    @property
    def head(self) -> str:
        """Name of the body that contains the head."""
        return self.groups.head

    @property
    def mass(self) -> float:
        """Total mass, kg."""
        return sum(body.inertia.mass for body in self.bodies)

    def body_ids(self, names: tuple[str, ...]) -> list[int]:
        """Indices of the named bodies."""
        return [self.body_names.index(name) for name in names]

    def default_pose(self, device: torch.device | str = "cpu") -> torch.Tensor:
        """Default joint positions, (J,) rad."""
        return torch.tensor(self.default_joint_pos, dtype=torch.float32, device=device)

    def damping_time(self, device: torch.device | str = "cpu") -> torch.Tensor:
        """Damping over stiffness of each servo, (J,) s: a target that leads the reference by this time is tracked without lag."""
        return torch.tensor([x.damping / x.stiffness for x in self.joints], dtype=torch.float32, device=device)

    def action_scale(self, device: torch.device | str = "cpu") -> torch.Tensor:
        """Change of each target per unit of a network's output, (J,) rad."""
        return torch.tensor([x.action_scale for x in self.joints], dtype=torch.float32, device=device)

    def joint_range(self, device: torch.device | str = "cpu") -> torch.Tensor:
        """Joint limits, (J, 2) rad."""
        return torch.tensor([joint.range for joint in self.joints], dtype=torch.float32, device=device)
