"""Registers our tasks with gymnasium, for those who come from Isaac Lab: `import protege.sim.gym`.

    gymnasium.make("protege.sim.gym:Protege-Track-SMPL-v0")
    isaaclab train --rl_library rsl_rl --task Protege-Track-SMPL-v0

The command `isaaclab` finds this module by its entry point, `isaaclab.tasks`.
"""

from protege.core.errors import UserError

try:
    import gymnasium
except ModuleNotFoundError as error:
    raise UserError(
        "gymnasium is not installed", 'Install it, on Python 3.12: pip install "protege-sim[isaaclab]"'
    ) from error

HERE = "protege.sim.gym"
IDS = {task: f"Protege-{task.capitalize()}-SMPL-v0" for task in ("track", "path", "goal", "steering")}

for task, name in IDS.items():
    if name not in gymnasium.registry:
        gymnasium.register(
            name,
            entry_point=f"{HERE}.env:ProtegeEnv",
            disable_env_checker=True,
            kwargs={
                "env_cfg_entry_point": f"{HERE}.env_cfg:{task.capitalize()}EnvCfg",
                "rsl_rl_cfg_entry_point": f"{HERE}.env_cfg:{task.capitalize()}PPORunnerCfg",
                "default_agent": "rsl_rl",
            },
        )
