"""References of robots that have been pushed: they go on from where the robot is.

A push carries a robot away from its reference. After a moment the reference is turned and moved, once, so that its root is over the
robot's and faces the same way. From there a plan's reference returns to its plan: angle and displacement shrink to zero along a
smooth curve. A clip has no other place to return to; it goes on beside its old place, in its own direction. Commands do not move.

All functions are pure, except where their names say so: `push`, `release`, `put`, `advance`.
"""

from collections.abc import Mapping
from copy import copy
from typing import ClassVar, Self

import torch
from torch import Tensor

from protege.core.robots import rotation as R
from protege.core.robots.state import RobotState

from .rows import assign_where, zero_where


class Placement:
    """The places of the references of n robots, relative to where their table has them.

    A reference is turned by `share · turn` about `pivot` and moved by `share · jump`. The share is 1 when the reference is put
    there. For references that return it falls to 0 as 1 - 3 u² + 2 u³, where u is the elapsed share of the time to return: its
    slope is zero at both ends, so that only in between does the return add to the velocities.

    Args:
        n: envs.
        dt: control period, s.
        after: control steps from the last step of a push until the reference is put where the robot is.
        back: control steps until the reference is back on its plan; 0: it never returns, and is not turned.

    Attributes:
        turn: (n,) rad, about the vertical axis.
        pivot: (n, 2) m, the point of the table about which the reference is turned.
        jump: (n, 2) m, by which it is moved.
        age: (n,) control steps since then.
        wait: (n,) control steps until the reference is put where the robot is, plus 1; 0 if that is not due.
    """

    saved_state: ClassVar[tuple[str, ...]] = ("turn", "pivot", "jump", "age", "wait")

    def __init__(self, n: int, dt: float, after: int, back: int, device: torch.device) -> None:
        self.dt, self.after, self.back = dt, after, back
        self.turn = torch.zeros(n, device=device)
        self.pivot, self.jump = torch.zeros(2, n, 2, device=device)
        self.age, self.wait = torch.zeros(2, n, dtype=torch.long, device=device)

    @classmethod
    def of(cls, n: int, dt: float, after: float, return_time: float | None, device: torch.device) -> Self:
        """With `after` and `return_time` in s; None for references that never return."""
        back = 0 if return_time is None else max(round(return_time / dt), 1)
        return cls(n, dt, round(after / dt), back, device)

    def rows(self) -> dict[str, Tensor]:
        """The tensors that tell where each reference is, (n, ...) each, by name."""
        return {f"placement_{name}": getattr(self, name) for name in self.saved_state}

    def twin(self, rows: Mapping[str, Tensor]) -> Self:
        """The places of other references, in the tensors `rows`, which have the names and shapes of `rows()`."""
        twin = copy(self)
        for name in self.saved_state:
            setattr(twin, name, rows[f"placement_{name}"])
        return twin

    # When and where -----------------------------------------------------------------------------------------------------

    def push(self, pushed: Tensor) -> None:
        """Record that robots were pushed in this control step, (n,) bool."""
        assign_where(self.wait, pushed, torch.full_like(self.wait, self.after + 1))

    def release(self, mask: Tensor) -> None:
        """Put the references where mask (n,) is True back into their place: new episodes begin."""
        for name in self.saved_state:
            zero_where(getattr(self, name), mask)

    def advance(self) -> None:
        """Advance by one control step."""
        self.age += 1

    def put(self, state: RobotState, planned: RobotState, shift: Tensor) -> None:
        """Put the references that are due where the robots are.

        Args:
            state: the robots (n, ...).
            planned: the references in the table (n, ...).
            shift: (n, 3) m, by which references are moved besides.
        """
        due = self.wait == 1
        self.wait.copy_((self.wait - 1).clamp_min(0))
        pivot = planned.root_pos_w[:, :2]
        if self.back:
            assign_where(self.turn, due, R.wrap_angle(R.yaw(state.root_quat_w) - R.yaw(planned.root_quat_w)))
        assign_where(self.pivot, due, pivot)
        assign_where(self.jump, due, state.root_pos_w[:, :2] - shift[:, :2] - pivot)
        zero_where(self.age, due)

    # Placed references --------------------------------------------------------------------------------------------------

    def share(self, ahead: Tensor) -> tuple[Tensor, Tensor]:
        """Share of the turn and the jump that is left `ahead` (K,) control steps from now, (n, K), and its rate (n, K), 1/s."""
        age = self.age[:, None] + ahead
        if not self.back:
            return torch.ones_like(age, dtype=self.turn.dtype), torch.zeros_like(age, dtype=self.turn.dtype)
        elapsed = (age / self.back).clamp(0.0, 1.0)
        rate = -6.0 * elapsed * (1.0 - elapsed) / (self.back * self.dt)
        return 1.0 - elapsed.square() * (3.0 - 2.0 * elapsed), rate

    def angle(self) -> Tensor:
        """The angle by which each reference is turned now, (n,) rad."""
        return self.share(self.age.new_zeros(1))[0][:, 0] * self.turn

    def placed_points(self, points: Tensor) -> Tensor:
        """Points (n, 2) m that belong to the references now, moved along with them."""
        return self._placed(points[:, None, None], *self._turn_and_share(self.age.new_zeros(1)))[:, 0, 0]

    def placed_poses(self, pos: Tensor, quat: Tensor, ahead: Tensor) -> tuple[Tensor, Tensor]:
        """Positions (n, K, B, 3) m and rotations (n, K, B, 4) of the references `ahead` (K,) control steps from now."""
        angle, share = self._turn_and_share(ahead)
        return self._placed(pos, angle, share), R.multiply(R.from_yaw(angle), quat)

    def _turn_and_share(self, ahead: Tensor) -> tuple[Tensor, Tensor]:
        """The angle of each reference, rad, and the share, (n, K, 1) both."""
        share = self.share(ahead)[0].unsqueeze(-1)
        return share * self.turn[:, None, None], share

    def _placed(self, pos: Tensor, angle: Tensor, share: Tensor) -> Tensor:
        """Positions (n, K, B, 2 or 3) turned by angles (n, K, 1) and moved by shares (n, K, 1) of the jump."""
        arm = pos[..., :2] - self.pivot[:, None, None]
        return _added(pos, _turned(arm, angle) + share.unsqueeze(-1) * self.jump[:, None, None])

    def placed(self, state: RobotState, ahead: int = 0) -> RobotState:
        """The references (n, ...) in the table, where they are to be `ahead` control steps from now, with their velocities.

        A body at `arm` from the pivot moves at R v + rate · (jump + turn × R arm), where R is the turn, v its velocity in the table
        and the rate that of the share. It turns at R ω + rate · turn.
        """
        steps = torch.full_like(self.age[:1], ahead)
        share, rate = self.share(steps)
        angle = share * self.turn[:, None]  # (n, 1)
        arm = state.body_pos_w[..., :2] - self.pivot[:, None]
        turned_arm = arm + _turned(arm, angle)
        jump, spin = rate[..., None] * self.jump[:, None], (rate * self.turn[:, None])[..., None]
        swing = spin * torch.cat([-turned_arm[..., 1:], turned_arm[..., :1]], dim=-1)
        lin, ang = state.body_lin_vel_w, state.body_ang_vel_w
        pos, quat = self.placed_poses(state.body_pos_w[:, None], state.body_quat_w[:, None], steps)
        ang = _added(ang, _turned(ang[..., :2], angle))
        return RobotState(
            joint_pos=state.joint_pos,
            joint_vel=state.joint_vel,
            body_pos_w=pos[:, 0],
            body_quat_w=quat[:, 0],
            body_lin_vel_w=_added(lin, _turned(lin[..., :2], angle) + jump + swing),
            body_ang_vel_w=torch.cat([ang[..., :2], ang[..., 2:] + spin], dim=-1),
        )


def _turned(vectors: Tensor, angle: Tensor) -> Tensor:
    """The change of horizontal vectors (..., B, 2) by a turn of `angle` (..., 1) rad; exactly zero for an angle of zero."""
    x, y = vectors.unbind(-1)
    # cos a - 1 = -2 sin²(a/2) is accurate for small angles, too.
    less, sin = -2.0 * (0.5 * angle).sin().square(), angle.sin()
    return torch.stack([less * x - sin * y, sin * x + less * y], dim=-1)


def _added(vectors: Tensor, change: Tensor) -> Tensor:
    """Vectors (..., 2 or 3) with a horizontal change (..., 2)."""
    return torch.cat([vectors[..., :2] + change, vectors[..., 2:]], dim=-1)
