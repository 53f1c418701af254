"""Files of others, which are not in the repository: those in the folder that PROTEGE_MOTION_SAMPLES names, each onto each robot.

Every file is imported, or refused by one line; what is known of some of them is held to numbers.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from protege.core.errors import UserError
from protege.core.robots import rotation as R
from protege.core.robots.kinematics import Kinematics
from protege.core.robots.robot import Robot
from protege.sim.motions.importer import clip_of, fit, motions_in
from protege.sim.motions.inspect import inspect
from protege.sim.motions.readers.options import Options
from protege.sim.motions.resample import at_most
from protege.sim.motions.skeleton_kinematics import body_positions
from protege.sim.motions.source import JointMotion, SkeletonMotion
from protege.sim.motions.sources import MOTION_SUFFIXES
from protege.sim.robots import get_robot

FOLDER = os.environ.get("PROTEGE_MOTION_SAMPLES", "")
FILES = sorted(path for path in Path(FOLDER).rglob("*") if path.suffix in MOTION_SUFFIXES) if FOLDER else []
pytestmark = pytest.mark.skipif(not FILES, reason="PROTEGE_MOTION_SAMPLES names no folder of motion files")

CENTIMETRES = {"poselib/smpl_humanoid_walk.npy": 0.5, "mimickit/smpl_walk.pkl": 0.5, "mimickit/smpl_jump.pkl": 0.6,
               "mimickit/smpl_run.pkl": 2.0, "mimickit/smpl_backflip.pkl": 0.5}  # fmt: skip
"""By which the bodies are off on average, of the file's own skeleton, relative to the root. The run's cycle fails to close by
half a radian, which is spread over a quarter of a second at either end."""
ROBOTS = {"g1_csv": "g1", "protomotions": "g1", "gmt": "g1", "mimickit": "g1"}


def motions(path: Path) -> list:
    return motions_in(path.read_bytes(), str(path), path.stem, Options())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_is_read_and_becomes_a_clip_or_is_refused_by_one_line(path, robot):
    for motion in motions(path):
        if isinstance(motion, JointMotion) and ROBOTS.get(path.parent.name) != robot.name:
            with pytest.raises(UserError, match=r"without names|has the joints") as caught:
                clip_of(motion, robot)
            assert str(path) in str(caught.value) and "\n" not in str(caught.value) and caught.value.remedy
            continue
        clip = clip_of(motion, robot)
        assert (clip.robot, clip.joint_names) == (robot.name, robot.joint_names) and clip.source


def places(robot: Robot, *pose: np.ndarray) -> np.ndarray:
    return Kinematics(robot).double()(*map(torch.from_numpy, pose))[0].numpy()


@pytest.mark.parametrize("name", CENTIMETRES)
def test_smpls_bodies_are_where_the_files_are(name):
    path = Path(FOLDER, name)
    if not path.is_file():
        pytest.skip(f"there is no {name}")
    smpl = get_robot("smpl")
    (motion,) = motions(path)
    assert isinstance(motion, SkeletonMotion)
    thin, skeleton = at_most(motion), motion.skeleton
    clip = clip_of(motion, smpl, "shift")
    mine = places(smpl, clip.root_pos_w, clip.root_quat_w, clip.joint_pos)[: len(thin.time)]
    theirs = body_positions(thin.root_pos_w, thin.rotations, skeleton.offsets, skeleton.parents)
    theirs = theirs[:, [skeleton.names.index(body) for body in smpl.body_names]]
    off = np.linalg.norm((mine - mine[:, :1]) - (theirs - theirs[:, :1]), axis=-1)
    assert 100.0 * off.mean() < CENTIMETRES[name]


def matching(pattern: str) -> pytest.MarkDecorator:
    """Run a test for each of the files that match; if none does, pytest skips it and says so."""
    return pytest.mark.parametrize("path", [path for path in FILES if path.match(pattern)], ids=lambda path: path.name)


@matching("kimodo_*.csv")
def test_tables_keep_every_digit(path):
    table, g1 = np.loadtxt(path, delimiter=","), get_robot("g1")
    clip = clip_of(motions(path)[0], g1, "none")
    np.testing.assert_allclose(clip.joint_pos, table[:, 7:], atol=1e-6)
    np.testing.assert_allclose(clip.root_pos_w, table[:, :3], atol=1e-6)


@matching("gmt/*.pkl")
def test_gmts_bodies_are_where_the_file_has_them(path):
    (motion,), g1 = motions(path), get_robot("g1")
    clip = clip_of(motion, g1, "none")
    mine = places(g1, clip.root_pos_w, clip.root_quat_w, clip.joint_pos)
    theirs = motion.body_pos_w[:, [motion.body_names.index(body) for body in g1.body_names]]
    np.testing.assert_allclose(mine, theirs, atol=1e-4)


@matching("*.bvh")
def test_skeletons_stand_on_their_feet(path, robot):
    fitted_motion, clip = fit(motions(path)[0], robot, Options())
    report = inspect(clip, robot)
    assert report.slide.mean < 0.05 and report.penetration.max < 0.01 and not report.limits.violations
    assert report.joint_jump.change < 10.0 and report.root_jump.change < 0.5
    [off] = [remark for remark in fitted_motion.remarks if remark.startswith("key points are ")]
    assert float(off.split()[3]) < 4.0


def own_jumps(motion: SkeletonMotion | JointMotion) -> tuple[float, float]:
    """The largest change between a file's own frames of a joint's or a body's speed, rad/s, and of the root's, m/s."""
    steps = np.diff(motion.time)[:, None]
    root = np.linalg.norm(np.diff(np.diff(motion.root_pos_w, axis=0) / steps, axis=0), axis=1).max()
    if isinstance(motion, JointMotion):
        return float(np.abs(np.diff(np.diff(motion.joint_pos, axis=0) / steps, axis=0)).max()), float(root)
    turns = torch.from_numpy(np.ascontiguousarray(motion.rotations[:, 1:]))
    speed = R.to_rotation_vector(R.multiply(turns[1:], R.conjugate(turns[:-1]))).numpy() / steps[..., None]
    return float(np.linalg.norm(np.diff(speed, axis=0), axis=-1).max()), float(root)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_feet_stand_limits_are_kept_and_nothing_jumps(path, robot):
    for motion in motions(path):
        if isinstance(motion, JointMotion) and ROBOTS.get(path.parent.name) != robot.name:
            continue  # it is refused, see above
        report = inspect(clip_of(motion, robot), robot)
        joints, root = own_jumps(motion)
        assert report.slide.mean < 0.05 and report.penetration.max < 0.01 and not report.limits.violations
        assert report.joint_jump.change < 2.0 * joints and report.root_jump.change < 2.0 * root
