"""The memory that an environment takes on the CPU, before it is built."""

from protege.core.memory import require
from protege.core.robots.robot import Robot
from protege.core.tasks import tasks

from .env_config import EnvConfig

WORLD_BYTES = {"mujoco": 0.9e6, "mjwarp": 0.2e6, "isaaclab": 0.2e6}
"""A world of each simulator, measured with a humanoid of 69 joints; MuJoCo keeps most of it for contacts."""
VARIED_BYTES = 0.4e6
"""A model of its own, of a MuJoCo world whose bodies are randomised."""
NUMBERS_A_BODY, NUMBERS_A_JOINT = 13, 2
"""Of a frame of a reference: position, rotation and both velocities; angle and velocity."""
COPIES = 2
"""Of a table of references while it is made."""


def check_memory(simulator: str, robot: Robot, config: EnvConfig, *, varied: bool) -> None:
    """Whether the envs of a config fit into the memory that is free.

    Raises:
        UserError: they do not; with how many would.
    """
    plans = plan_bytes(robot, config)
    if plans:
        told = f"the commands of env.num_plans={config.num_plans} and env.episode_length_s={config.episode_length_s:g}"
        require(plans, config.num_plans, told, "Take {} or fewer, or shorter episodes")
    own_model = VARIED_BYTES + terrain_bytes(config) if varied and simulator == "mujoco" else 0.0
    world = WORLD_BYTES.get(simulator, 0.0) + own_model
    require(
        world,
        config.num_envs,
        f"{config.num_envs} environments of {simulator}",
        "Take {} or fewer: --num-envs",
        fixed=plans * config.num_plans,
    )


def terrain_bytes(config: EnvConfig) -> float:
    """What the height field of a MuJoCo model takes."""
    terrain = config.terrain
    return 0.0 if terrain.kind == "flat" else 4.0 * (terrain.size / terrain.cell + 1.0) ** 2


def plan_bytes(robot: Robot, config: EnvConfig) -> float:
    """What one command of each walking task takes, with the frames of its reference."""
    frame = 4.0 * (NUMBERS_A_BODY * robot.num_bodies + NUMBERS_A_JOINT * robot.num_joints)
    asked = sum(
        task.reference_seconds(config, getattr(config, task.config_key))
        for name, task in tasks().items()
        if config.task_mix.get(name, 0.0) > 0.0
    )
    return COPIES * frame * asked / robot.control_dt
