"""The three teachers. Each is the tracker, fine-tuned by PPO on references that are warped along commands.

The walking clip is turned and sped up or slowed down to obey a random command (`protege.sim.commands.locomotion`), and tracking it
well is obeying the command with the clip's gait. The tracker already nearly can: its weights are the start. A teacher additionally
reads its command, as a token that is added at zero effect (`ModelConfig.added_tokens`).
"""

from protege.core.experiments import Experiment, train_ppo
from protege.core.policy import ModelConfig
from protege.core.ppo import PPOConfig

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
