"""Our environment behind the interface of Isaac Lab's: a `DirectRLEnv`, for `gymnasium.make` and `isaaclab train`.

Physics, tasks, rewards and resets are those of `HumanoidEnv`; `DirectRLEnv`'s own loop is not used.
"""

from importlib import import_module
from typing import Any

import torch
from isaaclab.envs import DirectRLEnv
from torch import Tensor

from protege.core.env import Obs, Step
from protege.core.runs.config import RunConfig, compose

from ..env_config import EnvConfig
from ..plugin import plugin
from ..simulators.isaaclab.simulator import IsaaclabSimulator
from .env_cfg import POLICY_OBSERVATIONS, ProtegeEnvCfg, critic_observations


class ProtegeEnv(DirectRLEnv):
    """N envs; actions (N, J) about the default pose, in units of the joints' scale, observations `policy` and `critic`, flat.

    Attributes:
        envs: the `HumanoidEnv`.

    Args:
        cfg: the configuration; by default that of the registered task.
        entry_points: keyword arguments of the registration.
    """

    cfg: ProtegeEnvCfg

    def __init__(self, cfg: ProtegeEnvCfg | None = None, render_mode: str | None = None, **entry_points: Any) -> None:
        self._is_closed = True
        self.cfg, self.render_mode = cfg or _default_cfg(entry_points), render_mode
        if self.cfg.seed is not None:
            self.seed(self.cfg.seed)
        config = compose(
            {"run": RunConfig, "env": EnvConfig}, None, _overrides(self.cfg), robot_settings=plugin.robot_settings
        )
        self.envs = plugin.make(config.run, config.env)
        simulator = self.envs.simulator
        assert isinstance(simulator, IsaaclabSimulator)
        assert simulator.scene.sim
        self.scene, self.sim = simulator.scene, simulator.scene.sim
        self._groups = {"policy": POLICY_OBSERVATIONS[self.cfg.task], "critic": critic_observations(self.cfg.task)}
        self._configure_gym_env_spaces()
        self.extras: dict[str, Any] = {}
        self.has_rtx_sensors, self.video_recorders, self._window = False, [], None
        self.common_step_counter = 0
        n, device = self.num_envs, self.envs.device
        self.episode_length_buf = torch.zeros(n, dtype=torch.long, device=device)
        self.reset_terminated = torch.zeros(n, dtype=torch.bool, device=device)
        self.reset_time_outs, self.reset_buf = self.reset_terminated.clone(), self.reset_terminated.clone()
        self.reward_buf = torch.zeros(n, device=device)
        self._is_closed = False

    @property
    def max_episode_length(self) -> int:
        return round(self.max_episode_length_s / self.step_dt)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin a new episode in every env."""
        if seed is not None:
            self.envs.generator.manual_seed(seed)
        self.episode_length_buf.zero_()
        self.obs_buf = self._grouped(self.envs.reset())
        return self.obs_buf, self.extras

    def step(self, action: Tensor) -> Any:
        """One control step. An env whose episode ended starts another one; `obs` is then its first observation."""
        step = self.envs.step(action.to(self.envs.device))
        self.common_step_counter += 1
        self.reset_terminated, self.reset_time_outs = step.failed.clone(), step.timed_out.clone()
        self.reset_buf, self.reward_buf = step.ended, step.reward.clone()
        self.episode_length_buf = torch.where(step.ended, 0, self.episode_length_buf + 1)
        self.obs_buf, self.extras = self._grouped(step.obs), _log(step)
        if self.cfg.compute_final_obs:
            self.extras["final_obs"] = self._grouped(step.next_obs)
        return self.obs_buf, self.reward_buf, self.reset_terminated, self.reset_time_outs, self.extras

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self.envs.close()

    def _grouped(self, obs: Obs) -> dict[str, Tensor]:
        return {
            group: torch.cat([obs[name].flatten(1) for name in names], dim=1) for group, names in self._groups.items()
        }


def _default_cfg(entry_points: dict[str, Any]) -> ProtegeEnvCfg:
    module, name = entry_points["env_cfg_entry_point"].split(":")
    return getattr(import_module(module), name)()


def _overrides(cfg: ProtegeEnvCfg) -> list[str]:
    """Isaac Lab's fields, and the user's overrides, as arguments of our command line."""
    return [
        "run.simulator=isaaclab",
        f"run.robot={cfg.robot}",
        f"run.device={cfg.sim.device}",
        f"run.seed={cfg.seed or 0}",
        f"run.motion_file={cfg.motion_file}",
        f"env.num_envs={cfg.scene.num_envs}",
        f"env.episode_length_s={cfg.episode_length_s}",
        f"env.task_mix={{{', '.join(f'{task}: {float(task == cfg.task)}' for task in POLICY_OBSERVATIONS)}}}",
        *cfg.overrides,
    ]


def _log(step: Step) -> dict[str, Any]:
    """Means over the episodes that ended in this step; empty if none did."""
    ended = step.ended
    if not bool(ended.any()):
        return {}
    rows = {name: x[ended].float() for name, x in step.episodes.items() if name not in ("task", "clip")}
    return {"log": {f"Episode/{name}": x.nanmean() for name, x in rows.items() if not bool(x.isnan().all())}}
