"""Biovision's text format: a hierarchy of joints with channels in any order, then one row of numbers per frame.

It is parsed here because the packaged libraries depend on plotting or 3D packages, or do not report the line of an error.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from protege.core.errors import UserError, shown

AXES = "XYZ"
MAX_JOINTS = 1000
COPY_REMEDY = "Download or copy it again"


@dataclass
class Joint:
    """A joint, or the end of a limb, which has no channels.

    Attributes:
        name: for an end, its joint's name and `.end`.
        parent: index, -1 for the root.
        offset: (3,) from the parent, in the file's unit and axes.
        channels: in the order of the numbers, such as ("Xposition", "Zrotation").
    """

    name: str
    parent: int
    offset: np.ndarray = field(default_factory=lambda: np.zeros(3))
    channels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recording:
    """A whole file: joints, parents first; (T, C) numbers of all channels, position and degrees; frame time in s."""

    joints: list[Joint]
    numbers: np.ndarray
    step: float


def parse(text: str, file: str) -> Recording:
    """Parse a file.

    Raises:
        UserError: it names an invalid line, or a wrong number or width of frames.
    """
    lines = text.splitlines()
    begin = next((number for number, line in enumerate(lines) if line.strip().upper() == "MOTION"), None)
    if begin is None:
        raise UserError(f"{file} has no MOTION: it is cut short", COPY_REMEDY)
    joints = _hierarchy(lines[:begin], file)
    motion = [line for line in lines[begin + 1 :] if line.strip()]
    head, rows = motion[:2], motion[2:]
    frames, step = _number(head, 0, r"Frames\s*:", file), _number(head, 1, r"Frame\s+Time\s*:", file)
    width = sum(len(joint.channels) for joint in joints)
    if not rows:
        raise UserError(f"{file} has no frames", COPY_REMEDY)
    try:
        numbers = np.loadtxt(io.StringIO("\n".join(rows)), ndmin=2)
    except ValueError as error:
        raise UserError(
            f"{file}: {str(error).split(';')[0][:120]}", "Each frame is a row of numbers; is it cut short?"
        ) from error
    if numbers.shape != (int(frames), width):
        problem = (
            f"{file} has {numbers.shape[0]} frames of {numbers.shape[1]} numbers, and says {int(frames)} of {width}"
        )
        raise UserError(problem, COPY_REMEDY)
    return Recording(joints, numbers, step)


def _number(head: list[str], index: int, words: str, file: str) -> float:
    line = head[index].strip() if len(head) > index else ""
    found = re.fullmatch(rf"{words}\s*(\d*\.?\d+(?:[eE][-+]?\d+)?)", line, re.IGNORECASE)
    if not found or float(found[1]) > 1e9:
        raise UserError(f"{file}: {shown(line, 60)!a} is no {'Frames' if index == 0 else 'Frame Time'}", COPY_REMEDY)
    return float(found[1])


def _hierarchy(lines: list[str], file: str) -> list[Joint]:
    """The joints; the stack contains those that are open, from the root on."""
    joints: list[Joint] = []
    opened: list[int] = []
    for number, line in _statements(lines):
        word, rest = [*line.split(maxsplit=1), ""][:2]
        word = word.upper()
        if word in ("ROOT", "JOINT") or (word, rest.upper()) == ("END", "SITE"):
            if (word == "ROOT") != (not joints) or (joints and not opened) or len(joints) >= MAX_JOINTS:
                raise UserError(
                    f"{file}, line {number}: a joint that belongs to no other, or too many", "One ROOT a file"
                )
            parent = opened[-1] if opened else -1
            name = rest if word in ("ROOT", "JOINT") else f"{joints[parent].name}.end"
            joints.append(Joint(_unique(name, joints), parent))
        elif word == "{":
            opened.append(len(joints) - 1)
        elif word == "}" and opened:
            opened.pop()
        elif word == "OFFSET" and opened:
            joints[opened[-1]].offset = _offset(rest, file, number)
        elif word == "CHANNELS" and opened:
            joints[opened[-1]].channels = _channels(rest, file, number)
        elif word != "HIERARCHY":
            raise UserError(f"{file}, line {number}: {shown(line, 60)!a} is no BVH", COPY_REMEDY)
    if opened or len(joints) < 2:
        raise UserError(f"{file}: its HIERARCHY is cut short", COPY_REMEDY)
    return joints


def _statements(lines: list[str]) -> Iterator[tuple[int, str]]:
    """The statements of lines with their line numbers; some writers put a brace behind a name."""
    for number, line in enumerate(lines, start=1):
        yield from ((number, part.strip()) for part in re.split("([{}])", line) if part.strip())


def _unique(name: str, joints: list[Joint]) -> str:
    names = {joint.name for joint in joints}
    return (
        name
        if name not in names
        else next(f"{name}.{k}" for k in range(2, MAX_JOINTS + 2) if f"{name}.{k}" not in names)
    )


def _offset(rest: str, file: str, number: int) -> np.ndarray:
    try:
        offset = np.array([float(word) for word in rest.split()])
    except ValueError:
        offset = np.zeros(0)
    if offset.shape != (3,) or not np.isfinite(offset).all():
        raise UserError(f"{file}, line {number}: an OFFSET is three numbers, not {shown(rest, 60)!a}", COPY_REMEDY)
    return offset


def _channels(rest: str, file: str, number: int) -> tuple[str, ...]:
    count, *words = rest.split()
    channels = tuple(word[:1].upper() + word[1:].lower() for word in words)
    known = {f"{axis}{kind}" for axis in AXES for kind in ("position", "rotation")}
    if count != str(len(channels)) or set(channels) - known or len(set(channels)) < len(channels):
        raise UserError(
            f"{file}, line {number}: {shown(rest, 80)!a} are no channels", "Such as: 3 Zrotation Yrotation Xrotation"
        )
    return channels
