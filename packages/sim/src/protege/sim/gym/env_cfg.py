"""What Isaac Lab's commands read of our environments: their configuration, and that of RSL-RL's PPO."""

import torch
from isaaclab.envs import DirectRLEnvCfg
from isaaclab.scene import InteractiveSceneCfg
from isaaclab.sim import SimulationCfg
from isaaclab.utils import configclass
from isaaclab_rl.rsl_rl import RslRlMLPModelCfg, RslRlOnPolicyRunnerCfg, RslRlPpoAlgorithmCfg

from protege.core.observations import POSE_FEATURES, proprioception_size
from protege.core.robots.robot import Robot

from ..env_config import EnvConfig
from ..robots import get_robot
from ..robots.mjcf import build_spec
from ..simulators.isaaclab.scene import simulation_cfg

DEVICE = "cuda:0" if torch.cuda.is_available() else "cpu"
PRIVILEGED = ("proprioception", "poses", "reference_joint_pos")
SEEN = {
    "track": PRIVILEGED,
    "path": ("proprioception", "path"),
    "goal": ("proprioception", "goal"),
    "steering": ("proprioception", "steering"),
}
"""What the policy of each task observes; its critic sees what is privileged besides, see `critic_sees`."""


def critic_sees(task: str) -> tuple[str, ...]:
    """What the policy of the task sees, and what only its reference knows."""
    return tuple(dict.fromkeys((*SEEN[task], *PRIVILEGED)))


def width(names: tuple[str, ...], robot: Robot) -> int:
    """How many numbers these observations are with the default config."""
    config, bodies, joints = EnvConfig(), robot.num_bodies, robot.num_joints
    sizes = {
        "proprioception": proprioception_size(bodies, joints),
        "poses": len(config.future_frames) * bodies * POSE_FEATURES,
        "reference_joint_pos": joints,
        "path": 10 * 2,
        "goal": 3,
        "steering": config.steering_params.obs_size,
    }
    return sum(sizes[name] for name in names)


def _simulation() -> SimulationCfg:
    robot = get_robot("smpl")
    room = EnvConfig().isaaclab
    return simulation_cfg(robot, build_spec(robot).compile(), DEVICE, room.contacts, room.constraints)


@configclass
class ProtegeEnvCfg(DirectRLEnvCfg):
    """One of our tasks.

    Of Isaac Lab's own fields `scene.num_envs`, `sim.device`, `episode_length_s`, `seed` and `compute_final_obs` count. Physics are
    those of the robot, and a step of the simulation is a control step.

    Attributes:
        task: track, path, goal or steering.
        motion_file: clips; what is shipped is found by name.
        overrides: of our own config, as on our command line: `env.path_follower_params.speed=[0.5, 1.0]`.
    """

    task: str = "track"
    motion_file: list[str] = ["smpl_humanoid_walk.npy"]  # noqa: RUF012
    overrides: list[str] = []  # noqa: RUF012

    sim: SimulationCfg = _simulation()
    scene: InteractiveSceneCfg = InteractiveSceneCfg(num_envs=4096, env_spacing=0.0)
    decimation: int = 1
    episode_length_s: float = EnvConfig.episode_length_s
    action_space: int = get_robot("smpl").num_joints
    observation_space: int = 0
    state_space: int = 0
    seed: int | None = 0

    def __post_init__(self) -> None:
        robot = get_robot("smpl")
        self.observation_space = width(SEEN[self.task], robot)
        self.state_space = width(critic_sees(self.task), robot)


@configclass
class TrackEnvCfg(ProtegeEnvCfg):
    """Tracking a clip."""


@configclass
class PathEnvCfg(ProtegeEnvCfg):
    """Following a path."""

    task: str = "path"


@configclass
class GoalEnvCfg(ProtegeEnvCfg):
    """Reaching a goal."""

    task: str = "goal"


@configclass
class SteeringEnvCfg(ProtegeEnvCfg):
    """Obeying a direction and a speed."""

    task: str = "steering"


@configclass
class ProtegePPORunnerCfg(RslRlOnPolicyRunnerCfg):
    """RSL-RL's PPO with the settings of our tracker, for its multilayer perceptron."""

    device = DEVICE
    num_steps_per_env = 24
    max_iterations = 2000
    save_interval = 100
    experiment_name = "protege_track"
    init_at_random_ep_len = False  # episodes already begin anywhere in the clip
    obs_groups = {"actor": ["policy"], "critic": ["critic"]}  # noqa: RUF012
    actor = RslRlMLPModelCfg(
        hidden_dims=[1024, 512, 256],
        activation="elu",
        obs_normalization=True,
        distribution_cfg=RslRlMLPModelCfg.GaussianDistributionCfg(init_std=0.055, std_type="log"),
    )
    critic = RslRlMLPModelCfg(hidden_dims=[1024, 512, 256], activation="elu", obs_normalization=True)
    algorithm = RslRlPpoAlgorithmCfg(
        value_loss_coef=1.0,
        use_clipped_value_loss=True,
        clip_param=0.2,
        entropy_coef=0.0,
        num_learning_epochs=3,
        num_mini_batches=4,
        learning_rate=1.0e-4,
        schedule="adaptive",
        gamma=0.97,
        lam=0.95,
        desired_kl=0.01,
        max_grad_norm=1.0,
    )


@configclass
class TrackPPORunnerCfg(ProtegePPORunnerCfg):
    """Of `Protege-Track-SMPL-v0`."""


@configclass
class PathPPORunnerCfg(ProtegePPORunnerCfg):
    """Of `Protege-Path-SMPL-v0`."""

    experiment_name = "protege_path"


@configclass
class GoalPPORunnerCfg(ProtegePPORunnerCfg):
    """Of `Protege-Goal-SMPL-v0`."""

    experiment_name = "protege_goal"


@configclass
class SteeringPPORunnerCfg(ProtegePPORunnerCfg):
    """Of `Protege-Steering-SMPL-v0`."""

    experiment_name = "protege_steering"
