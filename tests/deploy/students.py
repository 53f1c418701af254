"""Policies of every kind, small and untrained but far from zero, saved as checkpoints, for SMPL by default."""

from dataclasses import asdict, replace
from pathlib import Path

from robot_states import own_settings
from torch import nn

from protege.core.learning.learner import Policy
from protege.core.learning.masked_mimic import MaskedMimic, MaskedMimicConfig
from protege.core.learning.policy import ActorCritic, ModelConfig
from protege.core.motions import load_clips
from protege.core.robots.robot import Robot
from protege.core.robots.servos import Servos
from protege.core.runs import checkpoint
from protege.core.runs.checkpoint import Checkpoint
from protege.core.runs.config import RunConfig
from protege.sim.env import HumanoidEnv
from protege.sim.env_config import EnvConfig
from protege.sim.robots import get_robot
from protege.sim.simulators.simulator import make_simulator
from protege.sim.tasks.steering import SteeringParams

ROBOT = get_robot("smpl")
WALK = "data/motions/smpl_humanoid_walk.npy"
STUDENT_TOKENS = ["proprioception", "history", "path", "goal", "steering", "masked_poses"]
MIX = {"masked_mimic": 2.0, "path": 2.0, "goal": 2.0, "steering": 2.0}


def walk(robot: Robot) -> str:
    """The shipped walk of a robot."""
    return f"data/motions/{robot.name}_humanoid_walk.npy"


def env_config(steering: int = 3, mix: dict[str, float] | None = None, robot: Robot = ROBOT) -> EnvConfig:
    settings = own_settings(robot)
    settings["steering_params"] = replace(settings.get("steering_params", SteeringParams()), obs_size=steering)
    return EnvConfig(
        num_envs=8,
        task_mix=mix or MIX,
        num_plans=16,
        episode_length_s=0.2,
        history_steps=3,
        mix_probability=0.5,
        **settings,
    )


def make_env(config: EnvConfig, robot: Robot = ROBOT, sensors: str = "full_state") -> HumanoidEnv:
    simulator = make_simulator("mujoco", robot, config.num_envs, device="cpu", num_threads=1)
    return HumanoidEnv(simulator, load_clips([walk(robot)], robot), config, seed=0, sensors=sensors)


def actor_critic(obs_shapes, tokens: list[str], robot: Robot = ROBOT, **sizes) -> tuple[ActorCritic, dict]:
    small = {"latent_dim": 32, "ff_size": 64, "num_layers": 2, "mlp_units": [64, 32], "critic_units": [16]}
    config = ModelConfig(tokens=tokens, critic_inputs=["proprioception", "poses"], **{**small, **sizes})
    policy = ActorCritic(obs_shapes, Servos.of(robot), config)
    return policy, {"model": asdict(config)}


def masked_mimic(obs_shapes, robot: Robot = ROBOT) -> tuple[MaskedMimic, dict]:
    config = MaskedMimicConfig(latent_dim=32, ff_size=64, num_layers=1, prior_units=[32], decoder_units=[32])
    return MaskedMimic(obs_shapes, Servos.of(robot), config), {"agent": asdict(config)}


def enliven(policy: Policy, env: HumanoidEnv) -> Policy:
    """Normalisers that have seen the environment, and actions as large as a trained policy's (0.3 rad or so)."""
    obs = env.reset()
    for _ in range(3):
        policy.update_normalizers(obs)
        obs = env.step((obs["reference_joint_pos"] - env.default_joint_pos) / env.action_scale).obs
    # MaskedMimic's decoder has larger hidden units than an actor's head: alike weights gave actions of 10 rad.
    last, size = (policy.decoder_net[-1], 0.4) if isinstance(policy, MaskedMimic) else (policy.actor[-1][-1], 2.0)
    assert isinstance(last, nn.Linear)
    nn.init.normal_(last.weight, std=size / last.in_features**0.5)
    return policy.eval().requires_grad_(False)


def save(path: Path, kind: str, policy: Policy, env: HumanoidEnv, parts: dict) -> Path:
    robot = env.robot
    run = RunConfig(robot=robot.name, experiment_name=path.parent.name, motion_file=[walk(robot)])
    checkpoint.save(
        path,
        Checkpoint(
            kind=kind,
            config={"run": asdict(run), "env": asdict(env.config), **parts},
            robot=robot.name,
            joint_names=list(robot.joint_names),
            obs_shapes={name: list(shape) for name, shape in env.obs_shapes.items()},
            model=dict(policy.state_dict()),
            iteration=7,
            samples=1234,
        ),
    )
    return path
