"""What a trainer asks of an environment, and how it finds one without importing a simulator."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Protocol

import torch
from torch import Tensor

from .errors import UserError
from .observations import FULL_STATE
from .robots.robot import Robot
from .robots.state import RobotState

Obs = dict[str, Tensor]
"""Named observations, each (N, ...). The names are fixed; see `ObservationShapes`."""


@dataclass
class Step:
    """What one environment step gave.

    Attributes:
        obs: what to act on next (of a new episode where the last one ended).
        reward: (N,).
        failed: (N,) bool, the episode ended and nothing follows.
        timed_out: (N,) bool, the episode was cut; its value goes on with `next_obs`. Never true where `failed` is.
        next_obs: the true next observation, before any reset; equal to `obs` where no episode ended.
        episodes: (N,) each, the episodes that each env was in: task (index into `Env.task_names`), length (steps), return,
            failed, with `Env.clip_names` also clip (index into them, -1 where none), and each metric's mean, max and last
            under `<metric>/mean`, ...; NaN where it has none. To be read where `ended`.
        invalid: (N,) bool, physics gave a NaN: the world was reset and this transition must not be trained on.
    """

    obs: Obs
    reward: Tensor
    failed: Tensor
    timed_out: Tensor
    next_obs: Obs
    episodes: dict[str, Tensor]
    invalid: Tensor

    @property
    def ended(self) -> Tensor:
        """(N,) bool, the episodes that this step ended."""
        return self.failed | self.timed_out


class Env(Protocol):
    """N envs of one robot. World i runs the task whose slice in `task_slices` holds i.

    What `step` returns may be overwritten by the next step: copy what is kept.
    """

    num_envs: int
    num_actions: int
    device: torch.device
    robot: Robot
    task_names: list[str]
    task_slices: dict[str, slice]
    clip_names: list[str]
    obs_shapes: dict[str, tuple[int, ...]]  # without the leading N

    def reset(self) -> Obs: ...
    def step(self, action: Tensor) -> Step:
        """One control step. action: (N, J), each joint's distance from its default angle in units of `Joint.action_scale`."""
        ...

    def statistics(self) -> list[Tensor]:
        """What the envs have counted to choose their commands by. Ranks average it, in place, once an iteration."""
        ...

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...
    def close(self) -> None: ...


class ImaginedEnv(Protocol):
    """M envs without physics: an env's tasks as differentiable functions of where the robots are.

    Rewards, ends and observations are those of the env that it was made from (`ImaginableEnv.imagine`).
    """

    task_counts: dict[str, int]  # envs of each task, one task after the other
    task_slices: dict[str, slice]

    def load(self, rows: Mapping[str, Tensor]) -> None:
        """Be asked what the rows say, by the names of `ImaginableEnv.rows`, (m, ...) each."""
        ...

    def advance(self, state: RobotState) -> tuple[Tensor, Tensor, Tensor]:
        """One control step on, which brought the robots to `state`. Returns reward (M,), failed (M,) and timed out (M,), bool."""
        ...

    def observe(self, state: RobotState) -> Obs:
        """What a policy sees now; without `history`."""
        ...


class ImaginableEnv(Env, Protocol):
    """An env that a policy can be trained for in imagination.

    Attributes:
        state: the robots now.
        target: (N, J) what the servos were asked for in the last step, rad.
        factor_ranges: least and largest value of what differs between the bodies of envs, by name; F of them, or none.
    """

    @property
    def factor_ranges(self) -> Mapping[str, tuple[float, float]]: ...
    @property
    def state(self) -> RobotState: ...
    @property
    def target(self) -> Tensor: ...

    def rows(self) -> dict[str, Tensor]:
        """Where each env is in what it is asked to do, (n, ...) each, by `<task>/<name>`; overwritten by the next step.

        Where envs differ in more than state and task, of all envs too:

        - `factors` (N, F): how their bodies differ, in the order of `factor_ranges`; 0 is the robot's description, and nothing
          is further off than 1.
        - `delay` (N,) control steps until an action arrives; `sent` (N, D, J), the last actions, newest first.
        - `pushed` (N,) bool, whether something unknown will push them in the next control step.
        """
        ...

    def imagine(self, num_envs: int, generator: torch.Generator) -> ImaginedEnv:
        """Imagined envs, dealt out among the tasks as these are; `generator` makes their draws.

        Raises:
            UserError: something in its config cannot be imagined.
        """
        ...


class EnvPlugin(Protocol):
    """What an entry point of the group `protege.envs` names."""

    config_class: type

    def robot(self, name: str) -> Robot:
        """The robot of that name, or of the robot file at that path; UserError if there is none."""
        ...

    def has_robot(self, name: str) -> bool:
        """Whether a robot of that name is installed, or a file is there."""
        ...

    def robot_settings(self, name: str) -> tuple[str, Mapping[str, Any]]:
        """A robot's own name, and parts of a config that hold for it unless a preset says otherwise, such as its speeds.

        Args:
            name: a name, or the path of a robot file.
        """
        ...

    def fastest_simulator(self, device: str, trained_in: str) -> str:
        """The installed simulator that evaluates a policy fastest on `device`, by name; `trained_in` is its training's."""
        ...

    def make(
        self, run: Any, env: Any, *, evaluation: bool = False, robot: Robot | None = None, sensors: str = FULL_STATE
    ) -> Env:
        """Build an environment from a RunConfig (robot, simulator, clips, seed, device) and its own config.

        Args:
            robot: instead of the one that `run.robot` names, where that may not be there any more.
            sensors: of `observations.SENSORS`: what the policy measures that acts in it. With onboard ones the environment observes
                `onboard`, `onboard_history` and `onboard_poses`, besides the full state.
        """
        ...


def env_plugin(name: str = "humanoid") -> EnvPlugin:
    """The environment that an installed package offers under `name`."""
    found = entry_points(group="protege.envs", name=name)
    if not found:
        raise UserError(
            f"no environment named {name!r} is installed", "Install the simulators: pip install protege-sim"
        )
    return next(iter(found)).load()
