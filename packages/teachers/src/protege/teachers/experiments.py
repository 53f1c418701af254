"""The three teachers. Each is the tracker, fine-tuned by PPO on references that are warped along commands.

The walking clip is turned and sped up or slowed down to obey a random command (`protege.sim.tasks.locomotion_command`). Tracking
it well is obeying the command with the clip's gait. Training starts from the tracker's weights. A teacher additionally reads its
command, as a token that is added at zero effect (`ModelConfig.added_tokens`).
"""

from protege.core.learning.policy import ModelConfig
from protege.core.learning.ppo import PPOConfig
from protege.core.runs.experiments import train_ppo
from protege.core.runs.training import Experiment

PARTS: dict[str, type] = {"agent": PPOConfig, "model": ModelConfig}

EXPERIMENTS = {kind: Experiment(kind, PARTS, train_ppo) for kind in ("path_follower", "goal_directed", "steering")}
"""By kind, which is also the first part of their presets' names."""

TASKS = {
    "path_follower": "path",
    "goal_directed": "goal",
    "steering": "steering",
    "masked_mimic": "masked_mimic",
    "tracker": "track",
}
"""The task that each kind of policy is a teacher of."""
