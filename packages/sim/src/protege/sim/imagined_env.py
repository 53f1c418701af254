"""Envs without physics: the tasks of a `HumanoidEnv` as differentiable functions of where the robots are.

Commands, rewards, ends and observations are the env's own objects and functions. What differs is who says where the robots go: a
model of the world, see `protege.core.learning.world_model`.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from protege.core import observations
from protege.core.env import Obs
from protege.core.errors import UserError
from protege.core.robots.state import RobotState

from .task_observations import observe_tasks
from .tasks.terms import Scene

if TYPE_CHECKING:
    from .env import HumanoidEnv


class ImaginedEnv:
    """Implements `protege.core.env.ImaginedEnv`.

    Args:
        env: whose tasks these are; must be on flat ground.
        num_envs: dealt out among the tasks as the env's are, at least one each.

    Raises:
        UserError: the env's ground is not flat, or there are fewer envs than tasks.
    """

    def __init__(self, env: "HumanoidEnv", num_envs: int) -> None:
        if env.floor is not None:
            raise UserError("env.terrain.kind: rough ground cannot be imagined", "Take env.terrain.kind=flat")
        if num_envs < len(env.task_slices):
            raise UserError(f"agent.imagined_envs is {num_envs}", f"There are {len(env.task_slices)} tasks: one each")
        self.robot, self._shapes, self.evaluation = env.robot, env.command_shapes, env.evaluation
        self.task_counts: dict[str, int] = {}
        left, envs = num_envs, env.num_envs
        for position, (name, part) in enumerate(env.task_slices.items()):
            others = len(env.task_slices) - position - 1
            count = min(left - others, max(1, round(left * (part.stop - part.start) / envs)))
            self.task_counts[name], left, envs = count, left - count, envs - (part.stop - part.start)
        self.tasks = {
            name: replace(env.tasks[name], command=env.tasks[name].command.twin(count))
            for name, count in self.task_counts.items()
        }
        # Metrics alone look at where robots have been.
        self._trail = torch.zeros(num_envs, 1, 2, device=env.device)

    def load(self, rows: Mapping[str, Tensor]) -> None:
        """Ask of the envs what the rows say; see `HumanoidEnv.rows`."""
        for name, task in self.tasks.items():
            for key, mine in task.command.rows().items():
                mine.copy_(rows[f"{name}/{key}"])

    def advance(self, state: RobotState) -> tuple[Tensor, Tensor, Tensor]:
        """One control step on: reward (M,), with a gradient; failed, timed out (M,) bool."""
        rewards, failures, timeouts = [], [], []
        for (_, task), (seen, still) in zip(self.tasks.items(), self._parts(state), strict=True):
            task.command.advance(still)
            scene = Scene(
                seen,
                task.command.reference.now(),
                task.command,
                self._trail[: len(seen.joint_pos)],
                self.robot.control_dt,
                self.robot,
            )
            rewards.append(task.reward(scene))
            broken = task.broken_rules(scene, evaluation=self.evaluation).values()
            failed = torch.stack([torch.zeros_like(task.command.over(still)), *broken]).any(0)
            failures.append(failed)
            timeouts.append(task.command.over(still) & ~failed)
        return torch.cat(rewards), torch.cat(failures), torch.cat(timeouts)

    def observe(self, state: RobotState) -> Obs:
        """As `HumanoidEnv` observes, without noise and `history`."""
        parts = [(task.command, seen) for task, (seen, _) in zip(self.tasks.values(), self._parts(state), strict=True)]
        return {"proprioception": observations.proprioception(state), **observe_tasks(parts, self._shapes)}

    def _parts(self, state: RobotState) -> list[tuple[RobotState, RobotState]]:
        """Each task's envs, with and without a gradient."""
        still = RobotState(**{f.name: getattr(state, f.name).detach() for f in fields(state)})
        return [(state[a:b], still[a:b]) for a, b in pairwise(accumulate(self.task_counts.values(), initial=0))]
