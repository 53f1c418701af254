"""Registers our tasks, for each robot, with gymnasium, for users of Isaac Lab: `import protege.sim.gym`.

    gymnasium.make("protege.sim.gym:Protege-Track-G1-v0")
    isaaclab train --rl_library rsl_rl --task Protege-Track-G1-v0

The command `isaaclab` finds this module by its entry point, `isaaclab.tasks`.
"""

from protege.core.errors import UserError
from protege.core.tasks import tasks

from ..robots import robot_names

try:
    import gymnasium
except ModuleNotFoundError as error:
    raise UserError(
        "gymnasium is not installed", 'Install it, on Python 3.12: pip install "protege-sim[isaaclab]"'
    ) from error

MODULE = "protege.sim.gym"


def short_name(task: str) -> str:
    """A task's part of ids and of classes: `track` -> `Track`."""
    return "".join(word.capitalize() for word in task.split("_"))


def cfg_name(task: str, robot: str) -> str:
    """Prefix of the names of a task's and a robot's configurations: `track`, `g1` -> `TrackG1`."""
    return short_name(task) + short_name(robot)


TASKS = tuple(name for name, task in tasks().items() if task.unified)
IDS = {(task, robot): f"Protege-{short_name(task)}-{robot.upper()}-v0" for robot in robot_names() for task in TASKS}
"""By task and robot."""

for (task, robot), name in IDS.items():
    if name not in gymnasium.registry:
        gymnasium.register(
            name,
            entry_point=f"{MODULE}.env:ProtegeEnv",
            disable_env_checker=True,
            kwargs={
                "env_cfg_entry_point": f"{MODULE}.env_cfg:{cfg_name(task, robot)}EnvCfg",
                "rsl_rl_cfg_entry_point": f"{MODULE}.env_cfg:{cfg_name(task, robot)}PPORunnerCfg",
                "default_agent": "rsl_rl",
            },
        )
