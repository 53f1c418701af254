"""The distillation: the student acts, each world's teacher says what it would have done there, the student learns from both.

On-policy imitation (DAgger, Ross et al. 2011, arXiv 1011.0686) with the teachers' distributions and values, and PPO on the tasks'
own rewards once the student can imitate.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from protege.core.env import Env, Obs
from protege.core.learning.cuda_graph import Recorded
from protege.core.learning.optim import adamw, backward, guarded_step
from protege.core.learning.policy import ActorCritic, PolicySample, log_prob
from protege.core.learning.ppo import normalize_advantage
from protege.core.learning.process_group import ALONE, World
from protege.core.learning.rollout import RolloutBuffer, collect

from . import losses
from .averaging import WeightAverage
from .config import TEACHER_OF_TASK, DistillConfig
from .curriculum import learning_rate, ppo_factor, teacher_share
from .teachers_by_task import Tutors

DUAL_CLIP = 3.0
LOG_RATIO_LIMIT = 20.0
"""Imitation moves the policy much further within a rollout than PPO would: see `ppo_loss`. Beyond this its ratio would overflow."""


class Distiller:
    """Improves a student from rollouts that its teachers have labelled.

    Attributes:
        average: the moving average of the student's weights, which is what the run saves and evaluates.

    Args:
        student: on `device` already.
        tutors: the teachers.
        config: see DistillConfig.
        device: of the student and the rollouts.
        seed: of action noise and minibatch order.
        world: the ranks that train this student.
    """

    def __init__(
        self,
        student: ActorCritic,
        tutors: Tutors,
        config: DistillConfig,
        device: torch.device | str,
        seed: int = 0,
        world: World = ALONE,
    ) -> None:
        self.student, self.tutors, self.config, self.world = student, tutors, config, world
        self.generator = torch.Generator(device).manual_seed(seed)
        self.optimizer = adamw([(x.parameters(), config.learning_rate) for x in (student.actor, student.critic)])
        self.average = WeightAverage(student, config.weight_averaging)
        self.updates = 0
        self.ppo_factor = torch.zeros((), device=device)
        # Recorded anew when tasks or the loss's terms change, with the curriculum.
        self.gradients = lru_cache(1)(lambda *key: Recorded(partial(self._gradients, *key), device))
        self.labels = lru_cache(1)(lambda *slices: Recorded(partial(tutors.label, task_slices=dict(slices)), device))

    def make_buffer(self, obs: Obs, num_actions: int) -> RolloutBuffer:
        """A buffer with room for the labels, the task of each world, and whether the student acted."""
        labels = {"teacher_mean": (num_actions,), "teacher_std": (num_actions,), "teacher_value": ()}
        kept = {key: obs[key] for key in self.student.obs_keys}
        return RolloutBuffer(kept, self.config.rollout_steps, num_actions, {**labels, "task": (), "acted": ()})

    def collect(
        self, env: Env, buffer: RolloutBuffer, obs: Obs, iteration: int, progress: float = 0.0
    ) -> tuple[Obs, dict[str, Tensor]]:
        """Fill the buffer; see `rollout.collect`. In some worlds the teachers act, see `teacher_iterations`.

        Args:
            progress: share of the run's budget that is spent; see `imitation_noise`.
        """
        noise = 1.0 if ppo_factor(self.config, progress) > 0.0 else self.config.imitation_noise
        draw = torch.rand(env.num_envs, 1, generator=self.generator, device=env.device)
        teacher_acts = draw < teacher_share(self.config, iteration)
        task = torch.zeros(env.num_envs, device=env.device)
        for index, part in enumerate(env.task_slices.values()):
            task[part] = index
        fixed = {"task": task, "acted": (~teacher_acts).squeeze(1).float()}
        labels = self.labels(*env.task_slices.items())

        def label(obs: Obs) -> dict[str, Tensor]:
            return labels(obs) | fixed

        def behave(sample: PolicySample, labels: dict[str, Tensor]) -> Tensor:
            mean = torch.where(teacher_acts, labels["teacher_mean"], sample.mean)
            return mean + noise * (sample.action - sample.mean)

        return collect(env, self.student, buffer, obs, self.generator, label, behave)

    def update(self, buffer: RolloutBuffer, tasks: Sequence[str], progress: float) -> dict[str, float]:
        """Train on a full buffer. Returns metrics averaged over the minibatches.

        Args:
            tasks: names of the tasks, in the order of the environment's slices.
            progress: share of the run's budget that is spent.
        """
        cfg, student, data, world = self.config, self.student, buffer.data, self.world
        buffer.compute_returns(cfg.gamma, cfg.lam)
        data["advantage"].copy_(normalize_advantage(data["advantage"], buffer.weight * data["acted"], world))
        # Both of the critic's targets shape its units.
        targets = torch.cat([data["return"], data["teacher_value"]])
        with world.pooling(student.critic):
            student.critic.update(targets, buffer.weight.repeat(2, 1))
        for group in self.optimizer.param_groups:
            group["lr"].fill_(learning_rate(cfg, progress))
        factor = ppo_factor(cfg, progress)
        self.ppo_factor.fill_(factor)
        gradients = self.gradients(tuple(tasks), factor > 0.0)
        keys = ("action", "log_prob", "advantage", "return", *buffer.extra)
        history = [
            self._minibatch(gradients, obs, batch)
            for _ in range(cfg.epochs)
            for obs, batch in buffer.minibatches(cfg.minibatches, keys, self.generator)
        ]
        # Last, so that the log-probabilities of the rollout were those of the policy that acted.
        with world.pooling(student.tokenizer):
            for obs, valid in buffer.steps():
                student.update_normalizers(obs, valid)
        self.average.copy_buffers(student)
        table = torch.stack([torch.stack(list(row.values())) for row in history])
        values = dict(zip(history[0], table.nanmean(0).tolist(), strict=True))
        metrics = {name: value for name, value in values.items() if value == value}
        metrics["agent/skipped_updates"] = metrics["agent/skipped_updates"] * len(history)
        metrics["agent/invalid_fraction"] = 1.0 - buffer.weight.mean().item()
        return metrics | {"learning_rate": learning_rate(cfg, progress), "agent/ppo_factor": factor}

    def term_weights(self, factor: float | Tensor) -> dict[str, float | Tensor]:
        """Weight of each loss term when PPO is on by `factor`."""
        cfg = self.config
        return {
            "actor/distillation_loss": cfg.distillation_weight,
            "actor/kl_loss": cfg.kl_weight,
            "actor/ppo_loss": cfg.ppo_weight * factor,
            "actor/bounds_loss": cfg.bounds_loss_weight,
            "critic/value_distillation_loss": cfg.value_distillation_weight,
            "critic/value_loss": cfg.value_weight * factor,
        }

    def terms(
        self, output: tuple[Tensor, Tensor, Tensor], batch: Mapping[str, Tensor], task_weight: Tensor
    ) -> dict[str, Tensor]:
        """All loss terms of a minibatch of M rows, before their weights.

        Args:
            output: the student's mean, std (M, J) and value (M,).
            batch: of the buffer: action, log_prob, advantage, return, weight and its extra quantities.
            task_weight: weight of each task's teacher, by the task's index.
        """
        mean, std, value = output
        cfg, valid, scale = self.config, batch["weight"], self.student.critic.scale
        taught = valid * task_weight[batch["task"].long()]
        teacher_mean, teacher_std = batch["teacher_mean"], batch["teacher_std"]
        new_log_prob = torch.minimum(log_prob(batch["action"], mean, std), batch["log_prob"] + LOG_RATIO_LIMIT)
        return {
            "actor/distillation_loss": losses.distillation_loss(mean, teacher_mean, taught),
            "actor/kl_loss": losses.kl_loss(mean, std, teacher_mean, teacher_std, taught),
            "actor/ppo_loss": losses.ppo_loss(
                new_log_prob, batch["log_prob"], batch["advantage"], cfg.clip, valid * batch["acted"], DUAL_CLIP
            ),
            "actor/bounds_loss": losses.bounds_loss(mean, self.student.action_bound, valid),
            "critic/value_distillation_loss": losses.value_distillation_loss(
                value, batch["teacher_value"], scale, taught
            ),
            "critic/value_loss": losses.value_loss(value / scale, batch["return"] / scale, valid),
        }

    def _minibatch(
        self, gradients: Recorded[dict[str, Tensor]], obs: Obs, batch: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        metrics = {name: x.clone() for name, x in gradients(obs, batch).items()}
        skipped = guarded_step(self.optimizer, self.config.max_grad_norm, self.world)
        self.average.update(self.student, self.updates)
        self.updates += 1
        return metrics | {"agent/skipped_updates": skipped}

    def _gradients(self, tasks: Sequence[str], ppo: bool, obs: Obs, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Leave the gradient of a minibatch's loss in the parameters; returns its terms and each task's imitation error.

        Args:
            tasks: see `update`.
            ppo: whether PPO is on.
        """
        by_name = self.config.teacher_models.weights()
        task_weight = torch.stack([self.ppo_factor.new_full((), by_name[TEACHER_OF_TASK[task]]) for task in tasks])
        output = self.student(obs)
        terms = self.terms(output, batch, task_weight)
        # A term that is off is left out, not multiplied by zero: it may be anything then.
        on = [name for name, weight in self.term_weights(float(ppo)).items() if weight > 0.0]
        weights = self.term_weights(self.ppo_factor)
        mean, _, value = output
        nothing = 0.0 * (mean.sum() + value.sum())  # every parameter has a gradient, whichever terms are on
        backward(self.optimizer, sum((weights[name] * terms[name] for name in on), start=nothing))
        metrics = {name: term.detach() for name, term in terms.items()}
        return metrics | _by_task(losses.squared_difference(mean.detach(), batch["teacher_mean"]), batch, tasks)

    def synchronize(self) -> None:
        """Before the first update: let the student have the average's weights, those of a checkpoint that the run starts from."""
        if not self.updates:
            self.student.load_state_dict(self.average.model.state_dict())

    def state_dict(self) -> dict[str, Any]:
        return {"student": self.student.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.student.load_state_dict(state["student"])
        self.updates = state["updates"]


def _by_task(x: Tensor, batch: Mapping[str, Tensor], tasks: Sequence[str]) -> dict[str, Tensor]:
    """Means of (M,) over each task's rows; NaN where it has none."""
    valid = batch["weight"] > 0.0
    return {
        f"distillation_loss/{task}": torch.where(valid & (batch["task"] == i), x, torch.nan).nanmean()
        for i, task in enumerate(tasks)
    }
