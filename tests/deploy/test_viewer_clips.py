"""Clip files that the viewer's page receives, and ghosts: without a browser."""

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import viser
from waiting import seen, until

from protege.core.robots.robot import Robot
from protege.deploy.errors import DeployError
from protege.deploy.geometry import yaw
from protege.deploy.motions.clip_paths import find_clip
from protege.deploy.viewer.clip_files import ClipFiles
from protege.deploy.viewer.serve import Viewer, usual_clips
from protege.deploy.viewer.simulation import Simulation

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
def test_the_remedy_for_another_format_is_its_import(name: str, contents: bytes, problem: str) -> None:
    files = ClipFiles()
    with pytest.raises(DeployError) as caught:
        files.take(name, contents, "g1")
    called = problem.split(" is ")[0]
    quoted = f"'{called}'" if " " in called else called
    assert (
        caught.value.message == f"{problem}, no clip of g1. Import it: protege sim motions import {quoted} --robot g1"
    )
    files.close()


def test_files_that_no_import_can_read_have_other_remedies() -> None:
    files = ClipFiles()
    with pytest.raises(DeployError, match=r"a\.npy is empty, no clip of smpl\. Download or copy it again"):
        files.take("a.npy", b"", "smpl")
    with pytest.raises(DeployError, match=r"a\.npy is a web page: a download that failed"):
        files.take("a.npy", b"<html>404</html>", "smpl")
    files.close()


def test_stored_files_have_cleaned_names_until_they_are_deleted() -> None:
    contents = find_clip(Path("smpl_humanoid_walk.npy")).read_bytes()
    files = ClipFiles()
    first, second = (files.take("../../my walk.npy", contents, "smpl") for _ in range(2))
    assert first != second and first.name == second.name == "my_walk.npy" and first.read_bytes() == contents
    files.close()
    assert not first.exists() and not second.exists()


def test_a_ghost_is_the_clip_a_metre_to_the_left_until_the_next_order(each_exported: Path) -> None:
    """Of a robot that has just begun, and whose student is not trained: it falls, the ghost does not."""
    simulation = Simulation({"tiny": each_exported})
    robot = simulation.metadata.robot
    simulation.show_ghost(find_clip(Path(f"{robot}_humanoid_walk.npy")))
    simulation.start()
    until(lambda: simulation.frame is not None and simulation.frame.index > 3, "no frame")
    frame = seen(simulation)
    assert frame.ghost is not None and frame.note == f"{robot}_humanoid_walk, without physics"
    clip = np.load(find_clip(Path(f"{robot}_humanoid_walk.npy")))
    moments = clip["time"] - clip["time"][0]
    wanted = [
        np.interp(frame.index * simulation.metadata.control_dt, moments, clip["root_pos_w"][:, k]) for k in range(3)
    ]
    facing = yaw(clip["root_quat_w"][0])
    (x, y), start = (
        np.array(wanted[:2]) - clip["root_pos_w"][0, :2],
        np.array([0.0, 1.0]),
    )  # it began at the origin, facing x
    way = np.array([[np.cos(facing), np.sin(facing)], [-np.sin(facing), np.cos(facing)]]) @ [x, y]
    np.testing.assert_allclose(frame.ghost[0][0], [*(start + way), wanted[2]], atol=1e-3)
    until(lambda: seen(simulation).fallen, "an untrained student falls")
    assert seen(simulation).ghost[0][0, 2] > 0.6
    other = {"smpl": "g1", "g1": "smpl"}[robot]  # whose shipped clips do, and do not, say whose they are
    with pytest.raises(DeployError, match=r"is a clip of the robot g1, not of smpl|has 69 joints, g1 has 29"):
        simulation.show_ghost(find_clip(Path(f"{other}_humanoid_walk.npy")))
    simulation.order({})
    until(lambda: seen(simulation).ghost is None, "it is still there")
    simulation.close()
    assert simulation.error is None


def test_a_long_clips_ghost_starts_with_its_first_pose(exported: Path) -> None:
    """Its poses take a while to compute, here 0.5 s; the simulation's steps go on meanwhile."""
    simulation = Simulation({"tiny": exported})
    kinematics, shown = simulation._kinematics, dict[str, int]()

    def slow(poses: Any) -> Any:
        time.sleep(0.5)
        shown["computed"] = seen(simulation).index
        return kinematics(poses)

    simulation._kinematics = slow
    simulation.start()
    until(lambda: simulation.frame is not None, "no frame")
    simulation.show_ghost(find_clip(Path("smpl_humanoid_walk.npy")))
    assert simulation._ghost is not None and simulation._ghost.first >= shown["computed"] > 1
    simulation.close()


@pytest.fixture
def viewer(exported: Path) -> Iterator[Viewer]:
    with Viewer({"tiny": exported}, port=0) as made:
        yield made


def stored(viewer: Viewer) -> list[Path]:
    return list(Path(viewer.controls._files._folder.name).rglob("*.npy"))


def test_a_refused_file_is_deleted(viewer: Viewer) -> None:
    theirs = find_clip(Path("g1_humanoid_walk.npy")).read_bytes()
    with pytest.raises(DeployError, match=r"^my theirs\.npy is a clip of the robot g1, not of smpl"):
        viewer.controls.take("C:\\fakepath\\my theirs.npy", theirs)
    assert stored(viewer) == []


def test_clips_with_the_same_name_are_all_offered(viewer: Viewer) -> None:
    contents, controls = find_clip(Path("smpl_humanoid_run.npy")).read_bytes(), viewer.controls
    assert controls._clip.options == ("walk", "run", "jump")
    for label in ("walk (2)", "walk (3)"):
        controls.take("walk.npy", contents)
        assert controls._clip.value == label and controls._clip.options[-1] == label
    assert controls._clip_of["walk"] == "smpl_humanoid_walk.npy" and len(set(controls._clip_of.values())) == 5


def test_a_full_disk_is_one_error_and_leaves_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    contents = find_clip(Path("smpl_humanoid_walk.npy")).read_bytes()
    files = ClipFiles()

    def full(path: Path, data: bytes) -> None:
        with path.open("wb") as half:
            half.write(data[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DeployError, match=r"walk\.npy cannot be stored in .* \(No space left on device\)"):
        files.take("walk.npy", contents, "smpl")
    assert list(Path(files._folder.name).iterdir()) == []
    files.close()


def test_an_upload_is_read_once(viewer: Viewer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another page's upload may take its place at any time: its name does not come with the first one's contents."""
    callbacks, taken = list[Callable[[Any], None]](), list[tuple[str, bytes]]()

    class Button:
        uploads = iter([SimpleNamespace(name="first", content=b"1"), SimpleNamespace(name="second", content=b"2")])
        value = property(lambda self: next(self.uploads))
        on_upload = staticmethod(callbacks.append)

    monkeypatch.setattr(viser.GuiApi, "add_upload_button", lambda *_, **__: Button())
    viewer.controls._upload()
    monkeypatch.setattr(viewer.controls, "take", lambda *file: taken.append(file))
    callbacks[0](None)
    assert taken == [("first", b"1")]


def test_only_clips_that_are_found_are_offered(robot: Robot) -> None:
    assert usual_clips(robot.name) == [f"{robot.name}_humanoid_{name}.npy" for name in ("walk", "run", "jump")]
    assert usual_clips("nobody") == []
