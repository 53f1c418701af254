"""The gradients of imagined envs that walk along commands, against finite differences."""

from dataclasses import fields, replace

import pytest
import torch
from robot_states import own_settings
from test_imagined_env import make_env

from protege.core.learning.world_model import coordinates
from protege.core.robots.kinematics import Kinematics
from protege.core.robots.state import RobotState
from protege.sim.imagined_env import ImaginedEnv
from protege.sim.tasks.goal import GoalParams
from protege.sim.tasks.locomotion_command import LocomotionCommand
from protege.sim.tasks.path import PathParams
from protege.sim.tasks.steering import SteeringCommand, SteeringParams

MIX = {"path": 1.0, "goal": 1.0, "steering": 1.0}
STYLE = {"body_distance": 10.0, "body_turn": 1.4, "root_velocity": 0.1, "joint_velocity": 0.003}
PARAMS = {
    "path_follower_params": PathParams(rewards={**STYLE, "path_nearness": 2.0}),
    "goal_params": GoalParams(goal_reward_weight=0.0, rewards={**STYLE, "goal_nearness": 2.0}),
    "steering_params": SteeringParams(rewards={**STYLE, "velocity_nearness": 1.0, "heading_nearness": 1.0}),
}


class Imagined:
    """One step of imagined envs that start where simulated ones are after some steps, in double precision."""

    def __init__(self, robot) -> None:
        own = own_settings(robot)
        params = {key: replace(own.get(key, mine), rewards=mine.rewards) for key, mine in PARAMS.items()}
        env = make_env(robot, MIX, **params)
        obs = env.reset()
        for _ in range(5):
            obs = env.step((obs["reference_joint_pos"] - robot.default_pose()) / robot.action_scale()).obs
        self.envs: ImaginedEnv = env.imagine(env.num_envs, env.generator)
        self.rows = {name: x.clone() for name, x in env.rows().items()}
        for task in self.envs.tasks.values():
            reference = task.command.reference
            reference.table = RobotState(
                **{f.name: getattr(reference.table, f.name).double() for f in fields(RobotState)}
            )
            reference.shift = reference.shift.double()
        self.kinematics = Kinematics(robot).double()
        self.x = coordinates.pack(env.state).double()
        generator = torch.Generator().manual_seed(0)
        self.change = torch.randn(len(self.x), coordinates.change_size(robot.num_joints), generator=generator).double()
        self.weights: dict[str, torch.Tensor] = {}

    def __call__(self, step: torch.Tensor | float) -> tuple[torch.Tensor, torch.Tensor]:
        """Each env's reward, and a number that is made of all that it sees, (N,), `step` away from where it is."""
        self.envs.load(self.rows)
        state = coordinates.full_state(self.kinematics, coordinates.add(self.x, self.change * step))
        reward, _, _ = self.envs.advance(state)
        seen, total = self.envs.observe(state), torch.zeros_like(reward)
        for name, x in seen.items():
            weight = self.weights.setdefault(name, torch.randn(x.shape, generator=torch.Generator().manual_seed(1)))
            total = total + (weight * x).reshape(len(x), -1).sum(1)
        return reward, total


def slopes(imagined: Imagined) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of rewards and of what is seen, (N,) each: by the gradient, and by finite differences."""
    step = torch.zeros(len(imagined.x), 1, dtype=torch.float64, requires_grad=True)
    reward, seen = imagined(step)
    (by_reward,) = torch.autograd.grad(reward.sum(), step, retain_graph=True)
    (by_seen,) = torch.autograd.grad(seen.sum(), step)
    (more, more_seen), (less, less_seen) = imagined(1e-5), imagined(-1e-5)
    return by_reward[:, 0], by_seen[:, 0], (more - less) / 2e-5, (more_seen - less_seen) / 2e-5


def test_gradients_are_those_of_finite_differences(robot):
    by_reward, by_seen, reward, seen = slopes(Imagined(robot))
    torch.testing.assert_close(by_reward, reward, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(by_seen, seen, atol=1e-3, rtol=1e-4)


def test_without_its_flag_a_carried_reference_would_have_a_position_gradient(robot, monkeypatch):
    monkeypatch.setattr(SteeringCommand, "carried", False)
    imagined = Imagined(robot)
    by_reward, _, reward, _ = slopes(imagined)
    steering = imagined.envs.task_counts["path"] + imagined.envs.task_counts["goal"]
    torch.testing.assert_close(by_reward[:steering], reward[:steering], atol=1e-4, rtol=1e-4)
    assert ((by_reward - reward)[steering:].abs() > 1e-2).any()


def test_a_carried_reference_has_no_position_gradient(robot):
    """Whichever way a robot is moved over the ground, its direction, its speed and its gait are as good as before."""
    imagined = Imagined(robot)
    imagined.change.zero_()
    imagined.change[:, :3] = 1.0
    imagined.envs.load(imagined.rows)
    x = imagined.x.clone().requires_grad_()
    reward, _, _ = imagined.envs.advance(coordinates.full_state(imagined.kinematics, x))
    (slope,) = torch.autograd.grad(reward.sum(), x)
    place = slope[:, :2].norm(dim=1).split([*imagined.envs.task_counts.values()])
    assert place[2].max() < 1e-9 and min(place[0].min(), place[1].min()) > 1.0


@pytest.mark.parametrize("steps", [1, 2])
def test_loading_discards_the_previous_step(robot, steps):
    imagined = Imagined(robot)
    first = [x.detach() for x in imagined(0.3)]
    for _ in range(steps):
        imagined.envs.advance(coordinates.full_state(imagined.kinematics, imagined.x.clone().requires_grad_()))
    again = imagined(0.3)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(x.requires_grad for x in again)


def test_imagined_episodes_may_continue_past_the_end_of_a_command(robot):
    """Beyond a plan's last step nothing more is commanded than there: a horizon knows no ends."""
    imagined = Imagined(robot)
    envs = imagined.envs
    for name, task in envs.tasks.items():
        assert isinstance(task.command, LocomotionCommand)
        imagined.rows[f"{name}/step"].fill_(task.command.plans.steps - 2)
    envs.load(imagined.rows)
    state = coordinates.full_state(imagined.kinematics, imagined.x)
    seen = []
    for _ in range(4):
        reward, failed, timed_out = envs.advance(state)
        assert reward.isfinite().all() and (failed | timed_out).all()
        seen.append(envs.observe(state))
    assert torch.equal(seen[0]["steering"], seen[-1]["steering"]) and torch.equal(seen[0]["path"], seen[-1]["path"])
