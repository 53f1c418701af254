"""The environment: N worlds of one robot, split among tasks.

One step: act, physics, refresh once, terms, reset. Each task owns a contiguous slice of the worlds and is a command plus
dicts of terms (`tasks/`); observations come from `protege.core.observations` and are the same for every task.
"""

from typing import Any

import torch
from torch import Tensor

from protege.core import observations
from protege.core.env import Obs, Step
from protege.core.errors import UserError
from protege.core.motion import Clip, MotionLibrary
from protege.core.robot import Robot
from protege.core.state import RobotState

from .commands.gait import Gait, choose_clip
from .commands.masks import MaskSampler
from .env_config import EnvConfig
from .episodes import EpisodeLog
from .simulator import Simulator
from .tasks import LOCOMOTION, TASKS, Task, TaskContext
from .terms import Scene


class HumanoidEnv:
    """Implements `protege.core.env.Env`.

    Args:
        simulator: physics of N worlds.
        clips: what is tracked, and what path, goal and steering references are warped from.
        config: the environment's config.
        seed: of every random draw in here.
        evaluation: end episodes by the tasks' failure rules instead of training's terminations.
    """

    def __init__(
        self, simulator: Simulator, clips: list[Clip], config: EnvConfig, seed: int, *, evaluation: bool = False
    ) -> None:
        self.simulator, self.config, self.evaluation = simulator, config, evaluation
        self.robot: Robot = simulator.robot
        self.device, self.num_envs, self.num_actions = simulator.device, simulator.num_envs, self.robot.num_joints
        if config.steering_params.obs_size not in (3, 5):
            raise UserError(
                f"env.steering_params.obs_size is {config.steering_params.obs_size}",
                "Take 3 (direction, speed) or 5 (and the direction to face)",
            )
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.library = MotionLibrary(clips, self.robot, self.device)
        self.masks = MaskSampler(config.masked_mimic_params, self.robot, len(config.future_frames), self.device)
        self.default_joint_pos = self.robot.default_pose(self.device)
        self._gait: Gait | None = None
        self._clips = clips
        n, p = self.num_envs, observations.proprioception_size(self.robot.num_bodies, self.robot.num_joints)
        k, b = len(config.future_frames), self.robot.num_bodies
        self.obs_shapes: dict[str, tuple[int, ...]] = {
            "proprioception": (p,),
            "history": (config.history_steps, p),
            "poses": (k, b, observations.POSE_FEATURES),
            "reference_joint_pos": (self.robot.num_joints,),
            "pose_mask": (k, b),
            "path": (10, 2),
            "goal": (3,),
            "steering": (config.steering_params.obs_size,),
            "command_mask": (3,),
        }
        self.history = torch.zeros(n, config.history_steps, p, device=self.device)
        self.proprioception = torch.zeros(n, p, device=self.device)
        self.trail = torch.zeros(n, round(1.0 / self.robot.control_dt) + 1, 2, device=self.device)
        self.invalid_count = 0
        self._deal(config.task_mix)

    @property
    def state(self) -> RobotState:
        return self.simulator.state

    # Tasks -------------------------------------------------------------------------------------------------------------

    def set_task_mix(self, mix: dict[str, float]) -> Obs:
        """Deal the worlds out anew among tasks, by weight, and reset them all."""
        self._deal(mix)
        return self.reset()

    def _deal(self, mix: dict[str, float]) -> None:
        if unknown := set(mix) - set(TASKS):
            raise UserError(f"env.task_mix: unknown task {min(unknown)!r}", f"Known: {', '.join(TASKS)}")
        weights = {name: weight for name, weight in mix.items() if weight > 0.0}
        if not weights or len(weights) > self.num_envs:
            raise UserError("env.task_mix: needs a positive weight, and a world for each task", f"It is {dict(mix)}")
        total, edges, cumulative = sum(weights.values()), [0], 0.0
        for left, weight in zip(range(len(weights) - 1, -1, -1), weights.values(), strict=True):
            cumulative += weight
            edges.append(min(max(round(self.num_envs * cumulative / total), edges[-1] + 1), self.num_envs - left))
        self.task_names = list(weights)
        self.task_slices = {name: slice(edges[i], edges[i + 1]) for i, name in enumerate(weights)}
        self.tasks: dict[str, Task] = {name: self._build(name, part) for name, part in self.task_slices.items()}
        task_ids = torch.zeros(self.num_envs, dtype=torch.long, device=self.device)
        for index, part in enumerate(self.task_slices.values()):
            task_ids[part] = index
        self.log = EpisodeLog(task_ids, {name: list(task.metrics) for name, task in self.tasks.items()})

    def _build(self, name: str, part: slice) -> Task:
        if name in LOCOMOTION and self._gait is None:
            self._gait = Gait(choose_clip(self._clips), self.robot, self.device)
        context = TaskContext(
            n=part.stop - part.start,
            config=self.config,
            robot=self.robot,
            library=self.library,
            gait=self._gait,
            masks=self.masks,
            generator=self.generator,
            device=self.device,
            evaluation=self.evaluation,
        )
        return TASKS[name](context)

    # The loop ----------------------------------------------------------------------------------------------------------

    def reset(self) -> Obs:
        """Start a new episode in every world."""
        self._reset_worlds(torch.arange(self.num_envs, device=self.device))
        return self._observe()

    @torch.no_grad()
    def step(self, action: Tensor) -> Step:
        """One control step of every world. action: (N, J) rad about the default pose."""
        invalid = self.simulator.step(self.default_joint_pos + action)
        self.history = torch.cat([self.proprioception.unsqueeze(1), self.history[:, :-1]], dim=1)
        self.trail = torch.cat([self.trail[:, 1:], self.state.root_pos_w[:, None, :2]], dim=1)

        reward = torch.zeros(self.num_envs, device=self.device)
        failed, timed_out = torch.zeros_like(invalid), torch.zeros_like(invalid)
        broken: dict[str, Tensor] = {}
        for name, part in self.task_slices.items():
            task = self.tasks[name]
            task.command.advance(self.state[part])
            scene = self._scene(task, part)
            for weight, term in task.rewards.values():
                reward[part] += weight * term(scene)
            rules = task.failures if self.evaluation else task.terminations
            for cause, rule in rules.items():
                broken.setdefault(cause, torch.zeros_like(invalid))[part] = rule(scene)
                failed[part] |= broken[cause][part]
            timed_out[part] = task.command.step >= task.command.last_step
            for metric, term in task.metrics.items():
                self.log.add(metric, part, *term(scene))
        failed |= invalid
        timed_out &= ~failed
        self.log.step(reward)
        next_obs = self._observe()

        ended = (failed | timed_out).nonzero().squeeze(1)
        episodes = self.log.finish(ended, failed[ended])
        episodes |= {f"failed_by/{cause}": worlds[ended] for cause, worlds in broken.items()}
        obs = next_obs
        if len(ended):
            self.invalid_count += int(invalid.sum())
            self._reset_worlds(ended)
            fresh = self._observe(ended)
            obs = {key: value.index_copy(0, ended, fresh[key]) for key, value in next_obs.items()}
        return Step(obs, reward, failed, timed_out, next_obs, episodes, invalid)

    def _scene(self, task: Task, part: slice) -> Scene:
        state = self.state[part]
        reference = task.command.window.now(slice(None))
        reference.body_pos_w = reference.body_pos_w + task.command.anchor(state, slice(None))[:, None]
        return Scene(state, reference, task.command, self.trail[part], self.robot.control_dt, self.robot)

    def _reset_worlds(self, env_ids: Tensor) -> None:
        """Put these worlds (ascending) at the start of new episodes."""
        for name, part in self.task_slices.items():
            ids = env_ids[(env_ids >= part.start) & (env_ids < part.stop)]
            if len(ids):
                start = self.tasks[name].command.reset(ids - part.start)
                self.simulator.write(
                    ids,
                    start.root_pos_w,
                    start.root_quat_w,
                    start.root_lin_vel_w,
                    start.root_ang_vel_w,
                    start.joint_pos,
                    start.joint_vel,
                )
        proprioception = observations.proprioception(self.state[env_ids])
        self.history[env_ids] = proprioception.unsqueeze(1)
        self.trail[env_ids] = self.state.root_pos_w[env_ids, None, :2]

    def _observe(self, env_ids: Tensor | None = None) -> Obs:
        """Observations of all worlds, or of some (ascending)."""
        chosen = self.state if env_ids is None else self.state[env_ids]
        now = observations.proprioception(chosen)
        self.proprioception = now if env_ids is None else self.proprioception.index_copy(0, env_ids, now)
        parts: list[Obs] = []
        for name, part in self.task_slices.items():
            command = self.tasks[name].command
            rows: Tensor | slice = slice(None)
            state = self.state[part]
            if env_ids is not None:
                rows = env_ids[(env_ids >= part.start) & (env_ids < part.stop)] - part.start
                state = state[rows]
            pos, quat = command.window.future(rows)
            shift = command.anchor(state, rows)[:, None, None]
            parts.append(
                {
                    **command.observe(state, rows),
                    "poses": observations.poses(state, pos + shift, quat),
                    "reference_joint_pos": command.window.next_joint_pos(rows),
                }
            )
        joined = parts[0] if len(parts) == 1 else {key: torch.cat([p[key] for p in parts]) for key in parts[0]}
        history = self.history if env_ids is None else self.history[env_ids]
        return {"proprioception": now, "history": history, **joined}

    # Saving ------------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything that an exact continuation needs, as tensors and numbers."""
        return {
            "task_mix": {name: part.stop - part.start for name, part in self.task_slices.items()},
            "simulator": self.simulator.state_dict(),
            "commands": {name: task.command.state_dict() for name, task in self.tasks.items()},
            "history": self.history.clone(),
            "proprioception": self.proprioception.clone(),
            "trail": self.trail.clone(),
            "log": self.log.state_dict(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken: same config, seed and number of worlds."""
        if state["task_mix"] != {name: part.stop - part.start for name, part in self.task_slices.items()}:
            self._deal({name: float(count) for name, count in state["task_mix"].items()})
        self.simulator.load_state_dict(state["simulator"])
        for name, saved in state["commands"].items():
            self.tasks[name].command.load_state_dict(saved)
        self.history, self.proprioception = state["history"].clone(), state["proprioception"].clone()
        self.trail = state["trail"].clone()
        self.log.load_state_dict(state["log"])
        self.generator.set_state(state["generator"])

    def close(self) -> None:
        self.simulator.close()
