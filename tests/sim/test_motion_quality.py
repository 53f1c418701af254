"""Motion quality: each measure compared with hand arithmetic."""

from dataclasses import replace

import pytest
import torch
from robot_states import N, hold, on_its_feet, own_settings, resting

from protege.core.errors import UserError
from protege.core.robots import rotation as R
from protege.core.runs.config import RunConfig
from protege.core.runs.evaluation import run_episodes
from protege.sim.env_config import EnvConfig
from protege.sim.motion_quality import GRAVITY, MEASURES, MotionQuality
from protege.sim.plugin import plugin
from protege.sim.simulators.simulator import make_simulator

ALL, CPU = torch.ones(N, dtype=torch.bool), torch.device("cpu")


def motion_quality_of(robot) -> MotionQuality:
    return MotionQuality(robot, N, None, CPU)


def test_action_rate_and_joint_acceleration(robot):
    motion_quality, state = motion_quality_of(robot), resting(robot)
    motion_quality.restart(ALL, state)
    motion_quality.sent.copy_(hold(robot) + 0.7)
    value, weight = motion_quality.measure(state)["action_rate"]
    assert weight.eq(0.0).all(), "an episode's first action has none before it"
    motion_quality.sent.copy_(hold(robot) + 0.7)
    motion_quality.sent[:, 0] += 0.3
    faster = replace(state, joint_vel=state.joint_vel + 2.0)
    measured = motion_quality.measure(faster)
    value, weight = measured["action_rate"]
    want = 0.3 / robot.control_dt / robot.num_joints**0.5
    assert weight.eq(1.0).all() and value.tolist() == pytest.approx([want] * N, rel=1e-4)
    assert measured["joint_acceleration"][0].tolist() == pytest.approx([2.0 / robot.control_dt] * N, rel=1e-5)
    motion_quality.restart(ALL, state)
    assert motion_quality.measure(state)["joint_acceleration"][0].eq(0.0).all(), "a new episode remembers nothing"


def test_power_is_torque_times_velocity_to_the_weight(robot):
    motion_quality, state = motion_quality_of(robot), resting(robot)
    servo = robot.joints[0]
    motion_quality.sent.copy_(state.joint_pos)
    motion_quality.sent[0, 0] += 0.01  # rad
    motion_quality.sent[1, 0] += 1e6  # as much as it can
    speed = torch.zeros_like(state.joint_vel)
    speed[:, 0] = 0.02  # rad/s
    weight = GRAVITY * sum(body.inertia.mass for body in robot.bodies)
    torques = [servo.stiffness * 0.01 - servo.damping * 0.02, servo.effort_limit]
    power = motion_quality.power(replace(state, joint_vel=speed))
    assert power[:2].tolist() == pytest.approx([abs(x) * 0.02 / weight for x in torques], rel=1e-3)


def test_foot_slip_is_the_speed_of_standing_feet(robot):
    """The whole robot slides over the ground at 0.3 m/s; in the air it does not slip."""
    motion_quality = motion_quality_of(robot)
    for height, touching in ((-0.002, 1.0), (0.1, 0.0)):
        state = on_its_feet(robot, lin_vel=(0.3, 0.4, 0.0))
        state = replace(
            state, body_pos_w=state.body_pos_w + torch.tensor([0.0, 0.0, height - lowest(motion_quality, state)])
        )
        speed, weight = motion_quality.measure(state)["foot_slip"]
        assert weight.tolist() == [touching] * N
        assert speed.tolist() == pytest.approx([0.5 * touching] * N, abs=1e-6)


def lowest(motion_quality: MotionQuality, state) -> float:
    """The height of the feet's lowest point, m, by trying: where they begin to touch."""
    low, high = -1.0, 1.0
    for _ in range(30):
        middle = 0.5 * (low + high)
        lifted = replace(state, body_pos_w=state.body_pos_w - torch.tensor([0.0, 0.0, middle]))
        touches = bool(motion_quality.measure(lifted)["foot_slip"][1][0] > 0)
        low, high = (low, middle) if touches else (middle, high)
    return low + 0.001


def test_a_foot_that_rolls_does_not_slip(robot):
    """It turns about its lowest points, which are at rest."""
    motion_quality, state = motion_quality_of(robot), on_its_feet(robot)
    z = lowest(motion_quality, state)
    state = replace(state, body_pos_w=state.body_pos_w - torch.tensor([0.0, 0.0, z + 0.0005]))
    spin = torch.tensor([0.0, 2.0, 0.0]).expand_as(state.body_pos_w)
    # About the line under the robot: every point moves at spin x its place, those on the ground vertically alone.
    turning = replace(state, body_ang_vel_w=spin, body_lin_vel_w=R.cross(spin, state.body_pos_w))
    speed, weight = motion_quality.measure(turning)["foot_slip"]
    assert weight.eq(1.0).all() and speed.max() < 2.0 * 0.003


def test_free_fall_has_no_impulse_and_standing_the_weights(robot):
    motion_quality, sim = motion_quality_of(robot), make_simulator("mujoco", robot, N, device="cpu", num_threads=1)
    sim.write(ALL, resting(robot))
    motion_quality.restart(ALL, sim.state)
    for _ in range(3):
        sim.step(hold(robot))
        falling, _ = motion_quality.measure(sim.state)["contact_impulse"]
        torch.testing.assert_close(falling, torch.zeros(N), atol=2e-3, rtol=0.0)
    motion_quality.restart(ALL, sim.state)
    still, _ = motion_quality.measure(sim.state)["contact_impulse"]
    torch.testing.assert_close(still, torch.ones(N), atol=1e-6, rtol=0.0)
    # Thrown up by the ground at 1 m/s within a step.
    risen = replace(sim.state, body_lin_vel_w=sim.state.body_lin_vel_w + torch.tensor([0.0, 0.0, 1.0]))
    thrown, _ = motion_quality.measure(risen)["contact_impulse"]
    assert thrown.tolist() == pytest.approx([1.0 + 1.0 / (GRAVITY * robot.control_dt)] * N, rel=1e-4)
    sim.close()


@pytest.mark.parametrize("simulator", ["mujoco", "mjwarp"])
def test_only_evaluations_measure_motion_quality(robot, simulator):
    clip = f"data/motions/{robot.name}_humanoid_walk.npy"
    run = RunConfig(robot=robot.name, simulator=simulator, device="cpu", motion_file=[clip], num_threads=1)
    config = EnvConfig(num_envs=N, num_plans=4, episode_length_s=1.0, history_steps=1, **own_settings(robot))
    env = plugin.make(run, config, evaluation=True)
    rows = run_episodes(env, lambda obs: (obs["reference_joint_pos"] - env.default_joint_pos) / env.action_scale, N)
    for name, measure in MEASURES.items():
        value = rows[measure.column(name)]
        assert value.shape == (N,) and value.isfinite().all() and (value > 0.0).all(), name
    assert (rows["foot_slip/mean"] < 1.5).all() and (rows["contact_impulse/max"] > 1.0).all()
    assert plugin.make(run, config).motion_quality is None


def test_a_training_that_rewards_gentle_moves_measures_them(robot):
    """What is rewarded is what an evaluation measures of the same steps; a step without the terms earns what is left."""
    clip = f"data/motions/{robot.name}_humanoid_walk.npy"
    run = RunConfig(robot=robot.name, simulator="mujoco", device="cpu", num_threads=1, motion_file=[clip])
    rewards = {"body_pos": 0.0, "body_rot": 0.0, "body_lin_vel": 0.0, "body_ang_vel": 0.0, "steering_velocity": 0.0}
    for gentle in ({}, {"steady_targets": 0.5, "planted_feet": 0.25, "low_power": 2.0}):
        config = EnvConfig(num_envs=N, num_plans=4, task_mix={"steering": 1.0}, **own_settings(robot))
        config.steering_params.rewards = rewards | gentle
        env = plugin.make(run, config)
        try:
            assert (env.motion_quality is not None) == bool(gentle)
            env.reset()
            for target in (0.0, 0.2):
                step = env.step(torch.full((N, robot.num_joints), target))
                if not gentle:
                    assert step.reward.eq(0.0).all()
            if gentle:
                with pytest.raises(UserError, match=r"steady_targets, planted_feet, low_power cannot be imagined"):
                    env.imagine(N, torch.Generator())
                assert step.reward.min() > 0.0 and step.reward.max() < 2.75
                rate = 0.2 * float(robot.action_scale().square().mean().sqrt()) / robot.control_dt
                going = env.log.length == 2  # the others have begun anew
                measured = env.log.weighted_sum[env.log.names.index("action_rate")]
                assert measured[going].tolist() == pytest.approx([rate] * int(going.sum()), rel=1e-4)
                saved = env.state_dict()
                env.step(torch.zeros(N, robot.num_joints))
                env.load_state_dict(saved)
                assert torch.equal(env.motion_quality.before, saved["conduct"]["before"])
        finally:
            env.close()
