"""The one training loop: collect, update, log, until the run's budget is spent."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ..env import Env
from ..learning.learner import Learner
from ..learning.rollout import episode_metrics
from ..learning.world_model.learner import WorldModelLearner
from .clip_success import FEW, ClipSuccess
from .run import Run


class Hook:
    """Something that only some trainings do. Each method does nothing unless a hook overrides it.

    Attributes:
        kept: names of the attributes that a checkpoint keeps, in its `trainer`; other hooks have other names.
    """

    kept: Sequence[str] = ()

    def start(self) -> None:
        """Before the first iteration, after the run's checkpoint was loaded, if it has one."""

    def before_rollout(self, progress: float) -> dict[str, float]:
        """Before an iteration, when `progress` of the budget, 0 to 1, is spent. Returns metrics."""
        return {}

    def after_step(self) -> None:
        """After every step of the optimizer."""

    def after_update(self, iteration: int) -> dict[str, float]:
        """After an iteration's update. Returns metrics."""
        return {}

    def finish(self) -> None:
        """After the last iteration."""

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name in self.kept:
            setattr(self, name, state[name])


class _State:
    """The states of the learner, of all hooks and of the counts of successes, as one state."""

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
    """Train until the run's budget is spent, from its last checkpoint if it has one.

    Args:
        run: entered.
        env: whose first observation the learner has.
        hooks: called in this order.
        policy: what checkpoints hold; by default the policy that learns.
    """
    group = run.group
    parts = {"policy": policy or learner.policy, **learner.optimizers, "env": env}
    success = ClipSuccess(env.clip_names) if len(env.clip_names) > FEW else None
    counted = [] if success is None else [success]
    run.restore(parts | {"trainer": _State(learner, *hooks, *counted)})
    for hook in hooks:
        hook.start()

    def after_step() -> None:
        for hook in hooks:
            hook.after_step()

    for iteration in run:
        progress, metrics = run.progress, {}
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
        run.say("\n".join(["the clips that failed most, and their success:", *lines]))
