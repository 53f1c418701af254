"""The strength of the randomisation over a training, the torso's own centre of mass, and legs that collide in training."""

from typing import Any

import pytest
import torch
from robot_states import own_settings

from protege.core.robots.robot import Robot
from protege.core.runs.config import RunConfig
from protege.sim.env import HumanoidEnv
from protege.sim.env_config import BiasParams, EnvConfig, NoiseParams, RandomizationParams
from protege.sim.plugin import plugin
from protege.sim.robots.mjcf import build_spec
from protege.sim.strength import eased

N = 16
EVERYTHING: dict[str, Any] = {
    "friction": (0.3, 1.6),
    "mass": (0.9, 1.1),
    "com": 0.01,
    "torso_com": 0.05,
    "stiffness": (0.9, 1.1),
    "damping": (0.9, 1.1),
    "effort": (0.8, 1.0),
    "contact_time": (1.0, 2.0),
    "delay": (0.0, 0.04),
    "push_force": (50.0, 100.0),
    "velocity_step": (0.2, 0.5),
    "velocity_step_up": 0.2,
    "velocity_step_turn": 0.6,
    "bias": BiasParams(joint_pos=0.01, root_height=(0.01, 0.02), lin_vel_scale=0.5),
    "noise": NoiseParams(0.01, 0.1, 0.02, 0.05, 0.1),
}


def make_env(robot: Robot, evaluation: bool = False, **random: Any) -> HumanoidEnv:
    walk = [f"data/motions/{robot.name}_humanoid_walk.npy"]
    run = RunConfig(robot=robot.name, simulator="mujoco", device="cpu", motion_file=walk, num_threads=1)
    params = RandomizationParams(**random)
    config = EnvConfig(num_envs=N, num_plans=4, history_steps=2, randomization=params, **own_settings(robot))
    return plugin.make(run, config, evaluation=evaluation)


def drawn(robot: Robot, progress: float, evaluation: bool = False, **random: Any) -> dict[str, torch.Tensor]:
    """All that differs between envs or from the nominal robot, at the start of an episode; 0 is nominal."""
    env = make_env(robot, evaluation, **EVERYTHING, **random)
    env.set_progress(progress)
    env.reset()
    r, state = env.randomization, env.state
    assert r.bodies and r.delay and r.pushes and r.velocity_steps and r.bias and r.noise
    seen = r.bias.measured(state)
    return {
        "bodies": r.bodies.factors,
        "delay": r.delay.delay.float(),
        "force": r.pushes.force_h,
        "velocity": r.velocity_steps.velocity_w,
        "turn": r.velocity_steps.turn_w,
        "joint_offset": r.bias.joint_offset,
        "height_offset": r.bias.height_offset,
        "lost": state.root_lin_vel_w - seen.root_lin_vel_w,
        "noise": r.noise.noise,
    }


def test_strength_by_hand():
    drawn = torch.tensor([0.5, 1.4])
    assert eased(drawn, 1.0, None) is drawn
    assert eased(drawn, 1.0, torch.tensor(0.0)).tolist() == [1.0, 1.0]
    assert eased(drawn, 1.0, torch.tensor(0.5)).tolist() == pytest.approx([0.75, 1.2])
    assert eased(drawn, 0.0, torch.tensor(1.0)).tolist() == pytest.approx([0.5, 1.4])


def test_all_terms_grow_in_proportion(robot):
    """With a ramp over half of the budget: nothing at its start, half at a quarter, all from the middle on."""
    full = drawn(robot, 0.0)
    assert all(x.abs().max() > 0 for x in full.values())
    for progress, share in ((0.0, 0.0), (0.25, 0.5), (0.5, 1.0), (0.9, 1.0)):
        for name, x in drawn(robot, progress, ramp=0.5).items():
            torch.testing.assert_close(x, share * full[name], atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_evaluations_have_full_strength(robot):
    full, ramped = (drawn(robot, 0.0, True, in_evaluation=True, **x) for x in ({}, {"ramp": 1.0}))
    assert all(torch.equal(x, full[name]) for name, x in ramped.items())


def test_the_torso_has_a_reach_of_its_own(robot):
    env = make_env(robot, com=0.01, torso_com=0.05)
    env.reset()
    nominal = torch.from_numpy(build_spec(robot).compile().body_ipos[1:].copy())
    shift = env.simulator.state_dict()["body_ipos"][:, 1:] - nominal
    torso = robot.body_names.index(robot.groups.torso)
    others = [i for i in range(robot.num_bodies) if i != torso]
    assert 0.008 < shift[:, others].abs().max() <= 0.01 + 1e-6
    assert 0.03 < shift[:, torso].abs().max() <= 0.05 + 1e-6
    assert list(env.factor_ranges)[-3:] == [f"com_{a}/{robot.groups.torso}" for a in "xyz"]
    assert env.factor_ranges[f"com_x/{robot.groups.torso}"] == (-0.05, 0.05)
    factors = env.rows()["factors"].double()
    torch.testing.assert_close(factors[:, -3:], shift[:, torso] / 0.05, atol=1e-5, rtol=0.0)
    torch.testing.assert_close(factors[:, :-3], shift[:, others].flatten(1) / 0.01, atol=1e-4, rtol=0.0)


@pytest.mark.parametrize("delay", [0.0, 0.02])
def test_legs_collide_in_training_and_the_described_robot_does_not_change(robot, delay):
    env = make_env(robot, leg_collision=True, delay=(0.0, delay))
    inner = getattr(env.simulator, "simulator", env.simulator)
    assert inner.robot.self_collision and env.robot == robot
    plain = make_env(robot)
    assert plain.simulator.robot.self_collision == robot.self_collision
    obs = env.reset()
    step = env.step((obs["reference_joint_pos"] - env.default_joint_pos) / env.action_scale)
    assert step.reward.isfinite().all()
