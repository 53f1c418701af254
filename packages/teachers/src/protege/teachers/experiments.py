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
from protege.core.tasks import tasks

PARTS: dict[str, type] = {"agent": PPOConfig, "model": ModelConfig}

EXPERIMENTS = {
    task.kind: Experiment(task.kind, PARTS, train_ppo) for task in tasks().values() if task.modality is not None
}
"""By kind, which is also the first part of their presets' names."""
