"""The description of a robot: plain, frozen data from which every simulator's model is built.

A robot is a tree of bodies joined by hinges. Body 0 is the floating root; a body's hinges all pass through its origin and
turn it in the order in which they are listed (MuJoCo's convention: the first hinge is the outermost).

Nothing here is a default of some robot: what a robot has to say has no default, what it may leave out is switched off.
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
"""MuJoCo's own: sliding, torsional (m), rolling (m)."""
UNTURNED: Quat = (1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Geom:
    """One collision shape, fixed to its body. It has no mass: see `Inertia`.

    Attributes:
        kind: `box` (size: half extents), `capsule` (size: radius, half length along local z), `sphere` (size: radius).
        size: metres.
        pos: centre in the body frame, m.
        quat: orientation in the body frame, wxyz.
        friction: with the ground: sliding, torsional (m), rolling (m). Of two shapes of the robot, the larger number counts.
        condim: which of them count, by MuJoCo's number: 1 none, 3 the first, 4 two, 6 all. The ground's is 3, the larger counts.
    """

    kind: GeomKind
    size: tuple[float, ...]
    pos: Vec3 = (0.0, 0.0, 0.0)
    quat: Quat = UNTURNED
    friction: Vec3 = FRICTION
    condim: int = 3


@dataclass(frozen=True)
class Look:
    """One shape that is drawn, fixed to its body. It touches nothing and weighs nothing.

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
    quat: Quat = UNTURNED
    rgba: Rgba = (0.5, 0.5, 0.5, 1.0)


@dataclass(frozen=True)
class Inertia:
    """How a body resists forces.

    Attributes:
        mass: kg.
        center: centre of mass in the body frame, m.
        moments: about the principal axes through the centre of mass, kg·m².
        quat: orientation of the principal axes in the body frame, wxyz.
    """

    mass: float
    center: Vec3 = (0.0, 0.0, 0.0)
    moments: Vec3 = (0.0, 0.0, 0.0)
    quat: Quat = UNTURNED


@dataclass(frozen=True)
class Body:
    """A rigid body.

    Attributes:
        name: unique.
        parent: its name; None for the root.
        offset: the body's origin in the parent frame, m.
        inertia: mass and its distribution.
        geoms: what it collides with.
        quat: the body's orientation in the parent frame while all its hinges are at zero, wxyz.
        looks: what pictures show of it; without any, what it collides with is shown.
    """

    name: str
    parent: str | None
    offset: Vec3
    inertia: Inertia
    geoms: tuple[Geom, ...] = ()
    quat: Quat = UNTURNED
    looks: tuple[Look, ...] = ()


@dataclass(frozen=True)
class Joint:
    """A hinge with a PD position servo.

    Attributes:
        name: unique joint name.
        body: name of the body that it turns.
        axis: unit axis in the body frame.
        range: lower and upper limit, rad.
        stiffness: kp of the servo, N·m/rad.
        damping: kd of the servo, N·m·s/rad.
        effort_limit: largest torque, N·m, enforced at the joint, not in the servo.
        armature: rotor inertia, kg·m².
        frictionloss: torque of dry friction, N·m.
        passive_damping: torque of viscous friction, N·m·s/rad.
        action_scale: rad of target for one unit of a network's output.
        log_std: log of the deviation with which training starts to explore, in units of `action_scale`.
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
    """A frame fixed to a body: the body's name, the frame's origin (m) and orientation (wxyz) in the body frame."""

    body: str
    pos: Vec3 = (0.0, 0.0, 0.0)
    quat: Quat = UNTURNED


@dataclass(frozen=True)
class Groups:
    """Which bodies are what: tasks, masks and pictures find them here and know no robot's names.

    Attributes:
        left_foot, right_foot: names of the bodies that stand on the ground, from the ankle outwards.
        left_hand, right_hand: names of the end bodies of the arms; empty for a robot without.
        torso: name of the body that carries the arms.
        head: name of the body that holds the head; the torso's if it has none of its own.
        imu: where the inertial sensor sits.
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
    """How physics is integrated, by MuJoCo's names.

    Attributes:
        integrator: an implicit one keeps stiff servos stable.
        iterations: at most, of the constraint solver.
        ls_iterations: at most, of its line search.
        cone: of friction.
        impratio: how much stiffer friction is than normal forces.
    """

    integrator: Literal["euler", "implicit", "implicitfast"] = "implicitfast"
    iterations: int = 10
    ls_iterations: int = 10
    cone: Literal["pyramidal", "elliptic"] = "pyramidal"
    impratio: float = 1.0


@dataclass(frozen=True)
class Camera:
    """Where a picture of the whole robot is taken from: `distance` from it, looking at `height` over the ground, m."""

    distance: float
    height: float


@dataclass(frozen=True)
class Safety:
    """How far the deployed robot may go before it is held back, or before it damps for good; None takes a check away.

    Attributes:
        joint_margin: rad beyond the joint's range where a target is clipped.
        joint_reach: the same by the joint's servo, where that is further: what this share of its effort limit takes. Soft servos
            carry a robot by targets beyond its joints' ranges; stiff ones need no more than the margin.
        target_rate: rad/s, above which a target is clipped.
        clipped_time: s for which targets may be clipped without a pause.
        torque: of the servo, as a share of its effort limit, that a target may ask for.
        position_margin: rad beyond the joint's range where a measured angle trips.
        frozen_time: s after which measurements that do not change trip.
        tilt: rad, of the root's vertical axis, above which it has fallen.
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
        default_joint_pos: the pose about which actions are measured, rad, one a joint.
        groups: which bodies are feet, hands, ...
        root_height: of the root over the ground in the default pose, m.
        control_dt: seconds between actions.
        physics_dt: seconds of one physics substep.
        camera: for pictures.
        solver: of the physics.
        self_collision: whether its bodies collide with each other. Parent and child never do.
        excluded_pairs: names of bodies that do not, if others do.
        fallen_root, fallen_head: shares of the reference's heights of root and head below which the robot has fallen.
        safety: what a deployed policy may do with it.
        source: where its figures are from.
        licence: of this description.
        menagerie: its name in MuJoCo Menagerie, whose meshes pictures show where they can be had; empty for none.
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
    def feet(self) -> tuple[str, ...]:
        """Names of the bodies of both feet, the left one's first."""
        return self.groups.left_foot + self.groups.right_foot

    @property
    def hands(self) -> tuple[str, ...]:
        """Names of the bodies of both hands, the left one's first."""
        return self.groups.left_hand + self.groups.right_hand

    @property
    def head(self) -> str:
        """Name of the body that holds the head."""
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
        """Damping over stiffness of each servo, (J,) s: a target that runs ahead by so much is followed without lag."""
        return torch.tensor([x.damping / x.stiffness for x in self.joints], dtype=torch.float32, device=device)

    def action_scale(self, device: torch.device | str = "cpu") -> torch.Tensor:
        """What one unit of a network's output moves each target by, (J,) rad."""
        return torch.tensor([x.action_scale for x in self.joints], dtype=torch.float32, device=device)

    def joint_range(self, device: torch.device | str = "cpu") -> torch.Tensor:
        """Joint limits, (J, 2) rad."""
        return torch.tensor([joint.range for joint in self.joints], dtype=torch.float32, device=device)
