"""A robot with Unitree's low-level messages over DDS: measurements by `LowState`, targets by `LowCmd`."""

import threading
import time

import numpy as np

from ..errors import DeployError
from ..geometry import Array, rotated_back
from ..interface import Mode, RobotReading
from ..loop.pace import priority
from ..policy.metadata import Metadata
from . import messages
from .bus import Bus
from .command_thread import CommandThread
from .messages import LOW_STATE, ODOMETRY
from .motors import motors_of
from .remote import Remote
from .sdk import SdkBus

VALID_PERIODS = 5.0
"""Control periods for which a target is valid. Afterwards the robot damps permanently."""
FINAL_DAMPING_SECONDS = 0.2  # of damping at the end of a run
_INVERSE = np.array([1.0, -1.0, -1.0, -1.0])


class UnitreeRobot:
    """Implements `RobotInterface`. Its own thread repeats the command at 500 Hz, independently of the control loop.

    The robot is in its low-level (debug) mode: its own controllers are off. It damps permanently once the remote control's stop is
    pressed, a target is older than `VALID_PERIODS`, or the robot sends no states: see `stopped`.

    Args:
        interface: of the network to the robot, such as `eth0`; `lo` for a simulated one on this machine.
        metadata: of the policy.
        domain: of DDS.
        wait: s for the robot's first message.
        fifo: SCHED_FIFO priority of the loop; that thread's and the middleware's are one higher. None: none.
        sdk: use Unitree's own SDK, on domain 0.

    Raises:
        DeployError: Cyclone DDS, interface, robot or odometry is missing, or the policy is for another robot.
    """

    def __init__(
        self,
        interface: str,
        metadata: Metadata,
        *,
        domain: int = 0,
        wait: float = 10.0,
        fifo: int | None = None,
        sdk: bool = False,
    ) -> None:
        motors = motors_of(metadata.robot)
        if metadata.imu is not None and metadata.imu.body != motors.imu:
            where = f"{metadata.imu.body}, the robot's message has the one on {motors.imu}"
            raise DeployError(f"the policy's inertial sensor is on {where}", "Train with that sensor")
        self._metadata, self._order = metadata, motors.order(metadata.joint_names)
        # The middleware's threads inherit the priority: at a normal one they deliver states late on a busy machine.
        with priority(None if fifo is None else min(99, fifo + 1)):
            self.bus = SdkBus(metadata.robot, interface) if sdk else Bus(interface, domain)
        self.thread = CommandThread(self.bus, VALID_PERIODS * metadata.control_dt, fifo)
        self._odometry: np.ndarray | None = None
        try:
            self._wait(wait, f"{interface}, domain {domain}")
        except BaseException:
            self.bus.close()
            raise
        self.thread.start()

    # The interface of the loop --------------------------------------------------------------------------------------------

    def read(self) -> RobotReading:
        state, odometry = self.thread.state, self.bus.take(ODOMETRY)
        assert state is not None  # the first one was waited for
        self._odometry = odometry if odometry is not None else self._odometry
        return reading_of(state, self._odometry, self._order)

    def write(self, joint_target: Array, mode: Mode = Mode.CONTROL) -> None:
        metadata, motors = self._metadata, np.zeros(messages.NUM_MOTORS, messages.MOTOR_COMMAND)
        driven = np.zeros(len(self._order), messages.MOTOR_COMMAND)
        driven["mode"], driven["q"], driven["kd"] = 1, joint_target, metadata.damping
        driven["kp"] = metadata.stiffness if mode is Mode.CONTROL else 0.0
        motors[self._order] = driven
        self.thread.command(motors, control=mode is Mode.CONTROL)

    def close(self) -> None:
        """Leave the robot damping. May be called again."""
        if self.thread.ended:
            return
        self.thread.stop("the run is over")
        time.sleep(FINAL_DAMPING_SECONDS)
        self.thread.end()
        self.bus.close()

    # Further state --------------------------------------------------------------------------------------------------------

    @property
    def stopped(self) -> str:
        """Why the robot damps permanently; empty while it does not."""
        return self.thread.stopped

    @property
    def messages_late_ms(self) -> dict[str, float]:
        """Delay of the sent commands: p50, p95, p99, p99.9, max, ms."""
        return self.thread.late.summary()

    @property
    def remote(self) -> Remote:
        """The remote control's present state."""
        state = self.thread.state
        return Remote() if state is None else Remote.of(state["wireless_remote"].tobytes())

    @property
    def dropped(self) -> dict[str, int]:
        """Number of discarded messages, by reason."""
        return dict(self.bus.dropped)

    def _wait(self, seconds: float, where: str) -> None:
        """Wait for the robot's first state and, if the policy reads its position, its odometry."""
        end, needs_odometry = time.monotonic() + seconds, self._metadata.sensors != "onboard"
        while self.thread.receive_state() is None or (needs_odometry and self._odometry is None):
            self._odometry = self.bus.take(ODOMETRY)
            if time.monotonic() > end:
                reasons = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items()) or "nothing came"
                if self.thread.state is not None:
                    remedy = "Take a policy with onboard sensors, or start the robot's odometry service"
                    raise DeployError(f"the robot on {where} does not say where it is ({ODOMETRY.topic})", remedy)
                remedy = "Connect it, or start one: protege deploy simulate"
                raise DeployError(f"no robot on {where} within {seconds:g} s ({LOW_STATE.topic}: {reasons})", remedy)
            threading.Event().wait(0.002)


def reading_of(state: np.ndarray, odometry: np.ndarray | None, order: Array) -> RobotReading:
    """The reading in a state and, if there is one, an odometry message.

    Args:
        state: record of `LOW_STATE`.
        odometry: record of `ODOMETRY`; None: the robot does not measure its position.
        order: (J,) index of each joint's motor.
    """
    imu, motors = state["imu_state"], state["motor_state"]
    quat = imu["quaternion"].astype(np.float64)
    gyro = imu["gyroscope"].astype(np.float64)
    return RobotReading(
        root_pos_w=None if odometry is None else odometry["position"].astype(np.float64),
        root_quat_w=quat,
        root_lin_vel_w=None if odometry is None else odometry["velocity"].astype(np.float64),
        root_ang_vel_w=rotated_back(quat * _INVERSE, gyro),
        joint_pos=motors["q"][order].astype(np.float64),
        joint_vel=motors["dq"][order].astype(np.float64),
        stamp=int(state["tick"]),
    )
