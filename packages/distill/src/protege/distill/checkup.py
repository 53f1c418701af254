"""Evaluation during training, by which the best weights are kept."""

from dataclasses import replace
from math import inf, isnan
from statistics import fmean

from protege.core.env import env_plugin
from protege.core.learning.policy import ActorCritic
from protege.core.runs.config import Config
from protege.core.runs.evaluation import run_episodes, summarize

from .tasks import TASK_FACTS

Score = list[float]
"""Mean success to the whole percent, then minus the mean error: of two lists the greater one is the better policy."""


class Checkup:
    """Evaluates a policy on the same episodes every time, in worlds of its own.

    Args:
        config: of the run; its environment is used, with each task's failure rule.
        tasks: to evaluate.
        episodes: of each task.
    """

    def __init__(self, config: Config, tasks: list[str], episodes: int) -> None:
        # Another seed than training's: commands that it has not seen.
        run = replace(config.run, seed=config.run.seed + 1)
        mix = dict.fromkeys(tasks, 1.0)
        env = replace(config.env, num_envs=episodes * len(tasks), task_mix=mix, mix_probability=0.0)
        self.env = env_plugin().make(run, env, evaluation=True)
        self.start = self.env.state_dict()

    def __call__(self, policy: ActorCritic) -> tuple[dict[str, float], Score]:
        """Metrics `evaluation/<task>/...`, and the score."""
        self.env.load_state_dict(self.start)
        rows = run_episodes(self.env, lambda obs: policy.distribution(obs)[0], self.env.num_envs)
        metrics: dict[str, float] = {}
        successes, errors = [], []
        for index, task in enumerate(self.env.task_names):
            facts, chosen = TASK_FACTS[task], rows["task"] == index
            summary = summarize({key: x[chosen] for key, x in rows.items()}, facts.column)
            metrics |= {
                f"evaluation/{task}/success": summary.success,
                f"evaluation/{task}/{facts.error}": summary.error,
            }
            successes.append(summary.success)
            errors.append(inf if isnan(summary.error) else summary.error)
        known = {name: value for name, value in metrics.items() if not isnan(value)}
        return known, [round(fmean(successes), 2), -fmean(errors)]

    def close(self) -> None:
        self.env.close()
