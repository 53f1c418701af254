"""The distillation: the student acts, each environment's teacher says what it would have done there, the student learns from both.

On-policy imitation (DAgger, Ross et al. 2011, arXiv 1011.0686) with the teachers' distributions and values, and PPO on the tasks'
own rewards once the student can imitate. Tensors have M rows of a minibatch and J joints. `weight` (M,) is how much a row counts:
the weight of the teacher that labelled it, 0 for rows to leave out.
"""

from collections.abc import Mapping
from functools import lru_cache, partial

import torch
from torch import Tensor

from protege.core.env import Env, Obs
from protege.core.learning.cuda_graph import Recorded
from protege.core.learning.imitation import imitation_loss
from protege.core.learning.learner import Algorithm, Terms
from protege.core.learning.optim import adamw, cosine_rate, set_learning_rate
from protege.core.learning.policy import ActorCritic, PolicySample, kl_divergence, log_prob
from protege.core.learning.ppo import bounds_loss, normalize_advantage, ppo_loss, value_loss, weighted_mean
from protege.core.learning.process_group import ProcessGroup
from protege.core.learning.rollout import RolloutBuffer, discount

from .config import TEACHER_OF_TASK, DistillConfig
from .teachers_by_task import TeachersByTask

DUAL_CLIP = 3.0
LOG_RATIO_LIMIT = 20.0
"""Imitation moves the policy much further within a rollout than PPO would: see `ppo_loss`. Beyond this its ratio would overflow."""


def kl_loss(
    mean: Tensor, std: Tensor, teacher_mean: Tensor, teacher_std: Tensor, weight: Tensor | None = None
) -> Tensor:
    """KL(student | teacher) a joint: (M, J) rad each -> () nats, averaged over joints and rows.

    In this direction a difference is measured in units of the *teacher's* deviation, so that a joint on which an ensemble
    disagrees pulls less than one on which it is sure. The other direction, with the student's fixed deviation, would only be
    the distillation loss once more in other units. Averaged over joints, its size does not depend on the robot.
    """
    return weighted_mean(kl_divergence(mean, std, teacher_mean, teacher_std) / mean.shape[-1], weight)


def value_distillation_loss(
    value: Tensor, teacher_value: Tensor, scale: Tensor | float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """Squared difference of the critic's value from the teacher's, in units of `scale`, the returns' deviation: (M,) -> ()."""
    return weighted_mean(((value - teacher_value) / scale).square(), weight)


def ppo_factor(config: DistillConfig, progress: float) -> float:
    """By how much PPO's terms are on, 0 to 1."""
    if progress < config.ppo_start:
        return 0.0
    return min(1.0, (progress - config.ppo_start) / config.ppo_ramp) if config.ppo_ramp > 0.0 else 1.0


def teacher_share(config: DistillConfig, iteration: int) -> float:
    """Share of the environments in which the teachers act, 1 to 0."""
    return max(0.0, 1.0 - iteration / max(config.teacher_iterations, 1))


class Distillation(Algorithm[ActorCritic]):
    """Imitation of the teachers' actions, distributions and values, and PPO once that is on.

    Args:
        student: on its device already.
        teachers: label the environments of their tasks.
        config: see DistillConfig.
    """

    def __init__(self, student: ActorCritic, teachers: TeachersByTask, config: DistillConfig) -> None:
        parts = (student.actor, student.critic)
        super().__init__(student, config, adamw([(part.parameters(), config.learning_rate) for part in parts]))
        joints, device = student.action_bound.shape, student.action_bound.device
        self.labels = {"teacher_mean": joints, "teacher_std": joints, "teacher_value": (), "task": (), "acted": ()}
        self.inputs = ("action", "log_prob", "advantage", "return", *self.labels)
        self.ppo_factor = torch.zeros((), device=device)
        # Recorded anew when the tasks change, with the curriculum.
        self._labels = lru_cache(1)(lambda *slices: Recorded(partial(teachers.label, task_slices=dict(slices)), device))

    def begin(self, env: Env, iteration: int, progress: float, generator: torch.Generator) -> dict[str, float]:
        """Set rate and factors, note each environment's task, and draw in which the teachers act; see `teacher_iterations`."""
        cfg = self.config
        self.gamma = discount(cfg.gamma, env.robot.control_dt)
        set_learning_rate(self.optimizer, cosine_rate(cfg.learning_rate, cfg.min_learning_rate, progress))
        factor = ppo_factor(cfg, progress)
        self.ppo_factor.fill_(factor)
        self.tasks, self.ppo_on = tuple(env.task_names), factor > 0.0
        self.variant = self.tasks, self.ppo_on
        self.noise = 1.0 if self.ppo_on else cfg.imitation_noise
        self.slices = tuple(env.task_slices.items())
        task = torch.zeros(env.num_envs, device=env.device)
        for index, (_, part) in enumerate(self.slices):
            task[part] = index
        draw = torch.rand(env.num_envs, 1, generator=generator, device=env.device)
        self.teacher_acts = draw < teacher_share(cfg, iteration)
        self.fixed_labels = {"task": task, "acted": (~self.teacher_acts).squeeze(1).float()}
        return {"agent/ppo_factor": factor}

    def act(self, obs: Obs, generator: torch.Generator) -> tuple[PolicySample, dict[str, Tensor]]:
        sample, labels = self.policy.act(obs, generator), self._labels(*self.slices)(obs)
        mean = torch.where(self.teacher_acts, labels["teacher_mean"], sample.mean)
        return sample.with_action(mean + self.noise * (sample.action - sample.mean)), labels | self.fixed_labels

    def prepare(self, buffer: RolloutBuffer, group: ProcessGroup) -> list[Tensor]:
        data = buffer.data
        buffer.compute_returns(self.gamma, self.config.lam)
        data["advantage"].copy_(normalize_advantage(data["advantage"], buffer.weight * data["acted"], group))
        return [data["return"], data["teacher_value"]]

    def loss_terms(self, obs: Obs, batch: Mapping[str, Tensor], generator: torch.Generator) -> Terms:
        cfg, valid, scale = self.config, batch["weight"], self.policy.critic.scale
        mean, std, value = self.policy(obs)
        by_name = cfg.teacher_models.weights()
        task_weight = torch.stack([self.ppo_factor.new_full((), by_name[TEACHER_OF_TASK[task]]) for task in self.tasks])
        taught = valid * task_weight[batch["task"].long()]
        teacher_mean, teacher_std = batch["teacher_mean"], batch["teacher_std"]
        new_log_prob = torch.minimum(log_prob(batch["action"], mean, std), batch["log_prob"] + LOG_RATIO_LIMIT)
        advantage, acted = batch["advantage"], valid * batch["acted"]
        surrogate = ppo_loss(new_log_prob, batch["log_prob"], advantage, cfg.clip, acted, DUAL_CLIP)
        values = value_distillation_loss(value, batch["teacher_value"], scale, taught)
        returns = value_loss(value / scale, batch["return"] / scale, valid)
        terms: Terms = {
            "actor/distillation_loss": (cfg.distillation_weight, imitation_loss(mean, teacher_mean, taught)),
            "actor/kl_loss": (cfg.kl_weight, kl_loss(mean, std, teacher_mean, teacher_std, taught)),
            "actor/ppo_loss": (self._ppo_weight(cfg.ppo_weight), surrogate),
            "actor/bounds_loss": (cfg.bounds_loss_weight, bounds_loss(mean, self.policy.action_bound, valid)),
            "critic/value_distillation_loss": (cfg.value_distillation_weight, values),
            "critic/value_loss": (self._ppo_weight(cfg.value_weight), returns),
        }
        error = (mean.detach() - teacher_mean).square().mean(-1)
        for index, task in enumerate(self.tasks):
            rows = (valid > 0.0) & (batch["task"] == index)
            terms[f"distillation_loss/{task}"] = (0.0, torch.where(rows, error, torch.nan).nanmean())
        return terms

    def _ppo_weight(self, weight: float) -> Tensor | float:
        """The weight of a term that is on together with PPO."""
        return weight * self.ppo_factor if self.ppo_on and weight else 0.0
