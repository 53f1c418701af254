"""Holds the current command, whichever source gives the orders: a script, keys, a gamepad, packets or a page."""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from threading import Lock
from typing import Any

import numpy as np

from ..errors import DeployError
from ..geometry import Pose2D
from ..interface import Command, CommandSource, RobotReading
from ..motions.clips import load_clip
from ..policy.onnx_policy import OnnxPolicy
from ..policy.sensor_inputs import position_inputs
from ..safety.ranges import Ranges
from .measured import EndingCommand, Note
from .motion import Kinematics, Motion, MotionCommand
from .order_kind import OrderPart
from .orders import MODES, Order, parse
from .registry import POINT_ORDER, VELOCITY_ORDER, ArrivalCommand

BRAKING_SECONDS = 1.0
"""s before a path's end, from where on the command is a goal at that end: policies brake for goals, not at the end of paths."""
DEFAULT_MAX_SPEED = 1.5  # m/s, for policies without the speeds that they were trained on
MAX_NOTES = 100  # stored, the latest
WORLD_ORIGIN = Pose2D(np.zeros(2), 0.0)

Prepared = Mapping[str, Callable[[Mapping[str, Pose2D]], CommandSource]]
"""An order whose slow part, such as a clip's kinematics, is done, so that it can be taken within a control step. By mode: a
function from the poses of `FRAMES` to a command source, whose clock starts in that step."""


class Commander:
    """A `CommandSource` that takes orders from any thread while the control loop reads commands.

    An order replaces the previous one at the loop's next step. The policy keeps its history. Before the first order, and after an
    empty one, the command is to stand, if the policy takes steering. After a path the robot stands too: at the path's end or, if
    the path was given up, where it is.

    Args:
        policy: determines which orders are possible.
        kinematics: such as `MujocoRobot.body_poses`; needed for motions.
        clock: s, monotonic; measures `silence`.

    Attributes:
        dropped: datagrams that the source discarded, by reason; the source sets its own counter here.
        on_end: called when the user ends the run; `ControlLoop.stop`.
        notes: how each path ended, the last `MAX_NOTES` of them.
    """

    def __init__(
        self, policy: OnnxPolicy, kinematics: Kinematics | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._policy, self._kinematics, self._clock = policy, kinematics, clock
        self._ranges, self.notes = Ranges(policy.metadata.command_ranges), deque[Note](maxlen=MAX_NOTES)
        self._measures_position = True  # until a reading shows the contrary
        self._raw = {
            modality.name: [spec for spec in policy.metadata.inputs if spec.name in modality.inputs]
            for modality in policy.metadata.modalities
            if modality.name not in MODES
        }
        self._idle: Prepared = (
            self.prepare({VELOCITY_ORDER.name: VELOCITY_ORDER.order(speed=0.0)})
            if VELOCITY_ORDER.name in policy.modes
            else {}
        )
        self.on_end: Callable[[], None] | None = None
        self.dropped = Counter[str]()
        self._lock = Lock()
        self._next: Prepared | None = self._idle
        self._last_signal: float | None = None
        self._start: Pose2D | None = None
        self._since, self._sources = 0.0, dict[str, CommandSource]()
        self._ending: EndingCommand | None = None

    @property
    def speeds(self) -> tuple[float, float]:
        """Least and largest steering speed that the policy was trained on, m/s."""
        trained = self._policy.metadata.command_ranges.get(VELOCITY_ORDER.speed_range)
        return (0.0, DEFAULT_MAX_SPEED) if trained is None else (trained.low, trained.high)

    # Orders, from any thread --------------------------------------------------------------------------------------------

    def prepare(self, order: Order | Mapping[str, Any]) -> Prepared:
        """Check an order, as parts or plain data, and do its slow part. The loop does not wait for this.

        Raises:
            DeployError: the order is invalid, the policy does not take it, a clip cannot be read, or the order needs the robot's
                position and the robot does not measure it.
        """
        given = isinstance(order, Mapping) and all(isinstance(part, OrderPart | Motion) for part in order.values())
        parts, modes = order if given else parse(order, self._raw), self._policy.modes
        for mode in parts:
            if mode not in modes:
                raise DeployError(f"this policy takes no {mode}", f"It takes {', '.join(modes) or 'nothing'}")
            if not self._measures_position and position_inputs(self._policy.metadata, mode):
                raise DeployError(
                    f"this robot does not know where it is, as a {mode} needs", "Steer it, or play a motion"
                )
        if self._policy.needs_poses and not parts:
            raise DeployError("this policy cannot act without a motion", 'Order one: {"motion": {"clip": ...}}')
        return {mode: self._prepared(part) for mode, part in parts.items()} or self._idle

    def take(self, prepared: Prepared) -> None:
        """Follow a prepared order from the next step on."""
        with self._lock:
            self._next = prepared
        self.keep_alive()

    def order(self, order: Order | Mapping[str, Any]) -> None:
        """`prepare` and `take` an order."""
        self.take(self.prepare(order))

    def keep_alive(self) -> None:
        """Reset `silence`: the source still stands by its last order."""
        self._last_signal = self._clock()

    def resume(self) -> None:
        """Stand until the next order: the robot fell, and somebody is at its side. The orders so far are dropped."""
        self.take(self._idle)

    def end(self) -> None:
        """End the run."""
        if self.on_end is not None:
            self.on_end()

    # Commands, for the loop ---------------------------------------------------------------------------------------------

    @property
    def silence(self) -> float:
        """Time since the last order or `keep_alive`, s; 0 before the first."""
        return 0.0 if self._last_signal is None else self._clock() - self._last_signal

    @property
    def since(self) -> float:
        """Time at which the loop took the present order, s since the run's start."""
        return self._since

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes that are commanded now."""
        return tuple(self._sources)

    def __call__(self, time: float, reading: RobotReading) -> Command:
        if self._start is None:
            self._start = reading.pose_2d
        self._measures_position = reading.root_pos_w is not None
        with self._lock:
            taken, self._next = self._next, None
        if taken is not None:
            self._sources, self._since = self._start_sources(taken, reading), time
        command = self._current_command(time, reading)
        if self._ending is not None and self._ending.over:
            self._stand_after(self._ending, reading)
            command = self._current_command(time, reading)
        return command

    def _stand_after(self, line: EndingCommand, reading: RobotReading) -> None:
        """Stand at the line's end or, if the line was given up, where the robot is. Commanded poses continue."""
        self.notes.extend(Note(self._since + at, message) for at, message in line.notes)
        (at, _), (end, left) = line.notes[-1], line.rest
        stands: dict[str, CommandSource] = {POINT_ORDER.name: ArrivalCommand(end, at + left)}
        if line.lost or POINT_ORDER.name not in self._policy.modes:
            stands = self._start_sources(self._idle, reading)
        poses = {mode: source for mode, source in self._sources.items() if mode == "motion"}
        self._sources, self._ending = {**poses, **stands}, None

    def _start_sources(self, prepared: Prepared, reading: RobotReading) -> dict[str, CommandSource]:
        """The command sources of an order, starting from the robot's present pose."""
        here = reading.pose_2d
        frames = {"robot": here, "start": self._start or here, "world": WORLD_ORIGIN}
        sources = {mode: begin(frames) for mode, begin in prepared.items()}
        self._ending = next((source for source in sources.values() if isinstance(source, EndingCommand)), None)
        if self._ending is not None and POINT_ORDER.name in self._policy.modes:
            self._ending.lead = BRAKING_SECONDS
        return sources

    def _current_command(self, time: float, reading: RobotReading) -> Command:
        return merge_commands([source(time - self._since, reading) for source in self._sources.values()])

    def _prepared(self, part: OrderPart | Motion) -> Callable[[Mapping[str, Pose2D]], CommandSource]:
        policy, metadata = self._policy, self._policy.metadata
        if not isinstance(part, Motion):
            return partial(part.begin, path_times=metadata.path_times, ranges=self._ranges)
        if self._kinematics is None:
            raise DeployError("a motion needs the robot's kinematics", 'pip install "protege-deploy[mujoco]"')
        if part.bodies and policy.needs_poses:
            raise DeployError("this policy needs all bodies of a motion", "Leave out `bodies`")
        unknown = sorted(set(part.bodies) - set(metadata.body_names))
        if unknown:
            raise DeployError(f"the robot has no {', '.join(unknown)}", f"It has {', '.join(metadata.body_names)}")
        clip = load_clip(part.clip, metadata, self._kinematics).placed(WORLD_ORIGIN)
        command = MotionCommand(clip, self._kinematics, metadata, policy.with_poses, part.bodies)
        return lambda frames: command.moved(frames["robot"])


def merge_commands(commands: list[Command]) -> Command:
    """One command with the fields of all; of two that set the same field, the later one wins."""
    merged = {f.name: getattr(c, f.name) for c in commands for f in fields(c) if getattr(c, f.name) is not None}
    merged["raw"] = {name: inputs for c in commands for name, inputs in c.raw.items()}
    return Command(**merged)
