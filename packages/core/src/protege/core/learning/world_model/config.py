"""Configuration of training through a world model."""

from dataclasses import dataclass, field

from ... import checks
from ..networks import check_units


@dataclass
class WorldModelConfig:
    """Each iteration collects control steps, then updates the model, then the policy.

    Attributes:
        expert_model_path: run folder of a policy to start from; empty to start from scratch.
        world_model_path: run folder or `last.ckpt` of a training on the same robot, whose model is reused. There are then no
            `warmup_updates`, and the first control steps use `exploration`. Empty for a new model.
        rollout_steps: control steps of each env per iteration.
        replay_steps: control steps of each env in the replay.
        warmup_steps: control steps of each env before the first update, with `warmup_exploration`.
        warmup_updates: of the model, before the first iteration.
        model_units: hidden layers of the model.
        model_updates: model updates per iteration.
        model_batch: windows per model update.
        model_window: control steps of a window, over which the model's predictions are fed back to it.
        model_recent: share of windows from the latest quarter of the replay.
        model_learning_rate: at the start.
        model_muon_rate: learning rate, at the start, of Muon, which then trains the hidden weight matrices of the model; 0: AdamW
            trains them too.
        policy_updates: policy updates per iteration.
        imagined_envs: imagined episodes per policy update, over all tasks.
        horizon: control steps of an imagined episode.
        learning_rate: of the actor at the start.
        muon_rate: learning rate, at the start, of Muon, which then trains the hidden weight matrices of the actor; 0: AdamW trains
            them too.
        critic_learning_rate: at the start.
        final_rate: factor on the learning rates at the end of the budget; they decrease after two fifths of it.
        gamma: discount per control step; by default the same per second at every control rate: 0.97 at 30 Hz, 0.982 at 50 Hz.
        lam: lambda of the critic's TD(lambda) targets.
        failures_end: whether a failure ends an imagined episode, as it ends a simulated one. If not, errors after it still have
            a gradient.
        critic: whether the policy maximises the critic's value after the horizon, too. The critic is trained in any case, for the
            distillation of its values.
        target_memory: share of the target critic that an update retains. The target critic gives the values in TD(lambda) and
            after the horizon.
        offset_penalty: weight of the mean squared offset of targets from the reference, rad^-2.
        rate_penalty: weight of the mean squared change of that offset per step, rad^-2.
        anchor_weight: of the KL of the actions from a teacher's, nats per joint, if there is a teacher.
        exploration: standard deviation of the action noise in the simulator, in units of the policy's. Each env has its own share
            of it, 0 to 1.
        warmup_exploration: the same before the first update, so that the model learns the effect of large actions.
        noise_memory: correlation of that noise between consecutive steps.
        imagined_noise: standard deviation of the action noise in imagined episodes, in units of the policy's.
        observation_noise: standard deviation of the observation noise in imagined episodes, in units of each observation's.
        average_memory: share of the averaged policy that an update retains. Checkpoints hold the averaged policy.
        max_grad_norm: of actor, critic and model each.
    """

    expert_model_path: str = ""
    world_model_path: str = ""
    rollout_steps: int = 6
    replay_steps: int = 256
    warmup_steps: int = 48
    warmup_updates: int = 300
    model_units: list[int] = field(default_factory=lambda: [2048, 2048, 2048])
    model_updates: int = 16
    model_batch: int = 2048
    model_window: int = 8
    model_recent: float = 0.5
    model_learning_rate: float = 1e-3
    model_muon_rate: float = 0.02
    policy_updates: int = 4
    imagined_envs: int = 2048
    horizon: int = 28
    learning_rate: float = 5e-4
    muon_rate: float = 0.0
    critic_learning_rate: float = 5e-4
    final_rate: float = 0.1
    gamma: float | None = None
    lam: float = 0.95
    failures_end: bool = True
    critic: bool = False
    target_memory: float = 0.995
    offset_penalty: float = 0.5
    rate_penalty: float = 0.5
    anchor_weight: float = 0.0
    exploration: float = 1.0
    warmup_exploration: float = 3.0
    noise_memory: float = 0.7
    imagined_noise: float = 0.35
    observation_noise: float = 0.02
    average_memory: float = 0.995
    max_grad_norm: float = 1.0

    @property
    def updates(self) -> int:
        """Policy optimizer steps per iteration."""
        return self.policy_updates

    def check(self, key: str) -> None:
        checks.within(
            1, 10_000, self, key, "rollout_steps", "model_window", "horizon", "model_updates", "policy_updates"
        )
        checks.within(2, 100_000, self, key, "replay_steps", "warmup_steps")
        checks.at_least(1, self, key, "model_batch", "imagined_envs")
        checks.at_least(
            0, self, key, "warmup_updates", "offset_penalty", "rate_penalty", "anchor_weight", "exploration"
        )
        checks.at_least(0, self, key, "warmup_exploration", "imagined_noise", "observation_noise")
        checks.within(0, 10, self, key, "learning_rate", "critic_learning_rate", "model_learning_rate")
        checks.within(0, 10, self, key, "muon_rate", "model_muon_rate")
        checks.shares(
            self, key, "gamma", "lam", "final_rate", "model_recent", "noise_memory", "target_memory", "average_memory"
        )
        checks.above_zero(self, key, "max_grad_norm")
        checks.not_empty(self, key, "model_units")
        check_units(self, key, "model_units")
        checks.rising(self, key, "model_window", "warmup_steps")
        checks.rising(self, key, "warmup_steps", "replay_steps")
