"""Fake robots and policies of two joints, with and without faults."""

import threading
import time
from dataclasses import replace

import numpy as np

from protege.deploy.interface import MEASURED_FIELDS, Command, Mode, RobotReading
from protege.deploy.network.wire import Codec, PacketKind
from protege.deploy.policy.metadata import Metadata, Source, TensorSpec

DT = 0.02
STANDING = RobotReading(
    root_pos_w=np.array([0.0, 0.0, 0.9]),
    root_quat_w=np.array([1.0, 0.0, 0.0, 0.0]),
    root_lin_vel_w=np.zeros(3),
    root_ang_vel_w=np.zeros(3),
    joint_pos=np.array([0.5, -0.25]),
    joint_vel=np.zeros(2),
)


def metadata() -> Metadata:
    """Two servos of 100 N·m/rad and 10 N·m·s/rad, 50 N·m, within one radian; a policy that reads the body alone."""
    inputs = [TensorSpec(name, "float32", list(getattr(STANDING, name).shape), "", "", "") for name in MEASURED_FIELDS]
    return Metadata(
        robot="fake", joint_names=["knee", "hip"], body_names=["root"], stiffness=[100.0, 100.0], damping=[10.0, 10.0],
        effort_limit=[50.0, 50.0], default_joint_pos=[0.0, 0.0], joint_range=[[-1.0, 1.0], [-1.0, 1.0]], action_scale=[1.0, 1.0],
        control_dt=DT, physics_dt=DT, inputs=inputs, outputs=[], future_frames=[], path_times=[], model_sha256="",
        source=Source("student", 0, 0, ""),
    )  # fmt: skip


class FakeRobot:
    """Stands, measures a little noise, and stores what is written.

    Attributes:
        written: (targets, mode), one by one.
        readings: what it says in some steps instead.
    """

    def __init__(self, readings: dict[int, RobotReading] | None = None) -> None:
        self.written: list[tuple[np.ndarray, Mode]] = []
        self.readings, self.reads = readings or {}, 0

    def read(self) -> RobotReading:
        step, self.reads = self.reads, self.reads + 1
        noise = 1e-6 * np.sin([step, step + 1.0])
        return self.readings.get(step, replace(STANDING, joint_pos=STANDING.joint_pos + noise))

    def write(self, joint_target: np.ndarray, mode: Mode = Mode.CONTROL) -> None:
        self.written.append((np.array(joint_target), mode))

    def close(self) -> None: ...

    @property
    def modes(self) -> str:
        """C for control, D for damping, step by step."""
        return "".join(mode.name[0] for _, mode in self.written)


class DampingRobot(FakeRobot):
    """Says when it begins to damp.

    Attributes:
        damps: set from then on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.damps = threading.Event()

    def write(self, joint_target: np.ndarray, mode: Mode = Mode.CONTROL) -> None:
        super().write(joint_target, mode)
        if mode is Mode.DAMPING:
            self.damps.set()


class FakePolicy:
    """Wants the joints to stay; in some steps something else, in some it takes its time."""

    def __init__(
        self, says: dict[int, np.ndarray] | None = None, slow: tuple[int, ...] = (), seconds: float = 0.03
    ) -> None:
        self.says, self.slow, self.seconds, self.calls = says or {}, slow, seconds, 0

    def reset(self) -> None:
        self.calls = 0

    def act(self, reading: RobotReading, command: Command) -> np.ndarray:
        step, self.calls = self.calls, self.calls + 1
        if step in self.slow:
            time.sleep(self.seconds)
        return np.asarray(self.says.get(step, STANDING.joint_pos))


def nothing(time: float, reading: RobotReading) -> Command:
    return Command()


def state_packet(codec: Codec, sequence: int, time: float, reading: RobotReading) -> bytes:
    """What a robot measures, as it sends it."""
    return codec.pack(PacketKind.STATE, sequence, time, [getattr(reading, name) for name in MEASURED_FIELDS])
