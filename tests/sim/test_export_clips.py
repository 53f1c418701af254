"""Clips for other projects: the written data is the clip, and agrees with MuJoCo's poses of the robot."""

import numpy as np
import pytest
from click.testing import CliRunner

from protege.core.motions import load_clip
from protege.core.robots.robot import Robot
from protege.sim.cli import main
from protege.sim.engine import mujoco
from protege.sim.robots.addresses import addresses
from protege.sim.robots.mjcf import build_spec

KEYS = ["fps", "joint_pos", "joint_vel", "body_pos_w", "body_quat_w", "body_lin_vel_w", "body_ang_vel_w"]


@pytest.fixture(scope="module")
def written(robot: Robot, tmp_path_factory: pytest.TempPathFactory):
    """The robot's walk as an .npz, read again, by the command."""
    file = tmp_path_factory.mktemp("export") / "walk"
    command = ["motions", "export", f"{robot.name}_humanoid_walk.npy", "--format", "mjlab", "--output", str(file)]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0 and done.output.strip() == f"{file}.npz"
    return dict(np.load(f"{file}.npz"))


def test_shapes_and_rate_are_mjlabs(written, robot):
    frames, clip = len(written["joint_pos"]), load_clip(f"{robot.name}_humanoid_walk.npy", robot)
    assert list(written) == KEYS and all(x.dtype == np.float32 for x in written.values())
    assert written["fps"].tolist() == [pytest.approx(1.0 / robot.control_dt)]
    assert frames == int(clip.duration / robot.control_dt + 1e-6) + 1
    assert written["joint_vel"].shape == (frames, robot.num_joints)
    for key, width in (("body_pos_w", 3), ("body_quat_w", 4), ("body_lin_vel_w", 3), ("body_ang_vel_w", 3)):
        assert written[key].shape == (frames, robot.num_bodies, width)


def test_joints_are_the_clips_and_bodies_are_where_mujoco_puts_them(written, robot):
    clip, model = load_clip(f"{robot.name}_humanoid_walk.npy", robot), build_spec(robot).compile()
    frames = len(written["joint_pos"])
    pos, quat, joints = clip.at(np.arange(frames) * robot.control_dt)
    np.testing.assert_allclose(written["joint_pos"], joints, atol=1e-6)
    data, at = mujoco.MjData(model), addresses(model, robot)
    assert [model.body(row).name for row in range(at.bodies.start, at.bodies.stop)] == list(robot.body_names)
    for frame in range(0, frames, 7):
        data.qpos[at.qpos] = np.concatenate([pos[frame], quat[frame], joints[frame]])
        mujoco.mj_kinematics(model, data)
        np.testing.assert_allclose(written["body_pos_w"][frame], data.xpos[at.bodies], atol=1e-4)
        same = np.abs((written["body_quat_w"][frame] * data.xquat[at.bodies]).sum(axis=1))
        np.testing.assert_allclose(same, 1.0, atol=1e-7)


def test_velocities_are_those_that_mujoco_has_for_the_joints_rates(written, robot):
    """Frames are 0.02 or 0.033 s apart, over which a walk's velocities are nearly even."""
    model = build_spec(robot).compile()
    data, at = mujoco.MjData(model), addresses(model, robot)
    spin, error = np.zeros(6), []
    for frame in range(3, len(written["joint_pos"]) - 3, 5):
        quat, turn = written["body_quat_w"][frame, 0].astype(float), np.zeros(3)
        mujoco.mju_rotVecQuat(turn, written["body_ang_vel_w"][frame, 0].astype(float), quat * [1, -1, -1, -1])
        data.qpos[at.qpos] = np.concatenate([written["body_pos_w"][frame, 0], quat, written["joint_pos"][frame]])
        data.qvel[at.qvel] = np.concatenate([written["body_lin_vel_w"][frame, 0], turn, written["joint_vel"][frame]])
        mujoco.mj_forward(model, data)
        for index, body in enumerate(range(at.bodies.start, at.bodies.stop)):
            mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_XBODY, body, spin, 0)
            error.append(
                np.abs(
                    np.concatenate([written["body_ang_vel_w"][frame, index], written["body_lin_vel_w"][frame, index]])
                    - spin
                )
            )
    angular, linear = np.mean(error, axis=0)[:3].mean(), np.mean(error, axis=0)[3:].mean()
    assert angular < 0.05 and linear < 0.02  # rad/s, m/s


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--format", "isaac", "--output", "x.npz"], "no format 'isaac' to export to. Known: mjlab, csv, proto"),
        (["--format", "mjlab", "--output", "x.csv"], "x.csv is not the name of an .npz file. Let it end in .npz"),
    ],
)
def test_bad_export_arguments_are_named(options, problem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["motions", "export", "g1_humanoid_walk.npy", *options])
    assert done.exit_code == 2 and done.output == f"error: {problem}\n" and not list(tmp_path.iterdir())
