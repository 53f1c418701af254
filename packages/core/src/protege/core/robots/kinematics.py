"""Forward kinematics of a tree of hinges, batched in torch, exportable to ONNX, with a gradient (`kinematics_gradient.py`).

Internally, components come first and the batch last, (4, B, N). Each component is then contiguous, which is three times as fast on
a CPU as (N, B, 4).
"""

from collections.abc import Sequence
from functools import partial
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.autograd import Function

from . import rotation as R
from .kinematics_gradient import PoseGradient, StateGradient
from .robot import IDENTITY_QUAT, Robot
from .state import RobotState
from .traced import Tree, body_positions, traced

multiply, rotate, cross = (partial(f, dim=0) for f in (R.multiply, R.rotate, R.cross))


class Kinematics(nn.Module):
    """Poses and velocities of all bodies from those of the root and the joints.

    Sums from the root to each body use pointer jumping (Wyllie 1979). In round k each body adds the sum of its ancestor 2^k
    generations up, so that it then holds the sum over 2^(k + 1) generations. The root is its own parent and contributes zero. The
    number of rounds is log2 of the tree's depth.
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
        # Joint J is a fixed hinge that pads bodies with fewer hinges than others.
        slots = torch.tensor([h + [robot.num_joints] * (width - len(h)) for h in hinges]).T
        axes = torch.tensor([*(joint.axis for joint in robot.joints), (1.0, 0.0, 0.0)])[slots]
        offsets = torch.tensor([(0.0, 0.0, 0.0), *(body.offset for body in robot.bodies[1:])])
        # The root's quaternion is a free variable, like its position.
        rests = torch.tensor([IDENTITY_QUAT, *(body.quat for body in robot.bodies[1:])])
        # If all frames agree at rest, products with the identity are skipped.
        self.turned = bool((rests != torch.tensor(IDENTITY_QUAT)).any())
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
        self.register_buffer("places", places, persistent=False)  # (J,) index of each joint in the flattened slots
        with torch.no_grad():
            joined = self.jumps, self.parents, self.offsets, self.carried
            self._constants = Tree(self.slots, self.axes, self.rests, *joined)
        self._fused: type[Function] | None = None

    def fuse(self) -> None:
        """Use Triton kernels when gradients are needed; see `kinematics_kernels.py`. Needs a GPU and triton."""
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
        inputs = root_pos_w, root_quat_w, joint_pos
        if traced():
            return body_positions(self._constants, *inputs), root_quat_w.unsqueeze(1)
        if not _needs_gradient(inputs):
            pos, quat = _batch_first(*self._poses(*inputs)[:2])
            return pos, quat
        if self._fused is not None:
            pos, quat = _batch_first(*self._fused.apply(*self._tree, *inputs))
            return pos, quat
        with torch.no_grad():
            pos, quat, turns = self._poses(*inputs)
            axes = self._axes(turns, quat)
        pos, quat = _batch_first(*PoseGradient.apply(*inputs, pos, quat, axes, self.carried, self.places))
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
        """The full state from root and joints: velocities (N, 3) m/s and rad/s, (N, J) rad/s, world frame."""
        inputs = root_pos_w, root_quat_w, root_lin_vel_w, root_ang_vel_w, joint_pos, joint_vel
        if not _needs_gradient(inputs):
            return RobotState(joint_pos, joint_vel, *_batch_first(*self._motion(*inputs)[:4]))
        if self._fused is not None:
            return RobotState(joint_pos, joint_vel, *_batch_first(*self._fused.apply(*self._tree, *inputs)))
        with torch.no_grad():
            moving = self._motion(*inputs)
        moving = StateGradient.apply(*inputs, *moving, self.carried, self.places)
        return RobotState(joint_pos, joint_vel, *_batch_first(*moving))

    @property
    def _tree(self) -> tuple[Tensor, ...]:
        """The tree's tensors, as `kinematics_kernels.motion` takes them."""
        return self.parents, self.offsets, self.rests, self.axes, self.slots

    def _hinges(self, x: Tensor) -> Tensor:
        """Sort joint values (N, J) by body: (H, B, N), outermost hinges first, padded with 0."""
        return torch.cat([x, x.new_zeros(x.shape[0], 1)], dim=1).T[self.slots]

    def _turns(self, joint_pos: Tensor) -> list[Tensor]:
        """Rotation of each body relative to its parent after its first hinge, after its first two, ...: H times (4, B, N)."""
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
        """Axes of each body's hinges in the world frame, (3, H, B, N); the rest rotation and the hinges before rotate them."""
        first = rotate(self.rests, self.axes[:, 0]) if self.turned else self.axes[:, 0]
        others = [rotate(turn, self.axes[:, k]) for k, turn in enumerate(turns[:-1], start=1)]
        axes = torch.stack([first.expand_as(turns[-1][1:]), *others], dim=1)
        return rotate(quat[:, self.parents].unsqueeze(1), axes)

    def _motion(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Positions, rotations, linear and angular velocities of all bodies, and the tensors for their gradient.

        Args:
            inputs: the arguments of `state`.

        Returns:
            (3 or 4, B, N) each; then `_axes`, and the angular velocity of each hinge's parent frame, (3, H, B, N).
        """
        root_pos_w, root_quat_w, root_lin_vel_w, root_ang_vel_w, joint_pos, joint_vel = inputs
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
        """Add to each body's vector those of all its ancestors, (3, B, N); the root's must be zero."""
        for ancestors in self.jumps.unbind():
            x = x + x[:, ancestors]
        return x


def _batch_last(x: Tensor) -> Tensor:
    """Root values (N, C) -> (C, 1, N)."""
    return x.T.contiguous().unsqueeze(1)


def _batch_first(*parts: Tensor) -> tuple[Tensor, ...]:
    """(C, B, N) each -> (N, B, C)."""
    return tuple(x.permute(2, 1, 0).contiguous() for x in parts)


def _needs_gradient(inputs: Sequence[Tensor]) -> bool:
    """Whether a gradient may be needed."""
    return torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
