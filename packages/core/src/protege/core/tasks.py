"""Tasks and modalities, and the registry of those that installed packages provide.

A package provides its tasks through an entry point of the group `protege.tasks`, which refers to a sequence of `Task`. No other
list of tasks exists: observations, tokens, teachers, evaluations, exported inputs and their checks are derived from this one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from .errors import UserError
from .plugins import entry_points
from .robots.state import RobotState


@dataclass(frozen=True)
class InputSpec:
    """A raw input of a command. In an env a plan provides it; in deployment the user does.

    Attributes:
        name: of the exported model's input.
        shape: without the leading N.
        unit: `m`, `rad`, ...; `1` for a pure number.
        frame: `world`, or empty.
        description: for the user.
        dtype: `float32` or `bool`.
    """

    name: str
    shape: tuple[int, ...]
    unit: str
    frame: str
    description: str
    dtype: str = "float32"


@dataclass(frozen=True)
class Modality:
    """A kind of command that a policy can be given.

    It has two observations: `<name>`, (N, *shape), zero where it is not commanded, and `<name>_mask`, (N,) bool, true where it is.

    Attributes:
        name: of the observation, and of the policy's token.
        shape: the task's parameters -> the observation's shape without the leading N.
        inputs: that shape -> the raw inputs that the observation is computed from.
        observe: (the robots' state, raw inputs (N, ...) by name) -> the observation. A pure function of tensors: the env calls it,
            and the exported graph contains it. For policies with onboard sensors it may use only the root's horizontal position
            and heading from the state.
    """

    name: str
    shape: Callable[[Any], tuple[int, ...]]
    inputs: Callable[[tuple[int, ...]], tuple[InputSpec, ...]]
    observe: Callable[[RobotState, Mapping[str, Tensor]], Tensor]

    def observe_where(self, mask: Tensor, state: RobotState, inputs: Mapping[str, Tensor]) -> Tensor:
        """The observation, set to zero where mask (N,) is False."""
        value = self.observe(state, inputs)
        return torch.where(mask.reshape(-1, *[1] * (value.ndim - 1)), value, torch.zeros_like(value))


@dataclass(frozen=True)
class Variant:
    """A task with other parameters, evaluated separately as `<task>/<variant>`."""

    title: str
    params: Any


@dataclass(frozen=True)
class Task:
    """A task that envs can run.

    Attributes:
        name: in `env.task_mix`.
        title: for display.
        kind: of the policies trained on it, as in checkpoints and presets.
        option: name of its evaluation, `masked_mimic/tasks/<option>`.
        config_class: dataclass of its parameters.
        config_key: key of its parameters in the env's config.
        build: the env's context -> the task of a group of envs (`protege.sim.tasks.task`).
        metric: measured in each episode.
        unit: of the metric.
        statistic: how an episode's error is computed from the metric: its mean over the episode, or its last value.
        failure_rule: its parameters -> when an evaluation episode fails, as a phrase that follows "fails if".
        strict_limit: under the strict rule an episode fails if the metric ever exceeds this; None for no strict rule.
        modality: of its commands; None if the policy is commanded by the reference's poses.
        teacher: which of `agent.teacher_models` labels its envs; by default the one of its kind.
        unified: whether a student is evaluated on it by default, and it has a gymnasium id.
        mixes: whether its envs may also have commands of other tasks (`env.mix_probability`).
        variants: evaluated in place of the task itself, by name.
        reward_weights: its parameters -> the weight of each reward term.
        command_ranges: its parameters -> ranges of the training commands: minimum, maximum and unit, by name.
        evaluation_only: names of parameters that training does not use; they may change when a run is resumed.
        reference_seconds: the env's config, its parameters -> seconds of reference motion stored for each random command.
        trace: its command -> desired root position now, (n, 2) m in the world frame, to be drawn on a map; None for no map.
    """

    name: str
    title: str
    kind: str
    option: str
    config_class: type
    config_key: str
    build: Callable[[Any], Any]
    metric: str
    unit: str
    failure_rule: Callable[[Any], str]
    statistic: Literal["mean", "last"] = "mean"
    strict_limit: float | None = None
    modality: Modality | None = None
    teacher: str = ""
    unified: bool = True
    mixes: bool = False
    variants: Mapping[str, Variant] = field(default_factory=dict)
    reward_weights: Callable[[Any], Mapping[str, float]] = lambda params: params.rewards
    command_ranges: Callable[[Any], Mapping[str, tuple[float, float, str]]] = lambda params: {}
    evaluation_only: tuple[str, ...] = ()
    reference_seconds: Callable[[Any, Any], float] = lambda config, params: 0.0
    trace: Callable[[Any], Tensor] | None = None

    @property
    def column(self) -> str:
        """The column of `Step.episodes` that holds an episode's error."""
        return f"{self.metric}/{self.statistic}"

    @property
    def taught_by(self) -> str:
        """Kind of the teacher that labels its envs; see `teacher`."""
        return self.teacher or self.kind


@cache
def tasks() -> Mapping[str, Task]:
    """All tasks that installed packages provide, by name.

    Raises:
        UserError: two tasks have the same name.
    """
    found: dict[str, Task] = {}
    for entry in sorted(entry_points(group="protege.tasks"), key=lambda entry: entry.name):
        for task in entry.load():
            if task.name in found:
                raise UserError(f"two installed packages offer a task {task.name!r}", f"Remove one: {entry.value}")
            found[task.name] = task
    return found


def modalities() -> Mapping[str, Modality]:
    """All modalities by name, in the order of `tasks`."""
    return {task.modality.name: task.modality for task in tasks().values() if task.modality is not None}
