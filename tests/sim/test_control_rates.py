"""At every control rate references advance one second a second, with the velocities of their positions, to where the clip ends."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from protege.core.motions import Clip, MotionLibrary, load_clips
from protege.core.robots.robot import Robot
from protege.sim.env import HumanoidEnv
from protege.sim.env_config import EnvConfig
from protege.sim.references.gait_set import GaitSet
from protege.sim.references.plans import Plans
from protege.sim.references.reference import Reference
from protege.sim.references.warp import warped_walks
from protege.sim.simulators.simulator import make_simulator

RATES = (24.0, 30.0, 37.0, 50.0, 60.0, 100.0, 120.0)
CPU = torch.device("cpu")


def controlled(robot: Robot, rate: float) -> Robot:
    """The same robot with another control rate and about the same physics rate."""
    dt = 1.0 / rate
    return replace(robot, control_dt=dt, physics_dt=dt / max(1, round(dt / robot.physics_dt)))


@pytest.fixture(scope="module")
def clips(robot) -> list[Clip]:
    return load_clips([f"{robot.name}_humanoid_{name}.npy" for name in ("run", "walk")], robot)


def at(clip: Clip, time: np.ndarray) -> torch.Tensor:
    """Positions of the clip's root, (T, 3) m."""
    columns = [np.interp(time, clip.time - clip.time[0], column) for column in clip.root_pos_w.T]
    return torch.from_numpy(np.stack(columns, axis=1)).float()


@pytest.mark.parametrize("rate", RATES)
def test_a_clip_is_played_at_its_own_speed_to_its_end(robot, rate, clips):
    library = MotionLibrary(clips, controlled(robot, rate), CPU)
    assert library.rate == pytest.approx(library.stride * rate) and library.rate > 58.0
    reference = Reference(2, library.state, library.stride, (1,))
    reference.index.copy_(library.starts)
    reference.last.copy_(library.starts + library.counts - 1)
    steps = round(11.0 * rate)  # longer than either clip
    states = []
    for _ in range(steps):
        states.append(reference.now())
        reference.advance()
    for row, clip in enumerate(clips):
        assert 0.0 <= clip.duration - float(library.durations[row]) < 1.0 / library.rate + 1e-6
        want = at(clip, np.minimum(np.arange(steps) / rate, float(library.durations[row])))
        torch.testing.assert_close(torch.stack([state.root_pos_w[row] for state in states]), want, atol=1e-3, rtol=0.0)


@pytest.mark.parametrize("rate", RATES)
def test_velocities_are_those_of_the_positions(robot, rate, clips):
    library = MotionLibrary(clips, controlled(robot, rate), CPU)
    for start, count in zip(library.starts.tolist(), library.counts.tolist(), strict=True):
        state = library.state[start : start + count]
        for positions, velocities in (
            (state.joint_pos, state.joint_vel),
            (state.body_pos_w, state.body_lin_vel_w),
        ):
            difference = (positions[2:] - positions[:-2]) * (library.rate / 2.0)
            torch.testing.assert_close(velocities[1:-1], difference, atol=5e-3, rtol=1e-4)


@pytest.mark.parametrize("rate", RATES)
def test_gaits_go_at_the_commanded_speed(robot, rate, clips):
    """One metre a second for two seconds, in the same poses at every rate."""
    gaits, dt = GaitSet(clips, controlled(robot, rate), CPU), 1.0 / rate
    steps = round(2.0 * rate)
    speed = torch.ones(1, steps + 2)
    zero = torch.zeros_like(speed)
    way = torch.arange(steps + 2)[None] * dt
    pos = torch.stack([way, zero], dim=-1)
    plans = Plans(pos, zero, zero, speed, zero, speed, zero == 0.0, pos[:, -1], torch.tensor([steps]))
    walk = warped_walks(gaits, plans, torch.zeros(1), steps, dt)
    cadence, amplitude, _ = gaits.rhythm(speed[0])
    time = way[0, :steps]
    want = gaits.walk.pose(time * cadence[:steps], amplitude[:steps])
    torch.testing.assert_close(walk.joint_pos, want[0], atol=1e-3, rtol=0.0)
    torch.testing.assert_close(walk.root_pos_w[:, 0], time + want[2][:, 0], atol=1e-3, rtol=0.0)
    difference = (walk.body_pos_w[2:] - walk.body_pos_w[:-2]) / (2.0 * dt)
    torch.testing.assert_close(walk.body_lin_vel_w[1:-1], difference, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("rate", RATES)
def test_an_environment_plays_clips_in_seconds(robot, rate, clips):
    """A second of control steps is a second of the clip, and an episode ends at the clip's end."""
    simulator = make_simulator("mujoco", controlled(robot, rate), 2, "cpu", 1)
    env = HumanoidEnv(simulator, clips[1:], EnvConfig(num_envs=2, episode_length_s=20.0), seed=0, evaluation=True)
    env.reset()
    command = env.tasks["track"].command
    begin = (command.reference.index / env.library.rate).numpy()
    left = (clips[1].duration - begin) * rate
    assert (np.abs(command.last_step.numpy() - left) < 1.01).all()
    for _ in range(round(rate)):
        # The robots fall, and go on all the same: a step without the physics' verdict.
        command.advance(env.state)
    moved = command.reference.now().root_pos_w - command.reference.shift
    torch.testing.assert_close(moved, at(clips[1], begin + 1.0), atol=2e-3, rtol=0.0)
    env.close()
