"""BVH motions. The file does not contain its unit and axes, which are determined from the person's size and posture."""

from dataclasses import replace

import numpy as np
import torch

from protege.core.errors import UserError
from protege.core.robots import rotation as R

from ..skeleton_kinematics import body_positions
from ..source import Skeleton, SkeletonMotion
from .arrays import finite, numbers, rate, times
from .bvh_file import AXES, Joint, Recording, parse
from .document import Document
from .options import UNITS, Options
from .orientation import Y_UP, turned

HIP_HEIGHTS = (0.55, 1.3)
"""m, range of the median height of the hips above the lowest joint, for people and characters."""
CMU_UNIT = 0.0254 / 0.45
"""m, the unit of CMU's recordings."""
UP_AXIS_RATIO = 1.3
"""Least ratio of a person's vertical extent to the frontal one at which the vertical axis is certain."""
LONE_POSE_RATIO = 5.0
"""Ratio: a first frame that is this much further from the second than any consecutive frames is not part of the motion."""
MAX_LIMB_STRETCH = 0.02
"""Largest movement of a joint in its parent's frame, as a share of the skeleton's height: limbs do not stretch."""


def recognises(document: Document) -> bool:
    """Text that begins with HIERARCHY."""
    return document.container == "text" and document.data.lstrip("\ufeff \t\r\n")[:9].upper() == "HIERARCHY"


def read(document: Document, options: Options) -> list[SkeletonMotion]:
    """The motion of a file, rotated to z up, in metres."""
    file = document.file
    recording = parse(document.data, file)
    data = finite(numbers(recording.numbers, file, "its frames", (None, None)), file, "its frames", _columns(recording))
    recording, left_out = _without_pose_apart(replace(recording, numbers=data))
    remarks = ["the first frame, a pose apart from the motion, is left out"] if left_out else []
    pos, rotations, offsets = _motion(recording, file)
    names, parents = tuple(one.name for one in recording.joints), tuple(one.parent for one in recording.joints)
    places = body_positions(pos, rotations, offsets, parents)
    if (options.up or _up(places, file)) == "y":
        pos, offsets, places = (turned(Y_UP, x) for x in (pos, offsets, places))
        to = torch.from_numpy(Y_UP).expand(*rotations.shape)
        rotations = R.multiply(R.multiply(to, torch.from_numpy(rotations)), R.conjugate(to)).numpy()
    unit, word = (options.metres, "") if options.unit or options.scale != 1.0 else _unit(places, file)
    remarks += [f"lengths are taken as {word}; --unit changes it"] if word else []
    fps = rate(_rate(recording.step), file, options, "Frame Time")
    return [
        SkeletonMotion(document.name, times(len(pos), fps), unit * pos, rotations[:, 0], fps, "bvh", file,
                       remarks=tuple(remarks), skeleton=Skeleton(names, parents, unit * offsets), rotations=rotations)
    ]  # fmt: skip


def _rate(step: float) -> float | None:
    """Frames per second, from a frame time that files round to some microseconds."""
    if not step > 0.0:
        return None
    return round(1.0 / step, 1) if abs(round(1.0 / step, 1) * step - 1.0) < 1e-4 else 1.0 / step


def _columns(recording: Recording) -> list[str]:
    return [f"{joint.name} {channel}" for joint in recording.joints for channel in joint.channels]


def _without_pose_apart(recording: Recording) -> tuple[Recording, bool]:
    """The recording without a separate pose as its first frame, such as CMU's T-pose; and whether there was one."""
    turns = [i for i, name in enumerate(_columns(recording)) if name.endswith("rotation")]
    steps = np.abs((np.diff(recording.numbers[:, turns], axis=0) + 180.0) % 360.0 - 180.0).max(axis=1)
    if len(steps) < 3 or steps[0] < LONE_POSE_RATIO * max(1.0, float(steps[1:].max())):
        return recording, False
    return replace(recording, numbers=recording.numbers[1:]), True


def _motion(recording: Recording, file: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Root positions (T, 3), rotations in the parents' frames (T, B, 4), offsets (B, 3); in the file's unit and axes."""
    frames, joints = recording.numbers, recording.joints
    rotations = np.zeros((len(frames), len(joints), 4))
    offsets = np.stack([joint.offset for joint in joints])
    size = max(float(np.linalg.norm(offsets[1:], axis=1).sum()), 1e-9)
    pos, column = np.tile(offsets[0], (len(frames), 1)), 0
    for index, joint in enumerate(joints):
        values = frames[:, column : column + len(joint.channels)]
        column += len(joint.channels)
        rotations[:, index] = _turned(values, joint)
        places = [i for i, channel in enumerate(joint.channels) if channel.endswith("position")]
        for i in places:
            axis = AXES.index(joint.channels[i][0])
            if index == 0:
                pos[:, axis] = values[:, i]
            elif np.ptp(values[:, i]) > MAX_LIMB_STRETCH * size:
                frame = int(np.abs(values[:, i] - values[0, i]).argmax())
                problem = f"{file}: {joint.name} moves away from its parent, by frame {frame}: a limb that stretches"
                raise UserError(problem, "Export it with rotations alone")
            else:
                offsets[index, axis] = values[:, i].mean()
    offsets[0] = 0.0
    return pos, rotations, offsets


def _turned(values: np.ndarray, joint: Joint) -> np.ndarray:
    """(T, 4): the rotations of a joint's channels, the first one outermost."""
    whole = torch.zeros(len(values), 4, dtype=torch.float64)
    whole[:, 0] = 1.0
    axes = torch.eye(3, dtype=torch.float64)
    for i, channel in enumerate(joint.channels):
        if channel.endswith("rotation"):
            axis = axes[AXES.index(channel[0])].expand(len(values), 3)
            whole = R.multiply(whole, R.from_axis_angle(axis, torch.from_numpy(np.radians(values[:, i]))))
    return whole.numpy()


def _up(places: np.ndarray, file: str) -> str:
    """The axis, y or z, along which people are tallest."""
    tall = np.median(np.ptp(places, axis=1), axis=0)
    for axis, other in ((1, 2), (2, 1)):
        if tall[axis] > UP_AXIS_RATIO * tall[other]:
            return AXES[axis].lower()
    raise UserError(f"{file}: the motion does not show whether y or z points up", "Add --up y or --up z")


def _unit(places: np.ndarray, file: str) -> tuple[float, str]:
    """The size in metres of the file's unit, and its name, from the height of the hips; places (T, B, 3) z up."""
    height = float(np.median(places[:, 0, 2] - places[:, :, 2].min(axis=1)))
    fits = [
        (size, name)
        for name, size in {**UNITS, "CMU's unit (5.64 cm)": CMU_UNIT}.items()
        if HIP_HEIGHTS[0] < height * size < HIP_HEIGHTS[1]
    ]
    if len(fits) != 1:
        problem = f"{file}: its hips are {height:.4g} high, in an unknown unit"
        raise UserError(problem, "Add --unit m|cm|mm|inch, or --scale METRES (0.0564 of CMU's)")
    return fits[0]
