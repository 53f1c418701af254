"""A robot without physics: three joints that lag behind their targets and should follow random sine waves.

It fulfils `protege.core.env.Env` with the full observation dictionary and trains in seconds. The lag and a constant load make
the bare reference a poor action, so that a tracker has something to learn; the best action is known (`best_action`).
"""

from typing import Any

import torch
from small_robots import LIGHT, robot_of
from torch import Tensor

from protege.core.env import Obs, Step
from protege.core.robots.robot import Body, Joint, Robot

J, K, H, P = 3, 2, 2, 4
FOLLOW, LOAD = 0.5, -0.1
EPISODE, FAIL_ERROR = 20, 0.8
COMMANDS = ("path", "goal", "steering")


def toy_robot() -> Robot:
    bodies = tuple(Body(f"b{i}", f"b{i - 1}" if i else None, (0.0, 0.0, 0.1), LIGHT) for i in range(J))
    joints = tuple(
        Joint(f"j{i}", f"b{i}", (1.0, 0.0, 0.0), (-1.0, 1.0), 1.0, 0.02, 1.0, log_std=-2.9) for i in range(J)
    )
    return robot_of("toy", bodies, joints, default_joint_pos=(0.1,) * J)


class ToyEnv:
    """N envs of `toy_robot`. An env whose index is in `broken` gives invalid transitions with a NaN reward."""

    def __init__(self, num_envs: int, seed: int = 0, broken: list[int] | None = None) -> None:
        self.num_envs, self.num_actions, self.device = num_envs, J, torch.device("cpu")
        self.robot = toy_robot()
        half = num_envs // 2
        self.task_names = ["track", "masked"]
        self.task_slices = {"track": slice(0, half), "masked": slice(half, num_envs)}
        self.clip_names: list[str] = []
        self.failures = torch.zeros(2)
        self.generator = torch.Generator().manual_seed(seed)
        self.default = self.robot.default_pose()
        self.broken = torch.zeros(num_envs, dtype=torch.bool)
        self.broken[broken or []] = True
        self.state = {
            "joint_pos": torch.zeros(num_envs, J),
            "phase": torch.zeros(num_envs, J),
            "history": torch.zeros(num_envs, H, J + 1),
            "pose_mask": torch.ones(num_envs, K, J, dtype=torch.bool),
            "command_mask": torch.zeros(num_envs, 3, dtype=torch.bool),
            "step": torch.zeros(num_envs, dtype=torch.long),
            "return": torch.zeros(num_envs),
            "error": torch.zeros(num_envs),
        }
        self.obs_shapes = {key: tuple(x.shape[1:]) for key, x in self.reset().items()}

    def reset(self) -> Obs:
        self._reset(torch.ones(self.num_envs, dtype=torch.bool))
        return self._observe()

    def step(self, action: Tensor) -> Step:
        s = self.state
        before = self._proprioception()
        s["history"] = torch.cat([before.unsqueeze(1), s["history"][:, :-1]], dim=1)
        reference = self._reference(1)
        s["joint_pos"] = s["joint_pos"] + FOLLOW * (self.default + action - s["joint_pos"]) + LOAD
        s["step"] = s["step"] + 1
        error = (s["joint_pos"] - reference).abs().mean(1)
        reward = torch.where(self.broken, torch.nan, torch.exp(-10.0 * error.square()))
        s["return"] = s["return"] + reward
        s["error"] = s["error"] + error
        failed = (error > FAIL_ERROR) & ~self.broken
        timed_out = (s["step"] >= EPISODE) & ~failed & ~self.broken
        next_obs = self._observe()
        ended = failed | timed_out
        self.failures += torch.stack([failed.sum(), ended.sum()])
        episodes = {
            "task": (torch.arange(self.num_envs) >= self.num_envs // 2).long(),
            "length": s["step"],
            "return": s["return"],
            "failed": failed,
            "cartesian_err/mean": s["error"] / s["step"],
        }
        self._reset(ended | self.broken)
        return Step(self._observe(), reward, failed, timed_out, next_obs, episodes, self.broken.clone())

    def state_dict(self) -> dict[str, Any]:
        return {"state": dict(self.state), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = dict(state["state"])
        self.generator.set_state(state["generator"])

    def set_progress(self, progress: float) -> None: ...

    def true_observations(self) -> None:
        return None

    def statistics(self) -> list[Tensor]:
        return [self.failures]

    def close(self) -> None: ...

    def _reference(self, ahead: int) -> Tensor:
        """Joint angles that many steps ahead, (N, J) rad."""
        return 0.5 * torch.sin(self.state["phase"] + 0.3 * (self.state["step"] + ahead).unsqueeze(1))

    def _reset(self, envs: Tensor) -> None:
        n, column = self.num_envs, envs.unsqueeze(1)
        phase = 6.28 * torch.rand(n, J, generator=self.generator)
        hidden = torch.rand(n, 1, J, generator=self.generator) < 0.3
        commands = torch.rand(n, 3, generator=self.generator) < 0.5
        masked = torch.arange(n) >= n // 2
        s = dict(self.state)
        s["step"] = torch.where(envs, 0, s["step"])
        s["phase"] = torch.where(column, phase, s["phase"])
        s["pose_mask"] = torch.where(envs[:, None, None], ~(hidden & masked[:, None, None]), s["pose_mask"])
        s["command_mask"] = torch.where(column, commands & masked.unsqueeze(1), s["command_mask"])
        s["return"] = torch.where(envs, 0.0, s["return"])
        s["error"] = torch.where(envs, 0.0, s["error"])
        self.state = s
        self.state["joint_pos"] = torch.where(column, self._reference(0), s["joint_pos"])
        first = self._proprioception().unsqueeze(1).expand(-1, H, -1)
        self.state["history"] = torch.where(envs[:, None, None], first, s["history"])

    def _proprioception(self) -> Tensor:
        return torch.cat([self.state["joint_pos"], torch.ones(self.num_envs, 1)], dim=1)

    def _observe(self) -> Obs:
        s = self.state
        offsets = torch.stack([self._reference(k + 1) - s["joint_pos"] for k in range(K)], dim=1)
        poses = torch.zeros(self.num_envs, K, J, 12)
        poses[..., 0] = offsets
        poses[..., 1] = offsets + s["joint_pos"].unsqueeze(1)
        commands = s["command_mask"].float()
        return {
            "proprioception": self._proprioception(),
            "history": s["history"].clone(),
            "poses": poses,
            "reference_joint_pos": self._reference(1),
            "reference_joint_vel": (self._reference(2) - self._reference(0)) / (2.0 * self.robot.control_dt),
            "pose_mask": s["pose_mask"].clone(),
            "path": commands[:, :1, None] * torch.ones(1, P, 2),
            "goal": commands[:, 1:2] * s["joint_pos"],
            "steering": commands[:, 2:] * offsets[:, 0],
            **{f"{name}_mask": s["command_mask"][:, k].clone() for k, name in enumerate(COMMANDS)},
        }


class NanEnv(ToyEnv):
    """After a step, broken envs observe only NaN."""

    def step(self, action: Tensor) -> Step:
        step = super().step(action)
        for x in [*step.obs.values(), *step.next_obs.values()]:
            if x.is_floating_point():
                x[self.broken] = torch.nan
        return step


class BestExpert:
    """The exact solution, with the value of a policy that earns 1 every step at gamma 0.97."""

    default = toy_robot().default_pose()

    def distribution(self, obs: Obs) -> tuple[Tensor, Tensor]:
        joint_pos = obs["proprioception"][:, :J]
        mean = joint_pos + (obs["reference_joint_pos"] - joint_pos - LOAD) / FOLLOW - self.default
        return mean, torch.full_like(mean, 0.05)

    def __call__(self, obs: Obs) -> tuple[Tensor, Tensor, Tensor]:
        return *self.distribution(obs), self.value(obs)

    def value(self, obs: Obs) -> Tensor:
        return torch.full((len(obs["proprioception"]),), 1.0 / (1.0 - 0.97))
