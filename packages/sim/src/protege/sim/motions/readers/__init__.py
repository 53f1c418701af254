"""Readers of motion files: a registry. To add a format, write a file here and add a line.

A reader recognises its format by the contents of a file, never by its name, and returns the motions in it, for any robot.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from protege.core.errors import UserError

from ..source import SourceMotion
from . import amass, bvh, deepmimic, gmr, mimickit, poselib, protomotions, robot_csv, robot_npz, video
from .document import Document
from .frames import oriented
from .options import Options


class UnknownFormatError(UserError):
    """A complete file in which no reader recognises a motion."""


@dataclass(frozen=True)
class Reader:
    """One motion format.

    Attributes:
        words: description for people.
        recognises: whether a file is of this format.
        read: (file, options) -> the motions in it.
        own_axes: whether it applies the options `up`, `unit` and `scale` itself; otherwise they are applied to its motions.
        file_name: name of a clip's file in an archive, with `{name}` for the clip's name.
        prefix: prefix of its clips' names, after the robot's.
    """

    words: str
    recognises: Callable[[Document], bool]
    read: Callable[[Document, Options], Sequence[SourceMotion]]
    own_axes: bool = False
    file_name: str = "{name}"
    prefix: str = ""


READERS: dict[str, Reader] = {
    "poselib": Reader("poselib SkeletonMotion", poselib.recognises, poselib.read),
    "protomotions": Reader("ProtoMotions motion", protomotions.recognises, protomotions.read),
    "amass": Reader("AMASS motion of SMPL-H or SMPL-X", amass.recognises, amass.read),
    "phc": Reader("PHC collection of SMPL motions", amass.recognises_phc, amass.read_phc),
    "video": Reader("AIST++, GVHMR or WHAM motion", video.recognises, video.read, own_axes=True),
    "bvh": Reader("BVH motion", bvh.recognises, bvh.read, own_axes=True),
    "npz": Reader("BeyondMimic, mjlab, holosoma or LocoMuJoCo motion", robot_npz.recognises, robot_npz.read),
    "gmr": Reader("GMR, TWIST or GMT motion", gmr.recognises, gmr.read),
    "mimickit": Reader("MimicKit motion", mimickit.recognises, mimickit.read),
    "deepmimic": Reader("DeepMimic text clip", deepmimic.recognises, deepmimic.read, own_axes=True,
                        file_name="humanoid3d_{name}.txt", prefix="humanoid_"),
    "csv": Reader("table of a robot's motion", robot_csv.recognises, robot_csv.read),
}  # fmt: skip
"""By format name; the first reader that recognises a file reads it."""


def get_reader(name: str) -> Reader:
    """The reader of a format.

    Raises:
        UserError: the format is unknown; it lists the known ones.
    """
    if name not in READERS:
        raise UserError(f"no motion format {name!r}", f"Known: {', '.join(READERS)}")
    return READERS[name]


def read_motions(document: Document, options: Options) -> list[SourceMotion]:
    """The motions in a file, in metres, with z up.

    Raises:
        UnknownFormatError: no reader recognises the format.
        UserError: the file is not in the format of the options, or its contents are not a motion.
    """
    name = options.format or next((name for name, reader in READERS.items() if reader.recognises(document)), None)
    if name is None:
        raise UnknownFormatError(f"{document.file} is not in a known motion format ({_described(document)})", _known())
    reader = get_reader(name)
    if not reader.recognises(document):
        raise UserError(f"{document.file} is not in the format {name} ({_described(document)})", _known())
    motions = reader.read(document, options)
    return list(motions) if reader.own_axes else [oriented(motion, options) for motion in motions]


def _known() -> str:
    return f"Known: {', '.join(READERS)}"


def _described(document: Document) -> str:
    """The contents of a file in a few words."""
    if isinstance(document.data, dict):
        keys = [str(key)[:30] for key in document.data]
        return f"{document.container} with {', '.join(keys[:6])}{', ...' if len(keys) > 6 else ''}"
    if isinstance(document.data, np.ndarray):
        return f"{document.container} of {document.data.dtype} of shape {document.data.shape}"
    return f"{document.container} of {type(document.data).__name__}"
