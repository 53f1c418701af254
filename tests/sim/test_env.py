"""The environment on real MuJoCo envs."""

import math
from dataclasses import replace

import pytest
import torch
from robot_states import own_settings

from protege.core.errors import UserError
from protege.core.motions import load_clips
from protege.core.robots import rotation as R
from protege.core.tasks import modalities
from protege.sim.env import HumanoidEnv
from protege.sim.env_config import EnvConfig
from protege.sim.robots import get_robot
from protege.sim.simulators.simulator import make_simulator
from protege.sim.tasks.goal import GoalParams
from protege.sim.tasks.masks import MaskParams
from protege.sim.tasks.path import PathParams
from protege.sim.tasks.steering import SteeringParams
from protege.sim.tasks.task import make_scenes

SMPL = get_robot("smpl")
ALL_TASKS = {"track": 1.0, "masked_mimic": 1.0, "path": 1.0, "goal": 1.0, "steering": 1.0}


def make_env(mix, num_envs=8, seed=0, evaluation=False, robot=SMPL, **config) -> HumanoidEnv:
    simulator = make_simulator("mujoco", robot, num_envs, device="cpu", num_threads=1)
    walk, settings = load_clips([f"data/motions/{robot.name}_humanoid_walk.npy"], robot), own_settings(robot) | config
    env_config = EnvConfig(num_envs=num_envs, task_mix=mix, num_plans=16, history_steps=2, **settings)
    return HumanoidEnv(simulator, walk, env_config, seed, evaluation=evaluation)


def reference_action(obs, robot=SMPL) -> torch.Tensor:
    """Play the reference open loop."""
    return (obs["reference_joint_pos"] - robot.default_pose()) / robot.action_scale()


def test_observations_have_the_announced_shapes(robot):
    env = make_env(ALL_TASKS, robot=robot, num_envs=10)
    obs = env.reset()
    assert {key: tuple(value.shape[1:]) for key, value in obs.items()} == env.obs_shapes
    step = env.step(reference_action(obs, robot))
    assert {key: tuple(value.shape[1:]) for key, value in step.obs.items()} == env.obs_shapes
    assert all(value.isfinite().all() for value in step.obs.values())
    assert [part.stop - part.start for part in env.task_slices.values()] == [2] * 5


def test_envs_start_on_their_reference(robot):
    env = make_env(ALL_TASKS, robot=robot, num_envs=10)
    env.reset()
    for name, part in env.task_slices.items():
        reference = env.tasks[name].command.reference.now()
        state = env.state[part]
        torch.testing.assert_close(state.body_pos_w, reference.body_pos_w, atol=5e-4, rtol=0.0)
        torch.testing.assert_close(state.joint_vel, reference.joint_vel, atol=1e-4, rtol=0.0)
        assert R.angle_between(state.body_quat_w, reference.body_quat_w).max() < 2e-3


def test_a_robot_on_its_reference_earns_the_whole_tracking_reward(robot):
    env = make_env({"track": 1.0}, robot=robot)
    env.reset()
    task = env.tasks["track"]
    scene = make_scenes(env.tasks, env.task_slices, env.state, env.trail, robot)["track"]
    assert task.rewards["body_pos"][1](scene).min() > 0.999
    assert task.rewards["body_rot"][1](scene).min() > 0.999


def test_a_task_without_rewards_earns_nothing(robot):
    env = make_env({"track": 1.0}, robot=robot)
    env.tasks["track"] = replace(env.tasks["track"], rewards={})
    assert env.step(reference_action(env.reset(), robot)).reward.tolist() == [0.0] * env.num_envs


def test_history_is_filled_on_reset_and_then_shifts(robot):
    env = make_env({"track": 1.0}, robot=robot)
    obs = env.reset()
    assert torch.equal(obs["history"], obs["proprioception"].unsqueeze(1).expand_as(obs["history"]))
    step = env.step(reference_action(obs, robot))
    alive = ~(step.failed | step.timed_out)
    assert torch.equal(step.obs["history"][alive, 0], obs["proprioception"][alive])


def test_commands_are_shown_to_their_tasks_only():
    env = make_env(ALL_TASKS, num_envs=10)
    obs = env.reset()
    masks = torch.stack([obs[f"{name}_mask"] for name in modalities()], dim=1)
    shown = {name: masks[part].tolist() for name, part in env.task_slices.items()}
    assert shown["track"] == shown["masked_mimic"] == [[False] * 3] * 2
    assert shown["path"] == [[True, False, False]] * 2
    assert shown["goal"] == [[False, True, False]] * 2
    assert shown["steering"] == [[False, False, True]] * 2
    assert obs["pose_mask"][env.task_slices["track"]].all()
    assert not obs["pose_mask"][env.task_slices["path"]].any()
    assert obs["path"][env.task_slices["goal"]].abs().max() == 0.0


def test_mixed_envs_observe_several_commands_of_one_plan(robot):
    env = make_env({"path": 1.0}, robot=robot, num_envs=64, mix_probability=1.0)
    obs = env.reset()
    assert obs["path_mask"].all()
    assert 0.2 < obs["goal_mask"].float().mean() < 0.8
    # The goal of a path env is the point of its plan at the end of the episode, after ten seconds.
    seen = obs["goal_mask"]
    command = env.tasks["path"].command
    torch.testing.assert_close(obs["goal"][seen, 2], torch.full((int(seen.sum()),), 10.0))
    end = command.plans.pos[command.plan, round(10.0 / robot.control_dt)]
    distance = (end - env.state.root_pos_w[:, :2]).norm(dim=1)
    torch.testing.assert_close(obs["goal"][seen, :2].norm(dim=1), distance[seen])
    assert (obs["goal"][~seen] == 0.0).all()


def test_the_goal_is_where_the_observation_says(robot):
    env = make_env({"goal": 1.0}, robot=robot)
    obs = env.reset()
    command = env.tasks["goal"].command
    yaw = R.yaw(env.state.root_quat_w)
    x, y = obs["goal"][:, 0], obs["goal"][:, 1]
    goal_w = env.state.root_pos_w[:, :2] + torch.stack(
        [yaw.cos() * x - yaw.sin() * y, yaw.sin() * x + yaw.cos() * y], 1
    )
    torch.testing.assert_close(goal_w, command.end_w(), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(obs["goal"][:, 2], command.last_step * robot.control_dt)


def test_a_clip_that_ends_is_a_time_out_and_a_fall_is_a_failure(robot):
    env = make_env({"track": 1.0}, robot=robot, num_envs=4, episode_length_s=0.1)
    obs = env.reset()
    steps = round(0.1 / robot.control_dt)
    for _ in range(steps):
        step = env.step(reference_action(obs, robot))
        obs = step.obs
    assert step.timed_out.all() and not step.failed.any()
    assert step.episodes["length"].tolist() == [steps] * 4

    env = make_env({"track": 1.0}, robot=robot, num_envs=4)
    obs = env.reset()
    failed = torch.zeros(4, dtype=torch.bool)
    for _ in range(round(2.0 / robot.control_dt)):
        step = env.step(torch.full((4, env.num_actions), 0.7) / robot.action_scale())
        failed |= step.failed
        assert not (step.failed & step.timed_out).any()
    assert failed.all()


def test_next_obs_is_the_true_state_and_obs_the_new_episode(robot):
    env = make_env({"track": 1.0}, robot=robot, num_envs=4, episode_length_s=0.1)
    obs = env.reset()
    for _ in range(round(0.1 / robot.control_dt)):
        step = env.step(reference_action(obs, robot))
        obs = step.obs
    assert not torch.equal(step.obs["proprioception"], step.next_obs["proprioception"])
    assert torch.equal(step.obs["history"][:, 0], step.obs["proprioception"])
    assert not torch.equal(step.next_obs["history"][:, 0], step.next_obs["proprioception"])


def test_a_saved_environment_continues_exactly(robot):
    env = make_env(ALL_TASKS, robot=robot, num_envs=10)
    obs = env.reset()
    noise = torch.Generator().manual_seed(1)
    for _ in range(5):
        obs = env.step(reference_action(obs, robot) + 0.1 * torch.randn(10, robot.num_joints, generator=noise)).obs
    saved = env.state_dict()
    actions = [
        reference_action(obs, robot) + 0.1 * torch.randn(10, robot.num_joints, generator=noise) for _ in range(20)
    ]
    expected = [env.step(action) for action in actions]

    other = make_env(ALL_TASKS, robot=robot, num_envs=10)
    other.load_state_dict(saved)
    for action, want in zip(actions, expected, strict=True):
        got = other.step(action)
        assert torch.equal(got.reward, want.reward)
        assert all(torch.equal(got.obs[key], want.obs[key]) for key in want.obs)


def test_a_changed_task_mix_continues_exactly_with_its_plans():
    """Plans are drawn when envs are assigned to tasks, and are not saved: the draws must be repeated."""
    env = make_env(ALL_TASKS, num_envs=10)
    env.reset()
    obs = env.set_task_mix({"path": 1.0, "goal": 1.0, "track": 2.0})
    obs = env.step(reference_action(obs)).obs
    saved, action = env.state_dict(), reference_action(obs)
    want = env.step(action)
    other = make_env(ALL_TASKS, num_envs=10)
    other.load_state_dict(saved)
    got = other.step(action)
    assert other.task_names == ["path", "goal", "track"]
    assert torch.equal(other.tasks["goal"].command.end_w(), env.tasks["goal"].command.end_w())
    assert torch.equal(got.reward, want.reward)
    assert all(torch.equal(got.obs[key], want.obs[key]) for key in want.obs)


def test_an_env_with_nan_physics_is_reset_and_counted(robot):
    env = make_env({"track": 1.0}, robot=robot, num_envs=4)
    obs = env.reset()
    action = reference_action(obs, robot)
    action[2] = math.nan
    step = env.step(action)
    assert step.invalid.tolist() == [False, False, True, False]
    assert step.failed[2] and env.invalid_count == 1
    saved = env.state_dict()
    env.step(action)
    assert env.invalid_count == 2
    env.load_state_dict(saved)
    assert env.invalid_count == 1
    assert all(value.isfinite().all() for value in step.obs.values())
    assert all(value.isfinite().all() for value in step.next_obs.values())
    assert step.reward.isfinite().all()


def test_evaluation_uses_the_published_failure_rules():
    assert set(make_env({"path": 1.0}, evaluation=True).tasks["path"].failures) == {"fallen", "off_path"}
    assert set(make_env({"goal": 1.0}, evaluation=True).tasks["goal"].failures) == {"fallen", "goal_missed"}
    assert set(make_env({"track": 1.0}, evaluation=True).tasks["track"].failures) == {"mean_body_off"}


def test_evaluated_clips_start_within_their_first_tenth_and_training_anywhere(robot):
    for evaluation, share in ((True, 0.1), (False, 1.0)):
        env = make_env({"track": 1.0}, robot=robot, num_envs=64, evaluation=evaluation)
        env.reset()
        reference = env.tasks["track"].command.reference
        latest = share * (int(env.library.counts[0]) - 0.5 * env.library.rate)  # half a second is left to play
        assert reference.index.max() < latest
        assert reference.index.max() > 0.9 * latest, "spread over all of it"
        assert len(reference.index.unique()) > 30, "no two episodes alike, but by chance"


def test_path_termination_can_be_switched_off():
    on = make_env({"path": 1.0}, path_follower_params=PathParams(enable_path_termination=True))
    off = make_env({"path": 1.0}, path_follower_params=PathParams(enable_path_termination=False))
    assert set(on.tasks["path"].terminations) - set(off.tasks["path"].terminations) == {"off_path"}


def test_goal_reward_weight_scales_the_goal_reward():
    env = make_env({"goal": 1.0}, goal_params=GoalParams(goal_reward_weight=2.5))
    assert env.tasks["goal"].rewards["goal_closeness"][0] == 2.5


def test_steering_observation_sizes():
    env = make_env({"steering": 1.0}, steering_params=SteeringParams(obs_size=5))
    obs = env.reset()
    assert obs["steering"].shape == (8, 5)
    torch.testing.assert_close(obs["steering"][:, :2].norm(dim=1), torch.ones(8))
    with pytest.raises(UserError, match="obs_size"):
        SteeringParams(obs_size=4).check("env.steering_params")


def test_bad_config_is_named():
    with pytest.raises(UserError, match=r"task_mix.*'walk'"):
        make_env({"walk": 1.0})
    with pytest.raises(UserError, match=r"patterns.*'nose'"):
        make_env({"masked_mimic": 1.0}, masked_mimic_params=MaskParams(patterns={"nose": 1.0}))


def test_masks_always_show_something_and_follow_their_pattern(robot):
    env = make_env(
        {"masked_mimic": 1.0}, robot=robot, masked_mimic_params=MaskParams(patterns={"head_hands": 1.0}, frame_keep=0.3)
    )
    masks = env.tasks["masked_mimic"].command.masks.sample(500, env.generator)
    assert masks.flatten(1).any(dim=1).all()
    shown = set(masks.any(dim=1).any(dim=0).nonzero().squeeze(1).tolist())
    assert shown == set(robot.body_ids((robot.head, *robot.hands)))


def test_task_mix_can_change_while_running():
    env = make_env({"path": 1.0})
    env.reset()
    obs = env.set_task_mix({"path": 1.0, "steering": 3.0})
    assert [part.stop - part.start for part in env.task_slices.values()] == [2, 6]
    assert obs["steering_mask"][2:].all()
