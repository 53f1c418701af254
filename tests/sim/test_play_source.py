"""A motion file's own skeleton or robot beside the robot that it was retargeted to."""

from dataclasses import replace

import imageio.v3 as iio
import numpy as np
import pytest
from click.testing import CliRunner, Result
from motion_files import csv, poselib, robot_walk, saved, skeleton, smpl_motion, smpl_walk

from protege.sim.cli import main
from protege.sim.engine import mujoco
from protege.sim.motions.beside import companion
from protege.sim.motions.importer import motions_in
from protege.sim.motions.readers.options import Options
from protege.sim.motions.skeleton_kinematics import body_positions
from protege.sim.motions.source import JointMotion, SkeletonMotion
from protege.sim.render import COMPANION_OFFSET
from protege.sim.robots import get_robot
from protege.sim.robots.mjcf import build_spec

ROOT = np.array([3.0, -2.0, 0.9])
"""Of the robot beside which the source is drawn, m."""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The cache of converted files."""
    monkeypatch.setenv("PROTEGE_CACHE", str(tmp_path / "cache"))


def geoms(source, robot, moment: float) -> list:
    """The shapes that are added to an empty scene."""
    model = build_spec(robot).compile()
    scene = mujoco.MjvScene(model, maxgeom=1000)
    companion(source, robot, model)(scene, moment, ROOT)
    return list(scene.geoms[: scene.ngeom])


def read(contents: bytes, **options):
    (motion,) = motions_in(contents, "walk.x", "walk", Options(**options))
    return motion


def shifted(root: np.ndarray) -> np.ndarray:
    """From a root's own place to beside the robot, m: on the same ground, 1.2 m away."""
    shift = ROOT + COMPANION_OFFSET - root
    assert np.linalg.norm(COMPANION_OFFSET) == pytest.approx(1.2) and COMPANION_OFFSET[2] == 0.0
    return shift * [1.0, 1.0, 0.0]


def test_a_skeletons_balls_are_where_its_bodies_are_on_the_same_ground(robot):
    pos, rotations = smpl_walk()
    body = skeleton()
    places = body_positions(pos, rotations, body.offsets, body.parents)
    balls = [one for one in geoms(read(poselib()), robot, 25.5 / 30.0) if one.type == mujoco.mjtGeom.mjGEOM_SPHERE]
    wanted = (places[25] + places[26]) / 2.0
    np.testing.assert_allclose([one.pos for one in balls], wanted + shifted(wanted[0]), atol=1e-5)


def test_bones_join_the_bodies_that_are_joined(robot):
    pos, rotations = smpl_walk()
    body = skeleton()
    places = body_positions(pos, rotations, body.offsets, body.parents)[0]
    bones = [one for one in geoms(read(poselib()), robot, 0.0) if one.type == mujoco.mjtGeom.mjGEOM_CAPSULE]
    middles = [(places[i] + places[parent]) / 2.0 for i, parent in enumerate(body.parents) if parent >= 0]
    np.testing.assert_allclose([one.pos for one in bones], middles + shifted(places[0]), atol=1e-5)
    lengths = [np.linalg.norm(offset) for offset in body.offsets[1:]]
    np.testing.assert_allclose([2.0 * one.size[2] for one in bones], lengths, atol=1e-5)


def test_a_robots_motion_is_drawn_as_that_robot(robot):
    """Against the shapes of MuJoCo's own scene of the same pose."""
    pos, quat, joints, _ = robot_walk(robot)
    drawn = geoms(read(csv(robot), quat="xyzw"), robot, 10.0 / 30.0)
    model = build_spec(robot).compile()
    data, scene = mujoco.MjData(model), mujoco.MjvScene(model, maxgeom=1000)
    data.qpos[:] = np.concatenate([pos[10] + shifted(pos[10]), quat[10], joints[10]])
    mujoco.mj_kinematics(model, data)
    only = mujoco.mjtCatBit.mjCAT_DYNAMIC.value
    mujoco.mjv_updateScene(model, data, mujoco.MjvOption(), None, mujoco.MjvCamera(), only, scene)
    own = scene.geoms[: scene.ngeom]
    assert len(drawn) == len(own) > 20
    np.testing.assert_allclose([one.pos for one in drawn], [one.pos for one in own], atol=1e-5)
    assert not any(np.allclose(mine.rgba, theirs.rgba) for mine, theirs in zip(drawn, own, strict=True))


def test_another_robots_joints_are_its_bones():
    g1, smpl = get_robot("g1"), get_robot("smpl")
    motion = read(csv(g1, head=True))
    assert isinstance(motion, JointMotion)
    bodies = robot_walk(g1)[3][5]
    balls = [one for one in geoms(motion, smpl, 5.0 / 30.0) if one.type == mujoco.mjtGeom.mjGEOM_SPHERE]
    np.testing.assert_allclose([one.pos for one in balls], bodies + shifted(bodies[0]), atol=1e-5)


def test_a_cycle_goes_on_as_its_clip_does(robot):
    motion = read(poselib())
    assert isinstance(motion, SkeletonMotion)
    later, once = (
        [geom.pos for geom in geoms(replace(motion, wraps=wraps), robot, time)]
        for wraps, time in ((True, 2.0 * motion.time[-1] + 0.3), (False, 0.3))
    )
    np.testing.assert_allclose(later, once, atol=1e-5)
    end, past = ([geom.pos for geom in geoms(motion, robot, time)] for time in (motion.time[-1], 99.0))
    np.testing.assert_allclose(past, end, atol=1e-5)  # what is no cycle stays at its end


def play(*words: object) -> Result:
    return CliRunner().invoke(main, ["motions", "play", *map(str, words)])


def test_the_strip_has_the_source_on_the_left(gl, robot, tmp_path):
    """Blue, a colour that the robot itself does not have."""
    (tmp_path / "walk.npy").write_bytes(poselib())
    words = (tmp_path / "walk.npy", "--robot", robot.name, "--size", "160x120", "--seconds", 0, "--output")
    for name, more in (("alone", ()), ("both", ("--source",))):
        done = play(*words, tmp_path / f"{name}.png", *more)
        assert done.exit_code == 0, done.output
    blue = {}
    for name in ("alone", "both"):
        red, _, other = np.moveaxis(np.asarray(iio.imread(tmp_path / f"{name}.png"))[..., :3].astype(int), -1, 0)
        blue[name] = np.nonzero(other - red > 80)[1]
    assert len(blue["alone"]) == 0 and len(blue["both"]) > 30 and blue["both"].max() < 80


def test_a_clip_has_no_source_to_draw(tmp_path):
    done = play("smpl_humanoid_walk.npy", "--source", "--output", tmp_path / "x.png")
    assert done.exit_code == 2
    assert done.stderr == (
        "error: smpl_humanoid_walk.npy is a clip, and no longer holds its source. Give the file that it was imported from\n"
    )


def test_missing_facts_of_a_table_are_requested(tmp_path):
    (tmp_path / "walk.csv").write_bytes(csv(get_robot("g1")))
    done = play(tmp_path / "walk.csv", "--robot", "g1", "--source", "--output", tmp_path / "x.png")
    assert done.exit_code == 2 and "in which order its quaternions are" in done.stderr
    assert "protege sim motions import" in done.stderr


def test_protomotions_skeleton_is_drawn(robot):
    assert len(geoms(read(saved(smpl_motion())), robot, 0.0)) == 24 + 23


def test_a_table_is_played_with_its_quaternion_order(gl, robot, tmp_path):
    (tmp_path / "walk.csv").write_bytes(csv(robot))
    words = (tmp_path / "walk.csv", "--size", "160x120", "--seconds", 0, "--output", tmp_path / "walk.png")
    assert "--quat" in play(*words, "--robot", robot.name).output
    done = play(
        *words, "--quat", "xyzw", "--source-fps", 50, "--ground", "none", "--source"
    )  # its joints say whose it is
    assert done.exit_code == 0 and (tmp_path / "walk.png").is_file(), done.output
