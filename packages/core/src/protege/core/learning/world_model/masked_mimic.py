"""MaskedMimic through a model of the world: the tracking reward's gradient reaches prior, encoder and decoder.

As Control-VAE (Yao et al. 2022, arXiv 2210.06063): latents are drawn by reparametrisation in every imagined step, and the KL of the
posterior from the prior is paid beside the reward. Ours has a prior that sees masked goals, and a share of the imagined episodes
that it plays without the encoder, since that is how it is deployed: what the posterior learns reaches the prior by the KL alone,
on states that the posterior visits; the prior has to come back from its own mistakes as well.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...env import Env, ImaginableEnv, Obs
from ..imitation import Expert, kl_coefficient
from ..masked_mimic import MaskedMimic, VariationalConfig
from ..process_group import SINGLE_PROCESS, ProcessGroup
from .config import WorldModelConfig
from .learner import WorldModelLearner


@dataclass
class ImaginedMimicConfig(WorldModelConfig, VariationalConfig):
    """Sizes of MaskedMimic, and its training through a model of the world.

    Attributes:
        expert_model_path: run folder of a tracker whose actions are kept near by `anchor_weight`; empty for none.
        prior_fraction: share of the envs, simulated and imagined ones, in which the prior acts alone, at its mean latent; in the
            others latents are drawn from the posterior, and the KL is paid.
        expert_iterations: the expert, or without one the reference's joint angles, acts in a share of the simulated envs that
            falls from 1 to 0 over so many iterations, the first control steps included.
        kl_start: weight of the KL beside a step's reward, reward/nat, at the start.
    """

    def check(self, key: str) -> None:
        WorldModelConfig.check(self, key)
        VariationalConfig.check(self, key)


class ImaginedMimicLearner(WorldModelLearner[MaskedMimic]):
    """`WorldModelLearner` of MaskedMimic, with or without an expert.

    Args:
        policy: on its device already, made for the env's robot.
        env: may be imagined.
        config: see ImaginedMimicConfig.
        seed: of all random draws; each rank derives its own.
        group: the ranks that train this policy.
        speed: mixed precision and compilation, see `accelerate`.
        expert: sees the same observations; None for none.
    """

    config: ImaginedMimicConfig

    def __init__(
        self,
        policy: MaskedMimic,
        env: ImaginableEnv,
        config: ImaginedMimicConfig,
        seed: int = 0,
        group: ProcessGroup = SINGLE_PROCESS,
        speed: tuple[bool, bool] = (False, False),
        expert: Expert | None = None,
    ) -> None:
        def anchor(obs: Obs, task_slices: Mapping[str, slice]) -> Tensor:
            assert expert is not None
            return expert(obs)[0]

        super().__init__(policy, env, config, seed, group, speed, None if expert is None else anchor)
        self.expert, self.guided = expert, True
        self.expert_acts = torch.zeros(env.num_envs, 1, dtype=torch.bool, device=self.kl_weight.device)

    def collect(self, env: Env, iteration: int, progress: float) -> dict[str, Tensor]:
        """See `WorldModelLearner.collect`; sets the KL's weight, and draws where the expert acts."""
        config = self.config
        self.kl_weight.fill_(kl_coefficient(iteration, config))
        self.guided = iteration < config.expert_iterations
        draw = torch.rand(self.expert_acts.shape, generator=self.generator, device=self.expert_acts.device)
        self.expert_acts = draw < 1.0 - iteration / max(config.expert_iterations, 1)
        return super().collect(env, iteration, progress)

    def update(self, after_step: Callable[[], None] = lambda: None) -> dict[str, float]:
        """See `WorldModelLearner.update`."""
        return super().update(after_step) | {"actor/kl_coefficient": self.kl_weight.item()}

    def _warm_up(self) -> None:
        """See `WorldModelLearner._warm_up`. The critic of `run.checkpoint` is left: it begins anew, nearly level.

        Imitation's critic has learned the expert's reward. In the new one's units its slope outweighs the reward within the
        horizon, and leads a policy that tracks well away from the reference before the critic has learned better.
        """
        self.trained.critic.load_state_dict(self.target_critic.state_dict())  # made before a checkpoint was loaded
        super()._warm_up()

    def _act(self) -> tuple[Tensor, Tensor]:
        policy, obs = self.trained, self.obs
        mean, std = policy.explore(obs, self.generator)
        if not self.guided:
            return mean, std
        if self.expert is None:
            shown = (obs["reference_joint_pos"] - policy.default_joint_pos) / policy.action_scale
        else:
            shown = self.expert(obs)[0]
        return torch.where(self.expert_acts, shown, mean), std
