"""What a distillation does when: first it imitates, then its critic learns alone, then PPO joins in."""

from dataclasses import dataclass

from .config import DistillConfig


@dataclass(frozen=True)
class Phase:
    """What is on at a time.

    Attributes:
        own_returns: the student acts with all of its noise, and the critic learns from its returns.
        frozen: the actor does not learn.
        ppo: by how much PPO's loss is on, 0 to 1.
        anchor: share of the weights of imitation and KL that is left, see `DistillConfig.anchor_end`.
    """

    own_returns: bool
    frozen: bool
    ppo: float
    anchor: float


def phase(config: DistillConfig, progress: float) -> Phase:
    """The phase when `progress` of the budget, 0 to 1, is spent."""
    if progress < config.ppo_start or config.ppo_start >= 1.0:
        return Phase(own_returns=False, frozen=False, ppo=0.0, anchor=1.0)
    since = progress - config.ppo_start - config.critic_first
    if since < 0.0:
        return Phase(own_returns=True, frozen=True, ppo=0.0, anchor=1.0)
    gone = min(1.0, since / max(1.0 - config.ppo_start - config.critic_first, 1e-9))
    ppo = min(1.0, since / config.ppo_ramp) if config.ppo_ramp > 0.0 else 1.0
    return Phase(own_returns=True, frozen=False, ppo=ppo, anchor=1.0 + gone * (config.anchor_end - 1.0))


def teacher_share(config: DistillConfig, iteration: int) -> float:
    """Share of the environments in which the teachers act, 1 to 0."""
    return max(0.0, 1.0 - iteration / max(config.teacher_iterations, 1))
