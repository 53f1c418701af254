"""One walking clip at every speed."""

import numpy as np
import pytest
import torch
from robot_states import own_settings

from protege.core.motions import Clip, load_clips
from protege.core.robots import rotation as R
from protege.core.robots.robot import Robot
from protege.sim.engine import mujoco
from protege.sim.env_config import EnvConfig
from protege.sim.motions.surface import trace
from protege.sim.references.gait import FASTEST_CADENCE, SLOWEST_CADENCE, Gait, center_of_mass
from protege.sim.robots.mjcf import build_spec

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def walk(robot) -> Clip:
    return load_clips([f"{robot.name}_humanoid_walk.npy"], robot)[0]


@pytest.fixture(scope="module")
def gait(walk, robot) -> Gait:
    return Gait(walk, robot, CPU)


def turned(clip: Clip, yaw: float) -> Clip:
    """The same walk in another direction."""
    turn = R.from_yaw(torch.tensor(yaw, dtype=torch.float64))
    pos = R.rotate(turn.expand(len(clip.time), 4), torch.from_numpy(clip.root_pos_w)).numpy()
    quat = R.multiply(turn.expand(len(clip.time), 4), torch.from_numpy(clip.root_quat_w)).numpy()
    return Clip(clip.name, clip.time, pos, quat, clip.joint_pos)


def feet(robot: Robot, gait: Gait, phase: torch.Tensor, amplitude: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Heights of the foot bodies (n, 4), and where they are along x relative to the root (n, 4), m."""
    joint_pos, tilt, sway, height = gait.pose(phase, torch.full_like(phase, amplitude))
    root = torch.cat([sway, height[:, None]], dim=1)
    pos, _ = gait.kinematics(root, R.from_rotation_vector(tilt), joint_pos)
    ids = robot.body_ids(robot.feet)
    return pos[:, ids, 2], pos[:, ids, 0]


def test_at_its_own_speed_the_clip_is_played_as_it_is(gait, walk):
    cadence, amplitude = gait.cadence_and_amplitude(torch.tensor([gait.speed]))
    torch.testing.assert_close(cadence, torch.ones(1))
    torch.testing.assert_close(amplitude, torch.ones(1))
    assert gait.speed == pytest.approx(walk.mean_speed, rel=1e-4)
    phase = torch.linspace(0.0, 9.9, 50)
    joint_pos, tilt, _, height = gait.pose(phase, torch.ones(50))
    frame = np.array([np.interp(phase, walk.time, column) for column in walk.joint_pos.T]).T
    assert np.abs(joint_pos.numpy() - frame).max() < 0.05
    z = np.interp(phase, walk.time, walk.root_pos_w[:, 2])
    assert np.abs(height.numpy() - z).max() < 5e-3
    every_frame = torch.arange(608) * (gait.duration / 608)
    assert gait.pose(every_frame, torch.ones(608))[2].mean(dim=0).abs().max() < 1e-4, "sway is about the way"
    assert R.yaw(R.from_rotation_vector(tilt)).mean().abs() < 0.1


@pytest.mark.parametrize("ratio", [0.0, 0.2, 0.5, 1.0, 1.3, 1.5])
def test_cadence_times_stride_is_the_speed(gait, ratio):
    speed = ratio * gait.speed
    cadence, amplitude = gait.cadence_and_amplitude(torch.tensor([speed]))
    assert SLOWEST_CADENCE <= cadence <= FASTEST_CADENCE
    assert float(cadence * amplitude) * gait.speed == pytest.approx(speed, abs=1e-5)


def test_the_fastest_command_is_nearly_reached(robot, gait):
    """There strides are as long as they get: the feet are up to 4 % too slow for the way."""
    fastest = EnvConfig(**own_settings(robot)).path_follower_params.speed[1]
    cadence, amplitude = gait.cadence_and_amplitude(torch.tensor([fastest]))
    assert 0.96 < float(cadence * amplitude) * gait.speed / fastest <= 1.0


def test_a_faster_walk_has_a_higher_cadence_and_longer_strides(gait):
    cadence, amplitude = gait.cadence_and_amplitude(torch.linspace(0.0, 2.0, 50))
    assert (cadence.diff() >= 0.0).all() and (amplitude.diff() >= 0.0).all()


def test_standing_is_one_pose_whatever_the_phase(gait):
    phase = torch.linspace(0.0, 10.0, 30)
    joint_pos, tilt, sway, height = gait.pose(phase, torch.zeros(30))
    assert joint_pos.std(dim=0).max() < 1e-6
    assert tilt.std(dim=0).max() < 1e-6
    assert sway.abs().max() == 0.0
    assert height.std() < 5e-3


def test_the_standing_pose_has_level_feet_under_its_centre_of_mass(robot, gait):
    joint_pos, tilt, _, height = gait.pose(torch.zeros(1), torch.zeros(1))
    root = torch.stack([torch.zeros(1), torch.zeros(1), height], dim=1)
    pos, body_quat = gait.kinematics(root, R.from_rotation_vector(tilt), joint_pos)
    ids = robot.body_ids(robot.feet)
    mass = center_of_mass(pos, body_quat, robot)[0, :2]
    torch.testing.assert_close(mass, pos[0, ids, :2].mean(dim=0), atol=1e-3, rtol=0.0)
    up = R.rotate(body_quat[0, ids], torch.tensor([0.0, 0.0, 1.0]).expand(len(ids), 3))
    assert up[:, 2].min() > 1.0 - 1e-5


def test_the_centre_of_mass_is_mujocos(robot, gait):
    model = build_spec(robot).compile()
    data = mujoco.MjData(model)
    joint_pos, tilt, _, height = gait.pose(torch.tensor([0.4]), torch.ones(1))
    quat = R.from_rotation_vector(tilt)
    root = torch.tensor([[0.3, -0.2, float(height)]])
    data.qpos[:] = torch.cat([root, quat, joint_pos], dim=1)[0].numpy()
    mujoco.mj_forward(model, data)
    found = center_of_mass(*gait.kinematics(root, quat, joint_pos), robot)[0]
    np.testing.assert_allclose(found.numpy(), data.subtree_com[0], atol=1e-5)


def test_the_standing_pose_can_be_held_for_a_while(robot, gait):
    """By its servos alone, in MuJoCo. The mean pose of the walk, from which it is made, falls forward."""
    mean = gait.joint_pos.mean(dim=0), gait.tilt.mean(dim=0)
    assert height_held(robot, gait, gait.standing_joint_pos, gait.standing_tilt) > 0.894 * robot.root_height
    assert height_held(robot, gait, *mean, seconds=1.5) < 0.3


def height_held(robot: Robot, gait: Gait, joint_pos: torch.Tensor, tilt: torch.Tensor, seconds: float = 1.0) -> float:
    """Height of the root, m, from a start on the ground."""
    quat = R.from_rotation_vector(tilt)
    still = Clip(
        "still",
        np.arange(2.0),
        np.zeros((2, 3)),
        quat.double().expand(2, 4).numpy(),
        joint_pos.double().expand(2, -1).numpy(),
    )
    model = build_spec(robot).compile()
    data = mujoco.MjData(model)
    data.qpos[:] = np.concatenate([[0.0, 0.0, -trace(still, robot).height.min()], quat, joint_pos])
    data.ctrl[:] = joint_pos.numpy()
    for _ in range(round(seconds / model.opt.timestep)):
        mujoco.mj_step(model, data)
    return float(data.qpos[2])


@pytest.mark.parametrize("amplitude", [0.0, 0.3, 0.6, 1.0, 1.2])
def test_the_lower_foot_stays_at_the_ground(robot, gait, amplitude):
    """Foot bodies' origins are some centimetres above their soles: compare with where the clip itself has them."""
    phase = torch.linspace(0.0, 10.0, 300)
    lowest_in_clip = feet(robot, gait, phase, 1.0)[0].min(dim=0).values
    above = (feet(robot, gait, phase, amplitude)[0] - lowest_in_clip).min(dim=1).values
    assert above.min() > -0.02
    assert above.max() < 0.08


def test_smaller_amplitudes_take_smaller_strides(robot, gait):
    phase = torch.linspace(0.0, 10.0, 300)
    spans = [feet(robot, gait, phase, a)[1].amax() - feet(robot, gait, phase, a)[1].amin() for a in (0.0, 0.5, 1.0)]
    assert spans[0] < 0.6 * spans[1] + 0.3 < spans[2] + 0.3
    assert spans[0] < spans[1] < spans[2]


def test_the_phase_wraps_at_the_clips_end(gait):
    once, again = (gait.pose(torch.tensor([phase]), torch.ones(1)) for phase in (0.3, 0.3 + gait.duration))
    for a, b in zip(once, again, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=0.0)
    ends = gait.pose(torch.tensor([gait.duration - 1e-3, gait.duration + 1e-3]), torch.ones(2))
    assert ends[0].diff(dim=0).abs().max() < 0.05
    assert ends[3].diff().abs().max() < 2e-3


def test_the_direction_in_which_a_clip_walks_does_not_matter(robot, gait, walk):
    other = Gait(turned(walk, 2.1), robot, CPU)
    assert other.speed == pytest.approx(gait.speed, rel=1e-4)
    phase = torch.linspace(0.0, 10.0, 20)
    for a, b in zip(gait.pose(phase, torch.ones(20)), other.pose(phase, torch.ones(20)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=0.0)
