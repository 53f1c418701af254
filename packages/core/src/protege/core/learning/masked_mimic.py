"""MaskedMimic: a variational policy that completes a partly masked reference.

After Tessler et al. 2024 (arXiv 2409.14393). The prior sees masked poses. The encoder sees all poses and corrects the prior. The
decoder maps the latent to an action. Prior and decoder are deployed. `imitation.py` or `world_model/masked_mimic.py` trains it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import log

import torch
from torch import Tensor, nn

from .. import checks
from ..env import Obs
from ..observations import FULL_STATE
from ..robots.servos import Servos
from .accelerate import mixed_precision
from .networks import SetMLP, TokenSet, TokenTransformer, check_transformer, check_units, mlp
from .policy import Critic, ImaginedAction, PolicySample, kl_divergence, log_prob
from .tokens import Tokenizer, noisy

PRIOR_TOKENS = ["proprioception", "history", "masked_poses"]
PRIVILEGED_TOKENS = ["proprioception", "poses"]

Gaussian = tuple[Tensor, Tensor]
"""Mean and log variance, (N, Z) each."""


@dataclass
class VariationalConfig:
    """Network sizes, and the settings that every training of the latent shares.

    Attributes:
        latent_dim: width of the prior's transformer; a multiple of `num_heads`.
        ff_size: width of its feed-forward layers.
        num_layers: its blocks.
        num_heads: of its attention.
        prior_units: hidden layers of the prior's readout.
        encoder_units: hidden layers of the encoder.
        decoder_units: hidden layers of the decoder.
        critic_units: hidden layers of the critic.
        latent_size: of the variational latent z.
        action_noise: standard deviation of the actions in training, in units of their scale.
        prior_fraction: share of the envs that act with the prior's latent in training; the others use the encoder's.
        expert_iterations: number of iterations over which the share of envs in which the expert acts falls from 1 to 0.
        kl_start: coefficient of the KL term at the start.
        kl_end: coefficient of the KL term after `kl_ramp` iterations.
        kl_ramp: iterations over which the coefficient changes linearly from `kl_start` to `kl_end`.
    """

    latent_dim: int = 512
    ff_size: int = 1024
    num_layers: int = 4
    num_heads: int = 4
    prior_units: list[int] = field(default_factory=lambda: [512, 256])
    encoder_units: list[int] = field(default_factory=lambda: [512, 256])
    decoder_units: list[int] = field(default_factory=lambda: [512, 256])
    critic_units: list[int] = field(default_factory=lambda: [512, 256])
    latent_size: int = 64
    action_noise: float = 0.02
    prior_fraction: float = 0.5
    expert_iterations: int = 20
    kl_start: float = 1e-4
    kl_end: float = 1e-3
    kl_ramp: int = 200

    def check(self, key: str) -> None:
        checks.within(1, 4096, self, key, "latent_size")
        check_units(self, key, "prior_units", "encoder_units", "decoder_units", "critic_units")
        checks.not_empty(self, key, "encoder_units", "critic_units")
        checks.at_least(0, self, key, "kl_start", "kl_end")
        checks.within(0, 1e9, self, key, "expert_iterations", "kl_ramp")
        checks.above_zero(self, key, "action_noise")
        checks.within(0, 10, self, key, "action_noise")
        checks.shares(self, key, "prior_fraction")
        check_transformer(self, key)


@dataclass
class MaskedMimicConfig(VariationalConfig):
    """Network sizes, and imitation of a tracker.

    Attributes:
        rollout_steps: control steps of each env per iteration.
        epochs: passes over a rollout.
        minibatches: minibatches per pass over a rollout.
        learning_rate: at the start; a cosine schedule decreases it to `min_learning_rate` over the run's budget.
        min_learning_rate: at the end.
        max_grad_norm: of all parameters together.
        expert_model_path: checkpoint or run folder of the tracker.
        prior_weight: of the imitation loss at the prior's latent. The paper has no such loss: with a small KL coefficient the
            prior, which is deployed, is then much worse than the posterior.
        value_weight: of the value loss.
    """

    rollout_steps: int = 24
    epochs: int = 3
    minibatches: int = 16
    learning_rate: float = 5e-4
    min_learning_rate: float = 2e-5
    max_grad_norm: float = 1.0
    expert_model_path: str = ""
    prior_weight: float = 0.5
    value_weight: float = 0.5

    @property
    def updates(self) -> int:
        """Optimizer steps per iteration."""
        return self.epochs * self.minibatches

    def check(self, key: str) -> None:
        super().check(key)
        checks.within(1, 10_000, self, key, "rollout_steps", "epochs")
        checks.at_least(1, self, key, "minibatches")
        checks.within(0, 10, self, key, "min_learning_rate", "learning_rate")
        checks.rising(self, key, "min_learning_rate", "learning_rate")
        checks.at_least(0, self, key, "prior_weight", "value_weight")
        checks.above_zero(self, key, "max_grad_norm")


class MaskedMimic(nn.Module):
    """Prior, residual encoder, decoder and critic, with the interface of `ActorCritic`.

    Args:
        obs_shapes: shapes of the observations without the leading N.
        servos: how actions map to joint targets.
        config: sizes.
    """

    LOG_VARIANCE = (-6.0, 2.0)
    sensors = FULL_STATE

    action_bound: Tensor
    action_scale: Tensor
    default_joint_pos: Tensor
    log_std: Tensor

    def __init__(
        self,
        obs_shapes: Mapping[str, Sequence[int]],
        servos: Servos,
        config: VariationalConfig,
    ) -> None:
        super().__init__()
        self.tokenizer = Tokenizer(obs_shapes, [*PRIOR_TOKENS, *PRIVILEGED_TOKENS])
        sizes, joints = self.tokenizer.sizes, len(servos.default_joint_pos)
        seen = {name: sizes[name] for name in PRIOR_TOKENS}
        privileged = {name: sizes[name] for name in PRIVILEGED_TOKENS}
        latents = 2 * config.latent_size
        self.prior_net = nn.Sequential(
            TokenTransformer(seen, config.latent_dim, config.ff_size, config.num_layers, config.num_heads),
            mlp([config.latent_dim, *config.prior_units, latents], output_scale=0.01),
        )
        self.encoder_net = SetMLP(privileged, [*config.encoder_units, latents], output_scale=0.01)
        body = sizes["proprioception"][1]
        self.decoder_net = mlp([body + config.latent_size, *config.decoder_units, joints], output_scale=0.01)
        self.critic = Critic(privileged, config.critic_units)
        self.register_buffer("action_bound", servos.action_bound.clone())
        self.register_buffer("default_joint_pos", servos.default_joint_pos.clone())
        # Not in checkpoints: only imagination needs it, and there the robot is known.
        self.register_buffer("action_scale", servos.action_scale.clone(), persistent=False)
        self.critic_tokens, self.prior_fraction = PRIVILEGED_TOKENS, config.prior_fraction
        self.latent_size = config.latent_size
        self.register_buffer("log_std", torch.full((joints,), log(config.action_noise)))

    @property
    def obs_keys(self) -> list[str]:
        """The observations that training reads."""
        return self.tokenizer.obs_keys

    @property
    def actor(self) -> nn.ModuleDict:
        """All networks that act in training: everything but the critic."""
        return nn.ModuleDict({name: getattr(self, name) for name in ("prior_net", "encoder_net", "decoder_net")})

    def forward(self, obs: Obs) -> tuple[Tensor, Tensor, Tensor]:
        """`distribution` and `value`: mean, std (N, J), value (N,)."""
        with mixed_precision(self):
            mean, std = self.distribution(obs)
            return mean, std, self.value(obs).float()

    def prior(self, obs: Obs) -> Gaussian:
        """Distribution of the latent given the visible poses: mean, log variance (N, Z)."""
        return self._prior(self._sets(obs, PRIOR_TOKENS))

    def encoder(self, obs: Obs) -> Gaussian:
        """From all poses: correction of the prior's mean, and the posterior's log variance, (N, Z) each."""
        return self._encoder(self._sets(obs, PRIVILEGED_TOKENS))

    def decoder(self, obs: Obs, z: Tensor) -> Tensor:
        """Mean action (N, J) for a latent (N, Z)."""
        return self._decoder(self._sets(obs, ["proprioception"]), z)

    def value(self, obs: Obs) -> Tensor:
        """Prediction of the expert's value, (N,)."""
        return self.critic({name: self.tokenizer(obs, name) for name in PRIVILEGED_TOKENS})

    def distribution(self, obs: Obs) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the action at the prior's mean latent, (N, J) each."""
        mean = self.decoder(obs, self.prior(obs)[0])
        return mean, self.log_std.exp().expand_as(mean)

    @property
    def noise_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes, without the leading M, of the standard normal numbers that `imagine` takes."""
        return {**self.tokenizer.noise_shapes(self.tokenizer.sizes), "latent": (self.latent_size,)}

    def imagine(self, obs: Obs, noise: float, draws: Mapping[str, Tensor]) -> ImaginedAction:
        """The action in an imagined step; observation noise as in `ActorCritic.imagine`.

        Rows of `prior_only` use the mean latent of the prior, as in deployment. With a sampled latent the reward would shrink the
        prior's variance, which represents what the masks leave open. The other rows sample from the posterior. Only these have a KL
        term: in rows of the prior no information from the posterior is used.
        """
        sets = noisy(self._sets(obs, self.tokenizer.sizes), noise, draws)
        with mixed_precision(self):
            latent, kl = self._latents(sets, draws["latent"])
            mean = self._decoder(sets, latent)
        offset = mean * self.action_scale + self.default_joint_pos - obs["reference_joint_pos"]
        return ImaginedAction(mean, offset, kl)

    def explore(self, obs: Obs, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the action in training, (N, J) each, at latents as in `imagine`."""
        sets = self._sets(obs, self.tokenizer.sizes)
        size, like = (len(obs["proprioception"]), self.latent_size), self.log_std
        noise = torch.randn(size, generator=generator, device=like.device, dtype=like.dtype)
        with mixed_precision(self):
            mean = self._decoder(sets, self._latents(sets, noise)[0])
        return mean, self.log_std.exp().expand_as(mean)

    def prior_only(self, n: int) -> Tensor:
        """(n,) bool: rows in which the prior acts without the encoder, a share of `prior_fraction`, evenly spaced."""
        counts = (torch.arange(n + 1, device=self.log_std.device, dtype=torch.float64) * self.prior_fraction).floor()
        return counts.diff() > 0

    @torch.no_grad()
    def act(self, obs: Obs, generator: torch.Generator | None = None, privileged: Tensor | None = None) -> PolicySample:
        """Sample a latent and an action.

        Args:
            privileged: (N,) bool, envs whose latent comes from the encoder instead of the prior; None for none.
        """
        with mixed_precision(self):
            latent_mean, log_var = self.prior(obs)
            if privileged is not None:
                delta, log_var_q = self.encoder(obs)
                chosen = privileged.unsqueeze(1)
                latent_mean = torch.where(chosen, latent_mean + delta, latent_mean)
                log_var = torch.where(chosen, log_var_q, log_var)
            mean = self.decoder(obs, sample_latent(latent_mean, log_var, generator))
            value = self.value(obs).float()
        std = self.log_std.exp().expand_as(mean)
        action = mean + std * torch.randn(mean.shape, generator=generator, device=mean.device)
        return PolicySample(action, log_prob(action, mean, std), mean, std, value)

    def update_normalizers(self, obs: Obs, weight: Tensor | None = None) -> None:
        """Update the normalisers with observations (M, ...); rows whose `weight`, (M,), is 0 are ignored."""
        self.tokenizer.update(obs, weight)

    def num_parameters(self, part: str = "all") -> int:
        """Number of trainable parameters of the `actor` (prior and decoder, which are deployed), the `critic` or `all`."""
        modules = {"actor": [self.prior_net, self.decoder_net], "critic": [self.critic], "all": [self]}[part]
        return sum(p.numel() for module in modules for p in module.parameters())

    def _sets(self, obs: Obs, tokens: Iterable[str]) -> dict[str, TokenSet]:
        return {name: self.tokenizer(obs, name) for name in tokens}

    def _prior(self, sets: Mapping[str, TokenSet]) -> Gaussian:
        return self._gaussian(self.prior_net({name: sets[name] for name in PRIOR_TOKENS}))

    def _encoder(self, sets: Mapping[str, TokenSet]) -> Gaussian:
        return self._gaussian(self.encoder_net({name: sets[name] for name in PRIVILEGED_TOKENS}))

    def _decoder(self, sets: Mapping[str, TokenSet], z: Tensor) -> Tensor:
        return self.decoder_net(torch.cat([sets["proprioception"][0].squeeze(1), z], dim=-1)).float()

    def _latents(self, sets: Mapping[str, TokenSet], noise: Tensor) -> tuple[Tensor, Tensor]:
        """Latents of `imagine`, (N, Z), from standard normal numbers (N, Z), and their KL from the prior, (N,) nats."""
        prior, (delta, log_var) = self._prior(sets), self._encoder(sets)
        posterior = prior[0] + delta, log_var
        prior_only = self.prior_only(len(delta))
        latent = torch.where(prior_only.unsqueeze(1), prior[0], posterior[0] + (0.5 * log_var).exp() * noise)
        return latent, torch.where(prior_only, 0.0, divergence(posterior, prior))

    def _gaussian(self, x: Tensor) -> Gaussian:
        mean, log_var = x.float().chunk(2, dim=-1)
        return mean, log_var.clamp(*self.LOG_VARIANCE)


def divergence(posterior: Gaussian, prior: Gaussian) -> Tensor:
    """KL(posterior | prior) in nats, summed over the latent, (N,)."""
    (mean_q, log_var_q), (mean_p, log_var_p) = posterior, prior
    return kl_divergence(mean_q, (0.5 * log_var_q).exp(), mean_p, (0.5 * log_var_p).exp())


def sample_latent(mean: Tensor, log_var: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Reparameterised sample, (N, Z)."""
    noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
    return mean + (0.5 * log_var).exp() * noise
