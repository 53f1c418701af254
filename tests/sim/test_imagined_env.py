"""Imagined envs: the same rewards, ends and observations as the simulated ones, with a gradient."""

import pytest
import torch
from robot_states import own_settings

from protege.core.errors import UserError
from protege.core.learning.world_model import coordinates
from protege.core.learning.world_model.imagination import HISTORIES
from protege.core.learning.world_model.replay import Replay
from protege.core.motions import load_clips
from protege.core.observations import proprioception
from protege.core.robots.kinematics import Kinematics
from protege.sim.env import HumanoidEnv
from protege.sim.env_config import EnvConfig
from protege.sim.floor import Floor
from protege.sim.simulators.simulator import make_simulator
from protege.sim.tasks.masks import MaskParams
from protege.sim.terrain import make_terrain
from protege.sim.terrain_params import TerrainParams

MIXES = [{"track": 1.0}, {"track": 2.0, "masked_mimic": 1.0, "path": 1.0, "goal": 1.0, "steering": 1.0}]


def make_env(robot, mix, num_envs=12, sensors="full_state", **config) -> HumanoidEnv:
    simulator = make_simulator("mujoco", robot, num_envs, device="cpu", num_threads=1)
    walk = load_clips([f"data/motions/{robot.name}_humanoid_walk.npy"], robot)
    settings = own_settings(robot) | config
    made = EnvConfig(num_envs=num_envs, task_mix=mix, num_plans=16, **settings)
    return HumanoidEnv(simulator, walk, made, seed=0, sensors=sensors)


@pytest.mark.parametrize("sensors", ["full_state", "onboard"])
@pytest.mark.parametrize("mix", MIXES, ids=["track", "all tasks"])
def test_fed_with_true_steps_they_are_the_simulated_ones(robot, mix, sensors):
    """States by forward kinematics of root and joints; none but MaskedMimic's masks, drawn anew, may differ."""
    env = make_env(robot, mix, sensors=sensors)
    imagined, kinematics = env.imagine(env.num_envs, torch.Generator()), Kinematics(robot)
    obs, ended, compared = env.reset(), torch.ones(env.num_envs, dtype=torch.bool), 0
    generator = torch.Generator().manual_seed(1)
    for _ in range(40):
        if ended.any():
            imagined.load({name: x.clone() for name, x in env.rows().items()})
        reference = (obs["reference_joint_pos"] - robot.default_pose()) / robot.action_scale()
        action = reference + 0.3 * torch.randn(reference.shape, generator=generator)
        step = env.step(action)
        ended, next_obs = step.ended, step.next_obs
        if not ended.any():  # afterwards the simulated envs' states are those of new episodes
            state = coordinates.full_state(kinematics, coordinates.pack(env.state))
            reward, failed, timed_out = imagined.advance(state)
            torch.testing.assert_close(reward, step.reward, atol=1e-5, rtol=1e-5)
            assert not failed.any() and not timed_out.any()
            seen = imagined.observe(state, action if sensors == "onboard" else None)
            assert seen.keys() == next_obs.keys() - HISTORIES.keys()
            for name in seen.keys() - {"pose_mask"}:
                torch.testing.assert_close(seen[name], next_obs[name], atol=1e-5, rtol=1e-5, msg=name)
            compared += 1
        obs = step.obs
    assert compared >= 10


def test_imagined_masks_are_drawn_as_the_simulated_ones(robot):
    """All that MaskedMimic sees, over a second in which masks are drawn anew ten times, with the same generator's draws."""
    env = make_env(robot, {"masked_mimic": 1.0}, masked_mimic_params=MaskParams(resample_time=0.1), num_envs=16)
    draws = torch.Generator()
    imagined, kinematics = env.imagine(env.num_envs, draws), Kinematics(robot)
    obs = env.reset()
    imagined.load({name: x.clone() for name, x in env.rows().items()})
    kept, going, changed = torch.ones(env.num_envs, dtype=torch.bool), 0, 0
    for _ in range(round(1.0 / robot.control_dt)):
        draws.set_state(env.generator.get_state())
        before = obs["pose_mask"].clone()
        step = env.step((obs["reference_joint_pos"] - robot.default_pose()) / robot.action_scale())
        kept &= ~step.ended
        state = coordinates.full_state(kinematics, coordinates.pack(env.state))
        imagined.advance(state)
        seen = imagined.observe(state)
        for name in seen:
            torch.testing.assert_close(seen[name][kept], step.next_obs[name][kept], atol=1e-5, rtol=1e-5, msg=name)
        changed += int((step.next_obs["pose_mask"] != before).flatten(1).any(1)[kept].sum())
        going, obs = going + int(kept.sum()), step.obs
    assert changed > 0.1 * going > 0


def test_an_imagined_history_is_the_simulated_one(robot):
    """Of all envs and control steps that a replay remembers, whether an episode has just begun or not."""
    env, kinematics = make_env(robot, {"track": 1.0}, sensors="onboard", history_steps=3), Kinematics(robot)
    obs, slots, seen, sensed = env.reset(), 12, [], []
    replay = Replay(slots, env.num_actions, env.num_envs, env.rows(), env.device)
    generator = torch.Generator().manual_seed(2)
    for _ in range(slots):
        x, rows = coordinates.pack(env.state), {name: value.clone() for name, value in env.rows().items()}
        seen.append(obs["history"].clone())
        sensed.append(obs["onboard_history"].clone())
        reference = (obs["reference_joint_pos"] - robot.default_pose()) / robot.action_scale()
        step = env.step(reference + 3.0 * torch.randn(reference.shape, generator=generator))
        replay.add(x, env.target, rows, step.ended)
        obs = step.obs
    assert replay.ended.any()  # large actions throw the robots
    slot, index = torch.meshgrid(torch.arange(3, slots), torch.arange(env.num_envs), indexing="ij")
    past = replay._past((slots - 1 - slot).flatten(), index.flatten(), 3)
    states = [coordinates.full_state(kinematics, x) for x in past["past"]]
    past_proprioception = torch.stack([proprioception(state) for state in states], dim=1)
    torch.testing.assert_close(past_proprioception, torch.cat(seen[3:]), atol=1e-5, rtol=1e-5)
    imagined = env.imagine(env.num_envs, torch.Generator())
    measured = [imagined.onboard(*before) for before in zip(states, past["past_actions"], strict=True)]
    torch.testing.assert_close(torch.stack(measured, dim=1), torch.cat(sensed[3:]), atol=1e-5, rtol=1e-5)


def test_they_fail_as_the_simulated_ones_do(robot):
    """A body half a metre off ends an episode of either."""
    env = make_env(robot, {"track": 1.0})
    env.reset()
    imagined = env.imagine(env.num_envs, torch.Generator())
    imagined.load({name: x.clone() for name, x in env.rows().items()})
    x = coordinates.pack(env.state)
    limit = env.config.track.termination_distance
    env.tasks["track"].command.reference.advance()
    reference = env.tasks["track"].command.reference.now()
    off = coordinates.pack(reference)
    off[:6, 0] += 1.01 * limit
    off[6:, 0] += 0.99 * limit
    assert off.shape == x.shape
    _, failed, timed_out = imagined.advance(coordinates.full_state(Kinematics(robot), off))
    assert failed.tolist() == [True] * 6 + [False] * 6
    assert not timed_out.any()


def test_they_end_where_the_clip_does(robot):
    env = make_env(robot, {"track": 1.0})
    env.reset()
    imagined = env.imagine(env.num_envs, torch.Generator())
    rows = {name: x.clone() for name, x in env.rows().items()}
    rows["track/step"] = rows["track/last_step"] - 1
    rows["track/step"][0] -= 1
    imagined.load(rows)
    command = imagined.tasks["track"].command
    reference = command.reference
    following = reference.table[torch.minimum(reference.index + reference.stride, reference.last)]
    _, failed, timed_out = imagined.advance(following)
    assert not timed_out[0] and (timed_out | failed)[1:].all()


def test_rewards_and_observations_have_gradients(robot):
    env = make_env(robot, {"track": 1.0, "path": 1.0, "goal": 1.0})
    env.reset()
    imagined, kinematics = env.imagine(9, torch.Generator()), Kinematics(robot)
    assert imagined.task_counts == {"track": 3, "path": 3, "goal": 3}
    rows = {name: x[:3].clone() for name, x in env.rows().items()}
    imagined.load(rows)
    x = coordinates.pack(env.state)[[0, 1, 2, 4, 5, 6, 8, 9, 10]].requires_grad_()
    state = coordinates.full_state(kinematics, x + 0.01)
    reward, *_ = imagined.advance(state)
    (by_reward,) = torch.autograd.grad(reward.sum(), x, retain_graph=True)
    assert by_reward.isfinite().all() and (by_reward.abs().sum(1) > 0).all()
    seen = imagined.observe(state)
    (by_poses,) = torch.autograd.grad(seen["poses"].square().sum() + seen["proprioception"].square().sum(), x)
    assert by_poses.isfinite().all() and (by_poses.abs().sum(1) > 0).all()


def test_imagining_leaves_the_simulated_envs_alone(robot):
    env = make_env(robot, MIXES[1])
    env.reset()
    before = {name: x.clone() for name, x in env.rows().items()}
    imagined = env.imagine(30, torch.Generator())
    assert sum(imagined.task_counts.values()) == 30 and min(imagined.task_counts.values()) == 5
    counts, envs = imagined.task_counts, env.task_slices
    rows = {}
    for name, x in before.items():
        task = name.split("/")[0]
        rows[name] = x[torch.arange(counts[task]) % (envs[task].stop - envs[task].start)]
    imagined.load(rows)
    state = env.state[torch.arange(30) % env.num_envs]
    for _ in range(3):
        imagined.advance(state)
    assert all(torch.equal(x, before[name]) for name, x in env.rows().items())


def test_unsupported_settings_are_reported_in_one_line(robot):
    env = make_env(robot, MIXES[0])
    env.floor = Floor(make_terrain(TerrainParams(kind="gentle", size=20.0)), env.num_envs, env.device)  # pyright: ignore[reportArgumentType]
    with pytest.raises(
        UserError, match=r"env\.terrain\.kind: rough ground cannot be imagined\. Take env\.terrain\.kind=flat"
    ):
        env.imagine(4, torch.Generator())
    with pytest.raises(UserError, match=r"agent\.imagined_envs is 2\. There are 5 tasks"):
        make_env(robot, MIXES[1]).imagine(2, torch.Generator())
