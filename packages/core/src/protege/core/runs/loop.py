"""The training loop: collect, update, log, until the run's budget is spent."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ..env import Env
from ..learning.learner import Learner
from ..learning.rollout import episode_metrics
from ..learning.world_model.learner import WorldModelLearner
from .child import wait_for_start
from .clip_success import MAX_CLIP_METRICS, ClipSuccess
from .run import Run


class Hook:
    """An addition to the training loop. All methods do nothing by default.

    Attributes:
        saved_state: names of the attributes that are saved in a checkpoint, in its `trainer`; they must differ between hooks.
    """

    saved_state: Sequence[str] = ()

    def start(self) -> None:
        """Called before the first iteration, after the run's checkpoint, if any, was loaded."""

    def before_rollout(self, progress: float) -> dict[str, float]:
        """Called before an iteration; `progress` is the spent share of the budget, 0 to 1. Returns metrics."""
        return {}

    def after_step(self) -> None:
        """Called after every optimizer step."""

    def after_update(self, iteration: int) -> dict[str, float]:
        """Called after an iteration's update. Returns metrics."""
        return {}

    def finish(self) -> None:
        """Called after the last iteration."""

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.saved_state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name in self.saved_state:
            setattr(self, name, state[name])


class _State:
    """The states of the learner, all hooks and the clips' success, combined."""

    def __init__(self, *parts: Learner | WorldModelLearner | Hook | ClipSuccess) -> None:
        self.parts = parts

    def state_dict(self) -> dict[str, Any]:
        return {key: x for part in self.parts for key, x in part.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for part in self.parts:
            part.load_state_dict(state)


def train_loop(
    run: Run,
    env: Env,
    learner: Learner | WorldModelLearner,
    hooks: Sequence[Hook] = (),
    policy: nn.Module | None = None,
) -> None:
    """Train until the run's budget is spent, starting from its last checkpoint, if any.

    Args:
        run: inside its context.
        env: the one whose first observation the learner has.
        hooks: called in this order.
        policy: saved in checkpoints; by default the learner's.
    """
    group = run.group
    parts = {"policy": policy or learner.policy, **learner.optimizers, "env": env}
    success = ClipSuccess(env.clip_names) if len(env.clip_names) > MAX_CLIP_METRICS else None
    counts = [] if success is None else [success]
    wait_for_start(lambda: run.signals.requested)
    run.restore(parts | {"trainer": _State(learner, *hooks, *counts)})
    for hook in hooks:
        hook.start()

    def after_step() -> None:
        for hook in hooks:
            hook.after_step()

    for iteration in run:
        progress, metrics = run.progress, {}
        env.set_progress(progress)
        for hook in hooks:
            metrics |= hook.before_rollout(progress)
        episodes = learner.collect(env, iteration, progress)
        group.average(env.statistics())
        metrics |= learner.update(after_step)
        rows = group.gather_rows(episodes)
        metrics |= episode_metrics(rows, env.task_names, env.clip_names if success is None else ())
        metrics |= success.count(rows) if success is not None else {}
        for hook in hooks:
            metrics |= hook.after_update(iteration)
        notes = {} if success is None else {"worst_clips": success.worst()}
        run.log(metrics, samples=learner.samples, notes=notes)
    for hook in hooks:
        hook.finish()
    if success is not None and (lines := success.lines()):
        run.print_line("\n".join(["the clips that failed most, and their success:", *lines]))
