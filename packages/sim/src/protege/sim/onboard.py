"""What the onboard sensors of N envs measure, now and in the last control steps."""

from collections.abc import Mapping

import torch
from torch import Tensor

from protege.core import observations
from protege.core.env import Obs
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState

from .history import History
from .references.rows import zero_where


class Onboard:
    """Onboard observations with their history. All tensors are changed in place, like the env's own.

    Args:
        robot: the robot of the envs.
        n: number of envs.
        history_steps: H, see `EnvSettings`.

    Attributes:
        last_action: (n, J), see `Env.step`; 0 at the start of an episode.
        sensed: (n, P) and its past, (n, H, P); see `observations.onboard`.
    """

    def __init__(self, robot: Robot, n: int, history_steps: int, device: torch.device) -> None:
        size = observations.onboard_size(robot.num_joints)
        self.default_joint_pos = robot.default_pose(device)
        self.body = robot.body_names.index(robot.groups.imu.body)
        self.mount = torch.tensor(robot.groups.imu.quat, dtype=torch.float32, device=device)
        self.last_action = torch.zeros(n, robot.num_joints, device=device)
        self.sensed = History(n, history_steps, size, device)

    def observe(self, measured: RobotState, history: Tensor) -> Obs:
        """`onboard` and `onboard_history` of a measured state, with the history before it, (n, H, P)."""
        return {"onboard": self.measure(measured, self.last_action), "onboard_history": history}

    def measure(self, state: RobotState, last_action: Tensor) -> Tensor:
        """`observations.onboard` (M, 6 + 3 J) of any states (M, ...) and last actions (M, J)."""
        imu = observations.imu(state, self.body, self.mount)
        return observations.onboard(*imu, state.joint_pos, state.joint_vel, self.default_joint_pos, last_action)

    def restart(self, mask: Tensor, measured: RobotState, history: Tensor) -> Obs:
        """Start an episode where mask (n,) is True; the others keep their history (n, H, P). Returns the observations."""
        zero_where(self.last_action, mask)
        now = self.observe(measured, history)["onboard"]
        return {"onboard": now, "onboard_history": self.sensed.restart(mask, now, history)}

    def rows(self) -> dict[str, Tensor]:
        """What an imagined episode starts with besides the robot's state, (n, ...) each."""
        return {"last_action": self.last_action}

    def state_dict(self) -> dict[str, Tensor]:
        return {key: x.clone() for key, x in self._saved_state.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for key, x in self._saved_state.items():
            x.copy_(state[key])

    @property
    def _saved_state(self) -> dict[str, Tensor]:
        """The keys stay as they were, so that older checkpoints can be resumed."""
        return {"last_action": self.last_action, "felt": self.sensed.now, "history": self.sensed.past}
