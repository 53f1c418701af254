"""Envs without physics: the tasks of a `HumanoidEnv` as differentiable functions of the robots' states.

Commands, rewards, terminations and observations are the env's own objects and functions. The robots' states come from a world
model instead of a simulator, see `protege.core.learning.world_model`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from protege.core import observations
from protege.core.env import Obs
from protege.core.errors import UserError
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState
from protege.core.tasks import Modality

from .env_config import EnvConfig
from .observing import observe_tasks
from .onboard import Onboard
from .tasks.command import Command
from .tasks.task import TaskTerms, make_scenes, rewards_motion_quality
from .tasks.terms import MOTION_QUALITY


class ImaginedEnv:
    """Implements `protege.core.env.ImaginedEnv`.

    Args:
        robot: the robot of the envs.
        tasks: the tasks of the env, by name.
        shares: number of envs of each task in the env.
        shapes: see `env.command_shapes`.
        num_envs: M, assigned to the tasks in these proportions, at least one each.
        generator: makes the commands' draws.
        sensors: the env's onboard sensors, if any.

    Raises:
        UserError: there are fewer envs than tasks.
    """

    def __init__(
        self,
        robot: Robot,
        tasks: Mapping[str, TaskTerms],
        shares: Mapping[str, int],
        shapes: Sequence[tuple[Modality, tuple[int, ...]]],
        num_envs: int,
        generator: torch.Generator,
        sensors: Onboard | None = None,
    ) -> None:
        if num_envs < len(tasks):
            raise UserError(f"agent.imagined_envs is {num_envs}", f"There are {len(tasks)} tasks: one each")
        self.robot, self._shapes, self._sensors = robot, shapes, sensors
        self.task_counts: dict[str, int] = {}
        left, shared = num_envs, sum(shares.values())
        for others, (name, share) in zip(reversed(range(len(shares))), shares.items(), strict=True):
            count = min(left - others, max(1, round(left * share / shared)))
            self.task_counts[name], left, shared = count, left - count, shared - share
        self.tasks = {
            name: replace(task, command=task.command.twin(self.task_counts[name], generator))
            for name, task in tasks.items()
        }
        ends = accumulate(self.task_counts.values(), initial=0)
        self.task_slices = {name: slice(*part) for name, part in zip(self.tasks, pairwise(ends), strict=True)}
        # They require a gradient, as after every step, so that compiled code is compiled once.
        self._unmoved = {
            name: torch.zeros_like(task.command.reference.shift).requires_grad_() if task.command.carried else None
            for name, task in self.tasks.items()
        }
        # Only metrics use the past positions of the robots.
        self._trail = torch.zeros(num_envs, 1, 2, device=next(iter(self.tasks.values())).command.step.device)

    def load(self, rows: Mapping[str, Tensor]) -> None:
        """Put the envs where the rows say; see `HumanoidEnv.rows`."""
        for name, task in self.tasks.items():
            task.command.reference.moved = self._unmoved[name]
            for key, mine in task.command.rows().items():
                mine.copy_(rows[f"{name}/{key}"])

    def advance(self, state: RobotState) -> tuple[Tensor, Tensor, Tensor]:
        """One control step. Returns the reward (M,), with a gradient; failed, timed out (M,) bool."""
        still = RobotState(**{f.name: getattr(state, f.name).detach() for f in fields(state)})
        for name, task in self.tasks.items():
            part = self.task_slices[name]
            task.command.advance(still[part])
            task.command.clamp_to_plan()
            task.command.reference.follow(still[part])
            _carry_along(task.command, state[part], still[part])
        scenes = make_scenes(self.tasks, self.task_slices, state, self._trail, self.robot)
        rewards, failures, timeouts = [], [], []
        for name, task in self.tasks.items():
            over = task.command.over(still[self.task_slices[name]])
            broken = task.broken_rules(scenes[name], evaluation=False).values()
            rewards.append(task.reward(scenes[name]))
            failures.append(torch.stack([torch.zeros_like(over), *broken]).any(0))
            timeouts.append(over & ~failures[-1])
        return torch.cat(rewards), torch.cat(failures), torch.cat(timeouts)

    def observe(self, state: RobotState, last_action: Tensor | None = None) -> Obs:
        """The observations of `HumanoidEnv`, without noise and histories; with `last_action` also those of onboard sensors."""
        commands = [task.command for task in self.tasks.values()]
        seen = observe_tasks(commands, state, self._shapes, onboard=last_action is not None)
        own = {} if last_action is None else {"onboard": self.onboard(state, last_action)}
        return {"proprioception": observations.proprioception(state), **own, **seen}

    def onboard(self, state: RobotState, last_action: Tensor) -> Tensor:
        """See `Onboard.measure`."""
        assert self._sensors is not None
        return self._sensors.measure(state, last_action)


def _carry_along(command: Command, seen: RobotState, still: RobotState) -> None:
    """Give a reference that moves along with the robots the gradient of their horizontal positions.

    The command has already moved it, by the robots' positions without a gradient. Without this, tracking errors would have a
    gradient with respect to the robots' positions, although they do not depend on them.
    """
    if command.carried:
        there = seen.root_pos_w - still.root_pos_w
        command.reference.moved = torch.cat([there[:, :2], torch.zeros_like(there[:, 2:])], dim=1)


def check_imaginable(config: EnvConfig, *, rough: bool) -> None:
    """Check that an env can be imagined.

    Args:
        config: of the env.
        rough: whether its ground is not flat.

    Raises:
        UserError: it cannot; names the key.
    """
    if rewards_motion_quality(config):
        raise UserError(f"env: {', '.join(MOTION_QUALITY)} cannot be imagined", "Take these weights of rewards out")
    if rough:
        raise UserError("env.terrain.kind: rough ground cannot be imagined", "Take env.terrain.kind=flat")
