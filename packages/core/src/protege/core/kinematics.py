"""Forward kinematics of a tree of hinges, batched in torch and exportable to ONNX."""

import torch
from torch import Tensor, nn

from . import rotation as R
from .robot import Robot
from .state import RobotState


class Kinematics(nn.Module):
    """Poses and velocities of all bodies from the root's and the joints'.

    Bodies are handled one tree level at a time; a body's hinges (up to three, padded with turns by zero) all at once.
    """

    slots: Tensor
    axes: Tensor
    offsets: Tensor
    unsort: Tensor

    def __init__(self, robot: Robot) -> None:
        super().__init__()
        self.num_bodies = robot.num_bodies
        ids = {name: i for i, name in enumerate(robot.body_names)}
        hinges: list[list[int]] = [[] for _ in robot.bodies]
        for index, joint in enumerate(robot.joints):
            hinges[ids[joint.body]].append(index)
        width = max(1, *(len(h) for h in hinges))
        # Joint J is a hinge that never turns.
        slots = torch.tensor([h + [robot.num_joints] * (width - len(h)) for h in hinges])
        axes = torch.tensor([*(joint.axis for joint in robot.joints), (1.0, 0.0, 0.0)])[slots]
        depth = [0] * robot.num_bodies
        for i, parent in enumerate(robot.parents):
            depth[i] = 0 if parent < 0 else depth[parent] + 1
        levels = [[i for i, d in enumerate(depth) if d == level] for level in range(1, max(depth) + 1)]
        self.parents = robot.parents
        self.levels = [(level, [robot.parents[i] for i in level]) for level in levels]
        order = [0] + [i for level in levels for i in level]
        self.register_buffer("slots", slots, persistent=False)
        self.register_buffer("axes", axes, persistent=False)
        self.register_buffer("offsets", torch.tensor([body.offset for body in robot.bodies]), persistent=False)
        self.register_buffer("unsort", torch.tensor(order).argsort(), persistent=False)

    def forward(self, root_pos_w: Tensor, root_quat_w: Tensor, joint_pos: Tensor) -> tuple[Tensor, Tensor]:
        """Body poses in the world frame.

        Args:
            root_pos_w: (N, 3) m.
            root_quat_w: (N, 4).
            joint_pos: (N, J) rad.

        Returns:
            body_pos_w (N, B, 3) m, body_quat_w (N, B, 4).
        """
        padded = torch.cat([joint_pos, torch.zeros_like(joint_pos[:, :1])], dim=1)
        turns = R.from_axis_angle(self.axes, padded[:, self.slots])
        local = turns[:, :, 0]
        for k in range(1, turns.shape[2]):
            local = R.multiply(local, turns[:, :, k])
        pos, quat = [root_pos_w.unsqueeze(1)], [root_quat_w.unsqueeze(1)]
        place = {0: (0, 0)}
        for depth, (level, parents) in enumerate(self.levels, start=1):
            rows = [place[p][1] for p in parents]
            parent_pos, parent_quat = pos[-1][:, rows], quat[-1][:, rows]
            pos.append(parent_pos + R.rotate(parent_quat, self.offsets[level].expand(len(joint_pos), -1, -1)))
            quat.append(R.multiply(parent_quat, local[:, level]))
            place |= {body: (depth, row) for row, body in enumerate(level)}
        return torch.cat(pos, dim=1)[:, self.unsort], torch.cat(quat, dim=1)[:, self.unsort]

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
        pos, quat = self(root_pos_w, root_quat_w, joint_pos)
        pad = torch.zeros_like(joint_pos[:, :1])
        angle, rate = torch.cat([joint_pos, pad], 1)[:, self.slots], torch.cat([joint_vel, pad], 1)[:, self.slots]
        turns = R.from_axis_angle(self.axes, angle)
        # Angular velocity of each body against its parent, in the parent's frame: hinge k's axis is turned by those before it.
        before, relative = torch.zeros_like(turns[:, :, 0]), torch.zeros_like(pos)
        before = torch.cat([before[..., :1] + 1.0, before[..., 1:]], dim=-1)
        for k in range(turns.shape[2]):
            relative = relative + rate[:, :, k, None] * R.rotate(before, self.axes[:, k].expand_as(relative))
            before = R.multiply(before, turns[:, :, k])
        lin, ang = [root_lin_vel_w], [root_ang_vel_w]
        for body in range(1, self.num_bodies):
            parent = self.parents[body]
            ang.append(ang[parent] + R.rotate(quat[:, parent], relative[:, body]))
            lin.append(lin[parent] + R.cross(ang[parent], pos[:, body] - pos[:, parent]))
        return RobotState(joint_pos, joint_vel, pos, quat, torch.stack(lin, 1), torch.stack(ang, 1))
