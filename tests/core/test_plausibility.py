"""Impossible motions are errors, unlikely ones warnings; each names field, frame and remedy."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from protege.core.errors import UserError
from protege.core.motions import Clip, Finding, findings, load_clip, load_clips, save_clip
from protege.core.motions.contact import contact_points, leg_length
from protege.sim.engine import mujoco
from protege.sim.motions.surface import trace
from protege.sim.robots import get_robot
from protege.sim.robots.mjcf import build_spec

SMPL = get_robot("smpl")


@pytest.fixture(scope="module")
def walk() -> Clip:
    """The first second of the shipped walk, 61 frames."""
    clip = load_clip("smpl_humanoid_walk.npy", SMPL)
    return Clip("walk", *(x[:61] for x in (clip.time, clip.root_pos_w, clip.root_quat_w, clip.joint_pos)))


def severities(found: list[Finding]) -> list[tuple[str, str]]:
    return [(one.severity, one.field) for one in found]


@pytest.mark.parametrize("name", ["walk", "run", "jump"])
def test_shipped_clips_have_no_findings(robot, name):
    assert load_clip(f"{robot.name}_humanoid_{name}.npy", robot).warnings == ()


def test_the_first_second_of_a_walk_passes(walk):
    assert findings(walk, SMPL) == []


def test_two_cycles_that_loop_pass(walk):
    """The walk forwards and then reversed, at the same place."""
    whole = load_clip("smpl_humanoid_walk.npy", SMPL)
    cycle = [x[:122] for x in (whole.time, whole.root_pos_w, whole.root_quat_w, whole.joint_pos)]
    assert findings(Clip("cycles", *cycle), SMPL) == []


# Errors ------------------------------------------------------------------------------------------------------------------


def moved(clip: Clip, xyz: tuple[float, float, float], since: int = 0) -> Clip:
    pos = clip.root_pos_w.copy()
    pos[since:] += xyz
    return replace(clip, root_pos_w=pos)


def turned_about_z(clip: Clip, since: int) -> Clip:
    """A quarter turn to the left between two frames."""
    w, x, y, z = clip.root_quat_w.T
    turned = np.stack([w - z, x - y, y + x, z + w], axis=1) * np.sqrt(0.5)
    return replace(clip, root_quat_w=np.where(np.arange(len(w))[:, None] < since, clip.root_quat_w, turned))


IMPOSSIBLE: dict[str, tuple[Callable[[Clip], Clip], str, int, str]] = {
    "centimetres": (lambda c: replace(c, root_pos_w=100.0 * c.root_pos_w), "root_pos_w", 0, "(centimetres?)"),
    "millimetres": (lambda c: replace(c, root_pos_w=1000.0 * c.root_pos_w), "root_pos_w", 0, "(millimetres?)"),
    "degrees": (lambda c: replace(c, joint_pos=np.degrees(c.joint_pos)), "joint_pos", 60, "(degrees?)"),
    "huge angles": (lambda c: replace(c, joint_pos=c.joint_pos + 1e30), "joint_pos", 0, "L_Hip_x is at 1e+30 rad"),
    "far away": (lambda c: moved(c, (1e300, 0.0, 0.0)), "root_pos_w", 0, "1e+300 m from the origin (61 frames are)"),
    "teleport": (lambda c: moved(c, (5.0, 0.0, 0.0), 30), "root_pos_w", 30, "the root jumps 5.02 m to it"),
    "turn": (lambda c: turned_about_z(c, 30), "root_quat_w", 30, "turns by 89 degrees to it"),
    "in the floor": (lambda c: moved(c, (0.0, 0.0, -0.5)), "root_pos_w", 5, "the robot is 0.50 m in the floor"),
    "under the floor": (lambda c: moved(c, (0.0, 0.0, -2.0)), "root_pos_w", 5, "m below the floor"),
    "nanoseconds": (lambda c: replace(c, time=1e9 * c.time), "time", 60, "61 frames take 1e+09 s, 6e-08 a second"),
    "milliseconds": (lambda c: replace(c, time=1e3 * c.time), "time", 60, "(is time in seconds?)"),
    "frames": (lambda c: replace(c, time=np.arange(61.0)), "time", 60, "61 frames take 60 s, 1 a second"),
    "pause": (lambda c: replace(c, time=c.time + 3.0 * (c.time > 0.5)), "time", 31, "3.02 s are missing before it"),
    "xyzw": (lambda c: replace(c, root_quat_w=np.roll(c.root_quat_w, -1, axis=1)), "root_quat_w", 0, "on feet that slide"),
}  # fmt: skip


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_an_impossible_motion_is_an_error(walk, case, tmp_path):
    change, field, frame, words = IMPOSSIBLE[case]
    clip = change(walk)
    first = findings(clip, SMPL)[0]
    # The frame of the change; if all frames are changed, the lowest or the furthest one.
    assert (first.severity, first.field) == ("error", field) and words in first.problem, first
    assert first.remedy and (frame == first.frame or case in ("in the floor", "under the floor"))
    save_clip(tmp_path / "clip", clip)
    with pytest.raises(UserError, match=rf"clip\.npy: {field} of frame {first.frame}: ") as caught:
        load_clip(tmp_path / "clip.npy", SMPL)
    assert caught.value.remedy == first.remedy
    with pytest.raises(UserError, match=rf"again\.npy: {field}"):
        save_clip(tmp_path / "again", clip, SMPL)
    assert not (tmp_path / "again.npy").exists()


def test_a_lying_robot_that_would_stand_as_xyzw_is_an_error(walk):
    """Facing y, an xyzw quaternion that is read as wxyz is a lying robot; facing x it only turns around."""
    facing_y = turned_about_z(walk, 0)
    read_wrongly = replace(facing_y, root_quat_w=np.roll(facing_y.root_quat_w, -1, axis=1))
    first = findings(read_wrongly, SMPL)[0]
    assert (first.severity, first.field) == ("error", "root_quat_w")
    assert "as xyzw it would stand upright" in first.problem and "np.roll(xyzw, 1, axis=1)" in first.remedy


def test_y_up_is_recognised(walk):
    pos = walk.root_pos_w[:, [0, 2, 1]] * [1.0, 1.0, -1.0]
    quat = walk.root_quat_w[:, [0, 1, 3, 2]] * [1.0, 1.0, 1.0, -1.0]
    first = findings(replace(walk, root_pos_w=pos, root_quat_w=quat), SMPL)[0]
    assert first.severity == "error" and "(is y up?)" in first.problem and "(x, -z, y)" in first.remedy


# Warnings ----------------------------------------------------------------------------------------------------------------


def test_floating_is_a_warning_for_a_second_and_an_error_for_longer(walk):
    [warning] = findings(moved(walk, (0.0, 0.0, 0.3)), SMPL)
    assert warning.severity == "warning" and "hangs in the air for 1.00 s, at least 0.30 m" in warning.problem
    whole = load_clip("smpl_humanoid_walk.npy", SMPL)
    [error] = findings(moved(whole, (0.0, 0.0, 0.3)), SMPL)
    assert error.severity == "error" and "hangs in the air for 10.1 s, at least 0.30 m" in error.problem


def test_fast_slow_and_short_clips_have_warnings(walk):
    fast = findings(replace(walk, time=walk.time / 4.0), SMPL)
    assert severities(fast) == [("warning", "time"), ("warning", "joint_pos")]
    assert "ends after 0.25 s" in fast[0].problem and "turns faster than 27 rad/s" in fast[1].problem
    every_sixth = Clip("few", *(x[::6] for x in (walk.time, walk.root_pos_w, walk.root_quat_w, walk.joint_pos)))
    assert "10.0 frames a second are few" in findings(every_sixth, SMPL)[0].problem
    two = Clip("two", *(x[:2] for x in (walk.time, walk.root_pos_w, walk.root_quat_w, walk.joint_pos)))
    [short] = findings(two, SMPL)
    assert short.problem == "the clip ends after 0.0167 s, 2 frames: an episode in it is over at once"


def test_a_gap_is_a_warning_at_its_frame(walk):
    gap = findings(replace(walk, time=walk.time + 0.25 * (walk.time > 0.5)), SMPL)
    assert [(one.severity, one.frame, one.problem) for one in gap] == [
        ("warning", 31, "0.267 s are missing before it"),
    ]


def test_a_rate_that_differs_from_the_clips_fps_is_a_warning(walk):
    assert findings(replace(walk, fps=60.0), SMPL) == []
    [rate] = findings(replace(walk, fps=30.0), SMPL)
    assert rate.problem == "there are 60 frames a second, but the clip says fps 30"


def test_walking_backwards_is_a_warning(walk):
    """Played in reverse, feet do not slide: possible, but not walking forwards."""
    back = replace(walk, **{k: getattr(walk, k)[::-1] for k in ("root_pos_w", "root_quat_w", "joint_pos")})
    [warning] = findings(back, SMPL)
    assert (warning.severity, warning.field) == ("warning", "root_quat_w")
    assert warning.problem == "the robot travels backwards at 0.92 m/s"


def test_a_joint_beyond_its_limit_is_one_warning_with_worst_frame_and_count(walk):
    joint, limit = SMPL.joint_names.index("L_Knee_y"), SMPL.joints[SMPL.joint_names.index("L_Knee_y")].range[1]
    angles = walk.joint_pos.copy()
    angles[10:50, joint] = limit + 0.1
    angles[20, joint] = limit + 0.125
    found = findings(replace(walk, joint_pos=angles), SMPL)
    [warning] = [one for one in found if "L_Knee_y is at" in one.problem]
    assert warning.severity == "warning" and warning.frame == 20
    assert "0.125 past its limit" in warning.problem and "(40 frames are)" in warning.problem


def test_warnings_of_clips_that_are_loaded_together_are_logged(walk, tmp_path, caplog):
    names = [f"{i}.npy" for i in range(7)]
    for name in names:
        save_clip(tmp_path / name, moved(walk, (0.0, 0.0, 0.3)))
    assert len(load_clips([tmp_path], SMPL)) == 7
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 6 and lines[0].startswith("0: root_pos_w of frame 0: the robot hangs in the air")
    assert lines[5].startswith("2 more clips have warnings")


# Contact -----------------------------------------------------------------------------------------------------------------


def test_lowest_points_match_those_of_the_surface(robot):
    walk = load_clip(f"{robot.name}_humanoid_walk.npy", robot)
    points = contact_points(robot, walk.root_pos_w, walk.root_quat_w, walk.joint_pos)
    surface = trace(walk, robot)
    for body in set(surface.body.tolist()):
        np.testing.assert_allclose(points[:, body, 2], surface.height[:, surface.body == body].min(axis=1), atol=1e-8)
    model = build_spec(robot).compile()
    data = mujoco.MjData(model)
    data.qpos[:] = np.concatenate([walk.root_pos_w[7], walk.root_quat_w[7], walk.joint_pos[7]])
    mujoco.mj_kinematics(model, data)
    np.testing.assert_allclose(points[7, :, :2], data.xpos[1:, :2], atol=1e-6)


def test_the_leg_length_is_the_standing_root_height(robot):
    published = 0.004 if robot.name == "g1" else 0.002  # m; the G1's height is published in centimetres
    assert leg_length(robot) == pytest.approx(robot.root_height, abs=published)
