"""The YAML file beside a robot's model, with what the model does not contain: one dataclass per section; see docs/robots.md."""

from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import MISSING

from protege.core import checks
from protege.core.errors import UserError
from protege.core.names import checked_name
from protege.core.robots import robot
from protege.core.runs.config import Config
from protege.core.runs.config_faults import read_leniently

from .kinds import CONES, INTEGRATORS

STEP_TOLERANCE = 1e-6
"""Largest deviation from a whole number of physics steps per action."""


@dataclass
class About:
    """Name and origin of a robot.

    Attributes:
        name: value of `--robot`.
        model: the MJCF file, in the folder of this file.
        source: origin of the numbers.
        licence: licence of the description.
        default: whether commands without `--robot` use this robot.
    """

    name: str = MISSING
    model: str = MISSING
    source: str = ""
    licence: str = ""
    default: bool = False

    def check(self, key: str) -> None:
        checked_name(self.name, f"{key}.name")


@dataclass
class Rates:
    """Rates in Hz: of actions (`control`), and of the physics integration (`physics`)."""

    control: float = MISSING
    physics: float = MISSING

    def check(self, key: str) -> None:
        checks.within(1, 10_000, self, key, "control", "physics")
        steps = self.physics / self.control
        if round(steps) < 1 or abs(steps - round(steps)) > STEP_TOLERANCE:
            raise UserError(f"{key}.physics is {self.physics:g}", f"Take a multiple of {key}.control, {self.control:g}")


@dataclass
class Sides:
    """Names of bodies on the left and on the right, ordered from the trunk outwards."""

    left: list[str] = field(default_factory=list)
    right: list[str] = field(default_factory=list)


@dataclass
class GroupNames:
    """Names of groups of bodies; see `protege.core.robots.robot.Groups`. `head`: by default the torso. `imu`: a site or a body."""

    feet: Sides = field(default_factory=Sides)
    hands: Sides = field(default_factory=Sides)
    torso: str = MISSING
    head: str = ""
    imu: str = MISSING

    def check(self, key: str) -> None:
        checks.not_empty(self.feet, f"{key}.feet", "left", "right")


@dataclass
class Servos:
    """The servos, if the model has anything other than position servos, and the meaning of an action.

    Attributes:
        stiffness: N·m/rad by joint; a name may contain `*`, and later entries override earlier ones. Others use the next keys.
        damping: N·m·s/rad of the same joints.
        natural_frequency: Hz of a joint's rotor on its servo: stiffness = armature · (2π · frequency)². None: the model's gains.
        damping_ratio: with it, damping = 2 · ratio · armature · 2π · frequency.
        action_scale: rad of target for one unit of a network's output.
        action_effort: alternatively, the share of its effort limit that a servo exerts for one unit:
            action_scale = share · effort_limit / stiffness. None: use `action_scale`.
        log_std: log of the standard deviation of the initial exploration, in units of the action scale.
    """

    stiffness: dict[str, float] = field(default_factory=dict)
    damping: dict[str, float] = field(default_factory=dict)
    natural_frequency: float | None = None
    damping_ratio: float = 2.0
    action_scale: float = 1.0
    action_effort: float | None = None
    log_std: float = -2.9

    def check(self, key: str) -> None:
        for name, low in (("stiffness", "above 0"), ("damping", "0 or more")):
            for joint, value in getattr(self, name).items():
                if value < 0.0 or (name == "stiffness" and value == 0.0):
                    raise UserError(f"{key}.{name}.{joint} is {value:g}", f"Take {low}")
        checks.above_zero(self, key, "natural_frequency", "damping_ratio", "action_scale", "action_effort")
        checks.within(-20, 5, self, key, "log_std")


@dataclass
class Pose:
    """The default pose.

    Attributes:
        joints: rad by joint; a name may contain `*`, and later entries override earlier ones. All others are at 0.
        root_height: m above the ground; None: the lowest shape touches the ground.
    """

    joints: dict[str, float] = field(default_factory=dict)
    root_height: float | None = None

    def check(self, key: str) -> None:
        checks.above_zero(self, key, "root_height")


@dataclass
class Physics:
    """The solver settings, by MuJoCo's names, and the collisions.

    Attributes:
        self_collision: the robot's bodies collide with each other.
        cylinders_as_capsules: each colliding cylinder becomes a capsule of its length and radius.
        meshes_as_boxes: each colliding mesh becomes the box around it that is upright while all joints are at zero.
    """

    integrator: str = "implicitfast"
    iterations: int = 10
    ls_iterations: int = 10
    cone: str = "pyramidal"
    impratio: float = 1.0
    self_collision: bool = False
    cylinders_as_capsules: bool = False
    meshes_as_boxes: bool = False

    def check(self, key: str) -> None:
        for name, known in (("integrator", INTEGRATORS), ("cone", CONES)):
            if getattr(self, name) not in known:
                raise UserError(f"{key}.{name} is {getattr(self, name)!r}", f"Take {', '.join(known)}")
        checks.within(1, 1000, self, key, "iterations", "ls_iterations")
        checks.above_zero(self, key, "impratio")


@dataclass
class Fall:
    """Shares of the reference heights of root and head; below them the robot has fallen."""

    root: float = 0.6
    head: float = 0.7

    def check(self, key: str) -> None:
        checks.shares(self, key, "root", "head")


SAFETY_DEFAULTS = robot.Safety()


@dataclass
class Safety:
    """Limits of a deployed policy; see `protege.core.robots.robot.Safety`. None disables a check."""

    joint_margin: float | None = SAFETY_DEFAULTS.joint_margin
    joint_reach: float | None = SAFETY_DEFAULTS.joint_reach
    target_rate: float | None = SAFETY_DEFAULTS.target_rate
    clipped_time: float | None = SAFETY_DEFAULTS.clipped_time
    torque: float | None = SAFETY_DEFAULTS.torque
    position_margin: float | None = SAFETY_DEFAULTS.position_margin
    frozen_time: float | None = SAFETY_DEFAULTS.frozen_time
    tilt: float | None = SAFETY_DEFAULTS.tilt

    def check(self, key: str) -> None:
        checks.at_least(0, self, key, *vars(self))


@dataclass
class View:
    """The camera of pictures: its distance, and the height that it looks at, m; None: chosen by the robot's size."""

    distance: float | None = None
    height: float | None = None

    def check(self, key: str) -> None:
        checks.above_zero(self, key, "distance", "height")


@dataclass
class Looks:
    """Visual shapes of the robot, besides those of group 2 in its model.

    Attributes:
        menagerie: its name in MuJoCo Menagerie, whose meshes are drawn if `mujoco-menagerie` is installed; followed by `/` and the
            model's name if there are several. Empty for none.
    """

    menagerie: str = ""


SECTIONS = {
    "robot": About,
    "rates": Rates,
    "groups": GroupNames,
    "servos": Servos,
    "pose": Pose,
    "physics": Physics,
    "fall": Fall,
    "safety": Safety,
    "camera": View,
    "looks": Looks,
}


def read_robot_file(path: Path) -> Config:
    """The sections of a robot's YAML file by name, checked.

    Raises:
        UserError: it names the file and the key.
    """
    sections, errors = examine_robot_file(path)
    for error in errors:
        raise error
    return sections


def examine_robot_file(path: Path) -> tuple[Config, list[UserError]]:
    """The sections of a robot's YAML file by name, None for an invalid one, and all errors."""
    if not path.is_file():
        missing = UserError(f"there is no robot file {path}", "Give a robot.yaml; docs/robots.md shows one")
        return Config(dict.fromkeys(SECTIONS)), [missing]
    sections, errors = read_leniently(SECTIONS, path)
    return sections, [_of_file(path, error) for error in errors]


def _of_file(path: Path, error: UserError) -> UserError:
    """The error in terms of a robot's file instead of a config."""
    problem = error.problem if str(path) in error.problem else f"{path}: {error.problem}"
    remedy = error.remedy.replace("docs/configuration.md", "docs/robots.md")
    return UserError(problem, f"Write {error.problem.split()[0]} into it" if "has no value" in problem else remedy)
