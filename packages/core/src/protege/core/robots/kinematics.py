"""Forward kinematics of a tree of hinges, batched in torch and exportable to ONNX.

Inside, the components come first and the batch last, (4, B, N): each component is then one piece of memory, which made this
three times as fast on a CPU as (N, B, 4).
"""

from functools import partial
from itertools import accumulate

import torch
from torch import Tensor, nn

from . import rotation as R
from .robot import UNTURNED, Robot
from .state import RobotState

multiply, rotate, cross = (partial(f, dim=0) for f in (R.multiply, R.rotate, R.cross))


class Kinematics(nn.Module):
    """Poses and velocities of all bodies from the root's and the joints'.

    What adds up from the root to a body is summed by pointer jumping (Wyllie 1979): after k rounds, in which each body takes in
    what the ancestor 2^k generations up has summed, it holds the sum over 2^k generations. The root counts as its own parent
    and contributes nothing. Rounds: log2 of the tree's depth.
    """

    slots: Tensor
    axes: Tensor
    offsets: Tensor
    rests: Tensor
    parents: Tensor
    jumps: Tensor

    def __init__(self, robot: Robot) -> None:
        super().__init__()
        hinges: list[list[int]] = [[] for _ in robot.bodies]
        for index, joint in enumerate(robot.joints):
            hinges[robot.body_names.index(joint.body)].append(index)
        assert not hinges[0], "the root floats, it has no hinges"
        width = max(1, *(len(h) for h in hinges))
        # Joint J is a hinge that never turns: it fills up bodies with fewer hinges than others.
        slots = torch.tensor([h + [robot.num_joints] * (width - len(h)) for h in hinges]).T
        axes = torch.tensor([*(joint.axis for joint in robot.joints), (1.0, 0.0, 0.0)])[slots]
        offsets = torch.tensor([(0.0, 0.0, 0.0), *(body.offset for body in robot.bodies[1:])])
        # The root's own quaternion is free, like its position.
        rests = torch.tensor([UNTURNED, *(body.quat for body in robot.bodies[1:])])
        # A robot whose frames all agree at rest is spared the products with one.
        self.turned = bool((rests != torch.tensor(UNTURNED)).any())
        parents = torch.tensor([0, *robot.parents[1:]])
        jumps, ancestors = parents.new_zeros(0, robot.num_bodies), parents
        while ancestors.any():
            jumps = torch.cat([jumps, ancestors[None]])
            ancestors = ancestors[ancestors]
        self.register_buffer("slots", slots.contiguous(), persistent=False)  # (H, B)
        self.register_buffer("axes", axes.movedim(-1, 0).unsqueeze(-1).contiguous(), persistent=False)  # (3, H, B, 1)
        self.register_buffer("offsets", offsets.T.unsqueeze(-1).contiguous(), persistent=False)  # (3, B, 1)
        self.register_buffer("rests", rests.T.unsqueeze(-1).contiguous(), persistent=False)  # (4, B, 1)
        self.register_buffer("parents", parents, persistent=False)
        self.register_buffer("jumps", jumps, persistent=False)

    def forward(self, root_pos_w: Tensor, root_quat_w: Tensor, joint_pos: Tensor) -> tuple[Tensor, Tensor]:
        """Body poses in the world frame.

        Args:
            root_pos_w: (N, 3) m.
            root_quat_w: (N, 4).
            joint_pos: (N, J) rad.

        Returns:
            body_pos_w (N, B, 3) m, body_quat_w (N, B, 4).
        """
        pos, quat = self._poses(root_pos_w, root_quat_w, self._turns(joint_pos)[-1])
        return _batch_first(pos), _batch_first(quat)

    def state(
        self,
        root_pos_w: Tensor,
        root_quat_w: Tensor,
        root_lin_vel_w: Tensor,
        root_ang_vel_w: Tensor,
        joint_pos: Tensor,
        joint_vel: Tensor,
    ) -> RobotState:
        """The whole state from root and joints: velocities (N, 3) m/s and rad/s, (N, J) rad/s, world frame."""
        *before, local = self._turns(joint_pos)
        pos, quat = self._poses(root_pos_w, root_quat_w, local)
        # Angular velocity against the parent, in its frame: a hinge's axis is turned by the body's rest rotation and by the
        # body's hinges before it.
        spin = self._hinges(joint_vel) * self.axes
        first = rotate(self.rests, spin[:, 0]) if self.turned else spin[:, 0]
        relative = first + sum(rotate(turn, spin[:, k]) for k, turn in enumerate(before, start=1))
        parents = self.parents
        ang = self._sum(rotate(quat[:, parents], relative)) + _batch_last(root_ang_vel_w)
        lin = self._sum(cross(ang[:, parents], pos - pos[:, parents])) + _batch_last(root_lin_vel_w)
        return RobotState(joint_pos, joint_vel, *map(_batch_first, (pos, quat, lin, ang)))

    def _hinges(self, x: Tensor) -> Tensor:
        """A quantity of the joints (N, J), sorted by body: (H, B, N), hinges outermost first, 0 where a body has fewer."""
        return torch.cat([x, x.new_zeros(x.shape[0], 1)], dim=1).T[self.slots]

    def _turns(self, joint_pos: Tensor) -> list[Tensor]:
        """Rotation of each body against its parent with its first hinge turned, its first two, ...: H times (4, B, N)."""
        first, *others = R.from_axis_angle(self.axes, self._hinges(joint_pos), dim=0).unbind(1)
        return list(accumulate([multiply(self.rests, first) if self.turned else first, *others], multiply))

    def _poses(self, root_pos_w: Tensor, root_quat_w: Tensor, local: Tensor) -> tuple[Tensor, Tensor]:
        """Body positions (3, B, N) and rotations (4, B, N) in the world frame."""
        quat = local
        for ancestors in self.jumps.unbind():
            quat = multiply(quat[:, ancestors], quat)
        quat = multiply(_batch_last(root_quat_w), quat)
        return self._sum(rotate(quat[:, self.parents], self.offsets)) + _batch_last(root_pos_w), quat

    def _sum(self, x: Tensor) -> Tensor:
        """Each body's vector plus all its ancestors', (3, B, N); the root's must be zero."""
        for ancestors in self.jumps.unbind():
            x = x + x[:, ancestors]
        return x


def _batch_last(x: Tensor) -> Tensor:
    """(N, C) of the root -> (C, 1, N)."""
    return x.T.contiguous().unsqueeze(1)


def _batch_first(x: Tensor) -> Tensor:
    """(C, B, N) -> (N, B, C)."""
    return x.permute(2, 1, 0).contiguous()
