"""Two hundred spoilt clips, drawn from one seed: each is read, or refused in one line, in the training and on the robot alike."""

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from protege.core.errors import UserError
from protege.core.motions import clip_dtype, load_clip, save_clip
from protege.core.motions.plausibility import MAX_DURATION
from protege.deploy.errors import DeployError
from protege.deploy.motions import clips
from protege.deploy.robots.mujoco import MujocoRobot
from protege.sim.robots import get_robot

ROBOT = get_robot("smpl")
FIELDS = ("time", "root_pos_w", "root_quat_w", "joint_pos")
Random = np.random.Generator


def base() -> np.ndarray:
    """A second of the shipped walk, in 31 frames."""
    walk = load_clip("smpl_humanoid_walk.npy", ROBOT)
    data = np.zeros(31, clip_dtype(ROBOT.num_joints))
    for field in FIELDS:
        data[field] = getattr(walk, field)[:61:2]
    return data


def written(data: np.ndarray, *more: np.ndarray) -> bytes:
    file = io.BytesIO()
    for array in (data, *more):
        np.save(file, array)
    return file.getvalue()


def retyped(data: np.ndarray, random: Random) -> bytes:
    """One field of another type or shape."""
    field = random.choice(FIELDS)
    kinds = [
        "f2",
        "f4",
        "f8",
        ">f8",
        "g",
        "i1",
        "i4",
        "u8",
        "c8",
        "c16",
        "U4",
        "S3",
        "b1",
        "M8[s]",
        "m8[ms]",
        "O",
        "V7",
    ]
    shapes = [(), (1,), (0,), (3,), (4,), (69,), (70,), (23, 3), (1, 69), (69, 1)]
    kind = random.choice(kinds) if random.random() < 0.6 else "f8"
    shape = shapes[random.integers(len(shapes))] if random.random() < 0.6 else data.dtype[field].shape
    new = np.zeros(len(data), [(name, kind, shape) if name == field else (name, data.dtype[name]) for name in FIELDS])
    for name in FIELDS:
        if name != field or (shape == data.dtype[field].shape and kind[-2:] in ("f4", "f8", "f2", "g")):
            new[name] = data[name]
    return written(new)


def reshaped(data: np.ndarray, random: Random) -> bytes:
    """The whole table of another shape, or something else than a table."""
    odd = np.zeros(3, [("time", "f8"), ("\u03b8", "f8", 3)])  # a field name for which numpy writes another header
    others = [data[None], data[:, None], data[:0], data[:1], data[0], np.zeros(7), np.float64(3.0), data[::-1],
              np.array({"a": 1}), data[["time", "joint_pos"]], odd, np.asfortranarray(data)]  # fmt: skip
    return written(others[random.integers(len(others))])


def scaled(data: np.ndarray, random: Random) -> bytes:
    """Other units and magnitudes."""
    field = random.choice(FIELDS)
    with np.errstate(all="ignore"):
        data[field] *= random.choice(
            [100.0, 1e3, 1e9, 180.0 / np.pi, -1.0, 0.25, 4.0, 10.0 ** random.uniform(-320.0, 308.0)]
        )
    return written(data)


def holed(data: np.ndarray, random: Random) -> bytes:
    """Numbers that are none, or huge, somewhere."""
    values = data[random.choice(FIELDS)].reshape(len(data), -1)
    for _ in range(random.integers(1, 5)):
        at = random.integers(len(data)), random.integers(values.shape[1])
        values[at] = random.choice([np.nan, np.inf, -np.inf, 1e308, -1e308, 1e30, 5e-324, 0.0])
    return written(data)


def shuffled(data: np.ndarray, random: Random) -> bytes:
    """Frames, columns or components in another order."""
    which = random.integers(4)
    if which == 0:
        data = random.permutation(data)
    elif which == 1:
        data["joint_pos"] = data["joint_pos"][:, random.permutation(69)]
    elif which == 2:
        data["root_quat_w"] = data["root_quat_w"][:, random.permutation(4)]
    else:
        data["root_pos_w"] = data["root_pos_w"][:, random.permutation(3)]
    return written(data)


def cut(data: np.ndarray, random: Random) -> bytes:
    whole = written(data)
    return whole[: random.integers(len(whole))] if random.random() < 0.7 else whole[random.integers(len(whole)) :]


def flipped(data: np.ndarray, random: Random) -> bytes:
    """Some bytes changed, mostly in the header."""
    whole = bytearray(written(data))
    end = 200 if random.random() < 0.8 else len(whole)
    for at in random.integers(end, size=random.integers(1, 6)):
        whole[at] = random.integers(256)
    return bytes(whole)


def promising(data: np.ndarray, random: Random) -> bytes:
    """A header that promises more than there is, or nonsense."""
    shapes = [
        "(1000000000000,)",
        "(-31,)",
        "(31, 1000000000)",
        "(31.0,)",
        "((((" * 500,
        "(True,)",
        "(9" + "9" * 400 + ",)",
    ]
    descr = str(data.dtype.descr) if random.random() < 0.7 else "'<f8'"
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {random.choice(shapes)}, }}\n".encode()
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(header)) + header + data.tobytes()


def with_metadata(data: np.ndarray, random: Random) -> bytes:
    """Facts behind the frames, right or wrong."""
    names = list(ROBOT.joint_names)
    facts = [{"joint_names": names[::-1]}, {"joint_names": [*names[:-1], "tail"]}, {"joint_names": names[:5]}, [], 7,
             {"joint_names": 3}, {"joint_names": [1] * 69}, {"joint_names": names[:1] * 69}, {"robot": "g1"}, {"robot": 5},
             {"fps": -1}, {"fps": "sixty"}, {"fps": 1e999}, {"fps": 30.0}, {"source": ["x"]}, {"later": {}}, {"fps": True},
             {"robot": "smpl", "joint_names": names, "fps": 30, "source": "here", "licence": "CC0"}]  # fmt: skip
    text = json.dumps(facts[random.integers(len(facts))]).encode()
    if random.random() < 0.2:
        return written(data) + random.bytes(random.integers(1, 300))
    if random.random() < 0.2:
        text = [b"[" * 100_000, b"\xff\xfe", b"", b"{"][random.integers(4)]
    return written(data, np.frombuffer(text, dtype=random.choice(["u1", "i1"])))


KINDS = (retyped, reshaped, scaled, holed, shuffled, cut, flipped, promising, with_metadata)


@pytest.fixture(scope="module")
def robot(exported: Path) -> MujocoRobot:
    return MujocoRobot(exported)


def trained_on(path: Path) -> str:
    """Why the training refuses a file; empty if it takes it, and then it is finite, bounded, and can be saved again."""
    try:
        clip = load_clip(path, ROBOT)
    except UserError as error:
        return str(error)
    assert all(np.isfinite(getattr(clip, field)).all() for field in FIELDS) and clip.duration <= MAX_DURATION
    assert clip.joint_pos.shape == (len(clip.time), 69)
    again = load_clip(save_clip(path.with_name("again.npy"), clip, ROBOT), ROBOT)
    assert all(np.array_equal(getattr(clip, field), getattr(again, field)) for field in FIELDS)
    return ""


def followed(path: Path, robot: MujocoRobot) -> str:
    """Why the robot's side refuses a file; empty if it takes it."""
    try:
        poses = clips.load_clip(path, robot.metadata, robot.body_poses).frames
    except DeployError as error:
        return error.message
    assert all(np.isfinite(values).all() for values in poses)
    return ""


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.filterwarnings("error", "ignore:Stored array in format 3.0")
def test_damaged_clips_are_read_or_refused_in_one_line(kind, robot: MujocoRobot, tmp_path: Path) -> None:
    walk, path = base(), tmp_path / "spoilt.npy"
    random, taken = np.random.default_rng(19), 0
    for number in range(200 // len(KINDS) + 1):
        path.write_bytes(kind(walk.copy(), random))
        training, deployed = trained_on(path), followed(path, robot)
        assert bool(training) == bool(deployed), (number, training, deployed)
        for line in filter(None, (training, deployed)):
            assert line.startswith(str(path)) and "\n" not in line, (number, line)
        taken += not training
    # What is cut or promises too much is never right; of the others some are.
    assert (taken == 0) == (kind in (cut, promising))
