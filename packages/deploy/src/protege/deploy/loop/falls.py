"""Whether a robot has fallen, by what it measures: the rule of the evaluation, for any robot."""

from ..commands.motion import MotionCommand
from ..interface import RobotInterface
from ..policy.metadata import Metadata
from ..safety.limits import FALLEN_ROOT
from .loop import Step


class Falls:
    """Looks on a run.

    Fallen is whose root is below 0.6 of its height in the motion that it tracks, or, without one, of its standing height. That is
    the robot model's, else of the `start` in `policy.json`, else of the first measurement. A simulated robot knows more: see
    `MujocoRobot.has_fallen`.

    Args:
        robot: who may fall.
        command: what it does; a `MotionCommand` may lie down.
        metadata: of the policy, if it is known.

    Attributes:
        at: when the robot fell, s of the commands' clock; None while it stands.
    """

    def __init__(self, robot: RobotInterface, command: object, metadata: Metadata | None) -> None:
        self._robot, self._motion = robot, command if isinstance(command, MotionCommand) else None
        start = metadata.start if metadata else None
        self._standing: float | None = getattr(robot, "standing_height", start.root_pos_w[2] if start else None)
        self.at: float | None = None

    def __call__(self, step: Step) -> None:
        height = float(step.reading.root_pos_w[2])
        if self._standing is None:
            self._standing = height
        if self._motion is not None:
            fallen = height < FALLEN_ROOT * self._motion.height(step.time)
        else:
            fallen = height < FALLEN_ROOT * self._standing or getattr(self._robot, "has_fallen", False)
        if fallen and self.at is None:
            self.at = step.time
