"""MaskedMimic's training: on-policy imitation of a tracker.

The policy acts, and the tracker labels the visited states with its actions (DAgger, Ross et al. 2011, arXiv 1011.0686).
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..env import Env, Obs
from .accelerate import mixed_precision
from .learner import Algorithm, Terms
from .masked_mimic import MaskedMimic, MaskedMimicConfig, VariationalConfig, divergence, sample_latent
from .optim import adamw, cosine_rate, set_learning_rate
from .policy import PolicySample
from .ppo import value_loss, weighted_mean
from .process_group import ProcessGroup
from .rollout import RolloutBuffer

Expert = Callable[[Obs], tuple[Tensor, Tensor, Tensor]]
"""The policy that labels, such as a tracker: observation -> mean and standard deviation of the action (N, J), value (N,)."""


def imitation_loss(mean: Tensor, expert_mean: Tensor, weight: Tensor | None = None) -> Tensor:
    """Squared difference between actions and those of an expert or teachers, mean over joints and rows: (M, J) each -> ()."""
    return weighted_mean((mean - expert_mean).square().mean(-1), weight)


def latent_kl(posterior: tuple[Tensor, Tensor], prior: tuple[Tensor, Tensor], weight: Tensor | None = None) -> Tensor:
    """KL(posterior | prior) in nats, summed over the latent and averaged over rows; each is mean and log variance (M, Z)."""
    return weighted_mean(divergence(posterior, prior), weight)


def kl_coefficient(iteration: int, config: VariationalConfig) -> float:
    """Weight of the KL term: linear from `kl_start` to `kl_end` over `kl_ramp` iterations, then constant."""
    progress = min(iteration / max(config.kl_ramp, 1), 1.0)
    return config.kl_start + progress * (config.kl_end - config.kl_start)


class Imitation(Algorithm[MaskedMimic]):
    """Regression of MaskedMimic's actions to an expert's, with a KL term between posterior and prior.

    Args:
        policy: already on its device.
        expert: receives the same observations.
        config: see MaskedMimicConfig.
    """

    inputs = ("expert_mean", "expert_value")

    def __init__(self, policy: MaskedMimic, expert: Expert, config: MaskedMimicConfig) -> None:
        super().__init__(policy, config, adamw([(policy.parameters(), config.learning_rate)]))
        self.expert = expert
        self.labels = {"expert_mean": policy.action_bound.shape, "expert_value": ()}
        self.kl_coefficient = policy.action_bound.new_zeros(())

    def begin(self, env: Env, iteration: int, progress: float, generator: torch.Generator) -> dict[str, float]:
        """Set learning rate and KL coefficient. Draw in which envs the expert acts, and in which the encoder's latent is used."""
        cfg = self.config
        coefficient = kl_coefficient(iteration, cfg)
        self.kl_coefficient.fill_(coefficient)
        set_learning_rate(self.optimizer, cosine_rate(cfg.learning_rate, cfg.min_learning_rate, progress))
        draw = torch.rand(2, env.num_envs, 1, generator=generator, device=env.device)
        self.expert_acts = draw[0] < 1.0 - iteration / max(cfg.expert_iterations, 1)
        self.privileged = (draw[1] >= cfg.prior_fraction).squeeze(1)
        return {"actor/kl_coefficient": coefficient}

    def act(self, obs: Obs, generator: torch.Generator) -> tuple[PolicySample, dict[str, Tensor]]:
        sample = self.policy.act(obs, generator, self.privileged)
        expert_mean, _, expert_value = self.expert(obs)
        noise = sample.action - sample.mean
        action = torch.where(self.expert_acts, expert_mean + noise, sample.action)
        return sample.with_action(action), {"expert_mean": expert_mean, "expert_value": expert_value}

    def prepare(self, buffer: RolloutBuffer, group: ProcessGroup) -> list[Tensor]:
        return [buffer.data["expert_value"]]

    def loss_terms(self, obs: Obs, batch: Mapping[str, Tensor], generator: torch.Generator) -> Terms:
        cfg, policy, weight, scale = self.config, self.policy, batch["weight"], self.policy.critic.scale
        with mixed_precision(policy):
            prior = policy.prior(obs)
            delta, log_var = policy.encoder(obs)
            posterior = (prior[0] + delta, log_var)
            mean = policy.decoder(obs, sample_latent(*posterior, generator))
            deployed_mean, value = policy.decoder(obs, prior[0]), policy.value(obs).float()
        return {
            "actor/imitation_loss": (1.0, imitation_loss(mean, batch["expert_mean"], weight)),
            "actor/prior_imitation_loss": (
                cfg.prior_weight,
                imitation_loss(deployed_mean, batch["expert_mean"], weight),
            ),
            "actor/kl_loss": (self.kl_coefficient, latent_kl(posterior, prior, weight)),
            "critic/value_loss": (cfg.value_weight, value_loss(value / scale, batch["expert_value"] / scale, weight)),
        }
