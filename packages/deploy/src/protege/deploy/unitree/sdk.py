"""The same messages by Unitree's own SDK in C++, whose Cyclone DDS is the robot's: what to take for a real robot.

It speaks for one kind of robot, on domain 0, checks and makes checksums itself and repeats commands by a thread of its own. What
it hands out has no time of its own: a state is new when a number of it has changed, a command when it is not the one that the SDK
begins with.
"""

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
    """Takes the place of a `Bus`.

    Args:
        robot: name of its kind, such as `g1`.
        interface: of the network.

    Attributes:
        dropped: of a `Bus`; the SDK does not tell.

    Raises:
        DeployError: the SDK is not installed, does not know the robot, or cannot use the interface.
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
        self._robot.set_control_mode(self._sdk.ControlMode.PR)
        self.dropped = Counter[str]()
        self._count: int = self._robot.get_num_motors()
        self._numbers_before, self._count_of_states, self._mode_machine = list[float](), 0, 0
        self._first = self._numbers(self._robot.read_incoming_command())
        self._place: list[float] | None = None

    def take(self, kind: MessageKind) -> np.ndarray | None:
        """As of a `Bus`."""
        return {LOW_STATE: self._state, LOW_COMMAND: self._command, ODOMETRY: self._odometry}[kind]()

    def publish(self, message: np.ndarray, kind: MessageKind) -> None:
        """As of a `Bus`."""
        {LOW_STATE: self._say, LOW_COMMAND: self._tell, ODOMETRY: self._say_place}[kind](message)

    def publish_bytes(self, data: bytes, kind: MessageKind) -> None:
        """As of a `Bus`."""
        self.publish(decode(data, kind), kind)

    def close(self) -> None:
        """The SDK ends with the process."""

    # What comes -----------------------------------------------------------------------------------------------------------

    def _state(self) -> np.ndarray | None:
        said, remote = self._robot.read_low_state(), self._robot.read_wireless_controller()
        numbers = [said.tick, *said.imu.quat, *said.motor.q, *said.motor.dq]
        if numbers == self._numbers_before or not any(said.imu.quat):
            return None
        self._numbers_before, self._count_of_states, message = numbers, self._count_of_states + 1, LOW_STATE.zeros()
        message["tick"], message["mode_machine"] = self._count_of_states, said.mode_machine
        for ours, theirs in _INERTIAL.items():
            message["imu_state"][ours] = getattr(said.imu, theirs)
        for name in _MEASURED:
            message["motor_state"][name][: self._count] = getattr(said.motor, name)
        # Both sticks' x, then the right one's y; the left one's y is apart.
        head = _KEYS.pack(remote.keys, remote.lx, remote.rx, remote.ry, 0.0) + struct.pack("<f16x", remote.ly)
        message["wireless_remote"] = np.frombuffer(head, np.uint8)
        return message

    def _odometry(self) -> np.ndarray | None:
        said = self._robot.read_odom_state()
        place = [*said.position, *said.velocity, *said.quat]
        if place == self._place or not any(place):
            return None
        self._place, message = place, ODOMETRY.zeros()
        message["position"], message["velocity"] = said.position, said.velocity
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

    # What goes ------------------------------------------------------------------------------------------------------------

    def _tell(self, message: np.ndarray) -> None:
        command, motors = self._robot.create_zero_command(), message["motor_cmd"][: self._count]
        for ours, theirs in _TARGETS.items():
            setattr(command, theirs, motors[ours].tolist())
        self._robot.write_low_command(command)

    def _say(self, message: np.ndarray) -> None:
        said, motor = self._sdk.LowState(self._count), self._sdk.MotorState(self._count)
        said.tick, said.mode_machine = int(message["tick"]), int(message["mode_machine"])
        self._mode_machine = said.mode_machine
        for name in _MEASURED:
            setattr(motor, name, message["motor_state"][name][: self._count].tolist())
        imu = self._sdk.ImuState()
        for ours, theirs in _INERTIAL.items():
            setattr(imu, theirs, message["imu_state"][ours].tolist())
        said.motor, said.imu = motor, imu
        self._robot.publish_low_state(said)
        keys, left_x, right_x, right_y, _ = _KEYS.unpack_from(message["wireless_remote"].tobytes())
        remote = self._sdk.WirelessController()
        remote.keys, remote.lx, remote.rx, remote.ry = keys, left_x, right_x, right_y
        (remote.ly,) = struct.unpack_from("<f", message["wireless_remote"].tobytes(), 20)
        self._robot.publish_wireless_controller(remote)

    def _say_place(self, message: np.ndarray) -> None:
        said = self._sdk.OdomState()
        said.position, said.velocity = message["position"].tolist(), message["velocity"].tolist()
        said.quat = [1.0, 0.0, 0.0, 0.0]
        self._robot.publish_odom_state(said)
