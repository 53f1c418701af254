"""The learner: collects rollouts of a policy and updates it. An algorithm defines the loss and the labels.

The algorithms are PPO (`ppo.py`), MaskedMimic's imitation (`imitation.py`) and distillation (`protege.distill.distillation`).
`protege.core.runs.loop` collects and updates until a run's budget is spent.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ..env import Env, Obs
from .cuda_graph import Recorded
from .masked_mimic import MaskedMimic
from .optim import backward, guarded_step
from .policy import ActorCritic, PolicySample
from .process_group import SINGLE_PROCESS, ProcessGroup
from .rollout import RolloutBuffer, collect

Policy = ActorCritic | MaskedMimic

Terms = dict[str, tuple[float | Tensor, Tensor]]
"""Terms of a loss by metric name: weight and value, () each. A term of weight 0.0 is only reported."""


class Algorithm[P: Policy](ABC):
    """The parts of the learner that depend on the kind of training.

    A new loss term needs a function of tensors, a weight in the config and a line in `loss_terms`.

    Attributes:
        policy: the one that is trained.
        config: has `rollout_steps`, `epochs`, `minibatches` and `max_grad_norm`.
        optimizer: of the policy's parameters.
        labels: shapes, without (T, N), of the labels that `act` returns with the action.
        inputs: quantities of the rollout buffer that `loss_terms` reads.
        variant: the CUDA graph of the loss is recorded again when this changes. All other values that change during a run must be
            tensors.
    """

    labels: Mapping[str, Sequence[int]] = {}
    inputs: Sequence[str] = ()
    variant: Hashable = ()

    def __init__(self, policy: P, config: Any, optimizer: torch.optim.AdamW) -> None:
        self.policy, self.config, self.optimizer = policy, config, optimizer

    def begin(self, env: Env, iteration: int, progress: float, generator: torch.Generator) -> dict[str, float]:
        """Set values that depend on the iteration or the run's progress in [0, 1]; called before its rollout. Returns metrics."""
        return {}

    def act(self, obs: Obs, generator: torch.Generator) -> tuple[PolicySample, dict[str, Tensor]]:
        """The sample whose action is executed, and the labels of the observation; see `labels`."""
        return self.policy.act(obs, generator), {}

    def value(self, obs: Obs) -> Tensor:
        """Expected discounted return, (N,)."""
        return self.policy.value(obs)

    @abstractmethod
    def prepare(self, buffer: RolloutBuffer, group: ProcessGroup) -> list[Tensor]:
        """Compute what the loss needs from the whole rollout. Returns the critic's targets, (T, N) each, for its normaliser."""

    @abstractmethod
    def loss_terms(self, obs: Obs, batch: Mapping[str, Tensor], generator: torch.Generator) -> Terms:
        """The terms of the loss on a minibatch of M rows. Shapes are fixed, and it must not synchronise with the device.

        Args:
            obs: (M, ...) each.
            batch: `inputs`, (M, ...) each, and `weight`, (M,): 0 for rows to ignore.
            generator: of random draws.
        """

    def after_update(self, history: Sequence[Mapping[str, Tensor]], group: ProcessGroup) -> dict[str, float]:
        """Adapt hyperparameters to the loss terms, () each, of the update's minibatches. Returns metrics."""
        return {}


class Learner:
    """Collects rollouts with an algorithm's policy, and trains it on them.

    Attributes:
        obs: the observation for the next action.
        buffer: the latest rollout.

    Args:
        algorithm: its policy is on the device of `obs`.
        obs: the environment's first observation.
        seed: of all random numbers; each rank derives its own.
        group: the ranks that train this policy.
    """

    def __init__(self, algorithm: Algorithm, obs: Obs, seed: int = 0, group: ProcessGroup = SINGLE_PROCESS) -> None:
        policy, config = algorithm.policy, algorithm.config
        device = policy.action_bound.device
        self.algorithm, self.obs, self.group = algorithm, obs, group
        self.generator = torch.Generator(device).manual_seed(group.seed(seed))
        with group.pooling(policy):
            policy.update_normalizers(obs)
        read = {key: obs[key] for key in policy.obs_keys}
        self.buffer = RolloutBuffer(read, config.rollout_steps, len(policy.action_bound), algorithm.labels)
        self._recorded = lru_cache(1)(lambda variant: Recorded(self._gradients, device, self.generator))
        self._metrics: dict[str, float] = {}

    @property
    def policy(self) -> Policy:
        """The policy that is trained and, by default, saved in checkpoints."""
        return self.algorithm.policy

    @property
    def optimizers(self) -> dict[str, torch.optim.AdamW]:
        """Optimizers by their names in checkpoints."""
        return {"optimizer": self.algorithm.optimizer}

    @property
    def samples(self) -> int:
        """Number of transitions per iteration."""
        return len(self.buffer)

    def collect(self, env: Env, iteration: int, progress: float) -> dict[str, Tensor]:
        """Fill the buffer. Returns the rows of the episodes that ended (E,); see `Step.episodes`.

        Args:
            progress: spent share of the run's budget, 0 to 1.
        """
        self._metrics = self.algorithm.begin(env, iteration, progress, self.generator)
        self.obs, episodes = collect(env, self.algorithm, self.buffer, self.obs, self.generator)
        return episodes

    def update(self, after_step: Callable[[], None] = lambda: None) -> dict[str, float]:
        """Train on the buffer. Returns the algorithm's metrics, its loss terms averaged over the minibatches.

        Args:
            after_step: called after every step of the optimizer.
        """
        algorithm, group, buffer, weight = self.algorithm, self.group, self.buffer, self.buffer.weight
        policy, config, optimizer = algorithm.policy, algorithm.config, algorithm.optimizer
        targets = algorithm.prepare(buffer, group)
        with group.pooling(policy.critic):
            policy.critic.update(torch.cat(targets), weight.repeat(len(targets), 1))
        gradients, history = self._recorded(algorithm.variant), []
        for _ in range(config.epochs):
            for obs, batch in buffer.minibatches(config.minibatches, algorithm.inputs, self.generator):
                terms = {name: x.clone() for name, x in gradients(obs, batch).items()}
                terms["agent/skipped_updates"] = guarded_step(optimizer, config.max_grad_norm, group)
                after_step()
                history.append(terms)
        # After the updates, so that they compare with log-probabilities under the same normalisation.
        with group.pooling(policy.tokenizer):
            for obs, valid in buffer.steps():
                policy.update_normalizers(obs, valid)
        algorithm_metrics = self._metrics | algorithm.after_update(history, group)
        table = torch.stack([torch.stack(list(row.values())) for row in history])
        metrics = dict(zip(history[0], table.nanmean(0).tolist(), strict=True))
        metrics["agent/skipped_updates"] *= len(history)
        metrics["agent/invalid_fraction"] = 1.0 - weight.mean().item()
        metrics["learning_rate"] = optimizer.param_groups[0]["lr"].item()
        return algorithm_metrics | {name: value for name, value in metrics.items() if value == value}

    def _gradients(self, obs: Obs, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute the gradient of a minibatch's loss, in the parameters. Returns the loss terms."""
        terms = self.algorithm.loss_terms(obs, batch, self.generator)
        # Terms of weight 0.0 are left out, not multiplied by zero: they may be NaN.
        active = [weight * term for weight, term in terms.values() if isinstance(weight, Tensor) or weight]
        backward(sum(active, start=batch["weight"].new_zeros(())), self.algorithm.optimizer)
        return {name: term.detach() for name, (_, term) in terms.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"obs": dict(self.obs), "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.obs = {key: state["obs"][key].to(x.device) for key, x in self.obs.items()}
        self.generator.set_state(state["generator"].cpu())
