"""Pictures: positions of what is drawn, and files that are written atomically."""

import os
import subprocess
import sys

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from protege.core.errors import UserError
from protege.core.motions import Clip, load_clip
from protege.core.robots import rotation as R
from protege.core.robots.robot import Robot
from protege.sim.engine import mujoco
from protege.sim.render import (
    Mark,
    Renderer,
    film_strip,
    webp,
    write_mp4,
    write_png,
)
from protege.sim.robots import get_robot

ROBOT = get_robot("smpl")


@pytest.fixture(scope="module")
def renderer(gl, robot):
    with Renderer(robot, 160, 120) as renderer:
        yield renderer


def standing(robot: Robot, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    return np.concatenate([[x, y, robot.root_height, 1.0, 0.0, 0.0, 0.0], robot.default_pose().numpy()])


def test_a_picture_shows_a_robot_in_the_middle(renderer, robot):
    picture = renderer.frame(standing(robot))
    assert picture.shape == (120, 160, 3) and picture.dtype == np.uint8
    away = renderer.frame(standing(robot) + np.eye(7 + robot.num_joints)[2] * 50.0)
    different = np.abs(picture.astype(int) - away).max(axis=2) > 30
    assert 200 < different.sum() < 5000
    assert 60 < np.nonzero(different)[1].mean() < 110
    warm = [shown[:, :, 0].astype(int) - shown[:, :, 2] > 40 for shown in (picture, away)]  # than the blue-grey world
    dark = [shown.max(axis=2) < 60 for shown in (picture, away)]
    has_looks = any(body.looks for body in robot.bodies)
    assert (dark[0] & different).sum() > 60 if has_looks else warm[0].sum() > 100  # its own colours, or skin
    assert not warm[1].any()


def test_up_is_up(renderer, robot):
    picture = renderer.frame(standing(robot))
    assert picture[:10].mean() > picture[-10:].mean() + 20  # sky above, floor below


def test_the_camera_goes_along(renderer, robot):
    """Two metres on, which is one period of the floor's tiles, the picture is the same."""
    a, b = renderer.frame(standing(robot)), renderer.frame(standing(robot, x=20.0, y=-8.0))
    assert np.abs(a.astype(int) - b).mean() < 2.0


def test_a_mark_is_drawn_and_the_camera_stays(renderer, robot):
    qpos = standing(robot)
    ball = Mark(mujoco.mjtGeom.mjGEOM_SPHERE, 0.15, qpos[None, :3] + [0.0, 0.0, 0.2], (1.0, 0.0, 0.0, 1.0))
    plain, marked = (renderer.frame(qpos, marks=marks).astype(int) for marks in ((), [ball]))
    rows, columns = np.nonzero((marked[:, :, 0] > 100) & (marked[:, :, 1:].max(axis=2) < 70))
    assert 50 < len(rows) < 1000 and np.ptp(rows) < 40
    assert 60 < columns.mean() < 100  # at the robot, in the middle
    assert 0.0 < (np.abs(marked - plain).max(axis=2) > 30).mean() < 0.1  # the rest, but for a shadow, is as before


@pytest.mark.parametrize("size", [(161, 120), (160, 0), (1922, 1080), (640, 1082)])
def test_sizes_that_cannot_be_drawn_are_refused(size):
    with pytest.raises(UserError, match=rf"a picture of {size[0]} x {size[1]} cannot be drawn. Take even numbers"):
        Renderer(ROBOT, *size)


def two_frames(robot: Robot) -> Clip:
    turn = R.from_yaw(torch.tensor([0.0, 1.0], dtype=torch.float64)).numpy()
    pos, joints = (
        np.array([[0.0, 0.0, 1.0], [2.0, 0.0, 1.0]]),
        np.stack([np.zeros(robot.num_joints), np.full(robot.num_joints, 0.4)]),
    )
    return Clip("turn", np.array([3.0, 4.0]), pos, turn, joints)


def test_a_clip_is_interpolated(robot):
    qpos = np.concatenate(two_frames(robot).at(np.array([0.0, 0.25, 1.0, 9.0])), axis=1)
    np.testing.assert_allclose(qpos[:, 0], [0.0, 0.5, 2.0, 2.0])
    np.testing.assert_allclose(qpos[:, 7], [0.0, 0.1, 0.4, 0.4])
    np.testing.assert_allclose(R.yaw(torch.from_numpy(qpos[:, 3:7])), [0.0, 0.25, 1.0, 1.0])


def test_a_clip_is_played_from_start_for_some_seconds(renderer, robot):
    clip = two_frames(robot)
    assert len(list(renderer.play(clip, fps=10))) == 11
    part = list(renderer.play(clip, fps=10, start=0.4, seconds=0.3))
    assert len(part) == 4
    first = renderer.frame(np.concatenate(clip.at(np.array([0.4])), axis=1)[0])
    assert np.abs(part[0].astype(int) - first).max() < 10
    assert len(list(renderer.play(clip, fps=10, start=0.8, seconds=5.0))) == 3


def test_film_strip():
    frames = [np.full((2, 3, 3), 10 * i, dtype=np.uint8) for i in range(5)]
    strip = film_strip(frames, 2)
    assert strip.shape == (6, 6, 3)
    assert (strip[0, 0, 0], strip[0, 3, 0], strip[2, 0, 0], strip[4, 0, 0], strip[4, 3, 0]) == (0, 10, 20, 40, 255)


def test_a_film_is_read_as_written(tmp_path, renderer, robot):
    frames = list(renderer.play(load_clip(f"{robot.name}_humanoid_walk.npy", robot), fps=10, seconds=0.9))
    write_mp4(tmp_path / "new" / "film.mp4", frames, fps=10)
    film = iio.imread(tmp_path / "new" / "film.mp4")
    assert film.shape == (10, 120, 160, 3)
    assert np.abs(film.astype(int) - np.stack(frames)).mean() < 8.0
    assert iio.immeta(tmp_path / "new" / "film.mp4")["fps"] == 10.0
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["film.mp4"]


def test_a_webp_has_the_frames_and_repeats_for_ever(renderer, robot):
    frames = list(renderer.play(load_clip(f"{robot.name}_humanoid_walk.npy", robot), fps=10, seconds=0.9))
    film = webp(iter(frames), 10.0, 50)
    shown = iio.imread(film, index=..., extension=".webp", plugin="pillow", mode="RGB")
    assert shown.shape == (10, 120, 160, 3)
    assert np.abs(shown.astype(int) - np.stack(frames)).mean() < 8.0
    assert iio.immeta(film, extension=".webp", plugin="pillow")["loop"] == 0
    assert len(webp(iter(frames), 10.0, 5)) < len(film)


def test_a_film_that_fails_leaves_nothing(tmp_path):
    def broken():
        yield np.zeros((16, 16, 3), dtype=np.uint8)
        raise UserError("the simulation broke")

    with pytest.raises(UserError, match="the simulation broke"):
        write_mp4(tmp_path / "film.mp4", broken())
    with pytest.raises(UserError, match="would have no pictures"):
        write_mp4(tmp_path / "film.mp4", [])
    assert list(tmp_path.iterdir()) == []


def test_a_picture_is_written(tmp_path):
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    write_png(tmp_path / "a.png", picture)
    np.testing.assert_array_equal(iio.imread(tmp_path / "a.png"), picture)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        write_png(tmp_path / "file" / "a.png", picture)


@pytest.mark.parametrize(
    ("backend", "message"),
    [("disable", "MUJOCO_GL=disable leaves nothing to draw with"), ("nonsense", "MUJOCO_GL=nonsense")],
)
def test_without_opengl_it_says_what_to_install(backend, message):
    """MuJoCo reads the variable when it is imported: a process of its own."""
    program = """
from protege.core.errors import UserError
try:
    from protege.sim.render import Renderer
    from protege.sim.robots import get_robot
    Renderer(get_robot("smpl"))
except UserError as error:
    print(error)
"""
    environment = {**os.environ, "MUJOCO_GL": backend}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert message in done.stdout and "apt install libegl1" in done.stdout, done.stderr
