"""Clip files that the viewer's page is given, and ghosts: without a browser."""

from pathlib import Path

import numpy as np
import pytest
from waiting import seen, until

from protege.deploy.errors import DeployError
from protege.deploy.geometry import yaw
from protege.deploy.motions.clip_paths import find_clip
from protege.deploy.viewer.clip_files import ClipFiles
from protege.deploy.viewer.world import World

PICKLED = (
    b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n\x80\x04}."
)
"""A .npy file of an object."""


@pytest.mark.parametrize(
    ("name", "contents", "problem"),
    [
        ("C:\\fakepath\\my walk.npy", PICKLED, "my walk.npy is a .npy file of pickled Python objects"),
        ("walk.csv", b"0,0,0.8,0,0,0,1,0.1\n", "walk.csv is a table of text (CSV)"),
        ("../../walk.bvh", b"HIERARCHY\nROOT Hips", "walk.bvh is a BVH motion"),
        ("walk.npz", b"PK\x03\x04" + bytes(26) + b"fps.npy", "walk.npz is a .npz archive of several arrays"),
        ("walk.pkl", b"\x80\x04}.", "walk.pkl is a Python pickle"),
        ("all.zip", b"PK\x03\x04" + bytes(26) + b"walk.npy", "all.zip is a zip archive"),
    ],
)  # fmt: skip
def test_a_file_of_another_format_is_told_how_it_becomes_a_clip(name: str, contents: bytes, problem: str) -> None:
    files = ClipFiles()
    with pytest.raises(DeployError) as caught:
        files.take(name, contents, "g1")
    called = problem.split(" is ")[0]
    quoted = f"'{called}'" if " " in called else called
    assert (
        caught.value.message == f"{problem}, no clip of g1. Import it: protege sim motions import {quoted} --robot g1"
    )
    files.close()


def test_what_no_import_helps_has_a_remedy_of_its_own() -> None:
    files = ClipFiles()
    with pytest.raises(DeployError, match=r"a\.npy is empty, no clip of smpl\. Download or copy it again"):
        files.take("a.npy", b"", "smpl")
    with pytest.raises(DeployError, match=r"a\.npy is a web page: a download that failed"):
        files.take("a.npy", b"<html>404</html>", "smpl")
    files.close()


def test_clips_are_kept_under_plain_names_until_the_page_is_gone() -> None:
    contents = find_clip(Path("smpl_humanoid_walk.npy")).read_bytes()
    files = ClipFiles()
    first, second = (files.take("../../my walk.npy", contents, "smpl") for _ in range(2))
    assert first != second and first.name == second.name == "my_walk.npy" and first.read_bytes() == contents
    files.close()
    assert not first.exists() and not second.exists()


def test_a_ghost_is_the_clip_a_metre_to_the_left_until_the_next_order(each_exported: Path) -> None:
    """Of a robot that has just begun, and whose student is not trained: it falls, the ghost does not."""
    world = World({"tiny": each_exported})
    robot = world.metadata.robot
    world.haunt(find_clip(Path(f"{robot}_humanoid_walk.npy")))
    world.start()
    until(lambda: world.frame is not None and world.frame.index > 3, "no frame")
    frame = seen(world)
    assert frame.ghost is not None and frame.note == f"{robot}_humanoid_walk, without physics"
    clip = np.load(find_clip(Path(f"{robot}_humanoid_walk.npy")))
    moments = clip["time"] - clip["time"][0]
    wanted = [np.interp(frame.index * world.metadata.control_dt, moments, clip["root_pos_w"][:, k]) for k in range(3)]
    facing = yaw(clip["root_quat_w"][0])
    (x, y), start = (
        np.array(wanted[:2]) - clip["root_pos_w"][0, :2],
        np.array([0.0, 1.0]),
    )  # it began at the origin, facing x
    way = np.array([[np.cos(facing), np.sin(facing)], [-np.sin(facing), np.cos(facing)]]) @ [x, y]
    np.testing.assert_allclose(frame.ghost[0][0], [*(start + way), wanted[2]], atol=1e-3)
    until(lambda: seen(world).fallen, "an untrained student falls")
    assert seen(world).ghost[0][0, 2] > 0.6
    other = {"smpl": "g1", "g1": "smpl"}[robot]  # whose shipped clips do, and do not, say whose they are
    with pytest.raises(DeployError, match=r"is a clip of the robot g1, not of smpl|has 69 joints, g1 has 29"):
        world.haunt(find_clip(Path(f"{other}_humanoid_walk.npy")))
    world.order({})
    until(lambda: seen(world).ghost is None, "it is still there")
    world.close()
    assert world.error is None
