"""How clips get onto the ground: feet that slide and sink are held, flights stay flights, and what is to be exact is exact."""

from dataclasses import replace

import numpy as np
import pytest
from motion_files import FRAMES, csv, mimickit, robot_walk, rotation_vectors, smpl_walk

from protege.core.motions import Clip
from protege.core.robots.robot import Robot
from protege.sim.motions import cycles
from protege.sim.motions.contacts import soles_stand
from protege.sim.motions.feet import pinned
from protege.sim.motions.grounding import faults, grounded, own_joints_grounded, shifted
from protege.sim.motions.importer import clips_in
from protege.sim.motions.inspect import inspect
from protege.sim.motions.legs_apart import MIN_GAP, overlaps
from protege.sim.motions.readers.options import Options
from protege.sim.motions.soles import clip_standing
from protege.sim.motions.surface import trace

RATE, SECONDS = 60.0, 4.0
POSE = ("time", "root_pos_w", "root_quat_w", "joint_pos")
SLIDE, SINK = 0.3, 0.03
"""m/s and m, by which the feet of `sliding` slide over the ground and sink into it."""


def standing(robot: Robot, seconds: float = SECONDS) -> Clip:
    """A robot in its default pose, upon the ground, with bent knees."""
    count = round(seconds * RATE) + 1
    joint_pos = np.tile(robot.default_joint_pos, (count, 1))
    knees, hips, ankles = (bends(robot, part) for part in ("knee", "hip", "ankle"))
    joint_pos[:, knees], joint_pos[:, hips], joint_pos[:, ankles] = 0.8, -0.4, -0.4
    root = np.tile([0.0, 0.0, robot.root_height], (count, 1))
    quat = np.tile([1.0, 0.0, 0.0, 0.0], (count, 1))
    return shifted(Clip("stand", np.arange(count) / RATE, root, quat, joint_pos), robot)


def bends(robot: Robot, part: str) -> list[int]:
    """The joints that bend a leg's part about y."""
    names = {"smpl": f"_{part.title()}_y", "g1": f"_{part}_pitch_joint" if part != "knee" else "_knee_joint"}
    return [i for i, joint in enumerate(robot.joint_names) if joint.endswith(names[robot.name])]


def sliding(robot: Robot) -> Clip:
    """A robot that is pushed over the ground for a second, to and fro, with its feet in it, and stands before and after."""
    clip = standing(robot)
    way = np.interp(clip.time, [1.0, 1.3, 2.0, 2.3], [0.0, 0.3 * SLIDE, 0.3 * SLIDE, 0.0])
    depth = SINK * np.clip(np.minimum(clip.time - 0.5, 3.5 - clip.time) / 0.3, 0.0, 1.0)
    return replace(clip, root_pos_w=clip.root_pos_w + np.stack([way, 0.0 * way, -depth], axis=1))


def test_feet_that_slide_and_sink_are_held(robot):
    before = inspect(sliding(robot), robot)
    assert before.slide.max == pytest.approx(SLIDE, rel=0.01) and before.penetration.max == pytest.approx(
        SINK, abs=1e-4
    )
    report = inspect(grounded(sliding(robot), robot, "feet").clip, robot)
    assert report.slide.mean < 0.005 and report.slide.max < 0.15 and report.slide.contact > 0.99
    assert report.penetration.max < 0.002 and report.limits.violations == 0
    assert report.joint_jump.change < 1.0


def test_none_changes_nothing_and_shift_one_number(robot):
    clip = sliding(robot)
    same = grounded(clip, robot, "none").clip
    for name in ("root_pos_w", "root_quat_w", "joint_pos"):
        np.testing.assert_array_equal(getattr(same, name), getattr(clip, name))
    raised = grounded(clip, robot, "shift").clip
    np.testing.assert_allclose(
        raised.root_pos_w - clip.root_pos_w, np.tile([0.0, 0.0, SINK], (len(clip.time), 1)), atol=1e-4
    )
    np.testing.assert_array_equal(raised.joint_pos, clip.joint_pos)
    assert trace(raised, robot).height.min() == pytest.approx(0.0, abs=1e-12)


def test_a_robots_own_joints_are_changed_only_if_needed_with_a_note(robot):
    good = standing(robot)
    assert faults(good, robot) == [] and own_joints_grounded(good, robot, "auto").clip is good
    done = own_joints_grounded(sliding(robot), robot, "auto")
    assert "3.0 cm in the ground" in done.notes[0] and done.notes[0].endswith("--ground none keeps it as it is")
    past = replace(good, joint_pos=good.joint_pos.copy())
    past.joint_pos[:, 0] = robot.joint_range()[0, 1] + 0.1
    assert faults(past, robot) == [f"{robot.joint_names[0]} is 0.10 rad past its limit"]
    assert inspect(own_joints_grounded(past, robot, "auto").clip, robot).limits.violations == 0
    high = replace(good, root_pos_w=good.root_pos_w + np.array([0.0, 0.0, 0.2]))
    assert faults(high, robot) == ["lowest point is 20.0 cm over the ground"]
    assert own_joints_grounded(high, robot, "none").clip is high


def test_flights_keep_their_acceleration(robot):
    """A jump with feet that stand 3 cm in the ground before it, and slide after it."""
    clip = standing(robot, 3.0)
    begin, end, g = 1.0, 1.6, 9.81
    t = clip.time
    flight = (t > begin) & (t < end)
    height = np.where(flight, 0.5 * g * (t - begin) * (end - t), 0.0)
    way = np.interp(t, [2.0, 2.5], [0.0, 0.5 * SLIDE])
    depth = np.interp(t, [begin, end], [SINK, 0.0])[:, None] * [0.0, 0.0, 1.0]
    jump = replace(clip, root_pos_w=clip.root_pos_w + np.stack([way, 0.0 * t, height], axis=1) - depth)
    held = grounded(jump, robot, "feet").clip
    fall = np.diff(held.root_pos_w[:, 2], n=2) * RATE**2
    inside = np.flatnonzero(flight)[14:-14]
    np.testing.assert_allclose(fall[inside - 1], -g, atol=0.05)
    report = inspect(held, robot)
    assert report.slide.mean < 0.02 and report.penetration.max < 0.003


def test_a_foot_is_known_to_stand_where_the_floor_is_not_level_and_where_a_runners_foot_slides():
    time = np.arange(120) / RATE
    root = np.stack([3.0 * time, 0.0 * time, 0.0 * time + 0.9], axis=1)
    left, right = np.zeros((120, 2, 3)), np.zeros((120, 2, 3))
    left[..., 0] = 0.7 * time[:, None]  # slides, slower than 0.3 of the root's 3 m/s
    right[..., 0], right[..., 2] = 4.0 * time[:, None], 0.02  # swings, as low
    assert [foot.mean() for foot in soles_stand(time, root, left, right)] == [1.0, 0.0]
    still = np.tile(root[:1], (120, 1))
    assert [foot.mean() for foot in soles_stand(time, still, left, right)] == [0.0, 0.0]
    high = np.zeros((120, 2, 3))
    high[..., 2] = 0.055  # a floor 5.5 cm higher: 2 cm between the feet are let pass, and 4 cm of a foot's own
    level = np.zeros((120, 2, 3))
    assert [foot.mean() for foot in soles_stand(time, still, level, high)] == [1.0, 1.0]
    assert [foot.mean() for foot in soles_stand(time, still, level, high + np.array([0.0, 0.0, 0.01]))] == [1.0, 0.0]


def test_a_cycle_that_is_held_ends_as_it_begins(robot):
    """A body that is pushed to and fro once in two seconds, with one turn a frame too far."""
    clip = standing(robot, 2.0)
    sway = 0.04 * np.sin(np.pi * clip.time)
    clip = replace(clip, root_pos_w=clip.root_pos_w + np.stack([sway, 0.5 * sway, 0.3 * sway], axis=1))
    done = cycles.repeat(grounded(clip, robot, "feet", wraps=True).clip)
    assert done.is_cyclic and np.abs(done.joint_pos[0] - done.joint_pos[-1]).max() < 1e-9
    report = inspect(done, robot)
    assert report.slide.mean < 0.01 and report.penetration.max < 0.003 and report.joint_jump.change < 1.0


def test_a_foot_does_not_swing_into_the_other_leg(robot):
    """The right leg is lifted and turned inwards for half a second, by as much as brings it 1 to 3 cm into the left one."""
    clip = standing(robot, 3.0)
    roll = robot.joint_names.index({"smpl": "R_Hip_x", "g1": "right_hip_roll_joint"}[robot.name])
    knee, hip = (next(i for i in bends(robot, part) if robot.joint_names[i][0] in "Rr") for part in ("knee", "hip"))
    bump = np.interp(clip.time, [1.0, 1.5, 2.0], [0.0, 1.0, 0.0])
    bump = bump**2 * (3.0 - 2.0 * bump)
    for angle in np.linspace(-0.5, 0.5, 101):
        joint_pos = clip.joint_pos.copy()
        joint_pos[:, roll] += angle * bump
        joint_pos[:, knee] += 0.6 * bump
        joint_pos[:, hip] -= 0.3 * bump
        crossed = replace(clip, joint_pos=joint_pos)
        if (
            0.01
            < overlaps(replace(crossed, **{name: getattr(crossed, name)[90:91] for name in POSE}), robot)[0].max()
            < 0.03
        ):
            break
    standing_feet = (np.ones(len(clip.time), dtype=bool), bump == 0.0)
    before, after = (
        overlaps(one, robot)[0].max() - MIN_GAP for one in (crossed, pinned(crossed, robot, standing_feet))
    )
    assert before > 0.008 and after < 0.003


def test_a_padded_cycle_repeats_the_cycle_three_times(robot):
    clip = standing(robot, 1.0)
    clip = replace(clip, root_pos_w=clip.root_pos_w + np.linspace(0.0, 1.0, 61)[:, None] * [1.0, 0.0, 0.0])
    padded = cycles.padded(clip, 60)
    np.testing.assert_allclose(padded.time, np.arange(-60, 121) / RATE, atol=1e-12)
    np.testing.assert_allclose(padded.root_pos_w[:, 0], np.arange(-60, 121) / RATE, atol=1e-12)


def test_a_clip_without_sliding_or_sinking_is_unchanged(robot):
    clip = standing(robot, 1.0)  # SMPL's left leg is 9 mm shorter than its right one
    clip = pinned(clip, robot, clip_standing(clip, robot))
    held = pinned(clip, robot, clip_standing(clip, robot))
    np.testing.assert_allclose(held.joint_pos, clip.joint_pos, atol=1e-3)
    np.testing.assert_allclose(held.root_pos_w, clip.root_pos_w, atol=1e-9)


@pytest.mark.parametrize("ground", ["auto", "feet", "shift", "none"])
def test_the_option_is_of_tables(robot, ground):
    pos, _, joints, _ = robot_walk(robot)
    ((motion, clip),) = clips_in(csv(robot), "w", "w", Options(quat="xyzw", ground=ground), robot)
    exact = {"none": 1e-6, "shift": 1e-6}.get(ground)
    if exact:
        np.testing.assert_allclose(clip.joint_pos, joints, atol=exact)
        np.testing.assert_allclose(clip.root_pos_w[:, :2], pos[:, :2], atol=exact)
    else:  # its feet go along with the root, and never stand: what is left is that they are on the ground
        assert any("--ground none keeps it" in remark for remark in motion.remarks) == (ground == "auto")
    lowest = trace(clip, robot).height.min()
    assert ground == "none" or abs(lowest) < (0.003 if ground in ("auto", "feet") else 1e-6)


def test_the_option_is_of_skeletons(robot):
    pos, rotations = smpl_walk()
    frames = np.concatenate([pos, rotation_vectors(rotations).reshape(FRAMES, -1)], axis=1)
    heights = {}
    for ground in ("feet", "shift", "none"):
        ((_, clip),) = clips_in(mimickit(frames), "w", "w", Options(ground=ground), robot)
        heights[ground] = trace(clip, robot).height.min()
    assert heights["shift"] == pytest.approx(0.0, abs=1e-6) and abs(heights["feet"]) < 0.01
    assert heights["none"] != heights["shift"]
