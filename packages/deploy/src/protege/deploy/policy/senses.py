"""What a policy is given of a reading and of a command: as it measures, and as it is told. Neither torch nor core is imported.

With onboard sensors it is told where things are as seen from the robot, in the heading frame: x ahead of the root, y to its left.
"""

import numpy as np

from ..errors import DeployError
from ..geometry import Array, multiply, rotated_back, turned, turned_quat
from ..interface import MEASURED_FIELDS, RobotReading
from .metadata import Metadata

ONBOARD_INPUTS = ("imu_quat", "imu_ang_vel", "joint_pos", "joint_vel")
QUAT_SIZE, GROUND_AXES = 4, 2
"""Numbers of a rotation; of a vector, those that turn with the heading."""


def measured_names(metadata: Metadata) -> tuple[str, ...]:
    """The model's inputs that are measured."""
    return ONBOARD_INPUTS if metadata.sensors == "onboard" else MEASURED_FIELDS


def measured_inputs(reading: RobotReading, metadata: Metadata) -> dict[str, Array]:
    """The inputs that are measured, by name.

    Raises:
        DeployError: the robot does not measure one of them.
    """
    imu = metadata.imu
    said: dict[str, Array | None] = {name: getattr(reading, name) for name in measured_names(metadata)}
    if imu is not None and said["imu_quat"] is None and imu.body == metadata.body_names[0]:
        quat = multiply(np.asarray(reading.root_quat_w, dtype=np.float64), np.array(imu.quat))
        said |= {"imu_quat": quat, "imu_ang_vel": rotated_back(quat, reading.root_ang_vel_w)}
    found = {name: value for name, value in said.items() if value is not None}
    if missing := [name for name in said if name not in found]:
        where = f"; its IMU is on {imu.body}" if imu is not None else ""
        remedy = "Take a policy with onboard sensors: model.sensors=onboard" if imu is None else "Let the robot say it"
        raise DeployError(f"this robot does not measure {missing[0]}, which the policy reads{where}", remedy)
    return found


def position_inputs(metadata: Metadata, modality: str) -> list[str]:
    """The inputs of a modality that are points on the ground, which a robot has to know its own place to see."""
    made = [name for x in metadata.modalities if x.name == modality for name in x.inputs]
    return [
        spec.name
        for spec in metadata.inputs
        if spec.name in made and spec.unit == "m" and spec.shape[-1:] == [GROUND_AXES]
    ]


def in_heading_frame(name: str, unit: str, value_w: Array, reading: RobotReading) -> Array:
    """A value of a command in the world's axes, as the robot sees it, in its heading frame.

    Args:
        name: of the model's input.
        unit: of the value; points on the ground, in m, are seen from where the root is.
        value_w: (..., 2), (..., 3) or, a rotation, (..., 4); numbers without axes stay as they are.

    Raises:
        DeployError: the robot does not know where it is.
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
