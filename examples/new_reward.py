"""Write a reward and train with it: `python examples/new_reward.py [key.path=value ...]`.

A reward is a function of a `Scene` of n envs that returns (n,), at most 1. This one rewards an upright torso in path following.
"""

import sys

import torch
from torch import Tensor

from protege.core.robots import rotation
from protege.core.runs.training import train
from protege.sim.tasks import path
from protege.sim.tasks.terms import Scene
from protege.teachers.experiments import EXPERIMENTS

PRESET = "path_follower/laptop"
SETTINGS = [
    "run.experiment_name=upright_walker",
    "run.max_iterations=2",
    "env.num_envs=32",
    "agent.minibatches=1",
    "agent.expert_model_path=zoo:small_tracker",  # the tracker to start from; the next key is that of its model
    "model.reference_velocity=0",
    "env.path_follower_params.rewards.upright=0.5",
]


def upright(scene: Scene) -> Tensor:
    """exp(-5 x squared sine of the tilt of the torso's z axis), (n,)."""
    torso = scene.state.body_quat_w[:, scene.robot.body_ids((scene.robot.groups.torso,))[0]]
    axis = rotation.rotate(torso, torch.tensor([0.0, 0.0, 1.0], device=torso.device).expand(len(torso), 3))
    return torch.exp(-5.0 * (1.0 - axis[:, 2].square()))


def main() -> None:
    path.REWARDS["upright"] = upright  # in this repository you would add it to REWARDS in sim/tasks/path.py
    run = train(EXPERIMENTS["path_follower"], PRESET, [*SETTINGS, *sys.argv[1:]])
    print(run.folder / "last.ckpt")


if __name__ == "__main__":
    main()
