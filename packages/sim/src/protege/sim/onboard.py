"""What the robots of N envs feel by their onboard sensors alone, now and in the last control steps."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from protege.core import observations
from protege.core.env import Obs
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState

from .references.reference import clear


class Onboard:
    """Remembers what it has given. All tensors are changed in place, like the env's own.

    Args:
        robot: of the envs.
        n: envs.
        history_steps: H, see `EnvSettings`.

    Attributes:
        last_action: (n, J), see `Env.step`; 0 where an episode begins.
        felt: (n, P), see `observations.onboard`.
        history: (n, H, P), what was felt before, newest first.
    """

    kept: ClassVar[tuple[str, ...]] = ("last_action", "felt", "history")

    def __init__(self, robot: Robot, n: int, history_steps: int, device: torch.device) -> None:
        size = observations.onboard_size(robot.num_joints)
        self.default_joint_pos = robot.default_pose(device)
        self.body = robot.body_names.index(robot.groups.imu.body)
        self.mount = torch.tensor(robot.groups.imu.quat, dtype=torch.float32, device=device)
        self.last_action = torch.zeros(n, robot.num_joints, device=device)
        self.felt = torch.zeros(n, size, device=device)
        self.history = torch.zeros(n, history_steps, size, device=device)

    def observe(self, measured: RobotState, history: Tensor) -> Obs:
        """`onboard` and `onboard_history`, of a measured state and what was felt before it, (n, H, P)."""
        sensed = observations.imu(measured, self.body, self.mount)
        joints = measured.joint_pos, measured.joint_vel, self.default_joint_pos
        return {"onboard": observations.onboard(*sensed, *joints, self.last_action), "onboard_history": history}

    def remembered(self) -> Tensor:
        """The history of the next step, (n, H, P)."""
        return torch.cat([self.felt.unsqueeze(1), self.history[:, :-1]], dim=1)

    def restart(self, mask: Tensor, measured: RobotState, history: Tensor) -> Obs:
        """Begin an episode where mask (n,) is True; the others go on with their history (n, H, P). Returns what is observed."""
        clear(self.last_action, mask)
        felt = self.observe(measured, history)["onboard"]
        history = torch.where(mask[:, None, None], felt.unsqueeze(1), history)
        self.felt.copy_(felt)
        self.history.copy_(history)
        return {"onboard": felt, "onboard_history": history}

    def state_dict(self) -> dict[str, Tensor]:
        return {name: getattr(self, name).clone() for name in self.kept}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for name in self.kept:
            getattr(self, name).copy_(state[name])
