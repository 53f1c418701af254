"""Onboard sensors in the environment: they measure the true robot, lag by one action, and start anew with each episode."""

import torch
from robot_states import own_settings

from protege.core import observations
from protege.core.motions import load_clips
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState
from protege.sim.env import HumanoidEnv
from protege.sim.env_config import EnvConfig, NoiseParams, RandomizationParams
from protege.sim.simulators.simulator import make_simulator

ONBOARD = ("onboard", "onboard_history", "onboard_poses")
MIX = {"masked_mimic": 1.0, "path": 1.0, "goal": 1.0, "steering": 1.0}


def make_env(robot: Robot, sensors: str = "onboard", **changes) -> HumanoidEnv:
    config = EnvConfig(num_envs=8, task_mix=MIX, num_plans=16, history_steps=3, **{**own_settings(robot), **changes})
    simulator = make_simulator("mujoco", robot, 8, device="cpu", num_threads=1)
    clips = load_clips([f"data/motions/{robot.name}_humanoid_walk.npy"], robot)
    return HumanoidEnv(simulator, clips, config, seed=0, sensors=sensors)


def actions(env: HumanoidEnv, count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [0.1 * torch.randn(8, env.num_actions, generator=generator) for _ in range(count)]


def test_shapes_are_those_that_are_announced(robot: Robot) -> None:
    env = make_env(robot)
    obs = env.reset()
    assert {name: tuple(x.shape[1:]) for name, x in obs.items()} == {k: tuple(v) for k, v in env.obs_shapes.items()}
    assert obs["onboard"].shape == (8, 6 + 3 * robot.num_joints)
    assert not set(ONBOARD) & set(make_env(robot, "full_state").obs_shapes)


def test_onboard_observations_are_the_robots_measurements(robot: Robot) -> None:
    env = make_env(robot)
    env.reset()
    for action in actions(env, 4):
        step = env.step(action)
    state, sensed = env.state, step.obs["onboard"]
    joints = robot.num_joints
    gravity, turn, pos, vel, last = sensed.split([3, 3, joints, joints, joints], dim=1)
    alive = ~step.ended
    assert alive.any()
    # MuJoCo's own free joint turns about the root's axes, where both robots' IMUs are mounted without a turn.
    assert robot.groups.imu.body == robot.body_names[0] and robot.groups.imu.quat == (1.0, 0.0, 0.0, 0.0)
    for i, data in enumerate(env.simulator.data):
        matrix = data.body(robot.body_names[0]).xmat.reshape(3, 3)
        torch.testing.assert_close(gravity[i].double(), torch.from_numpy(-matrix[2]), atol=1e-5, rtol=0.0)
        torch.testing.assert_close(turn[i].double(), torch.from_numpy(data.qvel[3:6].copy()), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(pos, state.joint_pos - robot.default_pose())
    torch.testing.assert_close(vel, state.joint_vel)
    assert torch.equal(last[alive], action[alive])


def test_the_history_contains_the_previous_measurements(robot: Robot) -> None:
    env = make_env(robot)
    sensed = [env.reset()]
    assert torch.equal(sensed[0]["onboard_history"], sensed[0]["onboard"].unsqueeze(1).expand(8, 3, -1))
    alive = torch.ones(8, dtype=torch.bool)
    for action in actions(env, 3):
        step = env.step(action)
        alive &= ~step.ended
        sensed.append({name: x.clone() for name, x in step.obs.items()})
    assert alive.any()
    for back in range(3):
        assert torch.equal(sensed[3]["onboard_history"][alive, back], sensed[2 - back]["onboard"][alive])


def test_an_episode_starts_with_an_empty_history(robot: Robot) -> None:
    env = make_env(robot, episode_length_s=3 * robot.control_dt)
    env.reset()
    for action in actions(env, 3):
        step = env.step(action)
    ended = step.timed_out
    joints = robot.num_joints
    assert ended.any()
    sensed, history = step.obs["onboard"][ended], step.obs["onboard_history"][ended]
    assert torch.equal(history, sensed.unsqueeze(1).expand_as(history))
    assert (sensed[:, -joints:] == 0.0).all()
    assert torch.equal(
        step.next_obs["onboard"][ended][:, -joints:], action[ended]
    )  # the episode's true last observation
    assert not torch.equal(step.next_obs["onboard_history"][ended], history)


def test_position_height_and_velocity_are_not_observed(robot: Robot) -> None:
    """3 m to the side, 5 cm higher and 0.3 m/s faster; commands that are seen from the robot go along with it."""
    env = make_env(robot)
    env.reset()
    for action in actions(env, 2):
        env.step(action)
    before, full = _onboard(env), observations.proprioception(env.state)
    state = env.state.clone()
    for task in env.tasks.values():
        task.command.reference.shift[:, 1] += 3.0
    state.body_pos_w += torch.tensor([0.0, 3.0, 0.05])
    state.body_lin_vel_w += torch.tensor([0.3, 0.0, 0.0])
    env.simulator.write(torch.ones(8, dtype=torch.bool), state)
    after = _onboard(env)
    for name in ONBOARD[::2]:
        torch.testing.assert_close(after[name], before[name], atol=2e-6, rtol=0.0)
    assert (observations.proprioception(env.state) - full).abs().max() > 0.2


def _onboard(env: HumanoidEnv) -> dict[str, torch.Tensor]:
    """The current onboard observation, without a step of physics."""
    assert env.onboard is not None
    measured: RobotState = env._measured()
    return env._observe(env.sensed.past, measured, env.sensed.now) | env.onboard.observe(
        measured, env.onboard.sensed.past
    )


def test_onboard_observations_have_noise(robot: Robot) -> None:
    noise = RandomizationParams(noise=NoiseParams(joint_pos=0.01, root_ang_vel=0.1, root_rotation=0.05))
    env = make_env(robot, randomization=noise)
    sensed = env.reset()["onboard"]
    assert env.onboard is not None
    off = (sensed - env.onboard.observe(env.state, env.onboard.sensed.past)["onboard"]).std(dim=0)
    assert (off[:6] > 1e-3).all() and (off[6 : 6 + robot.num_joints] > 1e-3).all()
    assert (off[6 + robot.num_joints :] < 1e-6).all()


def test_on_rough_ground_the_target_height_is_above_it(robot: Robot) -> None:
    from protege.sim.terrain import make_terrain
    from protege.sim.terrain_params import TerrainParams

    params = TerrainParams(kind="gentle")
    config = EnvConfig(num_envs=8, task_mix={"path": 1.0}, num_plans=16, terrain=params, **own_settings(robot))
    simulator = make_simulator("mujoco", robot, 8, device="cpu", num_threads=1, terrain=make_terrain(params))
    clips = load_clips([f"data/motions/{robot.name}_humanoid_walk.npy"], robot)
    env = HumanoidEnv(simulator, clips, config, seed=0, sensors="onboard")
    obs = env.reset()
    reference = env.tasks["path"].command.reference
    reference_floor, reference.floor = reference.floor, None
    flat = reference.future()[0][..., 0, 2]
    reference.floor = reference_floor
    torch.testing.assert_close(obs["onboard_poses"][..., 0, 2], flat, atol=1e-5, rtol=0.0)
    assert (reference.future()[0][..., 0, 2] - flat).abs().max() > 1e-3


def test_a_run_resumes_exactly(robot: Robot) -> None:
    env, again = make_env(robot), make_env(robot)
    env.reset()
    again.reset()
    first, *rest = actions(env, 4)
    env.step(first)
    again.load_state_dict(env.state_dict())
    for action in rest:
        step, other = env.step(action), again.step(action)
        for name in ONBOARD:
            assert torch.equal(step.obs[name], other.obs[name]), name
