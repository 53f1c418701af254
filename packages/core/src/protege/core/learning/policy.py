"""The actor-critic of the tracker, the teachers and the student; they differ in the tokens that they read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import log, pi

import torch
from torch import Tensor, nn

from .. import checks
from ..env import Obs
from ..errors import UserError
from ..observations import FULL_STATE, ONBOARD, SENSORS
from ..robots.servos import Servos
from .accelerate import mixed_precision
from .networks import RunningNormalizer, SetMLP, TokenSet, TokenTransformer, check_transformer, check_units, mlp
from .tokens import NO_COMMANDS, ONBOARD_TOKENS, Tokenizer, noisy


@dataclass
class ModelConfig:
    """A policy's inputs and network sizes.

    Attributes:
        actor: `transformer`, or `mlp` over the same tokens (`latent_dim`, `ff_size`, `num_layers` and `num_heads` are then unused).
        latent_dim: width of the transformer's tokens; a multiple of `num_heads`.
        ff_size: width of the transformer's feed-forward layers.
        num_layers: blocks of the transformer.
        num_heads: of its attention.
        mlp_units: hidden layers from the readout token to the actions; with `actor: mlp`, of the whole actor.
        critic_units: hidden layers of the critic.
        sensors: of the actor: `full_state`, or `onboard`, an IMU and joint encoders. The critic always has the full state.
        tokens: token sets that the actor reads, `proprioception` first. `joint_errors` is the reference's joint state one control
            step ahead minus the robot's.
        added_tokens: commands that are added to the proprioception token instead of being separate tokens. A policy with an
            additional one acts exactly like the policy that it starts from (`ActorCritic.load_from`).
        critic_inputs: token sets that the critic reads. The critic is not deployed, so it may read `poses`.
        layer_norm: normalise the hidden layers of critics and of `mlp` actors.
        log_std: fixed log standard deviation of the actions, in units of their scale; null for the robot's own (`Joint.log_std`).
            Smaller values let a trained tracker of a walk follow more closely.
        reference_residual: add the network's output to the reference's joint angles (only policies that read `poses`).
        reference_velocity: feedforward of the reference's joint velocities, 0 to 1: targets lead the reference by this share of
            damping / stiffness. At 0 the servos damp all motion, at 1 only deviations from the reference's velocities.
    """

    actor: str = "transformer"
    latent_dim: int = 512
    ff_size: int = 1024
    num_layers: int = 4
    num_heads: int = 4
    mlp_units: list[int] = field(default_factory=lambda: [512, 256])
    critic_units: list[int] = field(default_factory=lambda: [512, 256])
    sensors: str = FULL_STATE
    tokens: list[str] = field(default_factory=lambda: ["proprioception", "poses"])
    added_tokens: list[str] = field(default_factory=list)
    critic_inputs: list[str] = field(default_factory=lambda: ["proprioception", "poses"])
    layer_norm: bool = False
    log_std: float | None = None
    reference_residual: bool = True
    reference_velocity: float = 0.7

    def check(self, key: str) -> None:
        if self.actor not in ("transformer", "mlp"):
            raise UserError(f"{key}.actor: {self.actor!r} is neither transformer nor mlp", "Choose one of the two")
        if self.sensors not in SENSORS:
            raise UserError(
                f"{key}.sensors: {self.sensors!r} is neither {' nor '.join(SENSORS)}", "Choose one of the two"
            )
        if self.tokens[:1] != ["proprioception"]:
            raise UserError(f"{key}.tokens must begin with proprioception", "It is the token that is read out")
        if wrong := [token for token in self.added_tokens if token in NO_COMMANDS]:
            raise UserError(f"{key}.added_tokens may hold commands only", f"Put {wrong[0]} into {key}.tokens")
        check_units(self, key, "mlp_units", "critic_units")
        checks.at_most_entries(100, self, key, "tokens", "added_tokens", "critic_inputs")
        if self.log_std is not None:
            checks.within(-20, 5, self, key, "log_std")
        checks.shares(self, key, "reference_velocity")
        checks.not_empty(self, key, "critic_inputs", "critic_units", *(["mlp_units"] if self.actor == "mlp" else []))
        if self.actor == "transformer":
            check_transformer(self, key)


@dataclass
class PolicySample:
    """A sampled action and its distribution: action, mean, std (N, J), see `Env.step`; log_prob, value (N,)."""

    action: Tensor
    log_prob: Tensor
    mean: Tensor
    std: Tensor
    value: Tensor

    def with_action(self, action: Tensor) -> "PolicySample":
        """A copy with another action, (N, J), and its log-probability."""
        return replace(self, action=action, log_prob=log_prob(action, self.mean, self.std))


@dataclass
class ImaginedAction:
    """A policy's action in an imagined step, differentiable.

    Attributes:
        mean: (M, J) mean action, see `Env.step`.
        offset: (M, J) of the joint targets from the reference, or from the default pose without `reference_residual`, rad.
        latent_kl: (M,) KL of the latent from the prior, nats; None for a policy without a latent.
    """

    mean: Tensor
    offset: Tensor
    latent_kl: Tensor | None = None


def log_prob(action: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Log density of a diagonal Gaussian: (..., J) each -> (...) nats."""
    return (-0.5 * ((action - mean) / std).square() - std.log() - 0.5 * log(2.0 * pi)).sum(-1)


def kl_divergence(mean_p: Tensor, std_p: Tensor, mean_q: Tensor, std_q: Tensor) -> Tensor:
    """KL(p | q) between diagonal Gaussians: (..., J) each -> (...) nats."""
    ratio = (std_p / std_q).square()
    return 0.5 * (ratio + ((mean_p - mean_q) / std_q).square() - 1.0 - ratio.log()).sum(-1)


class Critic(nn.Module):
    """An MLP that predicts returns normalised by their running mean and standard deviation.

    When the moments change, predictions change with them, and the moments forget old returns. While returns rise, this learned two
    to four times faster on the tests' toy task than moments over all returns, or than preserving outputs (PopArt, arXiv
    1602.07714).
    """

    RETURNS_MEMORY = 0.5  # share of the past count that an update retains

    def __init__(self, sizes: Mapping[str, tuple[int, int]], units: Sequence[int], layer_norm: bool = False) -> None:
        super().__init__()
        self.net = SetMLP(sizes, [*units, 1], output_scale=0.1, layer_norm=layer_norm)
        self.returns = RunningNormalizer(1)

    @property
    def scale(self) -> Tensor:
        """Standard deviation of the returns, (1,)."""
        return (self.returns.var + self.returns.EPSILON).sqrt()

    def forward(self, sets: Mapping[str, TokenSet]) -> Tensor:
        """(N,), in units of reward."""
        return (self.net(sets) * self.scale + self.returns.mean).squeeze(-1)

    def update(self, returns: Tensor, weight: Tensor | None = None) -> None:
        """Update the normaliser with a batch of returns (...) and weights (...)."""
        self.returns.update(returns.unsqueeze(-1), weight, self.RETURNS_MEMORY)


class ActorCritic(nn.Module):
    """A Gaussian policy with fixed standard deviation, and its critic. Actions are in units of the joints' scale, see `Env.step`.

    Args:
        obs_shapes: shapes of the observations without the leading N.
        servos: how actions map to joint targets.
        config: tokens and sizes.
    """

    action_bound: Tensor
    action_scale: Tensor
    default_joint_pos: Tensor
    log_std: Tensor
    lead: Tensor

    def __init__(
        self,
        obs_shapes: Mapping[str, Sequence[int]],
        servos: Servos,
        config: ModelConfig,
    ) -> None:
        super().__init__()
        config.check("model")
        self.residual = config.reference_residual and "poses" in config.tokens
        self.leads = self.residual and config.reference_velocity > 0.0
        self.sensors, read = config.sensors, ONBOARD_TOKENS if config.sensors == ONBOARD else {}
        actor_tokens = [read.get(name, name) for name in [*config.tokens, *config.added_tokens]]
        self.tokenizer = Tokenizer(obs_shapes, [*actor_tokens, *config.critic_inputs])
        sizes, joints = self.tokenizer.sizes, len(servos.default_joint_pos)
        actor_sizes = {name: sizes[name] for name in actor_tokens}
        if config.actor == "mlp":
            self.actor: nn.Module = SetMLP(actor_sizes, [*config.mlp_units, joints], 0.01, config.layer_norm)
        else:
            body = TokenTransformer(
                actor_sizes, config.latent_dim, config.ff_size, config.num_layers, config.num_heads, config.added_tokens
            )
            # With a small last layer an untrained tracker's targets are the reference's joint angles.
            self.actor = nn.Sequential(body, mlp([config.latent_dim, *config.mlp_units, joints], output_scale=0.01))
        self.critic = Critic(
            {name: sizes[name] for name in config.critic_inputs}, config.critic_units, config.layer_norm
        )
        self.actor_tokens, self.added_tokens = actor_tokens, list(config.added_tokens)
        self.critic_tokens = list(config.critic_inputs)
        self.register_buffer("action_bound", servos.action_bound.clone())
        self.register_buffer("action_scale", servos.action_scale.clone())
        self.register_buffer("default_joint_pos", servos.default_joint_pos.clone())
        log_std = servos.log_std if config.log_std is None else torch.full((joints,), config.log_std)
        self.register_buffer("log_std", log_std.clone())
        if self.leads:
            self.register_buffer("lead", config.reference_velocity * servos.damping_time)

    @property
    def obs_keys(self) -> list[str]:
        """The observations that the policy reads."""
        reference = ["reference_joint_pos"] * self.residual + ["reference_joint_vel"] * self.leads
        return self.tokenizer.obs_keys + reference

    def forward(self, obs: Obs) -> tuple[Tensor, Tensor, Tensor]:
        """`distribution` and `value` in one pass: mean, std (N, J), value (N,)."""
        sets = {name: self.tokenizer(obs, name) for name in dict.fromkeys([*self.actor_tokens, *self.critic_tokens])}
        with mixed_precision(self):
            mean, value = self.actor(sets).float(), self.critic(sets).float()
        return *self._distribution(mean, obs), value

    def distribution(self, obs: Obs) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the action, (N, J) each."""
        return self._distribution(self.offset(obs), obs)

    def offset(self, obs: Obs) -> Tensor:
        """The network's contribution to the mean action, (N, J)."""
        return self.actor({name: self.tokenizer(obs, name) for name in self.actor_tokens})

    def around_reference(self, offset: Tensor, obs: Obs) -> Tensor:
        """The mean action (N, J) for a network output (N, J)."""
        return self._distribution(offset, obs)[0]

    @property
    def noise_shapes(self) -> dict[str, tuple[int, int]]:
        """Shapes, without the leading M, of the standard normal numbers that `imagine` takes."""
        return self.tokenizer.noise_shapes(self.actor_tokens)

    def imagine(self, obs: Obs, noise: float, draws: Mapping[str, Tensor]) -> ImaginedAction:
        """The action in an imagined step.

        Args:
            noise: standard deviation of the noise on proprioception and reference, in units of each feature's standard deviation.
            draws: see `noise_shapes`.
        """
        sets = {name: self.tokenizer(obs, name) for name in self.actor_tokens}
        with mixed_precision(self):
            offset = self.actor(noisy(sets, noise, draws)).float()
        return ImaginedAction(self.around_reference(offset, obs), offset * self.action_scale)

    def value(self, obs: Obs) -> Tensor:
        """Expected discounted return, (N,)."""
        return self.critic({name: self.tokenizer(obs, name) for name in self.critic_tokens})

    def _distribution(self, mean: Tensor, obs: Obs) -> tuple[Tensor, Tensor]:
        if self.residual:
            mean = mean + obs["reference_joint_pos"] / self.action_scale - self.default_joint_pos / self.action_scale
        if self.leads:
            mean = mean + self.lead * obs["reference_joint_vel"] / self.action_scale
        return mean, self.log_std.exp().expand_as(mean)

    @torch.no_grad()
    def act(self, obs: Obs, generator: torch.Generator | None = None) -> PolicySample:
        """Sample an action."""
        mean, std, value = self(obs)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        action = mean + std * noise
        return PolicySample(action, log_prob(action, mean, std), mean, std, value)

    def update_normalizers(self, obs: Obs, weight: Tensor | None = None) -> None:
        """Update the normalisers with observations (M, ...); rows whose `weight`, (M,), is 0 are ignored."""
        self.tokenizer.update(obs, weight)

    def num_parameters(self, part: str = "all") -> int:
        """Number of trainable parameters of the `actor`, the `critic` or `all`."""
        module = {"actor": self.actor, "critic": self.critic, "all": self}[part]
        return sum(p.numel() for p in module.parameters())

    @torch.no_grad()
    def load_from(self, other: Mapping[str, Tensor]) -> None:
        """Load another policy's state. Actions and values are the same, even if this policy reads additional tokens.

        Additional tokens must be `added_tokens` (of a transformer), or inputs of an MLP or of the critic.

        Raises:
            UserError: the states do not match.
        """
        mine = self.state_dict()
        other = {**other, "log_std": mine["log_std"]}  # from this policy's config, not learned
        extra = {name for name in mine if name not in other}
        free = [".inputs.", "tokenizer.normalizers.", *(f".encoders.{name}." for name in self.added_tokens)]
        wrong = [name for name, tensor in other.items() if name not in mine or mine[name].shape != tensor.shape]
        wrong += [name for name in sorted(extra) if not any(part in name for part in free)]
        if wrong:
            raise UserError(
                f"the starting policy does not fit this one at {wrong[0]} ({len(wrong)} tensors)",
                "Use the same model sizes and tokens; list further commands under model.added_tokens.",
            )
        self.load_state_dict({**mine, **other})
        for name, parameter in self.named_parameters():
            if name in extra and ".inputs." in name:
                parameter.zero_()
