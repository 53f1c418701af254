"""What a task is: one object, from which everything that lists tasks is derived.

An installed package offers its tasks by an entry point of the group `protege.tasks`, which names a sequence of `Task`. Nothing else
has to know them: observations, tokens, teachers, evaluations, exported inputs and their checks are all read from here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Literal

import torch
from torch import Tensor

from .errors import UserError
from .robots.state import RobotState


@dataclass(frozen=True)
class InputSpec:
    """A raw value of a command: what a plan gives to an env, and a user to the exported policy.

    Attributes:
        name: of the exported model's input.
        shape: without the leading N.
        unit: `m`, `rad`, ...; `1` for a pure number.
        frame: `world`, or empty.
        description: in words.
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
    """What a policy can be commanded by.

    Two observations hold it: `<name>`, (N, *shape), zero where nothing is commanded, and `<name>_mask`, (N,) bool, where it is.

    Attributes:
        name: of the observation, and of the policy's token.
        shape: the task's parameters -> the observation's shape without the leading N.
        inputs: that shape -> the raw values that the observation is made of.
        observe: (the robots' state, raw values (N, ...) by name) -> the observation. A pure function of tensors: the env calls it,
            and the exported graph contains it. For policies with onboard sensors it must look at no more of the state than where
            the root is over the ground and where it faces.
    """

    name: str
    shape: Callable[[Any], tuple[int, ...]]
    inputs: Callable[[tuple[int, ...]], tuple[InputSpec, ...]]
    observe: Callable[[RobotState, Mapping[str, Tensor]], Tensor]

    def observe_where(self, mask: Tensor, state: RobotState, inputs: Mapping[str, Tensor]) -> Tensor:
        """The observation, zero where mask (N,) is False."""
        value = self.observe(state, inputs)
        return torch.where(mask.reshape(-1, *[1] * (value.ndim - 1)), value, torch.zeros_like(value))


@dataclass(frozen=True)
class Variant:
    """A task with other parameters, evaluated on its own as `<task>/<variant>`."""

    title: str
    params: Any


@dataclass(frozen=True)
class Task:
    """What envs may ask of the robot.

    Attributes:
        name: in `env.task_mix`.
        title: for people.
        kind: of the policies that are trained on it, as checkpoints and presets call them.
        option: its evaluation, `masked_mimic/tasks/<option>`.
        config_class: dataclass of its parameters.
        config_key: where they stand in the env's config.
        build: the env's context -> the task as some envs play it (`protege.sim.tasks.task`).
        metric: what is measured on each episode.
        unit: of that metric.
        statistic: which of its values is an episode's error: the mean over the episode, or the last.
        failure_rule: its parameters -> when an evaluated episode has failed, in words that follow "fails if".
        strict_limit: an episode in which the metric ever exceeds this has failed by the stricter rule; None for no such rule.
        modality: what its policies are commanded by; None if it is the reference's poses.
        teacher: which of `agent.teacher_models` labels its envs; by default that of its kind.
        unified: whether a student is evaluated on it by default, and gymnasium has an id of it.
        mixes: whether its envs may also show the commands of other tasks (`env.mix_probability`).
        variants: evaluated in place of the task itself, by name.
        reward_weights: its parameters -> the weight of each reward term.
        command_ranges: its parameters -> what training's commands are drawn from: least, greatest and unit, by name.
        evaluation_only: names of those of its parameters that training does not read: they may change when a run goes on.
        reference_seconds: the env's config, its parameters -> seconds of reference motion that are stored for each random command.
        trace: its command -> where the root should be now, (n, 2) m in the world, to be drawn on a map; None for no map.
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
        """See `teacher`."""
        return self.teacher or self.kind


@cache
def tasks() -> Mapping[str, Task]:
    """All tasks that installed packages offer, by name.

    Raises:
        UserError: two have the same name.
    """
    found: dict[str, Task] = {}
    for entry in sorted(entry_points(group="protege.tasks"), key=lambda entry: entry.name):
        for task in entry.load():
            if task.name in found:
                raise UserError(f"two installed packages offer a task {task.name!r}", f"Remove one: {entry.value}")
            found[task.name] = task
    return found


def modalities() -> Mapping[str, Modality]:
    """What policies can be commanded by, by name, in the order of `tasks`."""
    return {task.modality.name: task.modality for task in tasks().values() if task.modality is not None}
