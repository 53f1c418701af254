"""Registers our tasks with gymnasium, for those who come from Isaac Lab: `import protege.sim.gym`.

    gymnasium.make("protege.sim.gym:Protege-Track-SMPL-v0")
    isaaclab train --rl_library rsl_rl --task Protege-Track-SMPL-v0

The command `isaaclab` finds this module by its entry point, `isaaclab.tasks`.
"""

from protege.core.errors import UserError
from protege.core.tasks import tasks

try:
    import gymnasium
except ModuleNotFoundError as error:
    raise UserError(
        "gymnasium is not installed", 'Install it, on Python 3.12: pip install "protege-sim[isaaclab]"'
    ) from error

HERE = "protege.sim.gym"


def short_name(task: str) -> str:
    """A task's part of ids and of classes: `track` -> `Track`."""
    return "".join(word.capitalize() for word in task.split("_"))


IDS = {name: f"Protege-{short_name(name)}-SMPL-v0" for name, task in tasks().items() if task.unified}

for task, name in IDS.items():
    if name not in gymnasium.registry:
        gymnasium.register(
            name,
            entry_point=f"{HERE}.env:ProtegeEnv",
            disable_env_checker=True,
            kwargs={
                "env_cfg_entry_point": f"{HERE}.env_cfg:{short_name(task)}EnvCfg",
                "rsl_rl_cfg_entry_point": f"{HERE}.env_cfg:{short_name(task)}PPORunnerCfg",
                "default_agent": "rsl_rl",
            },
        )
