"""Clips as Unitree's tables and ProtoMotions' files: each is read again by our own reader, and is the clip to 1e-6."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from protege.core.motions import load_clip
from protege.core.robots import rotation as R
from protege.core.robots.kinematics import Kinematics
from protege.core.robots.robot import Robot
from protege.sim.cli import main
from protege.sim.engine import mujoco
from protege.sim.motions.export_protomotions import motion_fields
from protege.sim.motions.importer import clip_of, motions_in
from protege.sim.motions.readers.options import Options
from protege.sim.motions.source import JointMotion, SkeletonMotion
from protege.sim.robots import get_robot
from protege.sim.robots.addresses import addresses
from protege.sim.robots.mjcf import build_spec

RATE = 30.0


def export(clip: str, kind: str, file: Path, *words: object) -> str:
    command = ["motions", "export", clip, "--format", kind, "--output", str(file), *map(str, words)]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    return done.output.strip()


def read(file: Path, **options):
    (motion,) = motions_in(file.read_bytes(), str(file), file.stem, Options(**options))
    return motion


def poses(robot: Robot, rate: float, name: str = "walk"):
    """The clip at evenly spaced times: root (T, 3), (T, 4), joints (T, J)."""
    clip = load_clip(f"{robot.name}_humanoid_{name}.npy", robot)
    return clip.at(np.arange(int(clip.duration * rate + 1e-6) + 1) / rate)


def same_rotations(mine: np.ndarray, theirs: np.ndarray) -> None:
    """Equal to about 1e-6 rad, for either sign of a quaternion."""
    signs = np.sign((mine * theirs).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(mine, signs * theirs, atol=1e-6)


@pytest.mark.parametrize("fps", [None, 50.0])
def test_a_table_is_unitrees_and_is_read_again(robot, tmp_path, fps):
    words = () if fps is None else ("--fps", fps)
    assert export(f"{robot.name}_humanoid_walk.npy", "csv", tmp_path / "walk", *words) == f"{tmp_path / 'walk.csv'}"
    pos, quat, joints = poses(robot, fps or RATE)
    table = np.loadtxt(tmp_path / "walk.csv", delimiter=",")
    assert table.shape == (len(pos), 7 + robot.num_joints)  # no line of names
    np.testing.assert_allclose(table[:, 3:7], quat[:, [1, 2, 3, 0]], atol=1e-9)
    clip = clip_of(read(tmp_path / "walk.csv", quat="xyzw", fps=fps), robot, "none")
    np.testing.assert_allclose(clip.root_pos_w, pos, atol=1e-6)
    np.testing.assert_allclose(clip.joint_pos, joints, atol=1e-6)
    same_rotations(clip.root_quat_w, quat)
    assert clip.fps == pytest.approx(fps or RATE)


def test_the_g1s_table_has_unitrees_36_columns(tmp_path):
    export("g1_humanoid_run.npy", "csv", tmp_path / "run.csv")
    assert (tmp_path / "run.csv").read_text().splitlines()[0].count(",") == 35


@pytest.fixture(scope="module")
def written(robot: Robot, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("export") / "walk.motion"
    export(f"{robot.name}_humanoid_walk.npy", "proto", file)
    return file


def test_a_motion_is_read_again(written, robot):
    """A robot's joints as they are; SMPL's as the rotations of its bodies."""
    pos, quat, joints = poses(robot, RATE)
    motion = read(written)
    np.testing.assert_allclose(motion.root_pos_w, pos, atol=1e-6)
    same_rotations(motion.root_quat_w, quat)
    assert motion.fps == RATE
    if isinstance(motion, JointMotion):
        np.testing.assert_allclose(clip_of(motion, robot, "none").joint_pos, joints, atol=1e-6)
        return
    assert isinstance(motion, SkeletonMotion)
    assert motion.skeleton.names == robot.body_names
    places, turns = Kinematics(robot).double()(*(torch.from_numpy(x) for x in (pos, quat, joints)))
    local = R.multiply(R.conjugate(turns[:, list(robot.parents[1:])]), turns[:, 1:])
    same_rotations(motion.rotations[:, 1:], local.numpy())
    offsets = [body.offset for body in robot.bodies]
    np.testing.assert_allclose(motion.skeleton.offsets[1:], offsets[1:], atol=1e-6)
    np.testing.assert_allclose(clip_of(motion, robot, "none").joint_pos, joints, atol=1e-5)
    assert places.shape[1] == len(motion.skeleton.names)


def test_fields_are_protomotions(written, robot):
    """Those of its own files but `state_conversion`, an object of its program."""
    data = torch.load(written, weights_only=True)
    frames, bodies = len(poses(robot, RATE)[0]), {"g1": 33, "smpl": 24}[robot.name]
    assert {key: tuple(x.shape) for key, x in data.items() if key != "fps"} == {
        "dof_pos": (frames, robot.num_joints),
        "dof_vel": (frames, robot.num_joints),
        "rigid_body_pos": (frames, bodies, 3),
        "rigid_body_rot": (frames, bodies, 4),
        "rigid_body_vel": (frames, bodies, 3),
        "rigid_body_ang_vel": (frames, bodies, 3),
        "rigid_body_contacts": (frames, bodies),
    }
    assert data["fps"] == 30.0 and data["rigid_body_contacts"].dtype == torch.bool
    assert all(x.dtype == torch.float32 for x in data.values() if isinstance(x, torch.Tensor) and x.dtype != torch.bool)


def test_bodies_are_where_mujoco_puts_them_and_hands_beyond_the_wrists(robot):
    clip = load_clip(f"{robot.name}_humanoid_walk.npy", robot)
    data = motion_fields(clip, robot, RATE)
    model = build_spec(robot).compile()
    state, at = mujoco.MjData(model), addresses(model, robot)
    state.qpos[at.qpos] = np.concatenate([x[40] for x in poses(robot, RATE)])
    mujoco.mj_kinematics(model, state)
    wanted, turns = list(state.xpos[at.bodies]), list(state.xquat[at.bodies])
    if robot.name == "g1":  # from the last on, so that places stay right
        for name, offset in (
            ("right_wrist_yaw_link", [0.12, 0, 0]),
            ("left_wrist_yaw_link", [0.12, 0, 0]),
            ("pelvis", [0, 0, 0.4]),
        ):
            body = state.body(name)
            index = robot.body_names.index(name) + 1
            wanted.insert(index, body.xpos + body.xmat.reshape(3, 3) @ np.array(offset))
            turns.insert(index, body.xquat)
    np.testing.assert_allclose(data["rigid_body_pos"][40], wanted, atol=1e-5)
    same = np.abs((data["rigid_body_rot"][40].numpy()[:, [3, 0, 1, 2]] * np.array(turns)).sum(axis=1))
    np.testing.assert_allclose(same, 1.0, atol=1e-6)


def test_velocities_are_the_changes_of_places(robot):
    """Central differences; those of fixed bodies, which are turned along, to a few cm/s."""
    clip = load_clip(f"{robot.name}_humanoid_walk.npy", robot)
    data = motion_fields(clip, robot, 120.0)
    places, joints = data["rigid_body_pos"].double(), data["dof_pos"].double()
    np.testing.assert_allclose(data["rigid_body_vel"][1:-1], (places[2:] - places[:-2]) * 60.0, atol=0.03)
    if robot.name == "g1":
        np.testing.assert_allclose(data["dof_vel"][1:-1], (joints[2:] - joints[:-2]) * 60.0, atol=1e-3)


def test_smpls_rates_are_the_turning_of_its_bodies():
    """An elbow that turns about one axis at a steady 0.15 rad/s, of a robot that stands still."""
    smpl = get_robot("smpl")
    clip = load_clip("smpl_humanoid_walk.npy", smpl)
    column = smpl.joint_names.index("L_Elbow_z")
    joints = np.zeros_like(clip.joint_pos)
    joints[:, column] = -1.0 + 0.15 * clip.time
    still = replace(
        clip, joint_pos=joints, root_pos_w=0.0 * clip.root_pos_w, root_quat_w=np.tile([1.0, 0, 0, 0], (len(joints), 1))
    )
    speed = motion_fields(still, smpl, RATE)["dof_vel"]
    np.testing.assert_allclose(speed[:, column], 0.15, atol=1e-4)
    assert speed.abs().sum(dim=0).count_nonzero() < 5


def test_feet_touch_the_ground_in_turns(robot):
    """A walk always has a foot on the ground, but never the same one all the time; nothing else touches the ground."""
    clip = load_clip(f"{robot.name}_humanoid_walk.npy", robot)
    data = motion_fields(clip, robot, RATE)
    share = data["rigid_body_contacts"].float().mean(dim=0)
    touching = torch.nonzero(share)[:, 0].tolist()
    heights = data["rigid_body_pos"][..., 2].mean(dim=0)
    assert touching and all(heights[i] < 0.2 for i in touching)
    assert 0.2 < float(share.max()) < 0.8
