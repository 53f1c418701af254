"""The main settings of the presets as Markdown tables: `python scripts/preset_reference.py` prints them.

The site's page of presets is generated from these tables (`scripts/docs_site.py`).
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import click
import torch

from protege.core.learning.masked_mimic import MaskedMimic, VariationalConfig
from protege.core.learning.policy import ActorCritic
from protege.core.observations import FULL_STATE
from protege.core.robots.servos import Servos
from protege.core.runs.config import Config, RunConfig, all_presets, compose
from protege.core.runs.experiments import EXPERIMENTS as CORE
from protege.core.runs.pipeline import load_steps
from protege.core.runs.plain_yaml import as_yaml
from protege.distill.experiment import EXPERIMENTS as DISTILL
from protege.sim.env_config import EnvConfig
from protege.sim.observing import observation_shapes
from protege.sim.robots import get_robot
from protege.teachers.experiments import EXPERIMENTS as TEACHERS

PACKAGES = {"core": CORE, "teachers": TEACHERS, "distill": DISTILL}
STUDENTS = ("distillation/unified_lightweight", "distillation/robust", "distillation/laptop")
ABOUT = {
    "full_body_tracker/transformer_flat_terrain": "step 1: the tracker, by PPO",
    "full_body_tracker/generalist": "step 1 before teachers: some envs track clips, the others the walk warped along commands",
    "full_body_tracker/wide_speed": "step 1 before teachers of -0.5 to 3.5 m/s, by walk and run",
    "full_body_tracker/laptop": "step 1 on two cores",
    "full_body_tracker/world_model": "step 1 through a learned model of the simulator, in place of PPO",
    "full_body_tracker/robust": "step 1 for a real robot: the same with domain randomisation; teaches distillation/onboard",
    "masked_mimic/path_follower": "step 2: MaskedMimic, by imitation of the tracker",
    "masked_mimic/laptop": "step 2 on two cores",
    "masked_mimic/world_model": "step 2 on the tracking reward, through a learned model of the simulator",
    "path_follower": "step 3: the tracker, fine-tuned on paths",
    "goal_directed": "step 3: the tracker, fine-tuned on goals",
    "steering": "step 3: the tracker, fine-tuned on steering commands",
    "path_follower/wide_speed": "step 3 on paths at -0.5 to 3.5 m/s",
    "steering/wide_speed": "step 3 on steering commands of -0.5 to 3.5 m/s",
    "path_follower/world_model": "step 3 on paths through a learned model of the simulator",
    "goal_directed/world_model": "step 3 on goals, the same way",
    "steering/world_model": "step 3 on steering commands, the same way",
    "path_follower/laptop": "step 3 on two cores",
    "goal_directed/laptop": "step 3 on two cores",
    "steering/laptop": "step 3 on two cores",
    "distillation/unified_lightweight": "step 4: the student",
    "distillation/robust": "step 4 with domain randomisation: bodies, delays, sensors, pushes",
    "distillation/rewarded": "step 4 with rewards from commands and onboard quantities; only falls end walking episodes",
    "distillation/critic_first": "step 4 after imitation, on the same rewards: the critic learns before the actor",
    "distillation/onboard": "step 4 for a robot whose only sensors are an IMU and joint encoders",
    "distillation/onboard_small": "the same for steering alone, in 40 minutes on one core, taught by the shipped student",
    "distillation/wide_speed": "step 4 at -0.5 to 3.5 m/s",
    "distillation/laptop": "step 4 on two cores",
    "distillation/world_model": "step 4 after imitation: the tasks' own rewards, through a learned model of the simulator",
}


@cache
def preset(name: str) -> Config:
    """The unchanged config of a preset."""
    known = {**CORE, **TEACHERS, **DISTILL}
    experiment = known.get(name) or known[name.split("/")[0]]
    return compose({"run": RunConfig, "env": EnvConfig, **experiment.parts}, name)


@cache
def acting_parameters(name: str) -> str:
    """Number of the actor's parameters in a preset's policy, in millions. No memory is allocated for them."""
    config, robot = preset(name), get_robot("smpl")
    sensors = FULL_STATE if isinstance(config.agent, VariationalConfig) else config.model.sensors
    shapes = observation_shapes(robot, config.env, sensors)
    with torch.device("meta"):
        servos = Servos.unknown(robot.num_joints)
        if isinstance(config.agent, VariationalConfig):
            policy = MaskedMimic(shapes, servos, config.agent)
        else:
            policy = ActorCritic(shapes, servos, config.model)
    return f"{policy.num_parameters('actor') / 1e6:.2g} M"


def budget(config: Config) -> str:
    """The limits of a training, as text."""
    run = config.run
    limits = [f"{run.max_iterations} iterations"] if run.max_iterations is not None else []
    return ", ".join([*limits, *([f"{run.max_time:g} s"] if run.max_time is not None else [])])


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def trainings() -> str:
    """Table of all training presets: command, envs, budget and size."""
    rows = []
    for name, about in ABOUT.items():
        package = next(x for x, experiments in PACKAGES.items() if name.split("/")[0] in experiments)
        config = preset(name)
        facts = [str(config.env.num_envs), str(config.agent.rollout_steps), budget(config), acting_parameters(name)]
        rows.append([f"`{name}`", f"`protege {package} train`", about, *facts])
    return table(["preset", "trained by", "what for", "envs", "steps per rollout", "ends after", "acts with"], rows)


def pipelines() -> str:
    """Table of the pipelines: their steps and training times."""
    rows = []
    for name, _ in all_presets():
        family, _, short = name.partition("/")
        if family == "pipeline":
            steps = load_steps(short, Path("results"))
            rows.append([f"`{name}`", ", ".join(step.name for step in steps), f"{training_time(steps) / 60:.0f} min"])
    return table(["preset", "steps", "training, all steps"], rows)


def training_time(steps: list[Any]) -> float:
    """Sum of the time limits of a pipeline's trainings, s."""
    seconds = 0.0
    for step in steps:
        if step.trains:
            given = step.command[step.command.index("--max-time") + 1] if "--max-time" in step.command else None
            seconds += float(given or preset(step.command[2]).run.max_time or 0.0)
    return seconds


def settings(keys: list[str], names: tuple[str, ...]) -> str:
    """Table of the values of some keys in some presets."""
    rows = [[f"`{key}`", *(f"`{as_yaml(value(preset(name), key))}`" for name in names)] for key in keys]
    return table(["key", *(f"`{name}`" for name in names)], rows)


def value(config: Any, key: str) -> Any:
    """The value of a dotted key."""
    for name in key.split("."):
        config = config[name] if isinstance(config, dict) else getattr(config, name)
    return config


def losses() -> str:
    """Table of the weights of the student's losses."""
    names = ("distillation", "kl", "value_distillation", "bounds_loss", "ppo", "value")
    keys = [f"agent.{name}_weight" for name in names]
    return settings([*keys, "agent.ppo_start", "agent.ppo_ramp", "agent.clip", "model.log_std"], STUDENTS)


def learning() -> str:
    """Table of the learning settings of the student's presets."""
    names = ["rollout_steps", "epochs", "minibatches", "learning_rate", "min_learning_rate", "teacher_iterations"]
    names += ["imitation_noise", "weight_averaging", "evaluation_interval", "evaluation_episodes"]
    tasks = ("path_follower_params", "goal_params", "steering_params")
    keys = [*(f"agent.{name}" for name in names), "env.mix_probability", "env.steering_params.follow_gait"]
    return settings([*keys, *(f"env.{task}.body_termination_distance" for task in tasks)], STUDENTS)


def curriculum() -> str:
    """Table of the stages of the curriculum, which all student's presets share."""
    stages = preset(STUDENTS[0]).agent.curriculum
    if any(preset(name).agent.curriculum != stages for name in STUDENTS):
        raise ValueError("the students' presets differ in their curriculum: give each its table")
    tasks = ("path", "goal", "steering", "masked_mimic")
    rows = [
        [
            f"`{stage.name}`",
            f"{stage.share:g}",
            *(f"{stage.task_mix[x]:g}" if x in stage.task_mix else "" for x in tasks),
        ]
        for stage in stages
    ]
    return table(["stage", "share", *tasks], rows)


BLOCKS: dict[str, Callable[[], str]] = {
    "Trainings": trainings,
    "Pipelines": pipelines,
    "How the students learn": learning,
    "Weights of the student's losses": losses,
    "The student's curriculum": curriculum,
}
"""The function that writes the table below each heading."""


def tables() -> str:
    """All tables in Markdown, each below its heading."""
    return "\n\n".join(f"## {heading}\n\n{write()}" for heading, write in BLOCKS.items())


if __name__ == "__main__":
    click.echo(tables())
