"""MaskedMimic through a world model: the gradient of the tracking reward reaches prior, encoder and decoder.

As in Control-VAE (Yao et al. 2022, arXiv 2210.06063), latents are sampled by reparametrisation in every imagined step, and the KL
of the posterior from the prior is subtracted from the reward. Here the prior sees masked goals, and in a share of the imagined
episodes it acts without the encoder, as when deployed. The KL alone trains the prior only on states that the posterior visits;
these episodes also train it to recover from its own errors.
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
    """Network sizes of MaskedMimic, and its training through a world model.

    Attributes:
        expert_model_path: run folder of a tracker that is the anchor, see `anchor_weight`; empty for none.
        prior_fraction: share of the simulated and imagined envs in which the prior acts alone, at its mean latent. In the others
            latents are sampled from the posterior, and the KL is penalised.
        expert_iterations: number of iterations over which the share of simulated envs in which the expert acts falls from 1 to 0.
            The warm-up is included. Without an expert, the reference's joint angles are the actions.
        kl_start: weight of the KL relative to a step's reward, reward/nat, at the start.
    """

    def check(self, key: str) -> None:
        WorldModelConfig.check(self, key)
        VariationalConfig.check(self, key)


class ImaginedMimicLearner(WorldModelLearner[MaskedMimic]):
    """`WorldModelLearner` of MaskedMimic, with or without an expert.

    Args:
        policy: already on its device, made for the env's robot.
        env: an env that supports imagination.
        config: see ImaginedMimicConfig.
        seed: of all random numbers; each rank derives its own.
        group: the ranks that train this policy.
        speed: mixed precision and compilation, see `accelerate`.
        expert: receives the same observations; None for none.
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
        """See `WorldModelLearner.collect`. Also sets the KL's weight and draws in which envs the expert acts."""
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
        """See `WorldModelLearner._warm_up`. The critic of `run.checkpoint` is replaced by a new one, which is almost constant.

        The critic of imitation has learned the expert's reward. In units of the new reward its gradient outweighs the reward within
        the horizon, and would move a good tracking policy away from the reference before the critic has adapted.
        """
        self.trained.critic.load_state_dict(
            self.target_critic.state_dict()
        )  # initialised before a checkpoint was loaded
        super()._warm_up()

    def _act(self) -> tuple[Tensor, Tensor]:
        policy, obs = self.trained, self.obs
        mean, std = policy.explore(obs, self.generator)
        if not self.guided:
            return mean, std
        if self.expert is None:
            expert_mean = (obs["reference_joint_pos"] - policy.default_joint_pos) / policy.action_scale
        else:
            expert_mean = self.expert(obs)[0]
        return torch.where(self.expert_acts, expert_mean, mean), std
