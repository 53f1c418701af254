"""The config of a distillation: what is learned from whom, in which order, how fast."""

from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any

from protege.core import checks
from protege.core.tasks import tasks


@dataclass
class TeacherModel:
    """One teacher.

    Attributes:
        weight: of its envs in the distillation, KL and value distillation losses. At 0 it is not needed, and its tasks are left
            out.
        checkpoint: its run folder or checkpoint; several form an ensemble, whose labels are averaged.
    """

    weight: float = 1.0
    checkpoint: list[str] = field(default_factory=list)

    def check(self, key: str) -> None:
        checks.at_least(0, self, key, "weight")


TEACHER_OF_TASK = {name: task.taught_by for name, task in tasks().items()}
"""The teacher that labels the envs of a task."""

Teachers: Any = make_dataclass(
    "Teachers",
    [(name, TeacherModel, field(default_factory=TeacherModel)) for name in dict.fromkeys(TEACHER_OF_TASK.values())],
)


@dataclass
class TeacherModels(Teachers):
    """Who teaches which task: a `TeacherModel` under each name in `TEACHER_OF_TASK`."""

    def weights(self) -> dict[str, float]:
        """Weight of each teacher by name."""
        return {f.name: getattr(self, f.name).weight for f in fields(self)}


@dataclass
class Stage:
    """A part of the curriculum.

    Attributes:
        name: for the log.
        share: of the run's budget, relative to the other stages'.
        task_mix: weight of each task; envs are dealt out by it.
    """

    name: str = ""
    share: float = 1.0
    task_mix: dict[str, float] = field(default_factory=dict)

    def check(self, key: str) -> None:
        checks.weights(self, key, "share", "task_mix")


@dataclass
class DistillConfig:
    """How the student learns. `progress` is the share of the run's budget that is spent, from 0 to 1.

    Attributes:
        rollout_steps: control steps of every env between updates.
        epochs: passes over a rollout.
        minibatches: parts of a pass.
        learning_rate: at the start; falls along a cosine of progress to `min_learning_rate`.
        min_learning_rate: at the end.
        max_grad_norm: of actor and critic each.
        gamma: see `PPOConfig`.
        lam: trace of generalised advantage estimation.
        clip: how far PPO's probability ratio may go from 1.
        distillation_weight: of the squared difference to the teacher's mean action, in units of the actions' scale.
        kl_weight: of KL(student | teacher), nats a joint.
        value_distillation_weight: of the squared difference to the teacher's value, in units of the returns' deviation.
        ppo_weight: of PPO's own objective, once it is on. Small: its gradient is noise for the most part, while the teachers'
            is exact, and a surrogate of 69 joints is about a thousand times as steep as the imitation losses.
        value_weight: of the squared error to the student's own returns; on together with PPO, which needs its own baseline.
        bounds_loss_weight: of what actions exceed the robot's range by.
        ppo_start: PPO's two terms are off until this share of the budget is spent.
        ppo_ramp: share of the budget over which they then grow to their weights.
        teacher_iterations: the teachers act in a share of the envs that falls from 1 to 0 over so many iterations.
        imitation_noise: share of the policy's deviation that actions are strewn by until PPO comes on; from then on all of it.
            The student's own mistakes are noise enough.
        weight_averaging: decay an update of the moving average of the weights that is saved and evaluated; 0 for no average.
        evaluation_interval: iterations between evaluations, of which the best is kept as best.ckpt; 0 for none.
        evaluation_episodes: of each task in an evaluation during training.
        teacher_models: the teachers by name.
        curriculum: the stages in order; empty for `env.task_mix` throughout.
    """

    rollout_steps: int = 24
    epochs: int = 3
    minibatches: int = 16
    learning_rate: float = 5e-4
    min_learning_rate: float = 2e-5
    max_grad_norm: float = 1.0
    gamma: float | None = None
    lam: float = 0.95
    clip: float = 0.2
    distillation_weight: float = 1.0
    kl_weight: float = 0.1
    value_distillation_weight: float = 0.5
    ppo_weight: float = 0.005
    value_weight: float = 0.5
    bounds_loss_weight: float = 1.0
    ppo_start: float = 0.6
    ppo_ramp: float = 0.2
    teacher_iterations: int = 20
    imitation_noise: float = 0.0
    weight_averaging: float = 0.995
    evaluation_interval: int = 25
    evaluation_episodes: int = 128
    teacher_models: TeacherModels = field(default_factory=TeacherModels)
    curriculum: list[Stage] = field(default_factory=list)

    @property
    def updates(self) -> int:
        """Steps of the optimizer in an iteration."""
        return self.epochs * self.minibatches

    def check(self, key: str) -> None:
        checks.within(1, 10_000, self, key, "rollout_steps", "epochs")
        checks.at_least(1, self, key, "minibatches")
        checks.within(0, 10, self, key, "learning_rate", "min_learning_rate")
        checks.within(0, 1e9, self, key, "teacher_iterations", "evaluation_interval")
        checks.at_least(0, self, key, "ppo_start", "ppo_ramp")
        checks.at_least(0, self, key, "distillation_weight", "kl_weight", "value_distillation_weight")
        checks.at_least(0, self, key, "ppo_weight", "value_weight", "bounds_loss_weight", "imitation_noise")
        checks.at_least(1, self, key, "evaluation_episodes")
        checks.above_zero(self, key, "clip", "max_grad_norm")
        checks.shares(self, key, "gamma", "lam", "weight_averaging")
        checks.at_most_entries(100, self, key, "curriculum")
