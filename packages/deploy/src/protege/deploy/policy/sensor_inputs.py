"""Selects the policy's inputs from a reading, and converts commands to its frame. Neither torch nor core is imported.

With onboard sensors commands are in the heading frame: x ahead of the root, y to its left.
"""

import numpy as np

from ..errors import DeployError
from ..geometry import Array, multiply, rotated_back, turned, turned_quat
from ..interface import MEASURED_FIELDS, RobotReading
from .metadata import Metadata

ONBOARD_INPUTS = ("imu_quat", "imu_ang_vel", "joint_pos", "joint_vel")
QUAT_SIZE, GROUND_AXES = 4, 2
"""Number of values of a rotation, and number of a vector's values that turn with the heading."""


def measured_names(metadata: Metadata) -> tuple[str, ...]:
    """Names of the model's measured inputs."""
    return ONBOARD_INPUTS if metadata.sensors == "onboard" else MEASURED_FIELDS


def measured_inputs(reading: RobotReading, metadata: Metadata) -> dict[str, Array]:
    """The model's measured inputs, by name.

    Raises:
        DeployError: the robot does not measure one of them.
    """
    imu = metadata.imu
    values: dict[str, Array | None] = {name: getattr(reading, name) for name in measured_names(metadata)}
    if imu is not None and values["imu_quat"] is None and imu.body == metadata.body_names[0]:
        quat = multiply(np.asarray(reading.root_quat_w, dtype=np.float64), np.array(imu.quat))
        values |= {"imu_quat": quat, "imu_ang_vel": rotated_back(quat, reading.root_ang_vel_w)}
    found = {name: value for name, value in values.items() if value is not None}
    if missing := [name for name in values if name not in found]:
        where = f"; its IMU is on {imu.body}" if imu is not None else ""
        remedy = "Take a policy with onboard sensors: model.sensors=onboard" if imu is None else "Let the robot say it"
        raise DeployError(f"this robot does not measure {missing[0]}, which the policy reads{where}", remedy)
    return found


def position_inputs(metadata: Metadata, modality: str) -> list[str]:
    """The inputs of a modality that are points on the ground, which need the robot's own position."""
    made = [name for x in metadata.modalities if x.name == modality for name in x.inputs]
    return [
        spec.name
        for spec in metadata.inputs
        if spec.name in made and spec.unit == "m" and spec.shape[-1:] == [GROUND_AXES]
    ]


def in_heading_frame(name: str, unit: str, value_w: Array, reading: RobotReading) -> Array:
    """Convert a command's value from the world frame to the heading frame.

    Args:
        name: of the model's input.
        unit: of the value; points on the ground, in m, become relative to the root.
        value_w: (..., 2), (..., 3) or, for a rotation, (..., 4); scalars stay as they are.

    Raises:
        DeployError: the robot does not measure its position.
    """
    value = np.asarray(value_w, dtype=np.float64)
    if not value.ndim:
        return value
    if value.shape[-1] == QUAT_SIZE:
        return turned_quat(value, -reading.yaw)
    if unit == "m" and value.shape[-1] == GROUND_AXES:
        if reading.root_pos_w is None:
            raise DeployError(
                f"this robot does not know where it is, so {name.removesuffix('_h')} in the world means nothing to it",
                f"Steer it, or command {name}: as seen from the robot",
            )
        value = value - reading.root_pos_w[:GROUND_AXES]
    return np.concatenate([turned(value[..., :GROUND_AXES], -reading.yaw), value[..., GROUND_AXES:]], axis=-1)
