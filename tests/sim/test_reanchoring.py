"""Re-placed references in envs: when they follow a push, in episodes, evaluations and imagination."""

import pytest
import torch
from robot_states import own_settings
from test_imagined_commands import Imagined, slopes
from test_imagined_env import make_env

from protege.core.errors import UserError
from protege.core.learning.world_model import coordinates
from protege.core.robots.kinematics import Kinematics
from protege.core.runs.config import RunConfig, compose
from protege.sim.env import HumanoidEnv
from protege.sim.env_config import EnvConfig, RandomizationParams, ReanchorParams, push_test
from protege.sim.plugin import plugin

MIX = {"track": 1.0, "path": 1.0, "goal": 1.0, "steering": 1.0}
TASKS, N = list(MIX), 12
AFTER = 2


def pushed_env(robot, wait: int, size: float = 0.5, **settings) -> HumanoidEnv:
    """Its robots become faster every `wait` control steps."""
    steps = wait * robot.control_dt
    params = RandomizationParams(velocity_step=(size, size), velocity_step_interval=(steps, steps))
    reanchor = {"reanchor": ReanchorParams(after=AFTER * robot.control_dt)} | settings
    return make_env(robot, MIX, N, randomization=params, **reanchor)


def follow(env: HumanoidEnv, obs: dict[str, torch.Tensor]):
    return env.step((obs["reference_joint_pos"] - env.default_joint_pos) / env.action_scale)


def test_before_the_first_push_nothing_changes_bit_for_bit(robot):
    """Envs with references that follow robots, without, and without pushes at all."""
    off = ReanchorParams(enabled=False)
    envs = [pushed_env(robot, 1000), pushed_env(robot, 1000, reanchor=off)]
    obs, want = (env.reset() for env in envs)
    for _ in range(12):
        assert obs.keys() == want.keys() and all(torch.equal(obs[key], want[key]) for key in want)
        step, wanted = follow(envs[0], obs), follow(envs[1], want)
        assert torch.equal(step.reward, wanted.reward) and torch.equal(step.failed, wanted.failed)
        obs, want = step.obs, wanted.obs
    assert torch.equal(envs[0].generator.get_state(), envs[1].generator.get_state())


def test_only_pushed_training_has_placements(robot):
    run = RunConfig(robot=robot.name, simulator="mujoco", device="cpu", num_threads=1)
    run.motion_file = [f"data/motions/{robot.name}_humanoid_walk.npy"]
    cases = [
        (RandomizationParams(), ReanchorParams(), False, False),
        (push_test(50.0), ReanchorParams(), False, True),
        (RandomizationParams(velocity_step_turn=0.5), ReanchorParams(), False, True),
        (push_test(50.0), ReanchorParams(enabled=False), False, False),
        (push_test(50.0), ReanchorParams(), True, False),
    ]
    for params, reanchor, evaluation, placed in cases:
        config = EnvConfig(num_envs=4, num_plans=4, task_mix=MIX, randomization=params, reanchor=reanchor)
        for key, value in own_settings(robot).items():
            setattr(config, key, value)
        env = plugin.make(run, config, evaluation=evaluation)
        assert {task.command.reference.placement is not None for task in env.tasks.values()} == {placed}
        assert any("placement" in name for name in env.rows()) == placed
        env.close()


@pytest.mark.parametrize("task", TASKS)
def test_references_follow_robots_some_steps_after_a_push(robot, task):
    """Pushed in the fifth step: two steps later the reference's root is over the robot's, and a walk faces as it does."""
    env = pushed_env(robot, 5)
    obs, part = env.reset(), env.task_slices[task]
    command = env.tasks[task].command
    placement = command.reference.placement
    assert placement is not None
    going = torch.ones(part.stop - part.start, dtype=torch.bool)
    for step in range(6 + AFTER):
        result = follow(env, obs)
        obs, going = result.obs, going & ~result.ended[part]
        assert (placement.jump[going].norm(dim=1) > 1e-6).any() == (step == 5 + AFTER and task != "steering")
    assert going.any()
    robots, reference = env.state[part][going], command.reference.now()[going]
    torch.testing.assert_close(reference.root_pos_w[:, :2], robots.root_pos_w[:, :2], atol=1e-5, rtol=0.0)
    assert (placement.age[going] == 0).all() and (placement.back > 0) == (task != "track")
    cosine = (reference.heading_cos_sin * robots.heading_cos_sin).sum(1)
    assert task == "track" or cosine.min() > 1.0 - 1e-6


def test_a_new_episode_begins_without_a_placement(robot):
    env = pushed_env(robot, 2, episode_length_s=8 * robot.control_dt)
    obs = env.reset()
    ended = torch.zeros(N, dtype=torch.bool)
    for _ in range(8):
        result = follow(env, obs)
        obs, ended = result.obs, result.ended
    assert ended.any()
    for name, part in env.task_slices.items():
        placement = env.tasks[name].command.reference.placement
        assert placement is not None and not any(x[ended[part]].any() for x in placement.rows().values())


def test_a_saved_env_goes_on_with_its_placements(robot):
    env, other = pushed_env(robot, 3), pushed_env(robot, 3)
    obs = env.reset()
    for _ in range(8):
        obs = follow(env, obs).obs
    other.load_state_dict(env.state_dict())
    for _ in range(6):
        want, got = follow(env, obs), follow(other, obs)
        obs = want.obs
        assert torch.equal(got.reward, want.reward)
        assert all(torch.equal(got.obs[key], want.obs[key]) for key in want.obs)


def test_imagined_envs_see_the_same_references(robot):
    """From rows as a replay holds them: after a push, while references wait, when they follow, and as they return."""
    env, kinematics = pushed_env(robot, 20, size=0.3), Kinematics(robot)
    imagined, obs = env.imagine(N, torch.Generator()), env.reset()
    same, followed = torch.zeros(N, dtype=torch.bool), 0
    for _ in range(40):
        pushed = env.rows()["pushed"].clone()
        if not same.any():
            imagined.load({name: x.clone() for name, x in env.rows().items()})
            same.fill_(True)
        step = follow(env, obs)
        state = coordinates.full_state(kinematics, coordinates.pack(env.state))
        reward, failed, _ = imagined.advance(state)
        same &= ~pushed & ~step.ended  # a world model is not asked beyond these
        torch.testing.assert_close(reward[same], step.reward[same], atol=1e-5, rtol=1e-5)
        seen = imagined.observe(state)
        assert not failed[same].any()
        for name in seen:
            torch.testing.assert_close(seen[name][same], step.next_obs[name][same], atol=1e-5, rtol=1e-5, msg=name)
        ages = [rows for name, rows in env.rows().items() if name.endswith("placement_age")]
        followed += int((torch.cat(ages)[same] == 1).sum())
        obs = step.obs
        if pushed.any():
            same.fill_(False)
    assert followed >= N // 2


def test_gradients_beside_the_plan_are_those_of_finite_differences(robot, monkeypatch):
    """As `test_gradients_are_those_of_finite_differences`, with references turned by up to 1 rad and moved by up to 0.3 m."""
    params = RandomizationParams(velocity_step=(0.1, 0.1), velocity_step_interval=(9.0, 9.0))
    plain = make_env
    monkeypatch.setattr("test_imagined_commands.make_env", lambda *args, **kw: plain(*args, randomization=params, **kw))
    imagined, generator = Imagined(robot), torch.Generator().manual_seed(4)
    for name, x in imagined.rows.items():
        if name.endswith(("placement_turn", "placement_pivot", "placement_jump")):
            size = 0.3 if name.endswith("jump") else 1.0
            x.copy_(size * (2.0 * torch.rand(x.shape, generator=generator) - 1.0))
        elif name.endswith("placement_age"):
            x.fill_(5)
    for task in imagined.envs.tasks.values():
        placement = task.command.reference.placement
        assert placement is not None
        for name in ("turn", "pivot", "jump"):
            setattr(placement, name, getattr(placement, name).double())
    by_reward, by_seen, reward, seen = slopes(imagined)
    torch.testing.assert_close(by_reward, reward, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(by_seen, seen, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("after=-1", r"env\.reanchor\.after is -1\.0\. Take 0 or more"),
        ("return_time=0", r"env\.reanchor\.return_time is 0\.0\. Take more than 0"),
        ("when=1", r"unknown key env\.reanchor\.when"),
    ],
)
def test_bad_values_are_named(override, complaint):
    with pytest.raises(UserError, match=complaint):
        compose({"run": RunConfig, "env": EnvConfig}, None, [f"env.reanchor.{override}"])
