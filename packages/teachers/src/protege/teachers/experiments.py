"""The teachers of tasks that have a modality of their own.

Each is the tracker, fine-tuned by PPO on references that are warped along commands.

The walking clip is turned and sped up or slowed down to obey a random command (`protege.sim.tasks.locomotion_command`). Tracking
it well is obeying the command with the clip's gait. Training starts from the tracker's weights. A teacher additionally reads its
command, as a token that is added at zero effect (`ModelConfig.added_tokens`).
"""

from protege.core.learning.policy import ModelConfig
from protege.core.learning.ppo import PPOConfig
from protege.core.runs.experiments import train_ppo
from protege.core.runs.training import Experiment
from protege.core.tasks import Modality, Task, tasks

PARTS: dict[str, type] = {"agent": PPOConfig, "model": ModelConfig}


def _experiment(task: Task, modality: Modality) -> Experiment:
    given = (
        f"run.experiment_name=<robot>_{task.kind}",
        f"env.task_mix={{track: 0.0, {task.name}: 1.0}}",
        f"model.added_tokens=[{modality.name}]",
    )
    return Experiment(task.kind, PARTS, train_ppo, base="_teacher", given=given)


EXPERIMENTS = {task.kind: _experiment(task, task.modality) for task in tasks().values() if task.modality is not None}
"""By kind, which is also the first part of their presets' names."""
