"""Evaluation during training, which selects the best weights."""

from collections.abc import Sequence
from dataclasses import replace
from math import inf, isnan
from statistics import fmean

from protege.core.env import Env, env_plugin
from protege.core.learning.policy import ActorCritic
from protege.core.runs.config import Config
from protege.core.runs.evaluation import run_episodes, summarize
from protege.core.runs.loop import Hook
from protege.core.runs.run import Run

from .tasks import EVALUATED

Score = list[float]
"""Mean success, rounded to whole percent, then the negative mean error; the policy with the greater list is better."""


class PeriodicEvaluation(Hook):
    """Evaluates a policy periodically on the same episodes, in separate envs, and saves the best one as best.ckpt.

    Attributes:
        best: score of best.ckpt; empty before the first evaluation.
        evaluated_at: iteration of the last evaluation.

    Args:
        run: its first rank evaluates.
        config: of the run; the evaluation uses its env config, with each task's failure rule.
        tasks: names of the tasks to evaluate.
        policy: acts with its mean actions.
    """

    saved_state = ("best", "evaluated_at")

    def __init__(self, run: Run, config: Config, tasks: Sequence[str], policy: ActorCritic) -> None:
        self.run, self.config, self.tasks, self.policy = run, config, tasks, policy
        self.interval = config.agent.evaluation_interval
        self.best: Score = []
        self.evaluated_at = -1
        self.env: Env | None = None

    def after_update(self, iteration: int) -> dict[str, float]:
        return self.evaluate() if self.interval and (iteration + 1) % self.interval == 0 else {}

    def finish(self) -> None:
        if self.run.finished and self.interval and self.evaluated_at < self.run.iteration - 1:
            self.run.log(self.evaluate(), samples=0)
            self.run.save()  # includes this evaluation
        if self.env:
            self.env.close()

    def evaluate(self) -> dict[str, float]:
        """Evaluate now and return the metrics; empty on ranks other than the first."""
        self.evaluated_at = self.run.iteration
        if not self.run.group.first:
            return {}
        metrics, score = self.measure()
        if score > self.best:
            self.best = score
            self.run.save_best(metrics)
        return metrics

    def measure(self) -> tuple[dict[str, float], Score]:
        """Play the episodes; returns metrics `evaluation/<task>/...` and the score."""
        if not self.env:
            self.env = self._make_env()
            self.initial_state = self.env.state_dict()
        self.env.load_state_dict(self.initial_state)
        rows = run_episodes(self.env, lambda obs: self.policy.distribution(obs)[0], self.env.num_envs)
        metrics: dict[str, float] = {}
        successes, errors = [], []
        for index, task in enumerate(self.env.task_names):
            definition, chosen = EVALUATED[task], rows["task"] == index
            summary = summarize({key: x[chosen] for key, x in rows.items()}, definition.column)
            metrics[f"evaluation/{task}/success"] = summary.success
            metrics[f"evaluation/{task}/{definition.metric}"] = summary.error
            successes.append(summary.success)
            errors.append(inf if isnan(summary.error) else summary.error)
        measured = {name: value for name, value in metrics.items() if not isnan(value)}
        return measured, [round(fmean(successes), 2), -fmean(errors)]

    def _make_env(self) -> Env:
        config, tasks = self.config, self.tasks
        run = replace(config.run, seed=config.run.seed + 1)  # other commands than in training
        mix, count = dict.fromkeys(tasks, 1.0), config.agent.evaluation_episodes * len(tasks)
        env = replace(config.env, num_envs=count, task_mix=mix, mix_probability=0.0)
        return env_plugin().make(run, env, evaluation=True, sensors=self.config.model.sensors)
