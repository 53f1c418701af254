"""What robots do during an evaluation, recorded before each control step: where episodes start, paths, and poses for films."""

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from protege.core.env import Env
from protege.core.motions import Clip
from protege.core.tasks import Task

TRACED_ENVS = 6
FILMED_ENVS, FILMED_STEPS = 64, 4000
"""Poses are recorded of the first envs and control steps only, at most about 100 MB."""


class Recording:
    """Records the envs of one task; call `record` before each step of `run_episodes`.

    Args:
        films: whether poses are recorded.
    """

    def __init__(self, env: Env, task: Task, *, films: bool = False) -> None:
        self.env, self.task, self.films = cast(Any, env), task, films
        self.traced, self.filmed = (slice(0, min(count, env.num_envs)) for count in (TRACED_ENVS, FILMED_ENVS))
        self.command = self.env.tasks[task.name].command
        self.starting: list[Tensor] = []
        self.clip_times: list[Tensor] = []
        self.points: list[Tensor] = []
        self.poses: list[Tensor] = []

    def record(self) -> None:
        """Record the robots' present states."""
        self.starting.append(self.env.log.length == 0.0)
        self.clip_times.append(self.command.clip_time)
        if self.task.trace is not None:
            target = self.task.trace(self.command)
            self.points.append(torch.cat([self.env.state.root_pos_w[:, :2], target], dim=1)[self.traced])
        if self.films and len(self.poses) < FILMED_STEPS:
            state, floor = self.env.state, self.env.floor
            root = state.root_pos_w if floor is None else floor.above(state.body_pos_w)[:, 0]
            self.poses.append(torch.cat([root, state.root_quat_w, state.joint_pos], dim=1)[self.filmed])

    def first_steps(self, rows: dict[str, Tensor]) -> Tensor:
        """The step in which each episode began, (E,), for E rows of `run_episodes`, which are in the order of envs."""
        each = len(rows["env_id"]) // self.env.num_envs
        starting = torch.stack(self.starting).cpu()
        return torch.cat([env.nonzero().squeeze(1)[:each] for env in starting.unbind(dim=1)])

    def episodes(self, rows: dict[str, Tensor]) -> dict[str, np.ndarray]:
        """How to find each episode again, and why it failed, (E,) each.

        These are its env, its length and its start within its clip (s), its clip, and its cause of failure. Without a clip the
        start is NaN; texts may be empty.
        """
        cpu = {key: x.cpu() for key, x in rows.items()}
        env, names = cpu["env_id"], np.array([*self.env.clip_names, ""])
        clip = cpu["clip"] if "clip" in cpu else torch.full_like(env, -1)
        start = torch.stack(self.clip_times).cpu()[self.first_steps(rows), env]
        causes = {key.removeprefix("failed_by/"): x for key, x in cpu.items() if key.startswith("failed_by/")}
        explained = [", ".join(name for name, x in causes.items() if x[i]) for i in range(len(env))]
        return {
            "env": env.numpy(),
            "length_s": cpu["length"].double().numpy() * self.env.robot.control_dt,
            "clip": names[clip.numpy()],
            "clip_start_s": start.double().numpy(),
            "cause": np.array(
                [text or "physics" if f else "" for text, f in zip(explained, cpu["failed"], strict=True)]
            ),
        }

    def paths(self, rows: dict[str, Tensor]) -> list[np.ndarray]:
        """Paths in the first episodes of a few envs, each (T, 4) m for T steps: x and y of the root, then of its target."""
        if not self.points:
            return []
        points = torch.stack(self.points).cpu().numpy()
        envs, lengths = rows["env_id"].tolist(), rows["length"].tolist()
        return [points[: int(lengths[envs.index(i)]), i] for i in range(points.shape[1])]

    def recorded(self, rows: dict[str, Tensor]) -> Tensor:
        """Which episodes can be filmed, (E,) bool: all their poses were recorded."""
        last = self.first_steps(rows) + rows["length"].cpu()
        return (rows["env_id"].cpu() < self.filmed.stop) & (last <= len(self.poses))

    def motion(self, rows: dict[str, Tensor], episode: int) -> Clip:
        """The poses of an episode that `recorded` contains; on rough ground their heights are those above the ground."""
        first, steps = int(self.first_steps(rows)[episode]), int(rows["length"][episode])
        poses = torch.stack([x[int(rows["env_id"][episode])] for x in self.poses[first : first + steps]])
        root, quat, joints = poses.double().cpu().split([3, 4, poses.shape[1] - 7], dim=1)
        time = self.env.robot.control_dt * np.arange(steps)
        return Clip(f"episode {episode}", time, root.numpy(), quat.numpy(), joints.numpy())
