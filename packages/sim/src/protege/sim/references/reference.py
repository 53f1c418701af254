"""References as tables of frames, computed once: a control step only looks them up."""

from collections.abc import Sequence

import torch
from torch import Tensor

from protege.core.robots.state import RobotState

from ..floor import Floor
from .placement import Placement


class Reference:
    """The position of each of n envs in a table of frames.

    Args:
        n: envs.
        table: (F, ...) the frames of all motions, one motion after the other.
        stride: table frames per control step.
        future_frames: the future control steps that `future` returns.

    Attributes:
        index: (n,) the frame of this control step.
        last: (n,) the last frame of the env's motion; frames after it are replaced by it.
        shift: (n, 3) m, added to all positions.
        moved: (n, 3) m, added to `shift`, or None. Its value is zero; it carries the gradient of the position of a robot that the
            reference moves with. It belongs to one imagined step and is not saved.
        placement: the places of the references of robots that have been pushed; None if references stay where they are.
        floor: the ground of the n envs, on which the motion is placed; None for flat ground at height 0, as in the table.
    """

    def __init__(self, n: int, table: RobotState, stride: int, future_frames: Sequence[int]) -> None:
        device = table.joint_pos.device
        self.table, self.stride = table, stride
        self.ahead = stride * torch.tensor(future_frames, device=device)
        self.index = torch.zeros(n, dtype=torch.long, device=device)
        self.last = torch.zeros(n, dtype=torch.long, device=device)
        self.shift = torch.zeros(n, 3, device=device)
        self.moved: Tensor | None = None
        self.placement: Placement | None = None
        self.floor: Floor | None = None

    def advance(self, frames: Tensor | None = None) -> None:
        """Advance by one control step, or by the given number of frames (n,)."""
        self.index.copy_(torch.minimum(self.index + (self.stride if frames is None else frames), self.last))
        if self.placement is not None:
            self.placement.advance()

    def follow(self, state: RobotState, pushed: Tensor | None = None) -> None:
        """Put the references of pushed robots, now in `state` (n, ...), where they are, once their push has acted.

        Args:
            pushed: (n,) bool, the robots that were pushed in this control step; None for none.
        """
        if self.placement is not None:
            if pushed is not None:
                self.placement.push(pushed)
            self.placement.put(state, self.table[self.index], self.shift)

    def release(self, mask: Tensor) -> None:
        """Forget the pushes of the rows where mask (n,) is True: a new episode begins."""
        if self.placement is not None:
            self.placement.release(mask)

    def planned(self, ahead: int = 0) -> RobotState:
        """The frames `ahead` control steps from now, (n, ...), without `shift`."""
        state = self.table[torch.minimum(self.index + ahead * self.stride, self.last) if ahead else self.index]
        return state if self.placement is None else self.placement.placed(state, ahead)

    def now(self) -> RobotState:
        """The frames of the current control step, (n, ...)."""
        state = self.planned()
        state.body_pos_w += self._shift()[:, None]
        if self.floor is not None:
            state.body_pos_w = self.floor.raised(state.body_pos_w)
        return state

    def future(self) -> tuple[Tensor, Tensor]:
        """Poses at the future frames: body_pos_w (n, K, B, 3) m, body_quat_w (n, K, B, 4)."""
        frames = torch.minimum(self.index[:, None] + self.ahead, self.last[:, None])
        pos, quat = self.table.body_pos_w[frames], self.table.body_quat_w[frames]
        if self.placement is not None:
            pos, quat = self.placement.placed_poses(pos, quat, self.ahead // self.stride)
        pos = pos + self._shift()[:, None, None]
        return pos if self.floor is None else self.floor.raised(pos), quat

    def _shift(self) -> Tensor:
        return self.shift if self.moved is None else self.shift + self.moved

    def next_joints(self) -> tuple[Tensor, Tensor]:
        """Joint angles and velocities one control step ahead, (n, J) rad and rad/s."""
        frame = torch.minimum(self.index + self.stride, self.last)
        return self.table.joint_pos[frame], self.table.joint_vel[frame]
