"""What Isaac Lab's commands read: the configurations of our environments, and that of RSL-RL's PPO."""

from math import exp, prod
from typing import Any

import torch
from isaaclab.envs import DirectRLEnvCfg
from isaaclab.scene import InteractiveSceneCfg
from isaaclab.sim import SimulationCfg
from isaaclab.utils import configclass
from isaaclab_rl.rsl_rl import RslRlMLPModelCfg, RslRlOnPolicyRunnerCfg, RslRlPpoAlgorithmCfg

from protege.core.learning.rollout import discount
from protege.core.robots.robot import Robot
from protege.core.tasks import tasks

from ..env_config import EnvConfig
from ..observing import observation_shapes
from ..robots import default_robot, get_robot
from ..robots.mjcf import build_spec
from ..simulators.isaaclab.scene import simulation_cfg
from . import IDS, TASKS, cfg_name

DEVICE = "cuda:0" if torch.cuda.is_available() else "cpu"
PRIVILEGED_OBSERVATIONS = ("proprioception", "poses", "reference_joint_pos")
POLICY_OBSERVATIONS = {
    name: PRIVILEGED_OBSERVATIONS if task.modality is None else ("proprioception", task.modality.name)
    for name, task in tasks().items()
    if name in TASKS
}
"""Observations of the policy of each task; its critic also has the privileged ones, see `critic_observations`."""


def critic_observations(task: str) -> tuple[str, ...]:
    """Observations of the task's policy, and those of its reference."""
    return tuple(dict.fromkeys((*POLICY_OBSERVATIONS[task], *PRIVILEGED_OBSERVATIONS)))


def width(names: tuple[str, ...], robot: Robot) -> int:
    """Number of values in these observations with the default config."""
    shapes = observation_shapes(robot, EnvConfig())
    return sum(prod(shapes[name]) for name in names)


def _simulation(robot: Robot) -> SimulationCfg:
    room = EnvConfig().isaaclab
    return simulation_cfg(robot, build_spec(robot).compile(), DEVICE, room.contacts, room.constraints)


@configclass
class ProtegeEnvCfg(DirectRLEnvCfg):
    """One of our tasks.

    Of Isaac Lab's own fields, `scene.num_envs`, `sim.device`, `episode_length_s`, `seed` and `compute_final_obs` are used. The
    physics is that of the robot, and a step of the simulation is a control step.

    Attributes:
        task: one of `POLICY_OBSERVATIONS`.
        robot: its name, or the path of its `robot.yaml`.
        motion_file: clips; shipped clips are found by name.
        overrides: of our own config, as on our command line: `env.path_follower_params.speed=[0.5, 1.0]`.
    """

    task: str = "track"
    robot: str = default_robot()
    motion_file: list[str] = []  # noqa: RUF012
    overrides: list[str] = []  # noqa: RUF012

    sim: SimulationCfg = _simulation(get_robot(default_robot()))
    scene: InteractiveSceneCfg = InteractiveSceneCfg(num_envs=4096, env_spacing=0.0)
    decimation: int = 1
    episode_length_s: float = EnvConfig.episode_length_s
    action_space: int = 0
    observation_space: int = 0
    state_space: int = 0
    seed: int | None = 0

    def __post_init__(self) -> None:
        robot = get_robot(self.robot)
        if robot.name != default_robot():
            self.sim = _simulation(robot)
        self.motion_file = self.motion_file or [f"{robot.name}_humanoid_walk.npy"]
        self.action_space = robot.num_joints
        self.observation_space = width(POLICY_OBSERVATIONS[self.task], robot)
        self.state_space = width(critic_observations(self.task), robot)


def _actor(robot: Robot) -> RslRlMLPModelCfg:
    """RSL-RL's actor. Its exploration, in units of the action scales, is that of our own policies averaged over the joints."""
    deviation = round(exp(sum(joint.log_std for joint in robot.joints) / robot.num_joints), 3)
    return RslRlMLPModelCfg(
        hidden_dims=[1024, 512, 256],
        activation="elu",
        obs_normalization=True,
        distribution_cfg=RslRlMLPModelCfg.GaussianDistributionCfg(init_std=deviation, std_type="log"),
    )


def _algorithm(robot: Robot) -> RslRlPpoAlgorithmCfg:
    """PPO with the settings of our tracker."""
    return RslRlPpoAlgorithmCfg(
        value_loss_coef=1.0,
        use_clipped_value_loss=True,
        clip_param=0.2,
        entropy_coef=0.0,
        num_learning_epochs=3,
        num_mini_batches=4,
        learning_rate=1.0e-4,
        schedule="adaptive",
        gamma=discount(None, robot.control_dt),
        lam=0.95,
        desired_kl=0.01,
        max_grad_norm=1.0,
    )


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
    actor = _actor(get_robot(default_robot()))
    critic = RslRlMLPModelCfg(hidden_dims=[1024, 512, 256], activation="elu", obs_normalization=True)
    algorithm = _algorithm(get_robot(default_robot()))


def _add(base: type, name: str, title: str, **fields: Any) -> None:
    """Add a class for a task to this module: `TrackEnvCfg`, ... Isaac Lab's commands find it by this name."""
    types = {key: type(value) for key, value in fields.items()}
    members = {"__doc__": f"{title}.", "__module__": __name__, "__annotations__": types, **fields}
    globals()[name] = configclass(type(name, (base,), members))


for _task, _robot in IDS:
    _name, _title = cfg_name(_task, _robot), f"{tasks()[_task].title}: {_robot}"
    _add(ProtegeEnvCfg, f"{_name}EnvCfg", _title, task=_task, robot=_robot)
    _runner = {
        "experiment_name": f"protege_{_robot}_{_task}",
        "actor": _actor(get_robot(_robot)),
        "algorithm": _algorithm(get_robot(_robot)),
    }
    _add(ProtegePPORunnerCfg, f"{_name}PPORunnerCfg", _title, **_runner)
