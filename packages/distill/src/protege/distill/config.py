"""The config of a distillation: losses, schedules, teachers and curriculum."""

from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any

from protege.core import checks
from protege.core.tasks import tasks


@dataclass
class TeacherModel:
    """One teacher.

    Attributes:
        weight: weight of its envs in the distillation, KL and value distillation losses. At 0 the teacher is not loaded, and its
            tasks are left out.
        checkpoint: its run folder or checkpoint, or those of a tracker, or of a student that reads the task's commands. Several
            form an ensemble, whose labels are averaged.
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
    """The teachers by name: a `TeacherModel` for each name in `TEACHER_OF_TASK`."""

    def weights(self) -> dict[str, float]:
        """Weight of each teacher by name."""
        return {f.name: getattr(self, f.name).weight for f in fields(self)}


@dataclass
class Stage:
    """A stage of the curriculum.

    Attributes:
        name: name in the log.
        share: share of the run's budget, relative to those of the other stages.
        task_mix: weight of each task; envs are assigned to tasks in proportion.
    """

    name: str = ""
    share: float = 1.0
    task_mix: dict[str, float] = field(default_factory=dict)

    def check(self, key: str) -> None:
        checks.weights(self, key, "share", "task_mix")


@dataclass
class DistillConfig:
    """How the student learns. `progress` is the share of the run's budget that has been used, from 0 to 1.

    Attributes:
        rollout_steps: control steps of every env between updates.
        epochs: passes over each rollout.
        minibatches: number of minibatches in a pass.
        learning_rate: at the start; it follows a cosine of progress down to `min_learning_rate`.
        min_learning_rate: learning rate at the end.
        max_grad_norm: maximum gradient norm, of the actor and of the critic.
        gamma: see `PPOConfig`.
        lam: lambda of generalised advantage estimation.
        clip: maximum deviation of PPO's probability ratio from 1.
        distillation_weight: weight of the squared difference to the teacher's mean action, in units of the action scale.
        kl_weight: weight of KL(student | teacher) with one common standard deviation, in the same unit. For a single teacher it
            equals the squared difference. Joints on which an ensemble disagrees contribute less.
        value_distillation_weight: weight of the squared difference to the teacher's value, in units of the returns' standard
            deviation. Once PPO is on, teachers' values are rescaled to the mean and standard deviation of the student's own
            returns, for each task.
        ppo_weight: weight of PPO's objective. At 1 an action with advantage 1 gives the same gradient as that action of a teacher.
        value_weight: weight of the squared error to the student's own returns from `ppo_start` on, for PPO's baseline.
        bounds_loss_weight: weight of the loss on actions outside the robot's range.
        ppo_start: share of the budget after which PPO starts; 0 from the beginning, 1 never.
        critic_first: share of the budget, from `ppo_start` on, in which the actor is frozen while the critic learns the returns
            of actions with full noise.
        ppo_ramp: share of the budget over which PPO's loss then grows to its weight.
        anchor_end: share of `distillation_weight` and `kl_weight` that is left at the end of the budget. Both fall linearly from
            the time at which PPO's loss starts to grow.
        heed_distance: largest mean distance of the bodies from the next reference pose at which the teacher's labels count, m;
            0 for no limit. For envs whose episodes do not end when the robot leaves the reference.
        label_true_state: where sensors have errors (`env.randomization.noise`, `bias`), teachers label the true state. Otherwise
            they label the measured one, which small students learn better.
        teacher_iterations: number of iterations over which the share of envs in which the teachers act falls from 1 to 0.
        imitation_noise: share of the policy's standard deviation that is used as action noise before PPO starts; afterwards all
            of it is used. A low value is enough: the student's own errors already vary the states.
        noise_of_error: the policy's standard deviation as a multiple of the student's error in the previous rollout, for each
            joint, limited to between a tenth of `model.log_std`'s and all of it (as in DART, arXiv 1703.09327). The noise that PPO
            needs then hardly disturbs a student that imitates well. 0 for a fixed deviation.
        weight_averaging: decay per update of the moving average of the weights, which is saved and evaluated; 0 for no average.
        evaluation_interval: iterations between evaluations; the best policy is saved as best.ckpt; 0 for no evaluations.
        evaluation_episodes: episodes of each task in an evaluation during training.
        teacher_models: the teachers by name.
        curriculum: the stages in order; if empty, `env.task_mix` is used throughout.
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
    label_true_state: bool = False
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
        """Optimizer steps in an iteration."""
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
