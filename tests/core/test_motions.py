"""Clips on disk, and the motion library against interpolation by hand, kinematics and finite differences."""

import dataclasses
import math
import os

import numpy as np
import pytest
import torch
from torch import Tensor
from toy_env import toy_robot

from protege.core.errors import UserError
from protege.core.motions import Clip, MotionLibrary, clip_dtype, load_clip, load_clips, save_clip
from protege.core.robots import rotation as R
from protege.core.robots.kinematics import Kinematics
from protege.sim.robots import get_robot

SMPL = get_robot("smpl")
J = SMPL.num_joints


def smooth_clip(
    name: str = "clip", frames: int = 31, rate: float = 60.0, speed: float = 1.0, turn: float = 0.5
) -> Clip:
    """A clip that moves straight at `speed` m/s, turns at `turn` rad/s about z and swings its joints."""
    time = np.arange(frames) / rate
    joint_pos = 0.5 * np.sin(time[:, None] * np.linspace(1.0, 4.0, J))
    pos = np.stack([speed * time, 0.0 * time, 0.9 + 0.0 * time], axis=1)
    quat = np.stack([np.cos(turn * time / 2), 0 * time, 0 * time, np.sin(turn * time / 2)], axis=1)
    return Clip(name, time, pos, quat, joint_pos)


def at(library: MotionLibrary, time: float | list[float], clip: int = 0):
    times = torch.tensor(time, dtype=torch.float32)
    return library.frames(torch.full(times.shape, clip), times)


def close(a: Tensor, b: Tensor, tolerance: float = 2e-6) -> bool:
    return torch.allclose(a.double(), b.double(), rtol=0.0, atol=tolerance)


# Clips


def test_a_saved_clip_loads_unchanged(tmp_path):
    clip = smooth_clip("stride")
    save_clip(tmp_path / "new" / "stride.npy", clip)
    loaded = load_clip(tmp_path / "new" / "stride.npy", SMPL)
    for field in dataclasses.fields(Clip)[:-1]:  # not its warnings: this one's toes are bent too far
        assert np.array_equal(getattr(loaded, field.name), getattr(clip, field.name)), field.name
    assert os.listdir(tmp_path / "new") == ["stride.npy"]


def test_speed_duration_and_cycle_by_hand():
    clip = smooth_clip(frames=31, rate=30.0, speed=1.5, turn=0.0)
    assert clip.duration == pytest.approx(1.0)
    assert clip.mean_speed == pytest.approx(1.5)
    assert not clip.is_cyclic
    there_and_back = np.concatenate([clip.joint_pos[:16], clip.joint_pos[14::-1]])
    cycle = dataclasses.replace(clip, joint_pos=there_and_back)
    assert cycle.is_cyclic
    # A turn about the vertical or travel does not matter, a tilt or a height does.
    quat = np.tile([0.0, 0.0, 0.0, 1.0], (31, 1))
    quat[0] = [1.0, 0.0, 0.0, 0.0]
    assert dataclasses.replace(cycle, root_quat_w=quat).is_cyclic
    tilted = np.tile([1.0, 0.0, 0.0, 0.0], (31, 1))
    tilted[-1] = [math.cos(0.05), math.sin(0.05), 0.0, 0.0]
    assert not dataclasses.replace(cycle, root_quat_w=tilted).is_cyclic
    raised = clip.root_pos_w.copy()
    raised[-1, 2] += 0.05
    assert not dataclasses.replace(cycle, root_pos_w=raised).is_cyclic


def test_shipped_clips_are_found_by_their_name():
    for motion in ("walk", "run", "jump"):
        clip = load_clip(f"data/motions/smpl_humanoid_{motion}.npy", SMPL)
        assert clip.name == f"smpl_humanoid_{motion}"
        assert clip.duration > 1.0


@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        ("data/fifteen/smpl_humanoid_walk.npy", "list"),
        ("../smpl_humanoid_walk.npy", "list"),
        ("data/motions/smpl_humanoid_walk.npy,data/motions/smpl_humanoid_run.npy", "its own --motion-file"),
        ("data/motions/smpl_humanoid_stroll.npy", "list"),
    ],
)
def test_a_missing_clip_is_not_replaced_by_another(path, remedy):
    with pytest.raises(UserError, match="no clip at") as caught:
        load_clip(path, SMPL)
    assert remedy in caught.value.remedy


BAD = {
    "empty": (lambda data: data[:0], "0 frames"),
    "one frame": (lambda data: data[:1], "1 frame"),
    "two-dimensional": (lambda data: data[None], "shape (1, 31)"),
    "no fields": (lambda data: np.zeros((5, 7)), "fields"),
    "a table without quaternions": (lambda data: np.zeros((5, 80)), "not in a known motion format"),
    "field missing": (lambda data: data[["time", "root_pos_w", "joint_pos"]], "root_quat_w"),
    "NaN": (lambda data: _set(data, "joint_pos", 7, np.nan), "joint_pos of frame 7"),
    "infinite": (lambda data: _set(data, "root_pos_w", 3, np.inf), "root_pos_w of frame 3"),
    "time stands": (lambda data: _set(data, "time", 5, data["time"][4]), "frame 5"),
    "time falls": (lambda data: data[::-1], "frame 1"),
    "zero duration": (lambda data: _set(data, "time", slice(None), 0.0), "frame 1"),
    "no rotation": (lambda data: _set(data, "root_quat_w", 2, 0.0), "root_quat_w of frame 2"),
    "text": (lambda data: _retyped(data, "joint_pos", "U8", (J,)), "joint_pos"),
    "two coordinates": (lambda data: _retyped(data, "root_pos_w", "f8", (2,)), "root_pos_w"),
}


def _retyped(data, field, kind, shape):
    """Frames of zeros in which a field has another type."""
    kinds = [(field, kind, shape) if one[0] == field else one for one in data.dtype.descr]
    return np.zeros(len(data), kinds)


def _set(data, field, frame, value):
    data = data.copy()
    data[field][frame] = value
    return data


def clip_array(clip: Clip) -> np.ndarray:
    data = np.zeros(len(clip.time), clip_dtype(J))
    for field in data.dtype.names or ():
        data[field] = getattr(clip, field)
    return data


@pytest.mark.parametrize("case", BAD)
def test_bad_clips_are_refused_by_name(tmp_path, case):
    spoil, culprit = BAD[case]
    path = tmp_path / "bad.npy"
    np.save(path, spoil(clip_array(smooth_clip())))
    with pytest.raises(UserError, match=r"bad\.npy") as error:
        load_clip(path, SMPL)
    assert culprit in error.value.problem
    assert error.value.remedy


def test_unreadable_files_are_refused_by_name(tmp_path):
    path = tmp_path / "bad.npy"
    save_clip(path, smooth_clip())
    whole = path.read_bytes()
    archive = b"PK\x03\x04" + whole
    pickled = np.array([{"a": 1}], dtype=object)
    for contents in (b"", whole[:5], whole[:100], whole[:-1], b"not a clip", archive):
        path.write_bytes(contents)
        with pytest.raises(UserError, match=r"bad\.npy"):
            load_clip(path, SMPL)
    np.save(path, pickled)
    with pytest.raises(UserError, match=r"bad\.npy"):
        load_clip(path, SMPL)
    with path.open("wb") as file:
        np.savez(file, time=np.zeros(3))
    with pytest.raises(UserError, match=r"bad\.npy"):
        load_clip(path, SMPL)


def test_missing_clips_folders_and_other_robots_are_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.npy"):
        load_clip(tmp_path / "nowhere.npy", SMPL)
    with pytest.raises(UserError, match=tmp_path.name):
        load_clip(tmp_path, SMPL)
    save_clip(tmp_path / "human.npy", smooth_clip())
    with pytest.raises(UserError, match=r"human\.npy has 69 joints, toy has 3"):
        load_clip(tmp_path / "human.npy", toy_robot())
    with pytest.raises(UserError, match="no motion clip"):
        load_clips([], SMPL)
    with pytest.raises(UserError, match=r"nowhere\.npy"):
        load_clips([tmp_path / "human.npy", tmp_path / "nowhere.npy"], SMPL)


def test_a_clip_that_cannot_be_written_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"out\.npy"):
        save_clip(tmp_path / "file" / "out.npy", smooth_clip())


# Library


def test_sampling_at_a_clips_frames_returns_them():
    clip = smooth_clip()
    library = MotionLibrary([clip], SMPL, "cpu")
    state = at(library, clip.time.tolist())
    assert close(state.joint_pos, torch.from_numpy(clip.joint_pos))
    assert close(state.root_pos_w, torch.from_numpy(clip.root_pos_w))
    pos, quat = Kinematics(SMPL)(
        *(torch.from_numpy(x).float() for x in (clip.root_pos_w, clip.root_quat_w, clip.joint_pos))
    )
    assert close(state.body_pos_w, pos, 1e-5) and close(state.body_quat_w, quat, 1e-5)


def test_between_frames_it_interpolates_every_quantity():
    library = MotionLibrary([smooth_clip()], SMPL, "cpu")
    k, share = 10, 0.3
    state, low, high = at(library, [(k + share) / 60.0])[0], library.state[k], library.state[k + 1]
    for field in ("joint_pos", "joint_vel", "body_pos_w", "body_lin_vel_w", "body_ang_vel_w"):
        expected = (1 - share) * getattr(low, field) + share * getattr(high, field)
        assert close(getattr(state, field), expected, 1e-5), field
    part = R.angle_between(low.body_quat_w, state.body_quat_w)
    assert close(part, share * R.angle_between(low.body_quat_w, high.body_quat_w), 1e-4)
    assert close(state.body_quat_w.norm(dim=-1), torch.ones(SMPL.num_bodies))


def test_a_slow_clip_is_resampled_linearly():
    clip = smooth_clip(frames=11, rate=10.0)
    state = at(MotionLibrary([clip], SMPL, "cpu"), [0.25])
    joints = torch.from_numpy(clip.joint_pos)
    assert close(state.joint_pos[0], (joints[2] + joints[3]) / 2)
    assert close(R.yaw(state.root_quat_w), torch.tensor([0.5 * 0.25]))


def test_unevenly_spaced_frames_keep_their_times():
    clip = smooth_clip(frames=61, turn=0.0)
    keep = np.array([0, 1, 2, 10, 11, 30, 45, 60])
    uneven = Clip("uneven", *(getattr(clip, f)[keep] for f in ("time", "root_pos_w", "root_quat_w", "joint_pos")))
    shifted = dataclasses.replace(uneven, time=uneven.time + 100.0)
    for variant in (uneven, shifted):
        library = MotionLibrary([variant], SMPL, "cpu")
        assert library.durations.tolist() == [1.0]
        state = at(library, (keep / 60.0).tolist())
        assert close(state.joint_pos, torch.from_numpy(uneven.joint_pos), 1e-5)
        # In a straight line at 1 m/s, however the frames are spaced.
        assert close(state.root_lin_vel_w, torch.tensor([1.0, 0.0, 0.0]).expand(len(keep), 3), 1e-4)


def test_times_outside_a_clip_are_clamped():
    clips = [smooth_clip("a", frames=31), smooth_clip("b", frames=51, speed=-2.0)]
    library = MotionLibrary(clips, SMPL, "cpu")
    assert library.names == ["a", "b"] and library.num_clips == 2
    for i, clip in enumerate(clips):
        state = at(library, [-1.0, 0.0, clip.duration, clip.duration + 1.0, 1e6], clip=i)
        expected = torch.from_numpy(clip.root_pos_w)[[0, 0, -1, -1, -1]]
        assert close(state.root_pos_w, expected)


def test_times_may_have_any_shape_and_clips_do_not_mix():
    clips = [smooth_clip("a"), smooth_clip("b", frames=51, speed=-2.0)]
    library = MotionLibrary(clips, SMPL, "cpu")
    clip, time = torch.tensor([[0, 1, 0], [1, 1, 0]]), torch.full((2, 3), 0.25)
    state = library.frames(clip, time)
    assert state.body_quat_w.shape == (2, 3, SMPL.num_bodies, 4)
    assert close(state.root_pos_w[..., 0], torch.where(clip == 0, 0.25, -0.5))


def test_velocities_are_central_differences():
    library = MotionLibrary([smooth_clip()], SMPL, "cpu")
    s, dt = library.state, 1.0 / 60.0
    inner = slice(1, -1)
    assert close(s.joint_vel[inner], (s.joint_pos[2:] - s.joint_pos[:-2]) / (2 * dt), 1e-4)
    assert close(s.body_lin_vel_w[inner], (s.body_pos_w[2:] - s.body_pos_w[:-2]) / (2 * dt), 1e-4)
    # Rotations do not add up: the mean of the turns before and after.
    turn = R.to_rotation_vector(R.multiply(s.body_quat_w[1:], R.conjugate(s.body_quat_w[:-1]))) / dt
    assert close(s.body_ang_vel_w[inner], (turn[1:] + turn[:-1]) / 2, 1e-3)
    # One-sided at the ends.
    assert close(s.joint_vel[0], (s.joint_pos[1] - s.joint_pos[0]) / dt, 1e-4)
    assert close(s.body_lin_vel_w[-1], (s.body_pos_w[-1] - s.body_pos_w[-2]) / dt, 1e-4)


def test_steady_motion_has_its_exact_velocities():
    clip = smooth_clip(speed=1.5, turn=0.8)
    still = dataclasses.replace(clip, joint_pos=np.zeros_like(clip.joint_pos))
    state = at(MotionLibrary([still], SMPL, "cpu"), [0.0, 0.2, 0.333, 0.5])
    assert close(state.root_lin_vel_w, torch.tensor([1.5, 0.0, 0.0]).expand(4, 3), 1e-5)
    assert close(state.body_ang_vel_w, torch.tensor([0.0, 0.0, 0.8]).expand(4, SMPL.num_bodies, 3), 1e-5)
    assert close(state.joint_vel, torch.zeros(4, J))


def test_the_analytic_velocities_of_the_joints_agree():
    clip = smooth_clip(frames=61)
    clip = dataclasses.replace(clip, joint_pos=0.1 * clip.joint_pos)
    state = at(MotionLibrary([clip], SMPL, "cpu"), clip.time[1:-1].tolist())
    inputs = (state.root_pos_w, state.root_quat_w, state.root_lin_vel_w, state.root_ang_vel_w)
    chained = Kinematics(SMPL).state(*inputs, state.joint_pos, state.joint_vel)
    assert close(state.body_lin_vel_w, chained.body_lin_vel_w, 2e-3)
    assert close(state.body_ang_vel_w, chained.body_ang_vel_w, 2e-3)


def test_all_clips_are_sampled_equally():
    library = MotionLibrary([smooth_clip(name, frames=3) for name in "abc"], SMPL, "cpu")
    drawn = library.sample_clips(3000, torch.Generator().manual_seed(0))
    assert (drawn.bincount(minlength=3) - 1000).abs().max() < 110
    assert torch.equal(drawn, library.sample_clips(3000, torch.Generator().manual_seed(0)))


def test_a_clip_of_weight_zero_is_never_sampled(monkeypatch):
    """The float32 sum of 41 equal shares is 1 - 2⁻²⁴, which is also the largest draw."""
    library = MotionLibrary([smooth_clip(frames=3)] * 42, SMPL, "cpu", [1.0] * 41 + [0.0])
    monkeypatch.setattr(torch, "rand", lambda n, **_: torch.full((n,), 1.0 - 2.0**-24))
    assert library.sample_clips(1).item() == 40


def test_a_clip_of_two_frames_has_a_velocity():
    clip = smooth_clip(frames=2, rate=30.0)
    state = at(MotionLibrary([clip], SMPL, "cpu"), [0.0, 0.01, 0.03])
    assert close(state.root_lin_vel_w[:, 0], torch.ones(3), 1e-4)
