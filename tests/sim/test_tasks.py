"""Failure rules and time limits, played in real envs: robots are put where the rule must see them."""

import math

import pytest
import torch
from robot_states import own_settings

from protege.core.motions import load_clips
from protege.core.robots import rotation as R
from protege.core.robots.robot import Robot
from protege.sim.env import HumanoidEnv
from protege.sim.env_config import EnvConfig
from protege.sim.robots import get_robot
from protege.sim.simulators.simulator import make_simulator
from protege.sim.tasks.locomotion_command import LocomotionCommand

SMPL = get_robot("smpl")
N = 4


def make_env(task: str, num_envs: int = N, *, evaluation: bool = True, robot: Robot = SMPL, **config) -> HumanoidEnv:
    simulator = make_simulator("mujoco", robot, num_envs, device="cpu", num_threads=1)
    clips = load_clips([f"{robot.name}_humanoid_walk.npy"], robot)
    settings = own_settings(robot) | config
    env = EnvConfig(num_envs=num_envs, task_mix={task: 1.0}, num_plans=16, history_steps=1, **settings)
    return HumanoidEnv(simulator, clips, env, seed=0, evaluation=evaluation)


def put(env: HumanoidEnv, index: int, x: float, y: float, yaw: float = 0.0, *, lying: bool = False) -> None:
    """One robot moved by x, y (m, index frame), turned by yaw (rad), otherwise as it is; or laid on its side."""
    s = env.state[index : index + 1].clone()
    quat = R.multiply(R.from_yaw(torch.tensor([yaw])), s.root_quat_w)
    pos = s.root_pos_w + torch.tensor([[x, y, 0.0]])
    if lying:
        quat, pos[:, 2] = torch.tensor([[0.5**0.5, 0.5**0.5, 0.0, 0.0]]), 0.4
    moved = env.state.clone()
    moved.body_pos_w[index, 0], moved.body_quat_w[index, 0] = pos[0], quat[0]
    env.simulator.write(torch.arange(env.num_envs) == index, moved)


def step(env: HumanoidEnv):
    """One step with every robot's own pose as target."""
    return env.step((env.state.joint_pos - env.default_joint_pos) / env.action_scale)


def test_a_path_is_failed_two_metres_off_it_or_by_a_fall(robot):
    env = make_env("path", robot=robot)
    env.reset()
    put(env, 1, 1.5, 0.0)
    put(env, 2, 0.0, 2.5)
    put(env, 3, 0.0, 0.0, lying=True)
    result = step(env)
    assert result.failed.tolist() == [False, False, True, True]
    causes = {key: x[result.ended].tolist() for key, x in result.episodes.items() if key.startswith("failed_by/")}
    assert causes == {"failed_by/fallen": [False, True], "failed_by/off_path": [True, False]}


@pytest.mark.parametrize(("evaluation", "shortest", "longest"), [(True, 3.0, 6.0), (False, 1.5, 4.0)])
def test_commands_change_more_often_in_training(robot, evaluation, shortest, longest):
    command = make_env("steering", robot=robot, evaluation=evaluation).tasks["steering"].command
    assert isinstance(command, LocomotionCommand)
    changed = [d.diff().nonzero().flatten().diff() * robot.control_dt for d in command.plans.direction]
    times = torch.cat(changed)
    assert (
        len(times) > 8
        and shortest - 0.04 < times.min() < shortest + 0.7
        and longest - 0.7 < times.max() < longest + 0.04
    )


def test_training_ends_an_episode_sooner_than_the_published_rule():
    env = make_env("path", evaluation=False)
    env.reset()
    put(env, 1, 0.8, 0.0)
    assert step(env).failed.tolist() == [False, True, False, False]


def at_deadline(env: HumanoidEnv) -> None:
    """Let the commands' clocks stand one step before their ends."""
    command = env.tasks["goal"].command
    command.step[:] = command.last_step - 1


def test_a_goal_is_reached_within_half_a_metre_standing(robot):
    env = make_env("goal", robot=robot)
    env.reset()
    at_deadline(env)
    command = env.tasks["goal"].command
    to_goal = command.end_w() - env.state.root_pos_w[:, :2]
    for index, short in enumerate((0.4, 0.6, 0.0)):
        back = to_goal[index] / to_goal[index].norm() * short
        put(env, index, *(to_goal[index] - back).tolist())
    put(env, 3, *to_goal[3].tolist(), lying=True)
    result = step(env)
    assert result.failed.tolist() == [False, True, False, True]
    assert result.timed_out.tolist() == [True, False, True, False]
    error = result.episodes["goal_reaching_err/last"]
    torch.testing.assert_close(error[:3], torch.tensor([0.4, 0.6, 0.0]), atol=0.1, rtol=0.0)


def test_a_goals_deadline_is_two_seconds_and_the_distance_at_a_stroll(robot):
    env = make_env("goal", robot=robot, num_envs=32)
    env.reset()
    command = env.tasks["goal"].command
    distance = command.plans.end[command.plan].norm(dim=1)
    assert distance.min() >= 1.0 and distance.max() <= 4.0
    seconds = command.last_step * env.robot.control_dt
    torch.testing.assert_close(seconds, 2.0 + distance / 0.8, atol=robot.control_dt + 1e-4, rtol=0.0)


def test_a_goal_is_not_missed_before_its_deadline():
    env = make_env("goal")
    env.reset()
    put(env, 0, 30.0, 0.0)
    assert not step(env).failed.any()


def test_steering_is_failed_45_degrees_off_once_settled(robot):
    env = make_env("steering", robot=robot)
    env.reset()
    command = env.tasks["steering"].command
    settled = command.plans.settled.clone()

    def face(off: list[float]) -> None:
        """Turn robots by these angles, degrees, away from the direction that is commanded in the coming step."""
        command.step += 1
        direction, _ = command.direction_and_speed()
        command.step -= 1
        wanted = torch.atan2(direction[:, 1], direction[:, 0])
        for index, degrees in enumerate(off):
            now = R.yaw(env.state.root_quat_w)[index]
            put(env, index, 0.0, 0.0, yaw=float(wanted[index] - now) + math.radians(degrees))

    face([0.0, 35.0, -55.0, 170.0])
    assert not step(env).failed.any(), "the first two seconds do not count"
    command.plans.settled[:] = True
    face([0.0, 35.0, -55.0, 170.0])
    result = step(env)
    assert result.failed.tolist() == [False, False, True, True]
    two_seconds = round(2.0 / robot.control_dt)
    assert not settled[:, :two_seconds].any() and settled[:, two_seconds + 1].all()


def test_clips_are_failed_half_a_metre_off_on_average(robot):
    env = make_env("track", robot=robot)
    env.reset()
    put(env, 1, 0.4, 0.0)
    put(env, 2, 0.6, 0.0)
    assert step(env).failed.tolist() == [False, False, True, False]


@pytest.mark.parametrize("task", ["track", "masked_mimic", "path", "steering"])
def test_episodes_end_in_time_at_their_length(robot, task):
    env = make_env(task, robot=robot, evaluation=False, episode_length_s=0.2)
    obs = env.reset()
    steps = round(0.2 / robot.control_dt)
    for _ in range(steps):
        assert not env.tasks[task].command.step.eq(steps).any()
        result = env.step((obs["reference_joint_pos"] - env.default_joint_pos) / env.action_scale)
        obs = result.obs
    assert result.timed_out.all() and not result.failed.any()


def test_a_metric_is_the_mean_over_the_episode(robot):
    env = make_env("path", robot=robot, evaluation=True, episode_length_s=0.1)
    env.reset()
    errors = []
    shifts = {3: (0.0, 1.0, 0.5), 5: (0.0, 0.1, 0.9, 0.3, 0.2)}[round(0.1 / robot.control_dt)]
    for shift in shifts:
        put(env, 0, shift, 0.0)
        command = env.tasks["path"].command
        result = step(env)
        row = result.episodes
        errors.append((env.state.root_pos_w[0, :2] - command.point_w()[0]).norm())
    assert result.timed_out[0]
    assert row["length"][0] == len(shifts)
    assert row["path_following_err/max"][0] > 1.0
    assert row["path_following_err/mean"][0] < row["path_following_err/max"][0]
    assert row["path_following_err/max"][0] == row["path_following_err/last"][0]
    before = torch.stack(errors[:-1]).sum()
    mean = (before + row["path_following_err/last"][0]) / len(shifts)
    torch.testing.assert_close(row["path_following_err/mean"][0], mean, atol=1e-4, rtol=1e-4)
