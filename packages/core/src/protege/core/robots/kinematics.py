"""Forward kinematics of a tree of hinges, batched in torch, exportable to ONNX, with a gradient (`kinematics_gradient.py`).

Inside, the components come first and the batch last, (4, B, N): each component is then one piece of memory, which made this
three times as fast on a CPU as (N, B, 4).
"""

from collections.abc import Sequence
from functools import partial
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.autograd import Function

from . import rotation as R
from .kinematics_gradient import PoseGradient, StateGradient
from .robot import UNTURNED, Robot
from .state import RobotState
from .traced import Tree, body_positions, traced

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
    carried: Tensor
    places: Tensor

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
        carried = torch.eye(robot.num_bodies)
        for body in reversed(range(1, robot.num_bodies)):
            carried[robot.parents[body]] += carried[body]
        self.register_buffer("carried", carried, persistent=False)  # (B, B)
        places = slots.flatten().argsort()[: robot.num_joints]
        self.register_buffer("places", places, persistent=False)  # (J,) of each joint in the flattened slots
        with torch.no_grad():
            joined = self.jumps, self.parents, self.offsets, self.carried
            self._constants = Tree(self.slots, self.axes, self.rests, *joined)
        self._fused: type[Function] | None = None

    def fuse(self) -> None:
        """Learn by Triton kernels from now on; see `kinematics_kernels.py`. For a GPU, where triton is installed."""
        from .kinematics_kernels import Motion

        self._fused = Motion

    def forward(self, root_pos_w: Tensor, root_quat_w: Tensor, joint_pos: Tensor) -> tuple[Tensor, Tensor]:
        """Body poses in the world frame.

        Args:
            root_pos_w: (N, 3) m.
            root_quat_w: (N, 4).
            joint_pos: (N, J) rad.

        Returns:
            body_pos_w (N, B, 3) m, body_quat_w (N, B, 4); in an exported graph the root's quaternion alone, (N, 1, 4).
        """
        given = root_pos_w, root_quat_w, joint_pos
        if traced():
            return body_positions(self._constants, *given), root_quat_w.unsqueeze(1)
        if not _learned_through(given):
            pos, quat = _batch_first(*self._poses(*given)[:2])
            return pos, quat
        if self._fused is not None:
            pos, quat = _batch_first(*self._fused.apply(*self._tree, *given))
            return pos, quat
        with torch.no_grad():
            pos, quat, turns = self._poses(*given)
            axes = self._axes(turns, quat)
        pos, quat = _batch_first(*PoseGradient.apply(*given, pos, quat, axes, self.carried, self.places))
        return pos, quat

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
        given = root_pos_w, root_quat_w, root_lin_vel_w, root_ang_vel_w, joint_pos, joint_vel
        if not _learned_through(given):
            return RobotState(joint_pos, joint_vel, *_batch_first(*self._motion(*given)[:4]))
        if self._fused is not None:
            return RobotState(joint_pos, joint_vel, *_batch_first(*self._fused.apply(*self._tree, *given)))
        with torch.no_grad():
            moving = self._motion(*given)
        moving = StateGradient.apply(*given, *moving, self.carried, self.places)
        return RobotState(joint_pos, joint_vel, *_batch_first(*moving))

    @property
    def _tree(self) -> tuple[Tensor, ...]:
        """What `kinematics_kernels.motion` asks for."""
        return self.parents, self.offsets, self.rests, self.axes, self.slots

    def _hinges(self, x: Tensor) -> Tensor:
        """A quantity of the joints (N, J), sorted by body: (H, B, N), hinges outermost first, 0 where a body has fewer."""
        return torch.cat([x, x.new_zeros(x.shape[0], 1)], dim=1).T[self.slots]

    def _turns(self, joint_pos: Tensor) -> list[Tensor]:
        """Rotation of each body against its parent with its first hinge turned, its first two, ...: H times (4, B, N)."""
        first, *others = R.from_axis_angle(self.axes, self._hinges(joint_pos), dim=0).unbind(1)
        return list(accumulate([multiply(self.rests, first) if self.turned else first, *others], multiply))

    def _poses(self, root_pos_w: Tensor, root_quat_w: Tensor, joint_pos: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Body positions (3, B, N) and rotations (4, B, N) in the world frame, and `_turns`."""
        quat, turns = self._rotations(root_quat_w, joint_pos)
        return self._sum(rotate(quat[:, self.parents], self.offsets)) + _batch_last(root_pos_w), quat, turns

    def _rotations(self, root_quat_w: Tensor, joint_pos: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Body rotations (4, B, N) in the world frame, and `_turns`."""
        turns = self._turns(joint_pos)
        quat = turns[-1]
        for ancestors in self.jumps.unbind():
            quat = multiply(quat[:, ancestors], quat)
        return multiply(_batch_last(root_quat_w), quat), turns

    def _axes(self, turns: list[Tensor], quat: Tensor) -> Tensor:
        """Of each body's hinges in the world frame, (3, H, B, N): its rest rotation turns them, and its hinges before them."""
        first = rotate(self.rests, self.axes[:, 0]) if self.turned else self.axes[:, 0]
        others = [rotate(turn, self.axes[:, k]) for k, turn in enumerate(turns[:-1], start=1)]
        axes = torch.stack([first.expand_as(turns[-1][1:]), *others], dim=1)
        return rotate(quat[:, self.parents].unsqueeze(1), axes)

    def _motion(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Positions, rotations, linear and angular velocities of all bodies, and what their gradient needs.

        Args:
            given: as `state` is given them.

        Returns:
            (3 or 4, B, N) each; then `_axes`, and the angular velocity of the frame that each hinge turns in, (3, H, B, N).
        """
        root_pos_w, root_quat_w, root_lin_vel_w, root_ang_vel_w, joint_pos, joint_vel = given
        quat, turns = self._rotations(root_quat_w, joint_pos)
        axes, parents = self._axes(turns, quat), self.parents
        spins = (axes * self._hinges(joint_vel)).unbind(1)
        summed = self._sum(torch.cat([rotate(quat[:, parents], self.offsets), sum(spins[1:], spins[0])]))
        at_root = torch.cat([root_pos_w, root_ang_vel_w], dim=1)
        pos, ang = (summed + _batch_last(at_root)).split(3)
        lin = self._sum(cross(ang[:, parents], pos - pos[:, parents])) + _batch_last(root_lin_vel_w)
        before = torch.stack(list(accumulate(spins[:-1], initial=ang[:, parents])), dim=1)
        return pos, quat, lin, ang, axes, before

    def _sum(self, x: Tensor) -> Tensor:
        """Each body's vector plus all its ancestors', (3, B, N); the root's must be zero."""
        for ancestors in self.jumps.unbind():
            x = x + x[:, ancestors]
        return x


def _batch_last(x: Tensor) -> Tensor:
    """(N, C) of the root -> (C, 1, N)."""
    return x.T.contiguous().unsqueeze(1)


def _batch_first(*parts: Tensor) -> tuple[Tensor, ...]:
    """(C, B, N) each -> (N, B, C)."""
    return tuple(x.permute(2, 1, 0).contiguous() for x in parts)


def _learned_through(given: Sequence[Tensor]) -> bool:
    """Whether anyone may ask for the gradient."""
    return torch.is_grad_enabled() and any(x.requires_grad for x in given)
