"""Unitree's messages as NumPy records: the fields of the published IDL, in the C struct layout from which checksums are computed.

`unitree_hg` is the family of the humanoids. Records are sent over DDS as CDR (`cdr.py`). Joints are in the order of the robot's
motors (`motors.py`); quaternions are wxyz; the IMU's vectors are in its own frame. A motor's torque is
tau + kp (q - angle) + kd (dq - velocity), N·m.
"""

from dataclasses import dataclass

import numpy as np

NUM_MOTORS = 35
"""Number of motors in a message; a robot uses the first of them."""
REMOTE_BYTES = 40


def _struct(*members: tuple) -> np.dtype:
    """Little-endian members with a C compiler's padding."""
    return np.dtype(list(members), align=True)


_VECTOR = ("<f4", (3,))
_INERTIAL = [("quaternion", "<f4", (4,)), ("gyroscope", *_VECTOR), ("accelerometer", *_VECTOR), ("rpy", *_VECTOR)]
MOTOR_COMMAND = _struct(
    ("mode", "u1"), ("q", "<f4"), ("dq", "<f4"), ("tau", "<f4"), ("kp", "<f4"), ("kd", "<f4"), ("reserve", "<u4"),
)  # fmt: skip
MOTOR_STATE = _struct(
    ("mode", "u1"), ("q", "<f4"), ("dq", "<f4"), ("ddq", "<f4"), ("tau_est", "<f4"), ("temperature", "<i2", (2,)),
    ("vol", "<f4"), ("sensor", "<u4", (2,)), ("motorstate", "<u4"), ("reserve", "<u4", (4,)),
)  # fmt: skip
_POINT = _struct(*((name, "<f4") for name in ("t_from_start", "x", "y", "yaw", "vx", "vy", "vyaw")))


@dataclass(frozen=True, eq=False)
class MessageKind:
    """A kind of message.

    Attributes:
        name: of its DDS type.
        dtype: of its record. Members that are records themselves are named in `members`.
        topic: where it is published.
        members: name of the DDS type of each member that is a record or an array of them.
        checked: whether its last member, `crc`, is a checksum of the rest.
    """

    name: str
    dtype: np.dtype
    topic: str
    members: dict[str, str]
    checked: bool = True

    def zeros(self) -> np.ndarray:
        """An empty message, a record of shape ()."""
        return np.zeros((), self.dtype)


LOW_COMMAND = MessageKind(
    "unitree_hg.msg.dds_.LowCmd_",
    _struct(
        ("mode_pr", "u1"), ("mode_machine", "u1"), ("motor_cmd", MOTOR_COMMAND, (NUM_MOTORS,)),
        ("reserve", "<u4", (4,)), ("crc", "<u4"),
    ),
    "rt/lowcmd",
    {"motor_cmd": "unitree_hg.msg.dds_.MotorCmd_"},
)  # fmt: skip
"""Motor commands; mode_pr 0: ankles by pitch and roll. mode_machine must be the value in the robot's state."""
LOW_STATE = MessageKind(
    "unitree_hg.msg.dds_.LowState_",
    _struct(
        ("version", "<u4", (2,)), ("mode_pr", "u1"), ("mode_machine", "u1"), ("tick", "<u4"),
        ("imu_state", _struct(*_INERTIAL, ("temperature", "<i2"))), ("motor_state", MOTOR_STATE, (NUM_MOTORS,)),
        ("wireless_remote", "u1", (REMOTE_BYTES,)), ("reserve", "<u4", (4,)), ("crc", "<u4"),
    ),
    "rt/lowstate",
    {"imu_state": "unitree_hg.msg.dds_.IMUState_", "motor_state": "unitree_hg.msg.dds_.MotorState_"},
)  # fmt: skip
"""The robot's measurements at 500 Hz; `tick` is a counter."""
ODOMETRY = MessageKind(
    "unitree_go.msg.dds_.SportModeState_",
    _struct(
        ("stamp", _struct(("sec", "<i4"), ("nanosec", "<u4"))), ("error_code", "<u4"),
        ("imu_state", _struct(*_INERTIAL, ("temperature", "u1"))), ("mode", "u1"), ("progress", "<f4"), ("gait_type", "u1"),
        ("foot_raise_height", "<f4"), ("position", *_VECTOR), ("body_height", "<f4"), ("velocity", *_VECTOR),
        ("yaw_speed", "<f4"), ("range_obstacle", "<f4", (4,)), ("foot_force", "<i2", (4,)),
        ("foot_position_body", "<f4", (12,)), ("foot_speed_body", "<f4", (12,)), ("path_point", _POINT, (10,)),
    ),
    "rt/odommodestate",
    {
        "stamp": "unitree_go.msg.dds_.TimeSpec_", "imu_state": "unitree_go.msg.dds_.IMUState_",
        "path_point": "unitree_go.msg.dds_.PathPoint_",
    },
    checked=False,
)  # fmt: skip
"""The robot's estimate of its root position, m, and velocity, m/s, both in the frame of its own odometry."""
