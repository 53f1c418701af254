"""Reads and checks a DeepMimic text clip. Checks come before corrections, which would hide errors."""

import json
from dataclasses import dataclass, replace

import numpy as np

from protege.core.errors import UserError
from protege.core.motions import Finding
from protege.core.motions.file_kinds import NPY, SNIFFED, file_kind
from protege.core.motions.plausibility import MAX_DURATION, check, errors

from .humanoid3d import COLUMNS, FRAME_WIDTH, LEG_LENGTH, contact_points, to_world

LENGTH_TOLERANCE = 0.5  # some clips were averaged without normalising their quaternions
SHORTEST_CYCLE = 0.2  # s; the fastest runners' takes 0.4
MAX_TURN = {1: 2.0 * np.pi, 4: np.inf}  # rad, for single angles and for the accumulated rotation of quaternions
MAX_SINK = 0.15  # m; DeepMimic's own clips reach 0.10, in a roll and a crawl
MAX_FRAMES = 100_000  # 1200 s at 80 Hz
LOOPS = {"wrap": True, True: True, "none": False, "clamp": False, False: False, None: False}
# Names of a clip's fields in a source, and remedies for them.
FIELD_WORDS = {
    "time": ("duration", "A frame's first number is its length in seconds"),
    "root_pos_w": ("root position", "It is in metres, y is up, and the floor is at y = 0"),
    "root_quat_w": ("root rotation", "Quaternions are wxyz; correct or cut the frame"),
    "joint_pos": ("joint rotations", "Correct or cut the frame"),
}


@dataclass(frozen=True)
class Source:
    """A clip as it was recorded.

    Attributes:
        time: (T,) s, rising from 0.
        frames: (T, 44), all finite.
        wraps: whether the clip is a cycle.
    """

    time: np.ndarray
    frames: np.ndarray
    wraps: bool


def read_deepmimic(contents: bytes | str, name: str) -> Source:
    """The numbers of a text clip.

    Raises:
        UserError: it names what is invalid.
    """
    try:
        document = json.loads(contents)
        frames = np.array(document["Frames"], dtype=np.float64)
        loop = document.get("Loop")
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        first = contents[:SNIFFED].encode() if isinstance(contents, str) else contents[:SNIFFED]
        kind = "a .npy file" if first.startswith(NPY) else file_kind(first, name).words
        reason = str(error)[:200] if "JSON" in kind else kind
        raise UserError(f"{name} is not a DeepMimic clip ({reason})", "It is JSON with a list 'Frames'") from error
    if frames.ndim != 2 or frames.shape[1] != FRAME_WIDTH or not 2 <= len(frames) <= MAX_FRAMES:
        raise UserError(
            f"{name} has frames of shape {frames.shape}",
            f"A DeepMimic humanoid3d clip is two or more frames of {FRAME_WIDTH} numbers, {MAX_FRAMES} frames at most",
        )
    if not isinstance(loop, (str, bool, type(None))) or loop not in LOOPS:
        raise UserError(f"{name} has a Loop that is {str(loop)[:50]!a}", 'It is "wrap" (a cycle) or "none"')
    bad = np.argwhere(~np.isfinite(frames))
    if len(bad):
        frame, column = bad[0]
        raise UserError(
            f"{name} holds a number that is not finite, number {column} of frame {frame}",
            "Take another copy of the clip",
        )
    short = np.flatnonzero(frames[:-1, 0] <= 0.0)  # the duration of the last frame is not used
    if len(short):
        raise UserError(f"{name} has a frame without duration, frame {short[0]}", FIELD_WORDS["time"][1])
    for joint, (first, width) in COLUMNS.items():
        if width == 4:
            length = np.linalg.norm(frames[:, first : first + 4], axis=1)
            bad = np.flatnonzero(~(np.abs(length - 1.0) <= LENGTH_TOLERANCE))
            if len(bad):
                raise UserError(
                    f"{name} has a rotation that is no unit quaternion, {joint} of frame {bad[0]}",
                    "Take another copy of the clip",
                )
    with np.errstate(over="ignore"):
        time = np.concatenate([[0.0], np.cumsum(frames[:-1, 0])])
    return Source(time, frames, LOOPS[loop])


def check_source(source: Source, name: str) -> list[Finding]:
    """What is unlikely about a motion, by the check of all clips, applied to the clips' own humanoid, where jumps are visible.

    Raises:
        UserError: it names frame and field of an impossible value.
    """
    if source.wraps and source.time[-1] < SHORTEST_CYCLE:
        problem = f"{name} is a cycle of {source.time[-1]:.3g} s"
        raise UserError(problem, f"{FIELD_WORDS['time'][1]}; a cycle lasts {SHORTEST_CYCLE:g} s or more")
    if not source.time[-1] <= MAX_DURATION:
        problem = f"{name} lasts {source.time[-1]:.4g} s (are durations in seconds?)"
        raise UserError(problem, f"{FIELD_WORDS['time'][1]}; cut what is longer than {MAX_DURATION:g} s")
    frames = source.frames.copy()
    for first, width in COLUMNS.values():
        if width == 4:
            frames[:, first : first + 4] /= np.linalg.norm(frames[:, first : first + 4], axis=1, keepdims=True)
    root_pos, rotations = to_world(frames)
    joints = {joint: where for joint, where in COLUMNS.items() if joint != "root"}
    angles = [_turned(frames[:, first : first + width]) for first, width in joints.values()]
    found = check(
        source.time,
        root_pos.numpy(),
        rotations["root"].numpy(),
        np.stack(angles, axis=1),
        joint_names=tuple(joints),
        joint_range=np.array([[-MAX_TURN[width], MAX_TURN[width]] for _, width in joints.values()]),
        leg_length=LEG_LENGTH,
        contact_points=lambda: _on_floor(contact_points(root_pos, rotations)),
    )
    found = [replace(one, remedy=FIELD_WORDS[one.field][1]) for one in [*_quaternion_order(frames), *found]]
    if wrong := errors(found):
        one = wrong[0]
        raise UserError(f"{name}, {FIELD_WORDS[one.field][0]} of frame {one.frame}: {one.problem}", one.remedy)
    return [replace(one, problem=f"in the source, {one.problem}") for one in found]


def _on_floor(points: np.ndarray) -> np.ndarray:
    """Points (T, B, 3) m of a coarse body model, which may sink in slightly, since importing raises it onto the ground."""
    height = points[..., 2]
    return np.concatenate([points[..., :2], np.where(height > -MAX_SINK, height.clip(0.0), height)[..., None]], axis=-1)


def _turned(rotation: np.ndarray) -> np.ndarray:
    """(T,) rad: a joint's angle (T, 1), or the accumulated angle of its rotation (T, 4), of which only changes are checked."""
    if rotation.shape[1] == 1:
        return rotation[:, 0]
    cosine = np.abs((rotation[1:] * rotation[:-1]).sum(axis=1)).clip(max=1.0)
    return np.concatenate([[0.0], np.cumsum(2.0 * np.arccos(cosine))])


def _quaternion_order(frames: np.ndarray) -> list[Finding]:
    """An error if the root is upright only when read as xyzw; frames (T, 44)."""

    def upright(quat: np.ndarray) -> np.ndarray:
        return 1.0 - 2.0 * (quat[:, 1] ** 2 + quat[:, 3] ** 2)  # y is up

    quat = frames[:, 4:8]
    if np.median(upright(quat)) < 0.5 and (upright(np.roll(quat, 1, axis=1)) > 0.8).mean() > 0.95:
        return [
            Finding(
                "error", "root_quat_w", 0, "the actor lies or stands on the head; as xyzw, upright in every frame", ""
            )
        ]
    return []
