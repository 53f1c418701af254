"""A simulated robot that a student controls in real time, in its own thread. The page shows it and sends it orders."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..commands.commander import Commander
from ..commands.motion import Kinematics
from ..errors import DeployError
from ..geometry import Array, Pose2D, yaw
from ..interface import Command
from ..loop.loop import ControlLoop, Step
from ..motions.clips import load_clip
from ..motions.poses import Poses
from ..policy.metadata import Metadata
from ..policy.onnx_policy import OnnxPolicy
from ..robots.mujoco import MujocoRobot
from .conditions import ConditionedRobot, Conditions
from .ghost import Ghost, ghost
from .ground import Ground
from .playback import Playback
from .tracking import Tracking

PUSH_SECONDS = 0.2
"""Duration of a push."""
RESET_SECONDS = 2.0
"""Time after which a fallen robot is reset."""
WAIT_SECONDS = 0.001
"""Interval at which a simulation looks whether the others have caught up, s."""


@dataclass(frozen=True)
class Frame:
    """One control step, as the page shows it.

    Attributes:
        index: number of the step, counted since the simulation's start.
        student: name of the student that acts.
        time: s since the last reset.
        body_pos_w: (B, 3) m.
        body_quat_w: (B, 4).
        command: the command of this step.
        modes: names of the modalities that are commanded.
        note: the end of the last order's path: done, or given up and why. Otherwise the name of the ghost's clip, or empty.
        error_of: the modality that `error` belongs to; empty if no command has an error.
        error: see `Tracking`.
        infer_ms: duration of the policy's inference.
        cycle_ms: duration of the whole control step.
        fallen: whether the robot has fallen.
        ground: that the robot walks on.
        contacts: (C, 3) m and (C, 3) N, where the robot touches something and the force on it, in the world frame; None where they
            are not shown.
        ghost: (B, 3) m and (B, 4), body poses of a clip shown without physics, else those that are commanded; None without either.
    """

    index: int
    student: str
    time: float
    body_pos_w: Array
    body_quat_w: Array
    command: Command
    modes: tuple[str, ...]
    note: str
    error_of: str
    error: float
    infer_ms: float
    cycle_ms: float
    fallen: bool
    ground: Ground
    contacts: tuple[Array, Array] | None = None
    ghost: tuple[Array, Array] | None = None


class _Loaded(NamedTuple):
    """A student's policy, its robot, and kinematics for threads other than the robot's."""

    policy: OnnxPolicy
    robot: ConditionedRobot
    kinematics: Kinematics


class Simulation:
    """One robot under one of several students.

    Orders, pushes, resets and switches may come from any thread. Only the simulation's own thread steps the physics.

    Args:
        students: exports by name.
        standing: start at rest instead of in motion.
        sets_up: whether a robot that has lain for `RESET_SECONDS` starts again by itself.
        lane: m to the left at which the robot is shown, beside others on the same ground.

    Attributes:
        student: name of the student that acts.
        frame: the last step; None before the first.
        conditions: what is different about robot and floor, from the next control step on.
        playback: pause, single steps and slow motion.
        shows_contacts: whether frames have contact forces.
        is_ahead: whether this simulation is to wait after a step for others, see `Group`.
        shows_reference: whether the commanded poses are a ghost while there is no other.
        error: the exception that ended the simulation, if one did.

    Raises:
        DeployError: an export that cannot be run.
    """

    def __init__(
        self, students: Mapping[str, Path], *, standing: bool = True, sets_up: bool = True, lane: float = 0.0
    ) -> None:
        self.students, self.standing, self._sets_up, self.lane = dict(students), standing, sets_up, lane
        self._ground = Ground()
        self.student, self.frame = next(iter(self.students)), None
        self.frame: Frame | None
        self.error: BaseException | None = None
        self.conditions, self.playback, self.shows_contacts = Conditions(), Playback(), False
        self.shows_reference = True
        self.is_ahead: Callable[[], bool] = lambda: False
        self._steps, self._fallen_steps = 0, 0
        self._pushes: deque[tuple[Array, int]] = deque(maxlen=1)
        self._ghost: Ghost | None = None
        self._closing, self._restart, self._lock = threading.Event(), threading.Event(), threading.Lock()
        self._start_run(self.student, self._load(self.student))
        self._thread = threading.Thread(target=self._run, name="simulation", daemon=True)

    def start(self) -> None:
        """Start the simulation."""
        self._thread.start()

    def close(self) -> None:
        """Stop the simulation, and wait for its thread."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    @property
    def metadata(self) -> Metadata:
        """Of the student that acts."""
        return self._policy.metadata

    @property
    def model(self) -> Any:
        """The robot's MuJoCo model."""
        return self._robot.model

    @property
    def ground(self) -> Ground:
        """That the robot walks on."""
        return self._robot.ground

    @property
    def lying_seconds(self) -> float:
        """Time since the robot fell, s; 0 while it stands."""
        return self._fallen_steps * self._dt

    @property
    def speeds(self) -> tuple[float, float]:
        """Least and largest speed of steering, see `Commander`."""
        return self._commander.speeds

    # Requests of the page -------------------------------------------------------------------------------------------------------

    @property
    def modes(self) -> list[str]:
        """Names of the modes that the student takes orders of."""
        return self._policy.modes

    def order(self, order: Mapping[str, Any]) -> None:
        """Send an order, see `Commander`.

        Raises:
            DeployError: the order is invalid, or this student does not take it.
        """
        with self._lock:
            self._commander.order(order)
            self._ghost = None

    def show_ghost(self, clip: str | Path) -> None:
        """Show a clip beside the robot, without physics, until the next order. The robot still follows its present order.

        Raises:
            DeployError: the clip cannot be read, or is of another robot.
        """
        with self._lock:
            motion = load_clip(clip, self.metadata, self._kinematics)
            frame = self.frame
            at, facing = (np.zeros(2), 0.0) if frame is None else (frame.body_pos_w[0, :2], yaw(frame.body_quat_w[0]))
            shown = ghost(motion, self._kinematics, Pose2D(at, facing), self._dt)
            # A long clip's poses take seconds to compute: the ghost starts after that, with its first pose.
            self._ghost = replace(shown, first=self._steps)

    def push(self, force: float, degrees: float) -> None:
        """Push the root for 0.2 s: newton, degrees to the left of x."""
        angle = np.radians(degrees)
        self._pushes.append((force * np.array([np.cos(angle), np.sin(angle), 0.0]), round(PUSH_SECONDS / self._dt)))

    def reset(self) -> None:
        """Start again at the origin."""
        self.switch(self.student)

    def switch(self, student: str) -> None:
        """Start again, with this student.

        Raises:
            DeployError: no student has that name, or its export cannot be run. The present student then continues.
        """
        if student not in self.students:
            raise DeployError(f"no student {student}", f"There are {', '.join(self.students)}")
        self._switch(student, self._load(student) if student != self.student else None)

    def set_ground(self, kind: str) -> None:
        """Start again, on this ground.

        Raises:
            DeployError: there is no such ground.
        """
        self._ground = Ground(kind, self.lane)
        self._switch(self.student, self._load(self.student))

    def _switch(self, student: str, loaded: "_Loaded | None") -> None:
        with self._lock:
            self._next_student = student, loaded
            self._restart.set()

    # The simulation's own thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        """Run the control loop, and start it again whenever it is stopped, until the simulation is closed."""
        try:
            while not self._closing.is_set():
                self._loop.run()
                with self._lock:
                    self._start_run(*self._next_student)
        except BaseException as error:
            self.error = error
            raise

    def _load(self, student: str) -> "_Loaded":
        """A student's policy and robot.

        Raises:
            DeployError: the export cannot be run.
        """
        folder = self.students[student]
        # The thread that gives an order computes the poses of its clip: on a model of its own.
        return _Loaded(OnnxPolicy(folder), ConditionedRobot(folder, self._ground), MujocoRobot(folder).body_poses)

    def _start_run(self, student: str, loaded: "_Loaded | None" = None) -> None:
        """Start a run of a student. `loaded` is only needed if another student acts now."""
        if loaded is None and student != self.student:
            loaded = self._load(student)
        if loaded is not None:
            self._policy, self._robot, self._kinematics = loaded
        self.student, self._next_student = student, (student, None)
        self._restart.clear()
        self._ghost = None
        self._pushes.clear()
        metadata = self._policy.metadata
        self._dt, self._fallen_steps, self._push, self._order_time = metadata.control_dt, 0, (np.zeros(3), 0), 0.0
        self._robot.reset(None if self.standing else metadata.start)
        self._commander, self._tracking = Commander(self._policy, self._kinematics), Tracking(metadata)
        self._loop = ControlLoop(self._policy, self._robot, self._commander, self._dt, on_step=self._on_step)

    def _on_step(self, step: Step) -> None:
        """Make the page's frame of a step, and push the robot."""
        reading, robot = step.reading, self._robot
        pos, quat = robot.body_poses(
            Poses(reading.measured_root_pos_w[None], reading.root_quat_w[None], reading.joint_pos[None])
        )
        if self._commander.since != self._order_time:
            self._order_time = self._commander.since
            self._tracking.forget()
        error_of, error = self._tracking(step, pos[0])
        pos = self._raised(pos[0])
        self._fallen_steps = self._fallen_steps + 1 if robot.has_fallen else 0
        self._steps += 1
        shown = self._ghost
        note = next((x.message for x in reversed(self._commander.notes) if x.time >= self._order_time), "")
        self.frame = Frame(
            index=self._steps,
            student=self.student,
            time=step.time,
            body_pos_w=pos,
            body_quat_w=quat[0],
            command=step.command or Command(),
            modes=self._commander.modes,
            note=note or (f"{shown.name}, without physics" if shown else ""),
            error_of=error_of,
            error=error,
            infer_ms=1e3 * step.spent.get("infer", np.nan),
            cycle_ms=1e3 * sum(spent for stage, spent in step.spent.items() if stage != "wake"),
            fallen=self._fallen_steps > 0,
            ground=robot.ground,
            contacts=robot.contact_forces() if self.shows_contacts else None,
            ghost=self._shown_ghost(step.command),
        )
        force, left = self._pushes.popleft() if self._pushes else self._push
        robot.push(force if left else np.zeros(3))
        self._push = force, max(0, left - 1)
        if robot.conditions != self.conditions:
            robot.apply(self.conditions)
        # The loop is stopped here and not by the requesting thread: `stop` has no effect on a loop that is not running yet.
        lay = self._sets_up and self.lying_seconds > RESET_SECONDS
        if self._ends() or lay:
            self._loop.stop()
        self.playback.wait(self._dt, self._ends)
        while self.is_ahead() and not self._ends():
            time.sleep(WAIT_SECONDS)

    def _ends(self) -> bool:
        """Whether this run is to end."""
        return self._restart.is_set() or self._closing.is_set()

    def _raised(self, body_pos_w: Array) -> Array:
        """Positions (B, 3) m whose heights are measured from the level ground under the root, in the world."""
        return body_pos_w + np.array([0.0, 0.0, self._robot.ground.level(body_pos_w[0, :2])])

    def _shown_ghost(self, command: Command | None) -> tuple[Array, Array] | None:
        shown = self._ghost.at(self._steps) if self._ghost else self._reference(command)
        return None if shown is None else (self._raised(shown[0]), shown[1])

    def _reference(self, command: Command | None) -> tuple[Array, Array] | None:
        """The body poses that are commanded next, if all bodies are commanded and the page shows them."""
        if command is None or not self.shows_reference or command.pose_mask is not None:
            return None
        pos, quat = command.target_body_pos_w, command.target_body_quat_w
        return None if pos is None or quat is None else (pos[0], quat[0])
