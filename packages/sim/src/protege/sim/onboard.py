"""What the onboard sensors of N envs measure, now and in the last control steps."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from protege.core import observations
from protege.core.env import Obs
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState

from .references.rows import zero_where


class Onboard:
    """Onboard observations with their history. All tensors are changed in place, like the env's own.

    Args:
        robot: the robot of the envs.
        n: number of envs.
        history_steps: H, see `EnvSettings`.

    Attributes:
        last_action: (n, J), see `Env.step`; 0 at the start of an episode.
        sensed: (n, P), see `observations.onboard`.
        history: (n, H, P), earlier values of `sensed`, newest first.
    """

    saved_state: ClassVar[dict[str, str]] = {"last_action": "last_action", "felt": "sensed", "history": "history"}
    """Attributes by their keys in checkpoints; the keys stay as they were, so that older checkpoints can be resumed."""

    def __init__(self, robot: Robot, n: int, history_steps: int, device: torch.device) -> None:
        size = observations.onboard_size(robot.num_joints)
        self.default_joint_pos = robot.default_pose(device)
        self.body = robot.body_names.index(robot.groups.imu.body)
        self.mount = torch.tensor(robot.groups.imu.quat, dtype=torch.float32, device=device)
        self.last_action = torch.zeros(n, robot.num_joints, device=device)
        self.sensed = torch.zeros(n, size, device=device)
        self.history = torch.zeros(n, history_steps, size, device=device)

    def observe(self, measured: RobotState, history: Tensor) -> Obs:
        """`onboard` and `onboard_history` of a measured state, with the history before it, (n, H, P)."""
        imu = observations.imu(measured, self.body, self.mount)
        joints = measured.joint_pos, measured.joint_vel, self.default_joint_pos
        return {"onboard": observations.onboard(*imu, *joints, self.last_action), "onboard_history": history}

    def remembered(self) -> Tensor:
        """The history of the next step, (n, H, P)."""
        return torch.cat([self.sensed.unsqueeze(1), self.history[:, :-1]], dim=1)

    def restart(self, mask: Tensor, measured: RobotState, history: Tensor) -> Obs:
        """Start an episode where mask (n,) is True; the others keep their history (n, H, P). Returns the observations."""
        zero_where(self.last_action, mask)
        sensed = self.observe(measured, history)["onboard"]
        history = torch.where(mask[:, None, None], sensed.unsqueeze(1), history)
        self.sensed.copy_(sensed)
        self.history.copy_(history)
        return {"onboard": sensed, "onboard_history": history}

    def state_dict(self) -> dict[str, Tensor]:
        return {key: getattr(self, name).clone() for key, name in self.saved_state.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for key, name in self.saved_state.items():
            getattr(self, name).copy_(state[key])
