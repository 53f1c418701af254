"""A simulated robot with Unitree's messages: MuJoCo with the motors' servos at 500 Hz, over DDS."""

import threading
import time
from collections.abc import Mapping

import numpy as np

from ..errors import DeployError, needs
from ..geometry import Array, yaw
from ..loop.latency import Histogram
from .bus import Bus
from .messages import LOW_COMMAND, LOW_STATE, ODOMETRY
from .motors import Motors
from .remote import Remote
from .sdk import SdkBus

with needs("mujoco"):
    import mujoco

    from ..robots.body_poses import solid_geoms

STEP_PERIOD = 0.002  # s, of physics and of messages
DISTANCE_PERIODS = 500  # periods between two measurements of the walked distance
COMMAND_TIMEOUT = 0.1  # s for which a command is valid; afterwards the motors damp
FALLEN_HEIGHT = 0.6
IDLE_DAMPING = 2.0  # N·m·s/rad, of motors that have no command
SETTLED_ERROR = 0.25  # rad between targets and joints, at most, while it settles; after a fall its legs may be crossed
SETTLED_MOTION = 1e-4  # rad by which targets may change meanwhile
SETTLED_SECONDS = 0.5  # s for which it has to be settled before the gantry can release it
LIFT_CLEARANCE, LOWERING_AFTER, LOWERING_SPEED = 0.2, 0.1, 0.4  # m above the ground, s of still joints, m/s
"""How a fallen robot is lifted, so that its legs can move, and let down to the ground once its joints are stiff."""
RELEASE_MOTION = 0.01  # rad of change of the targets at which the gantry then releases it


class SimulatedRobot:
    """Follows `LowCmd` and sends `LowState` and odometry, as a robot in its low-level mode does.

    It begins on a gantry, with its feet just on the ground. The gantry releases it at a policy's first target: when targets move
    after the motors have held them stiffly for `SETTLED_SECONDS`. Invalid commands are ignored.

    Args:
        model: of MuJoCo, with position servos; its time step becomes `STEP_PERIOD`.
        motors: of the robot.
        pose: initial joint angles by name, rad.
        bus: for the messages.
        gantry: whether it begins on the gantry; otherwise it stands freely.

    Attributes:
        remote: state of the remote control. Any thread may set it.
        held: whether it hangs on the gantry.
        commands: number of valid commands.
        falls: number of falls: the root sinks below the share `FALLEN_HEIGHT` of its height at the start.
        walked: distance of the root, m, from second to second, because a walking root sways.
        odometry: whether it sends odometry.
        late: delay of each step, s.
        lost: s of real time that `run` did not simulate, because the machine was too slow.
        push: (3,) N, a force on the root. Any thread may set it.
    """

    def __init__(
        self,
        model: "mujoco.MjModel",
        motors: Motors,
        pose: Mapping[str, float],
        *,
        bus: Bus | SdkBus,
        gantry: bool = True,
    ) -> None:
        self.model, self._motors, self.data = model, motors, mujoco.MjData(model)
        model.opt.timestep = STEP_PERIOD
        joints = [model.joint(name) for name in motors.names]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._qvel = np.array([joint.dofadr[0] for joint in joints])
        self._servos = np.array([model.actuator(name).id for name in motors.names])
        self._imu = model.body(motors.imu).id
        self._state, self._place = LOW_STATE.zeros(), ODOMETRY.zeros()
        self._state["mode_machine"] = motors.mode_machine
        self.remote, self.held, self.commands, self.odometry = Remote(), gantry, 0, True
        self.late, self.lost, self.push = Histogram(), 0.0, np.zeros(3)
        self._lifted = threading.Event()
        self.walked, self._from = 0.0, np.zeros(2)
        self.falls, self._low, self._since, self._settled = 0, False, np.inf, 0.0
        self._target = np.full(len(motors.names), np.inf)
        self._ended = threading.Event()
        self._stand(np.array([pose.get(name, 0.0) for name in motors.names]))
        self.bus = bus

    def run(self, seconds: float | None = None) -> None:
        """Run in real time for `seconds`, or until `stop`."""
        began = tick = time.perf_counter()
        while not self._ended.is_set() and (seconds is None or tick - began < seconds):
            time.sleep(max(0.0, tick - time.perf_counter()))
            self.late.add(max(0.0, time.perf_counter() - tick))
            self.step()
            lost = max(0.0, time.perf_counter() - 5 * STEP_PERIOD - (tick + STEP_PERIOD))
            tick, self.lost = tick + STEP_PERIOD + lost, self.lost + lost

    def stop(self) -> None:
        """End `run`. Any thread may call it."""
        self._ended.set()

    def lift(self) -> None:
        """Hang the robot on the gantry again where it is, upright, as somebody does after a fall. Any thread may call it.

        Its feet are off the ground until the motors hold its joints still.
        """
        self._lifted.set()

    def close(self) -> None:
        self.bus.close()

    @property
    def height(self) -> float:
        """Of the root, m."""
        return float(self.data.qpos[2])

    @property
    def tilt(self) -> float:
        """Of the root's vertical axis, rad."""
        return float(np.arccos(np.clip(self.data.xmat[self._root, 8], -1.0, 1.0)))

    def step(self) -> None:
        """Read a command, simulate a period, and send the measurements."""
        command = self.bus.take(LOW_COMMAND)
        self._since += STEP_PERIOD
        if command is not None and self._is_valid(command):
            self._obey(command["motor_cmd"][: len(self._servos)])
            self.commands, self._since = self.commands + 1, 0.0
        elif self._since > COMMAND_TIMEOUT:
            self._damp()
        self.data.xfrc_applied[self._root, :3] = self.push
        mujoco.mj_step(self.model, self.data)
        self._hang()
        if self._state["tick"] % DISTANCE_PERIODS == 0:
            self.walked += float(np.linalg.norm(self.data.qpos[:2] - self._from))
            self._from = self.data.qpos[:2].copy()
        low = self.height < FALLEN_HEIGHT * self._standing_height
        self.falls, self._low = self.falls + (low and not self._low), low
        self._send()

    # Motors ---------------------------------------------------------------------------------------------------------------

    def _is_valid(self, command: np.ndarray) -> bool:
        """Whether a command is for this machine and finite."""
        motors = command["motor_cmd"]
        finite = all(np.isfinite(motors[name]).all() for name in ("q", "dq", "tau", "kp", "kd"))
        return finite and int(command["mode_machine"]) == self._motors.mode_machine

    def _obey(self, motors: np.ndarray) -> None:
        on = motors["mode"] == 1
        kp, kd = np.where(on, motors["kp"], 0.0), np.where(on, motors["kd"], 0.0)
        self._servo(kp, kd, motors["q"])
        self.data.qfrc_applied[self._qvel] = np.where(on, motors["tau"] + motors["kd"] * motors["dq"], 0.0)
        off = np.abs(motors["q"] - self.data.qpos[self._qpos]).max()
        moved = float(np.abs(motors["q"] - self._target).max())
        self._target = motors["q"].copy()
        self.held = self.held and not (self._settled >= SETTLED_SECONDS and moved > RELEASE_MOTION)
        if moved > SETTLED_MOTION or off > SETTLED_ERROR or not (kp > 0.0).all():
            self._settled = 0.0

    def _damp(self) -> None:
        none = np.zeros(len(self._servos))
        self._servo(none, none + IDLE_DAMPING, none)
        self.data.qfrc_applied[self._qvel], self._settled = 0.0, 0.0

    def _servo(self, kp: Array, kd: Array, target: Array) -> None:
        """Set MuJoCo's position servos: gain · target + bias · angle + damping · velocity, which are integrated implicitly."""
        self.model.actuator_gainprm[self._servos, 0] = kp
        self.model.actuator_biasprm[self._servos, 1] = -kp
        self.model.actuator_biasprm[self._servos, 2] = -kd
        self.data.ctrl[self._servos] = target

    # Gantry ---------------------------------------------------------------------------------------------------------------

    def _stand(self, pose: Array) -> None:
        """Set a pose at the origin, with the lowest point on the ground."""
        data, model = self.data, self.model
        self._root = int(model.body_rootid[self._imu])
        data.qpos[:7], data.qpos[self._qpos] = [0.0, 0.0, 3.0, 1.0, 0.0, 0.0, 0.0], pose
        mujoco.mj_kinematics(model, data)
        ground = int(np.flatnonzero(model.geom_type == int(mujoco.mjtGeom.mjGEOM_PLANE))[0])
        others = [geom for geom in solid_geoms(model) if geom != ground]
        lowest = min(mujoco.mj_geomDistance(model, data, ground, geom, 6.0, None) for geom in others)
        data.qpos[2] = 3.0 - lowest
        self._hung, self._standing_height = data.qpos[:7].copy(), float(data.qpos[2])
        mujoco.mj_forward(model, data)

    def _hang(self) -> None:
        """Hold the root at its start, unless the gantry has released it."""
        self._settled += STEP_PERIOD
        if self._lifted.is_set():
            self._lifted.clear()
            self.held, turn = True, yaw(self.data.qpos[3:7]) / 2.0
            self._hung[:2], self._hung[2] = self.data.qpos[:2], self._standing_height + LIFT_CLEARANCE
            self._hung[3:] = np.cos(turn), 0.0, 0.0, np.sin(turn)
        if self.held:
            if self._settled > LOWERING_AFTER:  # stiff joints: its feet are let down to the ground
                self._hung[2] = max(self._standing_height, self._hung[2] - LOWERING_SPEED * STEP_PERIOD)
            self.data.qpos[:7], self.data.qvel[:6] = self._hung, 0.0

    # Messages -------------------------------------------------------------------------------------------------------------

    def _send(self) -> None:
        data, state = self.data, self._state
        count = len(self._servos)
        velocity, rotation = np.zeros(6), data.xmat[self._imu].reshape(3, 3)
        mujoco.mj_objectVelocity(self.model, data, mujoco.mjtObj.mjOBJ_XBODY, self._imu, velocity, 1)
        imu, motors = state["imu_state"], state["motor_state"][:count]
        imu["quaternion"], imu["gyroscope"] = data.xquat[self._imu], velocity[:3]
        imu["rpy"] = _roll_pitch_yaw(rotation)
        imu["accelerometer"] = rotation.T @ (data.qacc[:3] - self.model.opt.gravity)
        motors["mode"], motors["q"], motors["dq"] = 1, data.qpos[self._qpos], data.qvel[self._qvel]
        motors["ddq"], motors["tau_est"] = data.qacc[self._qvel], data.qfrc_actuator[self._qvel]
        state["tick"] += 1
        state["wireless_remote"] = np.frombuffer(self.remote.pack(), np.uint8)
        self.bus.publish(state, LOW_STATE)
        if self.odometry:
            place = self._place
            place["stamp"]["sec"], place["stamp"]["nanosec"] = divmod(round(1e9 * data.time), 10**9)
            place["position"], place["velocity"] = data.qpos[:3], data.qvel[:3]
            self.bus.publish(place, ODOMETRY)


def load_model(xml: str, motors: Motors) -> "mujoco.MjModel":
    """A robot's model, with a position servo for each motor.

    Raises:
        DeployError: MuJoCo cannot read it, or it lacks a joint or a servo of a motor.
    """
    try:
        model = mujoco.MjModel.from_xml_string(xml)
        for name in motors.names:
            _ = model.joint(name), model.actuator(name)
        _ = model.body(motors.imu)
    except (ValueError, KeyError) as error:
        raise DeployError(f"the model of {motors.robot} does not fit its motors: {error}", "Export again") from error
    return model


def _roll_pitch_yaw(rotation: Array) -> Array:
    """Angles about x, y and z, rad, of a rotation matrix R = Rz Ry Rx."""
    roll, yaw = np.arctan2(rotation[2, 1], rotation[2, 2]), np.arctan2(rotation[1, 0], rotation[0, 0])
    return np.array([roll, np.arcsin(np.clip(-rotation[2, 0], -1.0, 1.0)), yaw])
