"""The simulated robot under a student, in real time, in a thread of its own; the page looks at it and gives it orders."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..commands.commander import Commander
from ..errors import DeployError
from ..geometry import Pose2D, yaw
from ..interface import Array, Command
from ..loop.loop import ControlLoop, Step
from ..motions.clips import load_clip
from ..motions.poses import Poses
from ..policy.metadata import Metadata
from ..policy.onnx_policy import OnnxPolicy
from ..robots.mujoco import MujocoRobot
from .ghost import Ghost, ghost
from .tracking import Tracking

PUSH_S = 0.2  # how long a push lasts
LYING_S = 2.0  # after how long a fallen robot is set up again


@dataclass(frozen=True)
class Frame:
    """One control step, as the page shows it.

    Attributes:
        index: steps since the page's start.
        student: who acts.
        time: s since the last reset.
        body_pos_w: (B, 3) m.
        body_quat_w: (B, 4).
        command: what was commanded.
        modes: what is on.
        note: what became of the last order's path: done, or given up and why; empty while there is nothing to say.
        error_of: what `error` is of; empty: nothing is commanded that has one.
        error: see `Tracking`.
        infer_ms: the policy's step.
        cycle_ms: all of the control step.
        fallen: the robot lies.
        ghost: (B, 3) m and (B, 4), the bodies of a clip that is shown without physics; None if none is.
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
    ghost: tuple[Array, Array] | None = None


class World:
    """One robot under one of several students.

    Orders, pushes, resets and switches may come from any thread; the physics belongs to the world's own.

    Args:
        students: exports by name.
        standing: start at rest instead of in motion.

    Attributes:
        student: name of the one that acts.
        frame: the last step; None before the first.
        error: what ended the world, if something did.

    Raises:
        DeployError: an export that cannot be run.
    """

    def __init__(self, students: Mapping[str, Path], *, standing: bool = True) -> None:
        self.students, self.standing = dict(students), standing
        self.student, self.frame = next(iter(self.students)), None
        self.frame: Frame | None
        self.error: BaseException | None = None
        self._steps, self._push, self._lying = 0, (np.zeros(3), 0), 0
        self._ghost: Ghost | None = None
        self._closed, self._again, self._asked = threading.Event(), threading.Event(), threading.Lock()
        self._begin(self.student)
        self._thread = threading.Thread(target=self._live, name="world", daemon=True)

    def start(self) -> None:
        """Let it walk."""
        self._thread.start()

    def close(self) -> None:
        """Stop, and wait until it has."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    @property
    def metadata(self) -> Metadata:
        """Of the student that acts."""
        return self._policy.metadata

    @property
    def model(self) -> Any:
        """The robot's, MuJoCo's."""
        return self._robot.model

    @property
    def speeds(self) -> tuple[float, float]:
        """Least and largest speed of steering, see `Commander`."""
        return self._commander.speeds

    # What the page asks for -----------------------------------------------------------------------------------------------------

    @property
    def modes(self) -> list[str]:
        """What the student can be ordered."""
        return self._policy.modes

    def order(self, order: Mapping[str, Any]) -> None:
        """Give an order, see `Commander`.

        Raises:
            DeployError: no sense, or not for this student.
        """
        with self._asked:
            self._commander.order(order)
            self._commander.notes.clear()
            self._tracking.forget()
            self._ghost = None

    def haunt(self, clip: str | Path) -> None:
        """Show a clip beside the robot, without physics, until the next order; what the robot does goes on.

        Raises:
            DeployError: it cannot be read, or is no clip of this robot.
        """
        with self._asked:
            motion = load_clip(clip, self.metadata, self._kinematics)
            frame = self.frame
            at, facing = (np.zeros(2), 0.0) if frame is None else (frame.body_pos_w[0, :2], yaw(frame.body_quat_w[0]))
            self._ghost = ghost(motion, self._kinematics, Pose2D(at, facing), self._dt, self._steps)

    def push(self, force: float, degrees: float) -> None:
        """Push the root for 0.2 s: newton, degrees to the left of x."""
        angle = np.radians(degrees)
        self._push = force * np.array([np.cos(angle), np.sin(angle), 0.0]), round(PUSH_S / self._dt)

    def reset(self) -> None:
        """Begin anew at the origin."""
        self.switch(self.student)

    def switch(self, student: str) -> None:
        """Begin anew with a student.

        Raises:
            DeployError: there is none of that name, or it cannot be run.
        """
        if student not in self.students:
            raise DeployError(f"no student {student}", f"There are {', '.join(self.students)}")
        with self._asked:
            self._wanted = student
            self._again.set()

    # The world's own thread -----------------------------------------------------------------------------------------------------

    def _live(self) -> None:
        """Run, and begin anew whenever the run is stopped, until the world is closed."""
        try:
            while not self._closed.is_set():
                self._loop.run()
                with self._asked:
                    self._begin(self._wanted)
        except BaseException as error:
            self.error = error
            raise

    def _begin(self, student: str) -> None:
        folder = self.students[student]
        if student != self.student or self.frame is None:
            self._policy, self._robot = OnnxPolicy(folder), MujocoRobot(folder)
            # Clips' poses are computed by the thread that orders them: on a model of their own.
            self._kinematics = MujocoRobot(folder).body_poses
        self.student = self._wanted = student
        self._again.clear()
        self._ghost = None
        metadata = self._policy.metadata
        self._dt, self._lying, self._push = metadata.control_dt, 0, (np.zeros(3), 0)
        self._robot.reset(None if self.standing else metadata.start)
        self._commander, self._tracking = Commander(self._policy, self._kinematics), Tracking(metadata)
        self._loop = ControlLoop(self._policy, self._robot, self._commander, self._dt, on_step=self._see)

    def _see(self, step: Step) -> None:
        """Note a step for the page, and push."""
        reading, robot = step.reading, self._robot
        pos, quat = robot.body_poses(
            Poses(reading.root_pos_w[None], reading.root_quat_w[None], reading.joint_pos[None])
        )
        error_of, error = self._tracking(step, pos[0])
        self._lying = self._lying + 1 if robot.has_fallen else 0
        self._steps += 1
        shown = self._ghost
        note = next((note.message for note in reversed(self._commander.notes)), "")
        self.frame = Frame(
            index=self._steps,
            student=self.student,
            time=step.time,
            body_pos_w=pos[0],
            body_quat_w=quat[0],
            command=step.command or Command(),
            modes=self._commander.modes,
            note=note or (f"{shown.name}, without physics" if shown else ""),
            error_of=error_of,
            error=error,
            infer_ms=1e3 * step.spent.get("infer", np.nan),
            cycle_ms=1e3 * sum(spent for stage, spent in step.spent.items() if stage != "wake"),
            fallen=self._lying > 0,
            ghost=shown.at(self._steps) if shown else None,
        )
        force, left = self._push
        robot.push(force if left else np.zeros(3))
        self._push = force, max(0, left - 1)
        # Here and not where it is asked for: a loop that is only about to run would not hear of it.
        if self._again.is_set() or self._closed.is_set() or self._lying > LYING_S / self._dt:
            self._loop.stop()
