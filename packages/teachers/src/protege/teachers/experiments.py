"""The teachers of tasks that have a modality of their own.

Each is the tracker, fine-tuned on references that are warped along commands: by PPO, or by the gradient through a learned model of
the simulator.

The walking clip is turned and sped up or slowed down to obey a random command (`protege.sim.tasks.locomotion_command`). Tracking
it well is obeying the command with the clip's gait. Training starts from the tracker's weights. A teacher additionally reads its
command, as a token that is added at zero effect (`ModelConfig.added_tokens`).
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
    """Both ways to train the teacher of a task, by their presets' names."""
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
"""By their presets' names. Others of a kind, such as `steering/laptop`, are trained as the preset that is named like the kind."""
