"""The entry point by which core finds this environment without importing it."""

from collections.abc import Mapping
from typing import Any

from protege.core.errors import UserError
from protege.core.observations import FULL_STATE
from protege.core.robots.robot import Robot
from protege.core.runs.clip_selection import open_motions

from .env import HumanoidEnv
from .env_config import EnvConfig, MjwarpParams
from .footprint import check_memory
from .mismatch import mismatched, substeps_at, with_leg_collision
from .robots import get_robot, has_robot, training_settings
from .simulators.simulator import fastest_simulator, find_simulator, make_simulator
from .simulators.stepwise import StepwiseSimulator, stepwise
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
        robot = robot or get_robot(run.robot)
        robot = mismatched(robot, env.mismatch) if evaluation else robot
        most = env.track.device_frames
        motions = open_motions(run.motion_file, robot, run.motion_split, run.motion_tags, most)
        own = getattr(env, run.simulator, None)
        settings = vars(own) if isinstance(own, MjwarpParams) else {}
        random = env.randomization.when(evaluation)
        varied, rates = random.varies_bodies, random.physics_rate
        late = env.mismatch.delay if evaluation else 0.0
        delay = late + random.delay[0], late + random.delay[1]
        where = (run.torch_device(), run.num_threads)
        if where[0] == "cpu":  # a simulator on a GPU checks its memory itself
            check_memory(run.simulator, robot, env, varied=varied)
        settings = {**settings, "varied": varied, "terrain": make_terrain(env.terrain.when(evaluation))}
        if rates and not hasattr(find_simulator(run.simulator), "set_physics_dt"):
            problem = f"{run.simulator} cannot change env.randomization.physics_rate while it runs"
            raise UserError(problem, "Take --simulator mujoco or mjwarp, or env.randomization.physics_rate=[]")
        steps = bool(delay[1] or rates)
        driven = with_leg_collision(robot) if random.leg_collision else robot
        driven = stepwise(driven) if steps else driven
        simulator = make_simulator(run.simulator, driven, env.num_envs, *where, **settings)
        if steps:
            choices = [substeps_at(robot, rate) for rate in rates]
            simulator = StepwiseSimulator(simulator, robot, delay, choices)
        return HumanoidEnv(simulator, motions, env, run.seed, evaluation=evaluation, sensors=sensors, robot=robot)


plugin = HumanoidPlugin()
