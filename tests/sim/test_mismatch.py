"""Robots and sensors that differ from their description: the exact effect of each setting."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from robot_states import N, hold, on_its_feet, own_settings, resting

from protege.core import checks
from protege.core.errors import UserError
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState
from protege.core.runs.config import RunConfig, from_dict
from protege.core.runs.resuming import MAY_CHANGE
from protege.sim.engine import mujoco
from protege.sim.env import HumanoidEnv
from protege.sim.env_config import BiasParams, EnvConfig, MismatchParams, RandomizationParams
from protege.sim.mismatch import delay_steps, legs, mismatched
from protege.sim.plugin import plugin
from protege.sim.randomization import VelocitySteps
from protege.sim.robots.mjcf import build_spec
from protege.sim.sensor_errors import SensorBias
from protege.sim.simulators.simulator import make_simulator
from protege.sim.simulators.stepwise import StepwiseSimulator, stepwise

ALL = torch.ones(N, dtype=torch.bool)
BACKENDS = ("mujoco", "mjwarp")


def build(name: str, robot: Robot):
    return make_simulator(name, robot, N, device="cpu", num_threads=1)


def make_env(robot: Robot, evaluation: bool = True, **config: Any) -> HumanoidEnv:
    clip = f"data/motions/{robot.name}_humanoid_walk.npy"
    run = RunConfig(robot=robot.name, simulator="mujoco", device="cpu", motion_file=[clip], num_threads=1)
    env = EnvConfig(num_envs=N, num_plans=4, history_steps=2, **own_settings(robot), **config)
    return plugin.make(run, env, evaluation=evaluation)


def follow(env: HumanoidEnv, obs: dict[str, torch.Tensor]) -> torch.Tensor:
    return (obs["reference_joint_pos"] - env.default_joint_pos) / env.action_scale


# The robot ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [240, 360, 480, 600, 990])
def test_physics_at_another_rate(robot, rate):
    other = mismatched(robot, MismatchParams(physics_rate=rate))
    steps = round(rate * robot.control_dt)
    assert other.substeps == steps and other.control_dt == robot.control_dt
    assert build_spec(other).compile().opt.timestep == pytest.approx(robot.control_dt / steps, rel=1e-12)


def test_a_control_loop_at_another_rate_keeps_the_physics_rate_as_it_can(robot):
    other = mismatched(robot, MismatchParams(control_rate=0.5 / robot.control_dt))
    assert other.control_dt == pytest.approx(2.0 * robot.control_dt) and other.substeps == 2 * robot.substeps
    faster = mismatched(robot, MismatchParams(control_rate=1.67 / robot.control_dt))
    assert faster.substeps == round(robot.substeps / 1.67) and faster.control_dt == pytest.approx(
        robot.control_dt / 1.67
    )


def test_weaker_joints_are_weaker_in_the_model(robot):
    was, now = (build_spec(x).compile().jnt_actfrcrange for x in (robot, mismatched(robot, MismatchParams(effort=0.6))))
    assert now == pytest.approx(0.6 * was) and now.max() > 0.0


def test_without_changes_the_robot_itself_is_returned(robot):
    assert mismatched(robot, MismatchParams()) is robot
    assert delay_steps(robot, MismatchParams()) == 0


def test_only_the_legs_collide(robot):
    """In random poses in the air, only bodies of one leg touch those of the other."""
    plain = replace(robot, self_collision=False, excluded_pairs=())
    left, right = legs(robot)
    assert not left & right and len(left) == len(right) > 3 and set(robot.groups.left_foot) <= left

    def touching(described: Robot) -> set[frozenset[str]]:
        model = build_spec(described).compile()
        data, generator = mujoco.MjData(model), torch.Generator().manual_seed(0)
        low, high = robot.joint_range().double().T
        pairs = set()
        for _ in range(300):
            data.qpos[:7] = (0.0, 0.0, 5.0, 1.0, 0.0, 0.0, 0.0)
            data.qpos[7:] = low + (high - low) * torch.rand(len(low), generator=generator).double()
            mujoco.mj_forward(model, data)
            pairs |= {frozenset(model.body(model.geom_bodyid[g]).name for g in c.geom) for c in data.contact}
        return pairs

    assert not touching(plain)
    pairs = touching(mismatched(plain, MismatchParams(leg_collision=True)))
    assert pairs and all(len(pair & left) == len(pair & right) == 1 for pair in pairs)


def test_a_robot_whose_bodies_collide_is_left_as_it_is(robot):
    described = replace(robot, self_collision=True)
    assert mismatched(described, MismatchParams(leg_collision=True)) is described


def test_a_run_may_go_on_with_another_mismatch():
    """Training reads nothing of it."""
    kept = {key.removeprefix("env.mismatch.") for key in MAY_CHANGE if key.startswith("env.mismatch.")}
    assert kept == set(vars(MismatchParams()))


# Actions that are late ---------------------------------------------------------------------------------------------------


def delayed_by(robot: Robot, late: int, name: str = "mujoco") -> StepwiseSimulator:
    """Envs whose actions are all late by this many physics steps."""
    seconds = late * robot.physics_dt
    return StepwiseSimulator(build(name, stepwise(robot)), robot, (seconds, seconds))


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("late", [1, 3, 4, 6])
def test_actions_arrive_late_by_the_given_physics_steps(robot, name, late):
    generator, substeps, start = torch.Generator().manual_seed(3), robot.substeps, resting(robot)
    targets = [hold(robot) + 0.2 * torch.randn(N, robot.num_joints, generator=generator) for _ in range(4)]
    delayed, by_hand = delayed_by(robot, late, name), build(name, stepwise(robot))
    for sim in (delayed, by_hand):
        sim.write(ALL, start)
    delayed.restart(ALL, start)
    for target in targets:
        delayed.step(target)
    for step in range(len(targets) * substeps):
        sent = (step - late) // substeps
        by_hand.step(targets[sent] if sent >= 0 else start.joint_pos)
    torch.testing.assert_close(delayed.state.joint_pos, by_hand.state.joint_pos, atol=0.0, rtol=0.0)
    torch.testing.assert_close(delayed.state.body_pos_w, by_hand.state.body_pos_w, atol=0.0, rtol=0.0)


def test_a_delay_of_whole_control_steps_is_that_of_the_targets(robot):
    """Physics step by physics step it is the same physics."""
    delayed = delayed_by(robot, robot.substeps)
    plain, start = build("mujoco", robot), resting(robot)
    for sim in (delayed, plain):
        sim.write(ALL, start)
    delayed.restart(ALL, start)
    targets = [hold(robot) + 0.1 * k for k in range(3)]
    for target, arrives in zip(targets, [start.joint_pos, *targets[:2]], strict=True):
        delayed.step(target)
        plain.step(arrives)
    torch.testing.assert_close(delayed.state.joint_pos, plain.state.joint_pos, atol=1e-6, rtol=0.0)


def test_only_evaluations_are_late_and_they_go_on_where_they_were_saved(robot):
    late = MismatchParams(delay=1.5 * robot.physics_dt + robot.control_dt)
    env = make_env(
        robot, mismatch=late, randomization=RandomizationParams(velocity_step=(0.5, 0.5), in_evaluation=True)
    )
    assert isinstance(env.simulator, StepwiseSimulator)
    assert env.simulator.late(robot.substeps).tolist() == [robot.substeps + 2] * N
    assert not isinstance(make_env(robot, evaluation=False, mismatch=late).simulator, StepwiseSimulator)
    obs = env.reset()
    for _ in range(3):
        obs = env.step(follow(env, obs)).obs
    saved = env.state_dict()
    assert {"targets", "until", "velocity_w"} <= set(saved["randomization"])
    action = follow(env, obs).clone()
    first = env.step(action).obs["proprioception"].clone()
    env.load_state_dict(saved)
    assert torch.equal(env.step(action).obs["proprioception"], first)


# Sensors and pushes ------------------------------------------------------------------------------------------------------


def test_velocity_steps_move_the_whole_robot(robot):
    for name in BACKENDS:
        sim = build(name, robot)
        sim.write(ALL, resting(robot, lin_vel=(0.3, 0.0, 0.0)))
        before = sim.state.clone()
        params = RandomizationParams(velocity_step=(0.5, 0.5))
        steps = VelocitySteps(params, robot, N, torch.Generator().manual_seed(0))
        steps.restart(ALL)
        steps.until.copy_(torch.tensor([0, 1, 0]))
        steps.act(sim)
        change = sim.state.body_lin_vel_w - before.body_lin_vel_w
        torch.testing.assert_close(change[0], steps.velocity_w[0].expand_as(change[0]), atol=1e-5, rtol=0.0)
        torch.testing.assert_close(change[1], torch.zeros_like(change[1]), atol=0.0, rtol=0.0)
        assert steps.velocity_w.norm(dim=1).tolist() == pytest.approx([0.5] * N)
        assert steps.velocity_w[:, 2].eq(0.0).all()
        torch.testing.assert_close(sim.state.joint_vel, before.joint_vel)


def test_velocity_steps_also_lift_and_turn_the_whole_robot(robot):
    simulator = make_simulator("mujoco", robot, N, "cpu", num_threads=1)
    simulator.write(torch.ones(N, dtype=torch.bool), on_its_feet(robot))
    params = RandomizationParams(velocity_step_up=0.3, velocity_step_turn=0.8)
    assert params.steps_velocity and not RandomizationParams().steps_velocity
    steps = VelocitySteps(params, robot, N, torch.Generator().manual_seed(0))
    steps.restart(torch.ones(N, dtype=torch.bool))
    assert (steps.velocity_w[:, :2] == 0).all() and 0 < steps.velocity_w[:, 2].abs().max() <= 0.3
    assert 0 < steps.turn_w.abs().max() <= 0.8
    steps.until.zero_()
    before = simulator.state.clone()
    steps.act(simulator)
    after, turn = simulator.state, steps.turn_w.unsqueeze(1)
    arm = before.body_pos_w - before.root_pos_w.unsqueeze(1)
    moved = steps.velocity_w.unsqueeze(1) + torch.linalg.cross(turn.expand_as(arm), arm)
    torch.testing.assert_close(after.body_lin_vel_w, before.body_lin_vel_w + moved, atol=1e-5, rtol=0.0)
    turned = before.body_ang_vel_w + turn
    torch.testing.assert_close(after.body_ang_vel_w, turned, atol=1e-5, rtol=0.0)
    simulator.close()


def test_velocity_steps_come_within_their_interval(robot):
    dt = robot.control_dt
    params = RandomizationParams(velocity_step=(0.1, 0.5), velocity_step_interval=(3 * dt, 5 * dt))
    steps, gaps = VelocitySteps(params, robot, N, torch.Generator().manual_seed(0)), []
    steps.restart(ALL)
    since = 0
    for _ in range(200):
        if bool(steps.now[0]):
            gaps.append(since)
            since = 0
        steps.advance()
        since += 1
    assert set(gaps[1:]) <= {4, 5, 6} and len(set(gaps[1:])) == 3


def biased(robot: Robot, params: BiasParams) -> tuple[SensorBias, RobotState, RobotState]:
    """The sensors, a moving state, and their measurement of it."""
    bias = SensorBias(params, robot, N, torch.Generator().manual_seed(0))
    bias.restart(ALL)
    state = resting(robot, lin_vel=(0.5, -0.2, 0.1), ang_vel=(0.0, 0.0, 1.0))
    return bias, state, bias.measured(state)


def test_a_height_error_of_the_root_lifts_all_bodies(robot):
    _, state, seen = biased(robot, BiasParams(root_height=(0.02, 0.02)))
    want = state.body_pos_w + torch.tensor([0.0, 0.0, 0.02])
    torch.testing.assert_close(seen.body_pos_w, want, atol=1e-5, rtol=0.0)
    torch.testing.assert_close(seen.body_lin_vel_w, state.body_lin_vel_w, atol=1e-5, rtol=0.0)
    assert torch.equal(seen.joint_pos, state.joint_pos)


def test_a_velocity_that_is_not_reported_is_zero(robot):
    _, state, seen = biased(robot, BiasParams(lin_vel_scale=0.0))
    assert seen.root_lin_vel_w.eq(0.0).all() and state.root_lin_vel_w.abs().max() > 0.4
    # What the bodies do about the root is still seen.
    want = state.body_lin_vel_w - state.root_lin_vel_w.unsqueeze(1)
    torch.testing.assert_close(seen.body_lin_vel_w, want, atol=1e-5, rtol=0.0)


def test_encoder_offsets_are_each_joints_own_and_last_an_episode(robot):
    bias, state, seen = biased(robot, BiasParams(joint_pos=0.05))
    offset = seen.joint_pos - state.joint_pos
    assert 0.04 < offset.abs().max() <= 0.05 + 1e-6 and offset[0].unique().numel() > robot.num_joints // 2
    torch.testing.assert_close(bias.measured(state).joint_pos, seen.joint_pos, atol=0.0, rtol=0.0)
    bias.restart(torch.tensor([True, False, False]))
    again = bias.measured(state).joint_pos
    assert not torch.equal(again[0], seen.joint_pos[0]) and torch.equal(again[1:], seen.joint_pos[1:])


def test_bias_is_in_the_observations_only(robot):
    wrong = RandomizationParams(bias=BiasParams(root_height=(0.02, 0.02)), in_evaluation=True)
    env, plain = make_env(robot, randomization=wrong), make_env(robot)
    obs, want = env.reset(), plain.reset()
    height = obs["proprioception"][:, 0] - want["proprioception"][:, 0]
    torch.testing.assert_close(height, torch.full((N,), 0.02), atol=1e-4, rtol=0.0)
    action = follow(plain, want)
    step, other = env.step(action), plain.step(action)
    torch.testing.assert_close(step.reward, other.reward, atol=0.0, rtol=0.0)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("env.mismatch.effort=0", "env.mismatch.effort"),
        ("env.mismatch.delay=2", "env.mismatch.delay"),
        ("env.mismatch.physics_rate=-1", "env.mismatch.physics_rate"),
        ("env.randomization.bias.root_height=[0.2,0.1]", "env.randomization.bias.root_height"),
        ("env.randomization.velocity_step=[-1,1]", "env.randomization.velocity_step"),
    ],
)
def test_invalid_values_are_rejected_by_name(words, problem):
    with pytest.raises(UserError, match=problem):
        checks.check(from_dict({"env": EnvConfig}, {}, [words]).env, "env")
