"""Motion clips: the data class, and loading and saving for a robot, with every check that a clip has to pass."""

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

SHOWN = 5
"""Clips whose warnings are shown; the others are counted."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clip:
    """A motion of T frames.

    Attributes:
        name: the file's stem.
        time: (T,) s, rising.
        root_pos_w: (T, 3) m.
        root_quat_w: (T, 4) wxyz.
        joint_pos: (T, J) rad.
        joint_names: of the columns of `joint_pos`; empty if the file has none: they are in the robot's order.
        robot: whose joints these are, its name; may be empty.
        fps: frames a second of the recording, if it is known.
        source, licence: where the motion comes from, and under which licence; may be empty.
        warnings: what `plausibility.check` says that is no error.
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
        """Seconds."""
        return float(self.time[-1] - self.time[0])

    @property
    def mean_speed(self) -> float:
        """Horizontal distance from first to last frame over the duration, m/s."""
        return float(np.linalg.norm((self.root_pos_w[-1] - self.root_pos_w[0])[:2]) / self.duration)

    def at(self, time: np.ndarray) -> Poses:
        """Interpolated poses at moments (M,) s since the clip's start, clamped to the clip."""
        return interpolate(Poses(self.root_pos_w, self.root_quat_w, self.joint_pos), self.time - self.time[0], time)

    @property
    def is_cyclic(self) -> bool:
        """Whether the last frame is the first one's pose, somewhere else: angles within 0.05 rad, height within 3 cm."""
        q = torch.from_numpy(self.root_quat_w[[0, -1]])
        tilt = R.multiply(R.conjugate(R.heading(q)), q)
        return bool(
            np.abs(self.joint_pos[-1] - self.joint_pos[0]).max() < 0.05
            and abs(self.root_pos_w[-1, 2] - self.root_pos_w[0, 2]) < 0.03
            and float(R.angle_between(tilt[0], tilt[1])) < 0.05
        )


def findings(clip: Clip, robot: Robot) -> list[Finding]:
    """What is implausible about a clip of a robot, errors first; see `plausibility.check`."""
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
    """Read a clip without asking whether the motion is plausible. `inspect` does, to say everything that is wrong.

    Args:
        path: a file; or a bare name, or one in `data/motions`, of a clip that packages ship. A motion file of another format is
            converted, if an installed package can.
        robot: joints in another order than its own are put right by their names, if the file has them.

    Raises:
        UserError: naming the file and what is wrong with it; also if it holds several motions.
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
    """The clips in a file: one, unless it is of another format and holds several motions."""
    with _user_errors():
        file = find_clip(Path(path))
        if converter := converter_for(file):
            clips = converter.clips(file, robot)
            return [replace(clip, name=Path(path).stem) for clip in clips] if len(clips) == 1 else list(clips)
        motion = clip_file.read_clip(file, robot.name, robot.joint_names)
    arrays = (motion.time, motion.root_pos_w, motion.root_quat_w, motion.joint_pos)
    return [Clip(Path(path).stem, *arrays, **vars(motion.facts))]


def clip_robot(path: str | Path) -> str:
    """The name of the robot whose clip that is; empty if its file does not say.

    Raises:
        UserError: it cannot be read, or is no clip.
    """
    with _user_errors():
        file = find_clip(Path(path))
        converter = converter_for(file)
        return converter.robot(file) if converter else clip_file.read_robot(file)


def load_clip(path: str | Path, robot: Robot) -> Clip:
    """Read and check a clip; see `read_clip`. What is unlikely but possible is in its `warnings`.

    Raises:
        UserError: naming the file and what is wrong with it; also if no robot could make this motion.
    """
    return _checked(path, read_clip(path, robot), robot)


def _checked(path: str | Path, clip: Clip, robot: Robot) -> Clip:
    """The clip with its warnings, of what it was made from too, if a robot could make this motion."""
    found = findings(clip, robot)
    _refuse(str(path), found)
    return replace(clip, warnings=(*clip.warnings, *plausibility.warnings(found)))


def clip_files(paths: Sequence[str | Path]) -> list[Path]:
    """The files that the values of `--motion-file` name, in order.

    Args:
        paths: each a file, a folder (its `*.npy`), a pattern (`data/*.npy`), or the name of a shipped clip. Files may be of other
            formats: see `conversion`.

    Raises:
        UserError: there are none, or one of the values names nothing.
    """
    if not paths:
        raise UserError(
            "no motion clip given", "Add --motion-file CLIP: `protege sim motions list` names those that are shipped"
        )
    with _user_errors():
        return [file for path in paths for file in find_clips(path)]


def load_clips(paths: Sequence[str | Path], robot: Robot) -> list[Clip]:
    """The clips that the values of `--motion-file` name; see `clip_files`. Their warnings are logged.

    Raises:
        UserError: also if there are none.
    """
    clips = [_checked(path, clip, robot) for path in clip_files(paths) for clip in _read(path, robot)]
    doubtful = [clip for clip in clips if clip.warnings]
    for clip in doubtful[:SHOWN]:
        for finding in clip.warnings:
            log.warning("%s: %s", clip.name, finding)
    if doubtful[SHOWN:]:
        log.warning("%d more clips have warnings: protege sim motions inspect FILE shows them", len(doubtful) - SHOWN)
    return clips


def save_clip(path: str | Path, clip: Clip, robot: Robot | None = None) -> Path:
    """Write a clip whole or not at all. `.npy` is added to a name without a suffix.

    Args:
        path: where to.
        clip: its names, robot, rate, source and licence are written, as far as it has them.
        robot: whose clip this is: what `load_clip` would refuse is refused, and the robot's name and its joints' are
            written, if the clip has none of its own.

    Returns:
        the file.

    Raises:
        UserError: the folder cannot be written, the name is no clip's, or the clip could not be loaded again.
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
    """Refuse what no robot could do: the first error is said, the others are counted."""
    wrong = plausibility.errors(found)
    if wrong:
        more = f" (and {len(wrong) - 1} more: protege sim motions inspect shows them)" if len(wrong) > 1 else ""
        raise UserError(f"{path}: {wrong[0].where}{more}", wrong[0].remedy)


@contextmanager
def _user_errors() -> Iterator[None]:
    """What the files shared with the robot's side raise, as core's error."""
    try:
        yield
    except ClipError as error:
        raise UserError(error.problem, error.remedy) from error
