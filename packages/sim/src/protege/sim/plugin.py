"""The entry point by which core finds this environment without importing it."""

from collections.abc import Mapping
from typing import Any

from protege.core.observations import FULL_STATE
from protege.core.robots.robot import Robot
from protege.core.runs.clip_selection import open_motions

from .env import HumanoidEnv
from .env_config import EnvConfig, MjwarpParams
from .footprint import check_memory
from .mismatch import delay_steps, mismatched
from .robots import get_robot, has_robot, training_settings
from .simulators.delayed import DelayedSimulator, stepwise
from .simulators.simulator import fastest_simulator, make_simulator
from .terrain import make_terrain


class HumanoidPlugin:
    """Implements `protege.core.env.EnvPlugin`."""

    config_class = EnvConfig

    def robot(self, name: str) -> Robot:
        """See `robots.get_robot`."""
        return get_robot(name)

    def has_robot(self, name: str) -> bool:
        """See `robots.has_robot`."""
        return has_robot(name)

    def robot_settings(self, name: str) -> tuple[str, Mapping[str, Any]]:
        """See `robots.training_settings`."""
        return training_settings(name)

    def fastest_simulator(self, device: str, trained_in: str) -> str:
        """See `simulator.fastest_simulator`."""
        return fastest_simulator(device, trained_in)

    def make(
        self,
        run: Any,
        env: EnvConfig,
        *,
        evaluation: bool = False,
        robot: Robot | None = None,
        sensors: str = FULL_STATE,
    ) -> HumanoidEnv:
        """Build the environment of a run.

        Args:
            run: a RunConfig; robot, simulator, motion_file, motion_split, motion_tags, seed, device and num_threads are used.
            env: the environment's own config.
            evaluation: end episodes by the tasks' failure rules.
            robot: replaces the one that `run.robot` names.
            sensors: of the policy that acts in the environment, see `HumanoidEnv`.
        """
        robot, late = robot or get_robot(run.robot), 0
        if evaluation:
            robot = mismatched(robot, env.mismatch)
            late = delay_steps(robot, env.mismatch)
        most = env.track.device_frames
        motions = open_motions(run.motion_file, robot, run.motion_split, run.motion_tags, most)
        own = getattr(env, run.simulator, None)
        settings = vars(own) if isinstance(own, MjwarpParams) else {}
        varied = env.randomization.when(evaluation).varies_bodies
        where = (run.torch_device(), run.num_threads)
        if where[0] == "cpu":  # a simulator on a GPU checks its memory itself
            check_memory(run.simulator, robot, env, varied=varied)
        settings = {**settings, "varied": varied, "terrain": make_terrain(env.terrain)}
        driven = stepwise(robot) if late else robot
        simulator = make_simulator(run.simulator, driven, env.num_envs, *where, **settings)
        simulator = DelayedSimulator(simulator, robot, late) if late else simulator
        return HumanoidEnv(simulator, motions, env, run.seed, evaluation=evaluation, sensors=sensors)


plugin = HumanoidPlugin()
