"""Experiments that train the teachers of tasks with a modality.

Each teacher is the tracker, fine-tuned on references that are warped along commands, with PPO or through a world model.

The walking clip is turned, and its speed changed, to follow a random command (`protege.sim.tasks.locomotion_command`). A policy
that tracks it well follows the command with the clip's gait. Training starts from the tracker's weights. The teacher also reads its
command, as a token that initially has no effect (`ModelConfig.added_tokens`).
"""

from protege.core.learning.policy import ModelConfig
from protege.core.learning.ppo import PPOConfig
from protege.core.learning.world_model.config import WorldModelConfig
from protege.core.runs.experiments import train_ppo, train_world_model
from protege.core.runs.training import Experiment
from protege.core.tasks import Modality, Task, tasks

PARTS: dict[str, type] = {"agent": PPOConfig, "model": ModelConfig}
WORLD_MODEL_PARTS: dict[str, type] = {"agent": WorldModelConfig, "model": ModelConfig}


def _experiments(task: Task, modality: Modality) -> dict[str, Experiment]:
    """Both experiments of a task's teacher, with PPO and through a world model, by preset name."""
    given = (
        f"run.experiment_name=<robot>_{task.kind}",
        f"env.task_mix={{track: 0.0, {task.name}: 1.0}}",
        f"model.added_tokens=[{modality.name}]",
    )
    imagined = f"{task.kind}/world_model"
    return {
        task.kind: Experiment(task.kind, PARTS, train_ppo, "_teacher", given),
        imagined: Experiment(task.kind, WORLD_MODEL_PARTS, train_world_model, "_world_model", given, imagined),
    }


EXPERIMENTS = {
    name: experiment
    for task in tasks().values()
    if task.modality is not None
    for name, experiment in _experiments(task, task.modality).items()
}
"""Experiments by preset name. Other presets of a kind, such as `steering/laptop`, use the experiment named like the kind."""
