"""The CPU memory that an environment needs, estimated before it is built."""

from protege.core.memory import require
from protege.core.robots.robot import Robot
from protege.core.tasks import tasks

from .env_config import EnvConfig

ENV_BYTES = {"mujoco": 0.9e6, "mjwarp": 0.2e6, "isaaclab": 0.2e6}
"""Bytes per env of each simulator, measured with a humanoid of 69 joints; MuJoCo uses most of them for contacts."""
VARIED_MODEL_BYTES = 0.4e6
"""Bytes of an env's own model, in MuJoCo with randomised bodies."""
VALUES_PER_BODY, VALUES_PER_JOINT = 13, 2
"""Values per frame of a reference: position, rotation and both velocities of a body; angle and velocity of a joint."""
TABLE_COPIES = 2
"""Copies of a table of references that exist while it is made."""


def check_memory(simulator: str, robot: Robot, config: EnvConfig, *, varied: bool) -> None:
    """Check that the envs of a config fit into the free memory.

    Raises:
        UserError: they do not fit; it says how many would.
    """
    plans = plan_bytes(robot, config)
    if plans:
        description = (
            f"the commands of env.num_plans={config.num_plans} and env.episode_length_s={config.episode_length_s:g}"
        )
        require(plans, config.num_plans, description, "Take {} or fewer, or shorter episodes")
    own_model = VARIED_MODEL_BYTES + terrain_bytes(config) if varied and simulator == "mujoco" else 0.0
    env_bytes = ENV_BYTES.get(simulator, 0.0) + own_model
    require(
        env_bytes,
        config.num_envs,
        f"{config.num_envs} environments of {simulator}",
        "Take {} or fewer: --num-envs",
        fixed=plans * config.num_plans,
    )


def terrain_bytes(config: EnvConfig) -> float:
    """Bytes of the height field of a MuJoCo model."""
    terrain = config.terrain
    return 0.0 if terrain.kind == "flat" else 4.0 * (terrain.size / terrain.cell + 1.0) ** 2


def plan_bytes(robot: Robot, config: EnvConfig) -> float:
    """Bytes of one command of each walking task, with the frames of its reference."""
    frame = 4.0 * (VALUES_PER_BODY * robot.num_bodies + VALUES_PER_JOINT * robot.num_joints)
    seconds = sum(
        task.reference_seconds(config, getattr(config, task.config_key))
        for name, task in tasks().items()
        if config.task_mix.get(name, 0.0) > 0.0
    )
    return TABLE_COPIES * frame * seconds / robot.control_dt
