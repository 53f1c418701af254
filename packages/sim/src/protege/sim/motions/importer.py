"""Importing: converting files of motions into clips of a robot."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePath

import numpy as np

from protege.core.errors import UserError
from protege.core.motions import Clip, findings
from protege.core.motions.plausibility import errors
from protege.core.robots.robot import Robot

from .anatomy import Roles, read_map
from .readers import READERS, read_motions
from .readers.document import open_document
from .readers.options import Ground, Options
from .retarget import fitted
from .source import JointMotion, SourceMotion
from .sources import slug

REMEDIES = {
    "time": "Say its rate: --fps N; a motion lasts 1200 s at most",
    "root_pos_w": "Say its unit, scale or axis: --unit m|cm|mm|inch, --scale S, --up y|z; or its rate: --fps N",
    "root_quat_w": "Say the order of its quaternions, or its axis: --quat wxyz|xyzw, --up y|z; or its rate: --fps N",
    "joint_pos": "Is it this robot's, in radians, at this rate (--fps N)? Cut the frame if it is",
}
"""Remedies for errors in a converted clip, by the clip's field."""


def motions_in(contents: bytes, file: str, name: str, options: Options) -> list[SourceMotion]:
    """The motions in a file, each with its source to cite.

    Args:
        contents: of the file.
        file: name of the file for messages.
        name: name of its motion, if the file does not contain one.
        options: what the user specifies about it.

    Raises:
        UserError: it is not a motion, or an incomplete one.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # numbers of any size are refused later, by name
        motions = read_motions(open_document(contents, file, name), options)
    digest = hashlib.sha256(contents).hexdigest()[:16]
    read_with = f", read with {options.words}" if options.words else ""
    return [
        replace(
            one,
            licence=options.licence or one.licence,
            source=options.source
            or one.source
            or f"{PurePath(file).name} ({READERS[one.format].words}, sha256 {digest}{read_with})",
        )
        for one in motions
    ]


def clip_of(motion: SourceMotion, robot: Robot, ground: Ground = "auto") -> Clip:
    """The clip alone, without further options; see `fit`."""
    return fit(motion, robot, Options(ground=ground))[1]


def fit(motion: SourceMotion, robot: Robot, options: Options) -> tuple[SourceMotion, Clip]:
    """The motion, with remarks on how well its clip fits it, and the clip for a robot.

    The clip's `warnings` are those of the source and of the result.

    Raises:
        UserError: it cannot be retargeted to this robot, or no robot could move like this.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        done = fitted(motion, robot, _roles(motion, options), options.ground)
    clip = replace(done.clip, name=clip_name(motion, robot))
    found = findings(clip, robot)
    if wrong := errors(found):
        remedy = REMEDIES[wrong[0].field]
        raise UserError(f"{motion.file}, as a clip of {robot.name}: {wrong[0].where}", remedy)
    return replace(motion, remarks=(*motion.remarks, *done.notes)), replace(clip, warnings=(*clip.warnings, *found))


def _roles(motion: SourceMotion, options: Options) -> Roles | None:
    """The roles of a skeleton's bodies by the user's map; None without one.

    Raises:
        UserError: the map is for another skeleton, or the motion is not a skeleton's.
    """
    if options.map is None:
        return None
    if isinstance(motion, JointMotion):
        raise UserError(f"{motion.file} has a robot's joints, which no map is for", "Leave out --map")
    return read_map(Path(options.map), motion.skeleton.names, motion.file)


def clip_name(motion: SourceMotion, robot: Robot) -> str:
    """The name of a motion's clip: ROBOT_NAME, and for DeepMimic's ROBOT_humanoid_NAME, like the shipped ones."""
    name = slug(motion.name)
    return name if name.startswith(f"{robot.name}_") else f"{robot.name}_{READERS[motion.format].prefix}{name}"


def clips_in(
    contents: bytes, file: str, name: str, options: Options, robot: Robot
) -> Iterator[tuple[SourceMotion, Clip]]:
    """The motions in a file and their clips, one after the other; see `motions_in` and `fit`."""
    for motion in motions_in(contents, file, name, options):
        yield fit(motion, robot, options)
