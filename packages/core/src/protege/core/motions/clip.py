"""Motion clips: the data class, and checked loading and saving for a robot."""

import logging
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..errors import UserError
from ..files import write_atomically
from ..robots import rotation as R
from ..robots.robot import Robot
from . import clip_file, plausibility
from .clip_file import Facts, Motion
from .clip_paths import ClipError, find_clip, find_clips
from .contact import contact_points, leg_length
from .conversion import converter_for
from .plausibility import Finding
from .poses import Poses, interpolate

MAX_SHOWN_CLIPS = 5
"""Number of clips whose warnings are shown; further ones are only counted."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clip:
    """A motion of T frames.

    Attributes:
        name: the file's stem.
        time: (T,) s, increasing.
        root_pos_w: (T, 3) m.
        root_quat_w: (T, 4) wxyz.
        joint_pos: (T, J) rad.
        joint_names: of the columns of `joint_pos`; empty if the file has none, and the robot's order applies.
        robot: name of the robot; may be empty.
        fps: frame rate of the recording, Hz, if known.
        source, licence: origin of the motion, and its licence; may be empty.
        warnings: warnings of `plausibility.check`.
    """

    name: str
    time: np.ndarray
    root_pos_w: np.ndarray
    root_quat_w: np.ndarray
    joint_pos: np.ndarray
    joint_names: tuple[str, ...] = ()
    robot: str = ""
    fps: float | None = None
    source: str = ""
    licence: str = ""
    warnings: tuple[Finding, ...] = ()

    @property
    def duration(self) -> float:
        """Duration, s."""
        return float(self.time[-1] - self.time[0])

    @property
    def mean_speed(self) -> float:
        """Horizontal distance from first to last frame over the duration, m/s."""
        return float(np.linalg.norm((self.root_pos_w[-1] - self.root_pos_w[0])[:2]) / self.duration)

    def at(self, time: np.ndarray) -> Poses:
        """Interpolated poses at times (M,) since the clip's start, s, clamped to the clip."""
        return interpolate(Poses(self.root_pos_w, self.root_quat_w, self.joint_pos), self.time - self.time[0], time)

    @property
    def is_cyclic(self) -> bool:
        """Whether first and last pose agree up to position and heading: angles within 0.05 rad, height within 3 cm."""
        q = torch.from_numpy(self.root_quat_w[[0, -1]])
        tilt = R.multiply(R.conjugate(R.heading(q)), q)
        return bool(
            np.abs(self.joint_pos[-1] - self.joint_pos[0]).max() < 0.05
            and abs(self.root_pos_w[-1, 2] - self.root_pos_w[0, 2]) < 0.03
            and float(R.angle_between(tilt[0], tilt[1])) < 0.05
        )


def findings(clip: Clip, robot: Robot) -> list[Finding]:
    """Implausible properties of a clip of a robot, errors first; see `plausibility.check`."""
    motion = (clip.root_pos_w, clip.root_quat_w, clip.joint_pos)
    return plausibility.check(
        clip.time,
        *motion,
        joint_names=robot.joint_names,
        joint_range=robot.joint_range().double().numpy(),
        leg_length=leg_length(robot),
        fps=clip.fps,
        contact_points=lambda: contact_points(robot, *motion),
    )


def read_clip(path: str | Path, robot: Robot) -> Clip:
    """Read a clip without a plausibility check, for example to inspect it.

    Args:
        path: a file; or the name of a shipped clip, bare or in `data/motions`. A motion file of another format is converted, if an
            installed package supports it.
        robot: joints are reordered to its order by their names, if the file has names.

    Raises:
        UserError: the file is invalid, or holds several motions.
    """
    clips = _read(path, robot)
    if len(clips) != 1:
        names = ", ".join(clip.name for clip in clips[:3]) + (", ..." if len(clips) > 3 else "")
        problem = f"{path} holds {len(clips)} motions{': ' * bool(clips)}{names}"
        raise UserError(
            problem,
            f"Import them, and choose one: protege sim motions import {shlex.quote(str(path))} --robot {robot.name}",
        )
    return clips[0]


def _read(path: str | Path, robot: Robot) -> list[Clip]:
    """The clips in a file: one, unless the file is of another format and holds several motions."""
    with _user_errors():
        file = find_clip(Path(path))
        if converter := converter_for(file):
            clips = converter.clips(file, robot)
            return [replace(clip, name=Path(path).stem) for clip in clips] if len(clips) == 1 else list(clips)
        motion = clip_file.read_clip(file, robot.name, robot.joint_names)
    arrays = (motion.time, motion.root_pos_w, motion.root_quat_w, motion.joint_pos)
    return [Clip(Path(path).stem, *arrays, **vars(motion.facts))]


def clip_robot(path: str | Path) -> str:
    """Name of a clip's robot; empty if the file does not contain it.

    Raises:
        UserError: the file cannot be read, or is not a clip.
    """
    with _user_errors():
        file = find_clip(Path(path))
        converter = converter_for(file)
        return converter.robot(file) if converter else clip_file.read_robot(file)


def load_clip(path: str | Path, robot: Robot) -> Clip:
    """Read and check a clip; see `read_clip`. Its `warnings` list unlikely but possible properties.

    Raises:
        UserError: the file is invalid, or the motion is physically impossible.
    """
    return _checked(path, read_clip(path, robot), robot)


def _checked(path: str | Path, clip: Clip, robot: Robot) -> Clip:
    """Check a clip and add its warnings to those of its source file."""
    found = findings(clip, robot)
    _refuse(str(path), found)
    return replace(clip, warnings=(*clip.warnings, *plausibility.warnings(found)))


def clip_files(paths: Sequence[str | Path]) -> list[Path]:
    """The files that the values of `--motion-file` refer to, in order.

    Args:
        paths: each a file, a folder (its `*.npy`), a pattern (`data/*.npy`), or the name of a shipped clip. Files may be of other
            formats: see `conversion`.

    Raises:
        UserError: there are no values, or one of them matches no file.
    """
    if not paths:
        raise UserError(
            "no motion clip given", "Add --motion-file CLIP: `protege sim motions list` names those that are shipped"
        )
    with _user_errors():
        return [file for path in paths for file in find_clips(path)]


def load_clips(paths: Sequence[str | Path], robot: Robot) -> list[Clip]:
    """Load the clips that the values of `--motion-file` refer to; see `clip_files`. Their warnings are logged.

    Raises:
        UserError: a clip is invalid, or there are none.
    """
    clips = [_checked(path, clip, robot) for path in clip_files(paths) for clip in _read(path, robot)]
    with_warnings = [clip for clip in clips if clip.warnings]
    for clip in with_warnings[:MAX_SHOWN_CLIPS]:
        for finding in clip.warnings:
            log.warning("%s: %s", clip.name, finding)
    if with_warnings[MAX_SHOWN_CLIPS:]:
        log.warning(
            "%d more clips have warnings: protege sim motions inspect FILE shows them",
            len(with_warnings) - MAX_SHOWN_CLIPS,
        )
    return clips


def save_clip(path: str | Path, clip: Clip, robot: Robot | None = None) -> Path:
    """Write a clip atomically. `.npy` is added to a name without a suffix.

    Args:
        path: of the file.
        clip: its names, robot, rate, source and licence are written if it has them.
        robot: of the clip. If given, the clip is checked as by `load_clip`, and the robot's name and joint names are written if the
            clip has none.

    Returns:
        the path of the file.

    Raises:
        UserError: the folder is not writable, the file name is invalid, or the clip is.
    """
    if robot is not None:
        clip = replace(clip, robot=clip.robot or robot.name, joint_names=clip.joint_names or robot.joint_names)
    facts = Facts(clip.joint_names, clip.robot, clip.fps, clip.source, clip.licence)
    motion = Motion(clip.time, clip.root_pos_w, clip.root_quat_w, clip.joint_pos, facts)
    with _user_errors():
        file = clip_file.clip_path(Path(path))
        clip_file.check_motion(str(file), motion)
        if robot is not None:
            clip_file.check_joints(str(file), motion, robot.name, robot.joint_names)
            ordered = clip_file.in_order(motion, robot.joint_names)
            _refuse(str(file), findings(replace(clip, joint_pos=ordered.joint_pos), robot))
    write_atomically(file, lambda handle: clip_file.write_clip(handle, motion))
    return file


def _refuse(path: str, found: Sequence[Finding]) -> None:
    """Raise the first error among the findings; further ones are counted."""
    errors = plausibility.errors(found)
    if errors:
        more = f" (and {len(errors) - 1} more: protege sim motions inspect shows them)" if len(errors) > 1 else ""
        raise UserError(f"{path}: {errors[0].where}{more}", errors[0].remedy)


@contextmanager
def _user_errors() -> Iterator[None]:
    """Convert errors of the modules shared with `protege.deploy` to UserError."""
    try:
        yield
    except ClipError as error:
        raise UserError(error.problem, error.remedy) from error
