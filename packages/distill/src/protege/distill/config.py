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
        kl_weight: of KL(student | teacher) at one common deviation, in the same unit: of a single teacher it is the squared
            difference again; a joint on which an ensemble disagrees pulls less.
        value_distillation_weight: of the squared difference to the teacher's value, in units of the returns' deviation. Once PPO
            is on, teachers' values have the mean and deviation of the student's own returns, task by task.
        ppo_weight: of PPO's objective. At 1 an action of advantage 1 pulls like a teacher's action in its place.
        value_weight: of the squared error to the student's own returns, from `ppo_start` on: PPO needs its own baseline.
        bounds_loss_weight: of what actions exceed the robot's range by.
        ppo_start: share of the budget after which PPO comes in; 0 from the beginning, 1 never.
        critic_first: share of the budget, from `ppo_start` on, in which the actor rests while the critic learns the returns
            that it has with all of its noise.
        ppo_ramp: share of the budget over which PPO's loss then grows to its weight.
        anchor_end: share of `distillation_weight` and `kl_weight` that is left when the budget is spent. They fall in a straight
            line from when PPO's loss begins to grow.
        heed_distance: a teacher counts where bodies are on average no further than this from where the reference has them in a
            control step, m; 0: everywhere. For envs whose episodes do not end out of step.
        teacher_iterations: the teachers act in a share of the envs that falls from 1 to 0 over so many iterations.
        imitation_noise: share of the policy's deviation that actions are strewn by until PPO comes on; from then on all of it.
            The student's own mistakes are noise enough.
        noise_of_error: the policy's deviation is so many times the student's error in the rollout before, joint by joint, from a
            tenth of `model.log_std`'s to all of it (as DART's, arXiv 1703.09327): the noise that PPO needs then shakes nobody who
            can imitate. 0: it is fixed.
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
    ppo_weight: float = 0.5
    value_weight: float = 0.5
    bounds_loss_weight: float = 1.0
    ppo_start: float = 0.6
    critic_first: float = 0.0
    ppo_ramp: float = 0.2
    anchor_end: float = 1.0
    heed_distance: float = 0.0
    teacher_iterations: int = 20
    imitation_noise: float = 0.0
    noise_of_error: float = 0.0
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
        checks.at_least(0, self, key, "ppo_start", "ppo_ramp", "heed_distance", "noise_of_error")
        checks.at_least(0, self, key, "distillation_weight", "kl_weight", "value_distillation_weight")
        checks.at_least(0, self, key, "ppo_weight", "value_weight", "bounds_loss_weight", "imitation_noise")
        checks.at_least(1, self, key, "evaluation_episodes")
        checks.above_zero(self, key, "clip", "max_grad_norm")
        checks.shares(self, key, "gamma", "lam", "weight_averaging", "critic_first", "anchor_end")
        checks.at_most_entries(100, self, key, "curriculum")
