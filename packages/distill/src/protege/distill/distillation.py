"""The distillation: the student acts, each env's teacher labels the visited states, and the student learns from labels and rewards.

On-policy imitation (DAgger, Ross et al. 2011, arXiv 1011.0686) of the teachers' distributions and values, and PPO on the tasks'
own rewards. Shapes as in `losses.py`; N envs.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor

from protege.core.env import Env, Obs
from protege.core.learning.cuda_graph import Recorded
from protege.core.learning.imitation import imitation_loss
from protege.core.learning.learner import Algorithm, Terms
from protege.core.learning.optim import adamw, cosine_rate, set_learning_rate
from protege.core.learning.policy import ActorCritic, PolicySample, log_prob
from protege.core.learning.ppo import bounds_loss, normalize_advantage, ppo_loss, value_loss
from protege.core.learning.process_group import ProcessGroup
from protege.core.learning.rollout import RolloutBuffer, discount

from .config import TEACHER_OF_TASK, DistillConfig
from .losses import kl_loss, ppo_unit, rescale_to_returns, value_distillation_loss
from .phases import phase, teacher_share
from .teachers_by_task import TeachersByTask

DUAL_CLIP = 3.0
LOG_RATIO_LIMIT = 20.0
"""Limit of the increase in log probability. Imitation changes the policy much more within a rollout than PPO does, see `ppo_loss`,
and PPO's probability ratio could overflow."""
MIN_NOISE_SHARE = 0.1
"""Smallest share of the policy's deviation that `DistillConfig.noise_of_error` sets: PPO cannot learn without noise."""
POSITION_OFFSET = slice(3, 6)
"""Entries of `observations.poses`: the target position relative to the body's position, m."""


class Distillation(Algorithm[ActorCritic]):
    """Imitation of the teachers' actions, distributions and values, and PPO; `phases.py` schedules them.

    Args:
        student: already on its device.
        teachers: they label the envs of their tasks.
        config: see DistillConfig.
    """

    def __init__(self, student: ActorCritic, teachers: TeachersByTask, config: DistillConfig) -> None:
        parts = (student.actor, student.critic)
        super().__init__(student, config, adamw([(part.parameters(), config.learning_rate) for part in parts]))
        joints, device = student.action_bound.shape, student.action_bound.device
        self.labels = {"teacher_mean": joints, "teacher_spread": joints, "teacher_value": ()}
        self.labels |= {"task": (), "student_acts": (), "label_weight": ()}
        self.inputs = ("action", "log_prob", "advantage", "return", *self.labels)
        self.ppo_factor, self.anchor = torch.zeros((), device=device), torch.ones((), device=device)
        self.log_std = student.log_std.clone()
        # Recorded again when the curriculum changes the tasks.
        self._labels = lru_cache(1)(lambda *slices: Recorded(partial(teachers.label, task_slices=dict(slices)), device))

    def begin(self, env: Env, iteration: int, progress: float, generator: torch.Generator) -> dict[str, float]:
        """Set rates and factors, store each env's task, and draw the envs in which teachers act; see `teacher_iterations`."""
        cfg = self.config
        self.gamma = discount(cfg.gamma, env.robot.control_dt)
        self.phase = now = phase(cfg, progress)
        rate = cosine_rate(cfg.learning_rate, cfg.min_learning_rate, progress)
        # The learning rate is 0 when frozen, because momentum would still change the weights.
        set_learning_rate(self.optimizer, 0.0 if now.frozen else rate, rate)
        self.ppo_factor.fill_(now.ppo)
        self.anchor.fill_(now.anchor)
        self.tasks = tuple(env.task_names)
        self.variant = self.tasks, now.own_returns, now.frozen, now.ppo > 0.0
        self.noise = 1.0 if now.own_returns else cfg.imitation_noise
        self.slices, self.env = tuple(env.task_slices.items()), env
        task = torch.zeros(env.num_envs, device=env.device)
        for index, (_, part) in enumerate(self.slices):
            task[part] = index
        draw = torch.rand(env.num_envs, 1, generator=generator, device=env.device)
        self.teacher_acts = draw < teacher_share(cfg, iteration)
        self.fixed_labels = {"task": task, "student_acts": (~self.teacher_acts).squeeze(1).float()}
        return {"agent/ppo_factor": now.ppo, "agent/anchor": now.anchor}

    def act(self, obs: Obs, generator: torch.Generator) -> tuple[PolicySample, dict[str, Tensor]]:
        truth = self.env.true_observations() if self.config.label_true_state else None
        sample, labels = self.policy.act(obs, generator), self._labels(*self.slices)(obs if truth is None else truth)
        mean = torch.where(self.teacher_acts, labels["teacher_mean"], sample.mean)
        labels = labels | self.fixed_labels | {"label_weight": self._label_weight(obs)}
        return sample.with_action(mean + self.noise * (sample.action - sample.mean)), labels

    def _label_weight(self, obs: Obs) -> Tensor:
        """1 where the teacher's label counts, else 0, (N,); see `DistillConfig.heed_distance`."""
        if not self.config.heed_distance:
            return torch.ones_like(self.fixed_labels["task"])
        return (obs["poses"][:, 0, :, POSITION_OFFSET].norm(dim=-1).mean(-1) < self.config.heed_distance).float()

    def prepare(self, buffer: RolloutBuffer, group: ProcessGroup) -> list[Tensor]:
        data, valid = buffer.data, buffer.weight
        buffer.compute_returns(self.gamma, self.config.lam)
        data["advantage"].copy_(normalize_advantage(data["advantage"], valid * data["student_acts"], group))
        if self.phase.own_returns:
            weight = valid * data["label_weight"]
            values = (data["teacher_value"], data["return"], data["task"], len(self.tasks), weight)
            data["teacher_value"].copy_(rescale_to_returns(*values, group))
        if self.config.noise_of_error:
            self.error = rms_error(data["mean"], data["teacher_mean"], valid * data["label_weight"], group)
        return [data["return"], data["teacher_value"]]

    def loss_terms(self, obs: Obs, batch: Mapping[str, Tensor], generator: torch.Generator) -> Terms:
        cfg, valid, scale = self.config, batch["weight"], self.policy.critic.scale
        mean, std, value = self.policy(obs)
        by_name = cfg.teacher_models.weights()
        task_weight = torch.stack([self.ppo_factor.new_full((), by_name[TEACHER_OF_TASK[task]]) for task in self.tasks])
        label_weight = valid * batch["label_weight"] * task_weight[batch["task"].long()]
        teacher_mean, deviation = batch["teacher_mean"], self.log_std.exp()
        new_log_prob = torch.minimum(log_prob(batch["action"], mean, std), batch["log_prob"] + LOG_RATIO_LIMIT)
        advantage, on_policy = batch["advantage"], valid * batch["student_acts"]
        surrogate = ppo_loss(new_log_prob, batch["log_prob"], advantage, cfg.clip, on_policy, DUAL_CLIP)
        kl = kl_loss(mean, teacher_mean, batch["teacher_spread"], deviation, label_weight)
        values = value_distillation_loss(value, batch["teacher_value"], scale, label_weight)
        returns = value_loss(value / scale, batch["return"] / scale, valid)
        imitation = imitation_loss(mean, teacher_mean, label_weight)
        ppo_weight = _scaled(cfg.ppo_weight, self.ppo_factor) if self.phase.ppo else 0.0
        actor: Terms = {
            "actor/distillation_loss": (_scaled(cfg.distillation_weight, self.anchor), imitation),
            "actor/kl_loss": (_scaled(cfg.kl_weight, self.anchor), kl),
            "actor/ppo_loss": (ppo_weight, ppo_unit(std) * surrogate),
            "actor/bounds_loss": (cfg.bounds_loss_weight, bounds_loss(mean, self.policy.action_bound, valid)),
        }
        if self.phase.frozen:
            actor = {name: (0.0, term) for name, (_, term) in actor.items()}
        terms: Terms = {
            **actor,
            "critic/value_distillation_loss": (cfg.value_distillation_weight, values),
            "critic/value_loss": (cfg.value_weight if self.phase.own_returns else 0.0, returns),
        }
        error = (mean.detach() - teacher_mean).square().mean(-1)
        for index, task in enumerate(self.tasks):
            rows = (valid > 0.0) & (batch["task"] == index)
            terms[f"distillation_loss/{task}"] = (0.0, torch.where(rows, error, torch.nan).nanmean())
        return terms

    def after_update(self, history: Sequence[Mapping[str, Tensor]], group: ProcessGroup) -> dict[str, float]:
        """Set the next rollout's standard deviation from this rollout's error; see `DistillConfig.noise_of_error`."""
        if not self.config.noise_of_error:
            return {}
        limits = self.log_std.exp() * MIN_NOISE_SHARE, self.log_std.exp()
        self.policy.log_std.copy_((self.config.noise_of_error * self.error).clamp(*limits).log())
        return {"agent/action_std": self.policy.log_std.exp().mean().item()}


def rms_error(mean: Tensor, teacher_mean: Tensor, weight: Tensor, group: ProcessGroup) -> Tensor:
    """Root mean square error of each joint over all rows with positive weight: (T, N, J), (T, N, J), (T, N) -> (J,)."""
    counts = (weight > 0).unsqueeze(-1)
    squares = torch.where(counts, (mean - teacher_mean).square(), 0.0).sum((0, 1))
    total = group.sum(torch.cat([squares, counts.sum().view(1)]))
    return (total[:-1] / total[-1].clamp_min(1.0)).sqrt()


def _scaled(weight: float, factor: Tensor) -> Tensor | float:
    """A weight times a factor that changes during a run; 0.0 for weight 0, so that the term is left out."""
    return weight * factor if weight else 0.0
