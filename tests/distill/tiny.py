"""A few real MuJoCo envs, teachers with known labels, and a policy that plays the reference; SMPL by default."""

from pathlib import Path

import torch

from protege.core.env import env_plugin
from protege.core.robots.robot import Robot
from protege.core.robots.servos import Servos
from protege.core.runs.checkpoint import Checkpoint, save
from protege.core.runs.config import Config, RunConfig, compose
from protege.core.runs.experiments import EXPERIMENTS as CORE
from protege.core.runs.load_policy import make_actor_critic
from protege.distill.experiment import EXPERIMENTS
from protege.sim.robots import get_robot
from protege.teachers.teacher import Label

ROBOT = get_robot("smpl")
SMALL_ENV = ["num_plans=8", "history_steps=1", "episode_length_s=3", "num_threads=1"]
SMALL_MODEL = ["latent_dim=16", "ff_size=16", "num_layers=1", "num_heads=2", "mlp_units=[32]", "critic_units=[16]"]
TEACHERS = ["path_follower", "goal_directed", "steering", "masked_mimic"]
TASKS = ["path", "goal", "steering", "masked_mimic"]


def of_robot(robot: Robot) -> list[str]:
    """Overrides for the robot and its walk."""
    return [f"run.robot={robot.name}", f"motion_file=[data/motions/{robot.name}_humanoid_walk.npy]"]


class ScriptedTeacher:
    """Plays the reference with `offset` added to the first joint, in units of the action; its value of every state is `value`.

    Its standard deviation is the initial one of its robot's policies.
    """

    def __init__(self, offset: float = 0.0, value: float = 10.0, robot: Robot = ROBOT) -> None:
        self.offset, self.value = offset, value
        servos = Servos.of(robot)
        self.zero, self.scale, self.std = servos.default_joint_pos, servos.action_scale, servos.log_std.exp()
        self.rows: list[int] = []
        self.commanded: list[dict[str, torch.Tensor]] = []

    def label(self, obs) -> Label:
        self.rows.append(len(obs["goal"]))
        self.commanded.append({task: obs[f"{task}_mask"] for task in TASKS[:3]})
        mean = (obs["reference_joint_pos"] - self.zero) / self.scale
        mean[:, 0] += self.offset
        return Label(mean, self.std.expand_as(mean), torch.full((len(mean),), self.value))


def scripted(robot: Robot = ROBOT) -> dict[str, ScriptedTeacher]:
    """Teachers by name with different labels: offsets 0.1, 0.2, ... and values 1, 2, ..."""
    return {name: ScriptedTeacher(0.1 * (i + 1), i + 1.0, robot) for i, name in enumerate(TEACHERS)}


def student_config(folder: Path, *overrides: str, robot: Robot = ROBOT) -> Config:
    """The config of a tiny distillation of all tasks at once, whose run is in `folder`."""
    parts = {"run": RunConfig, "env": env_plugin().config_class, **EXPERIMENTS["distillation"].parts}
    small = [
        *SMALL_ENV,
        *of_robot(robot),
        *SMALL_MODEL,
        f"results_dir={folder}",
        "experiment_name=student",
        "max_time=null",
        "max_iterations=4",
        "num_envs=8",
        "rollout_steps=4",
        "epochs=2",
        "minibatches=2",
        "evaluation_interval=0",
        f"curriculum=[{{name: all, task_mix: {{{', '.join(f'{task}: 1' for task in TASKS)}}}}}]",
    ]
    settings = env_plugin().robot_settings
    return compose(parts, "distillation/unified_lightweight", [*small, *overrides], robot_settings=settings)


def save_tracker(folder: Path, kind: str = "tracker", robot: Robot = ROBOT) -> Path:
    """A run folder with an untrained tracker, which plays its reference, saved as a policy of `kind`."""
    experiment = CORE["full_body_tracker"]
    parts = {"run": RunConfig, "env": env_plugin().config_class, **experiment.parts}
    small = [*SMALL_ENV, *of_robot(robot), *SMALL_MODEL, "num_envs=1", "experiment_name=tracker"]
    settings = env_plugin().robot_settings
    config = compose(parts, "full_body_tracker/transformer_flat_terrain", small, robot_settings=settings)
    env = env_plugin().make(config.run, config.env)
    policy = make_actor_critic(env, config.model)
    shapes = {name: list(shape) for name, shape in env.obs_shapes.items()}
    names = list(env.robot.joint_names)
    env.close()
    save(folder / "last.ckpt", Checkpoint(kind, config.to_dict(), robot.name, names, shapes, policy.state_dict()))
    return folder


def save_teachers(folder: Path, robot: Robot = ROBOT) -> dict[str, Path]:
    """Run folders of all four teachers by name; each holds an untrained tracker."""
    return {name: save_tracker(folder / name, name.replace("masked_mimic", "tracker"), robot) for name in TEACHERS}
