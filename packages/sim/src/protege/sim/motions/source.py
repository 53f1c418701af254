"""A motion as in its file, before it is fitted to a robot: the common result of all readers.

Units are metres, seconds and radians; z is up; quaternions are wxyz and of unit length. A reader converts files with other
conventions.
"""

from dataclasses import dataclass

import numpy as np

from protege.core.motions import Finding


@dataclass(frozen=True)
class Skeleton:
    """B bodies joined by ball joints; body 0 is the root, parents come before children.

    Attributes:
        names: B names.
        parents: index of each body's parent, -1 for the root.
        offsets: (B, 3) m, each body's origin in its parent's frame; the root's is zero.
        family: its known anatomy and frames: `SMPL`, `humanoid3d`; empty if unknown. At rest (all rotations zero) members of a
            family stand upright and face x; SMPL's arms are stretched out along y, the humanoid's hang.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: np.ndarray
    family: str = ""


@dataclass(frozen=True)
class Motion:
    """The common attributes of all motions, T frames.

    Attributes:
        name: of the motion; not yet a file name.
        time: (T,) s, rising from 0.
        root_pos_w: (T, 3) m.
        root_quat_w: (T, 4) of unit length.
        fps: frames a second of the recording.
        format: the reader's name.
        file: name of its file for messages.
        source: source to cite; empty if the file does not contain it.
        licence: licence of the motion; empty if the file does not contain it.
        wraps: it is a cycle: the last frame repeats the first pose.
        warnings: what is unlikely about it.
        remarks: assumptions about what the file does not specify.
    """

    name: str
    time: np.ndarray
    root_pos_w: np.ndarray
    root_quat_w: np.ndarray
    fps: float
    format: str
    file: str
    source: str = ""
    licence: str = ""
    wraps: bool = False
    warnings: tuple[Finding, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SkeletonMotion(Motion):
    """The motion of a skeleton.

    Attributes:
        skeleton: the skeleton that moves.
        rotations: (T, B, 4) of each body in its parent's frame; the root's, in the world's, is `root_quat_w`.
        contacts: (T, B) which bodies touch something; None if the file does not contain it.
    """

    skeleton: Skeleton
    rotations: np.ndarray
    contacts: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class JointMotion(Motion):
    """The motion of a robot.

    Attributes:
        joint_pos: (T, J) rad.
        joint_names: of the columns; empty if the file has none. The columns are then in a robot's own order, or in one that
            `body_pos_w` determines.
        body_pos_w: (T, B, 3) m, positions of the bodies in the file; None if it has none. Joints are checked against it.
        body_names: of these; empty if the file has none.
        at_zero: names of joints that are zero by the file's convention, and have no columns.
    """

    joint_pos: np.ndarray
    joint_names: tuple[str, ...] = ()
    body_pos_w: np.ndarray | None = None
    body_names: tuple[str, ...] = ()
    at_zero: tuple[str, ...] = ()


SourceMotion = SkeletonMotion | JointMotion
