"""The data that a robot sends and receives: one robot, numpy arrays, world frame (x forward, y left, z up), quaternions wxyz."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol

import numpy as np

from .errors import DeployError
from .geometry import Array, Pose2D, tilt, yaw

MODALITIES: dict[str, tuple[str, ...]] = {
    "path": ("path_w",),
    "goal": ("goal_w", "goal_time_left"),
    "steering": ("steering_direction_w", "steering_speed", "steering_facing_w"),
}
"""The modalities that this runtime has orders for, and the fields of a `Command` that are the model's inputs of each.

The inputs of any other modality are listed in `policy.json` and commanded directly: `Command.raw`.
"""
RANGE_UNITS = {
    "path_speed": "m/s",
    "path_turn_rate": "rad/s",
    "goal_distance": "m",
    "goal_approach_speed": "m/s",
    "steering_speed": "m/s",
}
"""Units of the entries of `command_ranges` that limit these orders."""


@dataclass
class RobotReading:
    """A robot's measured state. A robot that does not measure its position and velocity leaves them out.

    Attributes:
        root_pos_w: (3,) m, origin of the root body; None: not measured.
        root_quat_w: (4,).
        root_lin_vel_w: (3,) m/s; None: not measured.
        root_ang_vel_w: (3,) rad/s, in the world frame.
        joint_pos: (J,) rad, in the order of `Metadata.joint_names`.
        joint_vel: (J,) rad/s.
        imu_quat: (4,) rotation of the inertial sensor; None if it is on the root, whose rotation determines it.
        imu_ang_vel: (3,) rad/s, in the sensor's own frame; None likewise.
        stamp: a number that changes with each measurement, to detect repeated ones; None if the robot has none.
    """

    root_pos_w: Array | None
    root_quat_w: Array
    root_lin_vel_w: Array | None
    root_ang_vel_w: Array
    joint_pos: Array
    joint_vel: Array
    stamp: int | None = None
    imu_quat: Array | None = None
    imu_ang_vel: Array | None = None

    @property
    def yaw(self) -> float:
        """Heading, rad."""
        return yaw(self.root_quat_w)

    @property
    def tilt(self) -> float:
        """Angle between the root's z axis and the vertical, rad."""
        return tilt(self.root_quat_w)

    @property
    def measured_root_pos_w(self) -> Array:
        """Position of the root, (3,) m.

        Raises:
            DeployError: the robot does not measure it.
        """
        if self.root_pos_w is None:
            raise DeployError(
                "this robot does not know where it is (root_pos_w), as a path or a goal needs",
                "Steer it, or play a motion",
            )
        return self.root_pos_w

    @property
    def pose_2d(self) -> Pose2D:
        """Position and heading on the ground; the position is the origin if it is not measured."""
        return Pose2D(np.zeros(2) if self.root_pos_w is None else np.array(self.root_pos_w[:2]), self.yaw)


@dataclass
class Command:
    """A command: any combination of modalities. A field that is None is not commanded.

    Attributes:
        path_w: (10, 2) m, root positions at `Metadata.path_times` from now: 0.5 s, 1.0 s, ..., 5.0 s.
        goal_w: (2,) m, root position at the deadline.
        goal_time_left: s until the deadline.
        steering_direction_w: (2,) unit vector, direction of travel.
        steering_speed: m/s.
        steering_facing_w: (2,) unit vector, heading; by default the direction of travel.
        target_body_pos_w: (K, B, 3) m, body positions at the control steps ahead that `Metadata.future_frames` lists.
        target_body_quat_w: (K, B, 4), body rotations there.
        pose_mask: (K, B) bool, which of these bodies are commanded; by default all.
        reference_joint_pos: (J,) rad, the reference's joint angles one control step ahead (trackers and teachers only).
        reference_joint_vel: (J,) rad/s, its joint velocities there (the same).
        raw: the inputs of other modalities by name, by modality: `{"height": {"height_w": 0.8}}`. For policies with onboard sensors
            also those of these modalities, in the heading frame: `{"path": {"path_h": points}}`.
    """

    path_w: Array | None = None
    goal_w: Array | None = None
    goal_time_left: float | None = None
    steering_direction_w: Array | None = None
    steering_speed: float | None = None
    steering_facing_w: Array | None = None
    target_body_pos_w: Array | None = None
    target_body_quat_w: Array | None = None
    pose_mask: Array | None = None
    reference_joint_pos: Array | None = None
    reference_joint_vel: Array | None = None
    raw: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether it commands neither a modality nor a pose."""
        fields = [name for names in MODALITIES.values() for name in names]
        poses = self.target_body_pos_w is not None or self.target_body_quat_w is not None
        masked = self.pose_mask is not None and not np.any(self.pose_mask)
        return not self.raw and all(getattr(self, name) is None for name in fields) and (not poses or masked)

    @property
    def inputs(self) -> dict[str, Mapping[str, Any]]:
        """The model's inputs by name, for each commanded modality by its name. The default heading is the direction of travel."""
        fields = {modality: {name: getattr(self, name) for name in names} for modality, names in MODALITIES.items()}
        if fields["steering"]["steering_facing_w"] is None:
            fields["steering"]["steering_facing_w"] = self.steering_direction_w
        given = {name: {key: x for key, x in inputs.items() if x is not None} for name, inputs in fields.items()}
        return {name: inputs for name, inputs in given.items() if inputs} | dict(self.raw)


def standing_command(reading: RobotReading, modalities: Collection[str], path_points: int) -> Command:
    """The command to stand with the present position and heading, by the first of steering, goal and path that the policy takes.

    Args:
        reading: the robot's present state.
        modalities: names of those that the policy takes.
        path_points: number of a path's points.
    """
    here = reading.pose_2d
    if "steering" in modalities:
        return Command(steering_direction_w=here.direction(0.0), steering_speed=0.0)
    if reading.root_pos_w is None:  # in the heading frame the robot is at the origin
        here_h = {
            "goal": {"goal_h": np.zeros(2), "goal_time_left": 0.0},
            "path": {"path_h": np.zeros((path_points, 2))},
        }
        return Command(raw=dict([(name, here_h[name]) for name in here_h if name in modalities][:1]))
    if "goal" in modalities:
        return Command(goal_w=here.point, goal_time_left=0.0)
    return Command(path_w=np.tile(here.point, (path_points, 1))) if "path" in modalities else Command()


ROOT_SIZES = {"root_pos_w": 3, "root_quat_w": 4, "root_lin_vel_w": 3, "root_ang_vel_w": 3}
"""Fields of the root and their number of values."""
MEASURED_FIELDS = (*ROOT_SIZES, "joint_pos", "joint_vel")
"""The fields of a `RobotReading` that a policy of the full state reads."""
POSITION_FIELDS = ("root_pos_w", "root_lin_vel_w")
"""Those fields that may be None."""


class Mode(IntEnum):
    """The mode of the joints' servos."""

    CONTROL = 0
    """Track the targets, with the metadata's stiffness and damping."""
    DAMPING = 1
    """Damp, without stiffness: the robot sinks. A robot without this mode tracks the targets, which are its joints' angles."""


class RobotInterface(Protocol):
    """A robot, simulated or real."""

    def read(self) -> RobotReading:
        """The present state, in arrays that later steps do not change."""
        ...

    def write(self, joint_target: Array, mode: Mode = Mode.CONTROL) -> None:
        """Set the position servos' targets, (J,) rad, in the order of `Metadata.joint_names`. A simulator then advances a step."""
        ...

    def close(self) -> None:
        """Release the robot's resources. The control loop does not call it."""
        ...


class CommandSource(Protocol):
    """Gives the command of each step."""

    def __call__(self, time: float, reading: RobotReading) -> Command:
        """The command at `time`, s since the loop's start; `reading` is this step's."""
        ...


class Policy(Protocol):
    """The interface of a policy for the control loop."""

    def reset(self) -> None:
        """Clear the history: the next `act` begins an episode."""
        ...

    def act(self, reading: RobotReading, command: Command) -> Array:
        """Joint targets, (J,) rad, in the order of `Metadata.joint_names`."""
        ...
