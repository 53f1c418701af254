"""The interface between training and environments. Environments are found through entry points, without importing a simulator."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from .errors import UserError
from .observations import FULL_STATE
from .plugins import entry_points
from .robots.robot import Robot
from .robots.state import RobotState

Obs = dict[str, Tensor]
"""Observations by name, (N, ...) each."""


@dataclass
class Step:
    """The result of one environment step.

    Attributes:
        obs: the observation for the next action. Where an episode ended, it is the first one of the next episode.
        reward: (N,).
        failed: (N,) bool, the episode terminated by failure. No value is bootstrapped.
        timed_out: (N,) bool, the episode was truncated. Its value is bootstrapped from `next_obs`. Never true where `failed` is.
        next_obs: the observation after the step, before any reset; equal to `obs` where no episode ended.
        episodes: (N,) each, data of each env's episode: task (index into `Env.task_names`), length (steps), return, failed;
            clip if there are `Env.clip_names` (index into them, -1 for none); and each metric's mean, max and last under
            `<metric>/mean`, ..., NaN if an env has no such metric. Valid where `ended`.
        invalid: (N,) bool, physics produced a NaN. The env was reset, and the transition must not be used for training.
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
        """(N,) bool, whether the env's episode ended in this step."""
        return self.failed | self.timed_out


class Env(Protocol):
    """N envs of one robot. Env i runs the task whose slice in `task_slices` contains i.

    The tensors that `step` returns may be overwritten by the next step: copy them to keep them.
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
        """Run one control step. action: (N, J), offsets from the default joint angles in units of `Joint.action_scale`."""
        ...

    def true_observations(self) -> Obs | None:
        """The last observations as they would be without sensor errors, for teachers' labels; None if the sensors have none."""
        ...

    def set_progress(self, progress: float) -> None:
        """Called before each iteration of a training, with the spent share of its budget, 0 to 1."""
        ...

    def statistics(self) -> list[Tensor]:
        """Counts that command sampling depends on. Ranks average them in place once per iteration."""
        ...

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...
    def close(self) -> None: ...


class ImaginedEnv(Protocol):
    """M envs without physics: an env's tasks as differentiable functions of the robots' states.

    Rewards, terminations and observations are those of the env that it was made from (`ImaginableEnv.imagine`).
    """

    task_counts: dict[str, int]  # number of envs of each task, in the order of the slices
    task_slices: dict[str, slice]

    def load(self, rows: Mapping[str, Tensor]) -> None:
        """Set the envs to the task states in `rows`, (m, ...) each, with the names of `ImaginableEnv.rows`."""
        ...

    def advance(self, state: RobotState) -> tuple[Tensor, Tensor, Tensor]:
        """Advance the tasks by the control step that led to `state`. Returns reward (M,), failed (M,) bool, timed out (M,) bool."""
        ...

    def observe(self, state: RobotState, last_action: Tensor | None = None) -> Obs:
        """The policy's observations of `state`, without histories; with `last_action` (M, J) also those of onboard sensors."""
        ...

    def onboard(self, state: RobotState, last_action: Tensor) -> Tensor:
        """What onboard sensors measure of `state` after `last_action` (M, J), (M, 6 + 3 J); see `observations.onboard`."""
        ...


class ImaginableEnv(Env, Protocol):
    """An env whose tasks a world model can train on in imagination.

    Attributes:
        state: the robots' current state.
        target: (N, J) the mean servo targets of the last step, rad.
        factor_ranges: smallest and largest value of each of the F factors by which the physics differs between envs or in time;
            may be empty.
    """

    @property
    def factor_ranges(self) -> Mapping[str, tuple[float, float]]: ...
    @property
    def state(self) -> RobotState: ...
    @property
    def target(self) -> Tensor: ...

    def rows(self) -> dict[str, Tensor]:
        """Each env's task state, (n, ...) each, by `<task>/<name>`; overwritten by the next step.

        With domain randomisation there are also, for all envs:

        - `factors` (N, F): how the bodies differ, in the order of `factor_ranges`; 0 is the nominal robot, and values are
          in [-1, 1].
        - `delay` (N,) control steps until an action takes effect, see `protege.core.delay.arriving`; `sent` (N, D, J) rad, the last
          targets, newest first.
        - `pushed` (N,) bool, whether an unobserved force acts on the robot in the next control step.
        """
        ...

    def imagine(self, num_envs: int, generator: torch.Generator) -> ImaginedEnv:
        """Make imagined envs, with the same share of envs per task; `generator` is their source of randomness.

        Raises:
            UserError: the config contains something that cannot be imagined.
        """
        ...


class EnvPlugin(Protocol):
    """The object that an entry point of the group `protege.envs` refers to."""

    config_class: type

    def robot(self, name: str) -> Robot:
        """Load a robot by its name or by the path of a robot file; UserError if there is none."""
        ...

    def has_robot(self, name: str) -> bool:
        """Whether a robot with this name is installed, or the path is a file."""
        ...

    def robot_settings(self, name: str) -> tuple[str, Mapping[str, Any]]:
        """A robot's name, and its config defaults, such as its speeds. Presets override them.

        Args:
            name: a name, or the path of a robot file.
        """
        ...

    def fastest_simulator(self, device: str, trained_in: str) -> str:
        """Name of the fastest installed simulator for evaluation on `device`; `trained_in` is the simulator of training."""
        ...

    def make(
        self, run: Any, env: Any, *, evaluation: bool = False, robot: Robot | None = None, sensors: str = FULL_STATE
    ) -> Env:
        """Build an environment from a RunConfig (robot, simulator, clips, seed, device) and its own config.

        Args:
            robot: used instead of the one that `run.robot` names, which may no longer be installed.
            sensors: the policy's sensors, one of `observations.SENSORS`. With `onboard` the observations `onboard`,
                `onboard_history` and `onboard_poses` are added to the full state.
        """
        ...


def env_plugin(name: str = "humanoid") -> EnvPlugin:
    """The environment that an installed package provides under `name`."""
    found = entry_points(group="protege.envs", name=name)
    if not found:
        raise UserError(
            f"no environment named {name!r} is installed", "Install the simulators: pip install protege-sim"
        )
    return next(iter(found)).load()
