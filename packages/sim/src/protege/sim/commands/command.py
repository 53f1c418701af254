"""What every command offers the environment."""

from typing import Protocol

from torch import Tensor

from protege.core.env import Obs
from protege.core.state import RobotState

from .window import ReferenceWindow


class Command(Protocol):
    """The commands of the worlds of one task. Rows count from the start of the task's slice.

    Attributes:
        window: each row's reference motion.
        step: (n,) control steps since the episode began.
        last_step: (n,) the step at which the command is over (a time-out, not a failure).
    """

    window: ReferenceWindow
    step: Tensor
    last_step: Tensor

    def reset(self, rows: Tensor) -> RobotState:
        """Draw new commands for these rows; returns the state from which their episodes start."""
        ...

    def advance(self, state: RobotState) -> None:
        """All rows are one control step further; state is the robots' state now."""
        ...

    def anchor(self, state: RobotState, rows: Tensor | slice) -> Tensor:
        """Horizontal shift of the reference by which it is compared with the robot, (n, 3) m."""
        ...

    def observe(self, state: RobotState, rows: Tensor | slice) -> Obs:
        """path, goal, steering, command_mask and pose_mask of these rows; state holds these rows only."""
        ...

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None: ...
