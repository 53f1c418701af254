"""The same messages through Unitree's own SDK in C++, with the robot's version of Cyclone DDS; recommended for real robots.

The SDK supports one kind of robot on domain 0, handles checksums itself and repeats commands in its own thread. Its messages have
no time stamps: a state is new when one of its numbers has changed, a command when it differs from the SDK's initial one.
"""

import ctypes
import struct
from collections import Counter
from importlib import import_module
from typing import Any

import numpy as np

from ..errors import DeployError, needs
from .cdr import decode
from .messages import LOW_COMMAND, LOW_STATE, ODOMETRY, MessageKind

_KEYS = struct.Struct("<2xHffff")
_TARGETS = {"q": "q_target", "dq": "dq_target", "tau": "tau_ff", "kp": "kp", "kd": "kd"}
_MEASURED = ("q", "dq", "ddq", "tau_est")
_INERTIAL = {"quaternion": "quat", "gyroscope": "omega", "accelerometer": "accel", "rpy": "rpy"}


class SdkBus:
    """Replaces a `Bus`.

    Args:
        robot: name of its kind, such as `g1`.
        interface: of the network.

    Attributes:
        dropped: as in `Bus`; always empty, because the SDK does not report it.

    Raises:
        DeployError: the SDK is not installed, does not support the robot, or cannot use the interface.
    """

    def __init__(self, robot: str, interface: str) -> None:
        with needs("unitree-sdk"):
            self._sdk: Any = import_module("unitree_interface")
        kind = getattr(self._sdk.RobotType, robot.upper(), None)
        if kind is None:
            raise DeployError(f"Unitree's SDK does not know the robot {robot!r}", "Take --robot unitree:INTERFACE")
        try:
            self._robot = self._sdk.create_robot(interface, kind, self._sdk.MessageType.HG)
        except RuntimeError as error:
            raise DeployError(
                f"Unitree's SDK cannot use the interface {interface} ({str(error).splitlines()[0]})",
                "Name one that is up (ip address), such as eth0; lo stays on this machine",
            ) from error
        # The SDK's destructor aborts the process if a message arrives meanwhile, so this object is never freed.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._robot))
        self._robot.set_control_mode(self._sdk.ControlMode.PR)
        self.dropped = Counter[str]()
        self._count: int = self._robot.get_num_motors()
        self._numbers_before, self._count_of_states, self._mode_machine = list[float](), 0, 0
        self._first = self._numbers(self._robot.read_incoming_command())
        self._place: list[float] | None = None

    def take(self, kind: MessageKind) -> np.ndarray | None:
        """The newest new message, as `Bus.take` returns it."""
        return {LOW_STATE: self._state, LOW_COMMAND: self._command, ODOMETRY: self._odometry}[kind]()

    def publish(self, message: np.ndarray, kind: MessageKind) -> None:
        """Send a message, as `Bus.publish` does."""
        {LOW_STATE: self._send_state, LOW_COMMAND: self._send_command, ODOMETRY: self._send_odometry}[kind](message)

    def publish_bytes(self, data: bytes, kind: MessageKind) -> None:
        """Send an encoded message, as `Bus.publish_bytes` does."""
        self.publish(decode(data, kind), kind)

    def close(self) -> None:
        """Does nothing: the SDK ends with the process."""

    # Receiving ------------------------------------------------------------------------------------------------------------

    def _state(self) -> np.ndarray | None:
        state, remote = self._robot.read_low_state(), self._robot.read_wireless_controller()
        numbers = [state.tick, *state.imu.quat, *state.motor.q, *state.motor.dq]
        if numbers == self._numbers_before or not any(state.imu.quat):
            return None
        self._numbers_before, self._count_of_states, message = numbers, self._count_of_states + 1, LOW_STATE.zeros()
        message["tick"], message["mode_machine"] = self._count_of_states, state.mode_machine
        for ours, theirs in _INERTIAL.items():
            message["imu_state"][ours] = getattr(state.imu, theirs)
        for name in _MEASURED:
            message["motor_state"][name][: self._count] = getattr(state.motor, name)
        # The x of both sticks, then y of the right one; y of the left one is at the end.
        head = _KEYS.pack(remote.keys, remote.lx, remote.rx, remote.ry, 0.0) + struct.pack("<f16x", remote.ly)
        message["wireless_remote"] = np.frombuffer(head, np.uint8)
        return message

    def _odometry(self) -> np.ndarray | None:
        odometry = self._robot.read_odom_state()
        place = [*odometry.position, *odometry.velocity, *odometry.quat]
        if place == self._place or not any(place):
            return None
        self._place, message = place, ODOMETRY.zeros()
        message["position"], message["velocity"] = odometry.position, odometry.velocity
        return message

    def _command(self) -> np.ndarray | None:
        numbers = self._numbers(self._robot.read_incoming_command())
        if numbers == self._first:
            return None
        message = LOW_COMMAND.zeros()
        message["mode_machine"] = self._mode_machine
        motors = message["motor_cmd"][: self._count]
        motors["mode"] = 1
        for name, values in zip(_TARGETS, numbers, strict=True):
            motors[name] = values
        return message

    def _numbers(self, command: Any) -> list[list[float]]:
        return [list(getattr(command, name)) for name in _TARGETS.values()]

    # Sending --------------------------------------------------------------------------------------------------------------

    def _send_command(self, message: np.ndarray) -> None:
        command, motors = self._robot.create_zero_command(), message["motor_cmd"][: self._count]
        for ours, theirs in _TARGETS.items():
            setattr(command, theirs, motors[ours].tolist())
        self._robot.write_low_command(command)

    def _send_state(self, message: np.ndarray) -> None:
        state, motor = self._sdk.LowState(self._count), self._sdk.MotorState(self._count)
        state.tick, state.mode_machine = int(message["tick"]), int(message["mode_machine"])
        self._mode_machine = state.mode_machine
        for name in _MEASURED:
            setattr(motor, name, message["motor_state"][name][: self._count].tolist())
        imu = self._sdk.ImuState()
        for ours, theirs in _INERTIAL.items():
            setattr(imu, theirs, message["imu_state"][ours].tolist())
        state.motor, state.imu = motor, imu
        self._robot.publish_low_state(state)
        keys, left_x, right_x, right_y, _ = _KEYS.unpack_from(message["wireless_remote"].tobytes())
        remote = self._sdk.WirelessController()
        remote.keys, remote.lx, remote.rx, remote.ry = keys, left_x, right_x, right_y
        (remote.ly,) = struct.unpack_from("<f", message["wireless_remote"].tobytes(), 20)
        self._robot.publish_wireless_controller(remote)

    def _send_odometry(self, message: np.ndarray) -> None:
        odometry = self._sdk.OdomState()
        odometry.position, odometry.velocity = message["position"].tolist(), message["velocity"].tolist()
        odometry.quat = [1.0, 0.0, 0.0, 0.0]
        self._robot.publish_odom_state(odometry)
