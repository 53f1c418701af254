"""The phases of a distillation: imitation, then the critic alone, then imitation with PPO."""

from dataclasses import dataclass

from .config import DistillConfig


@dataclass(frozen=True)
class Phase:
    """The state of the schedule at one time.

    Attributes:
        own_returns: the student acts with full noise, and the critic learns from the student's returns.
        frozen: the actor does not learn.
        ppo: factor of PPO's loss, 0 to 1.
        anchor: factor of the weights of imitation and KL; see `DistillConfig.anchor_end`.
    """

    own_returns: bool
    frozen: bool
    ppo: float
    anchor: float


def phase(config: DistillConfig, progress: float) -> Phase:
    """The phase at `progress`, the used share of the budget, 0 to 1."""
    if progress < config.ppo_start or config.ppo_start >= 1.0:
        return Phase(own_returns=False, frozen=False, ppo=0.0, anchor=1.0)
    since = progress - config.ppo_start - config.critic_first
    if since < 0.0:
        return Phase(own_returns=True, frozen=True, ppo=0.0, anchor=1.0)
    ppo_progress = min(1.0, since / max(1.0 - config.ppo_start - config.critic_first, 1e-9))
    ppo = min(1.0, since / config.ppo_ramp) if config.ppo_ramp > 0.0 else 1.0
    return Phase(own_returns=True, frozen=False, ppo=ppo, anchor=1.0 + ppo_progress * (config.anchor_end - 1.0))


def teacher_share(config: DistillConfig, iteration: int) -> float:
    """Share of the envs in which the teachers act, which falls from 1 to 0."""
    return max(0.0, 1.0 - iteration / max(config.teacher_iterations, 1))
