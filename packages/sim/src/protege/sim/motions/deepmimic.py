"""DeepMimic's humanoid3d text clips (Peng et al. 2018, arXiv 1804.02717) for the SMPL humanoid.

A frame is 44 numbers: duration, root position (y up), then rotations: quaternions (w first) and single angles. In the
clips' zero pose the arms hang; in SMPL's they are stretched out.
"""

import json
import math

import numpy as np
import torch
from torch import Tensor

from protege.core import rotation as R
from protege.core.errors import UserError
from protege.core.motions import Clip
from protege.core.robot import Robot

from .hinges import hinge_angles
from .retarget import put_on_ground, rounded, smooth, within_limits

STRIDE_SCALE = 0.94  # the clips' actor has longer legs
UNROLLED_S = 10.0
RATE = 60.0
LENGTH_TOLERANCE = 0.5  # some clips have been averaged without making their quaternions unit length again
# The clips' own humanoid (humanoid3d), its left side, mirrored on the right: joint -> its parent, and where it is there, m.
SKELETON = {
    "chest": ("root", (0.0, 0.0, 0.236151)),
    "neck": ("chest", (0.0, 0.0, 0.223894)),
    "Hip": ("root", (0.0, 0.084887, 0.0)),
    "Knee": ("Hip", (0.0, 0.0, -0.421546)),
    "Ankle": ("Knee", (0.0, 0.0, -0.409870)),
    "Shoulder": ("chest", (-0.02405, 0.18311, 0.24350)),
    "Elbow": ("Shoulder", (0.0, 0.0, -0.274788)),
}
# Its surface: joint -> points and the radius of the ball about each, m. Feet are boxes, hands fixed to the elbows.
SURFACE = {
    "root": ([(0.0, 0.0, 0.07)], 0.09),
    "chest": ([(0.0, 0.0, 0.12)], 0.11),
    "neck": ([(0.0, 0.0, 0.175)], 0.1025),
    "Hip": ([(0.0, 0.0, -0.06), (0.0, 0.0, -0.36)], 0.055),
    "Knee": ([(0.0, 0.0, -0.045), (0.0, 0.0, -0.355)], 0.05),
    "Ankle": ([(x, y, z) for x in (-0.0435, 0.1335) for y in (-0.045, 0.045) for z in (-0.05, 0.005)], 0.0),
    "Shoulder": ([(0.0, 0.0, -0.05), (0.0, 0.0, -0.23)], 0.045),
    "Elbow": ([(0.0, 0.0, -0.0525), (0.0, 0.0, -0.258947)], 0.04),
}

# Joint name -> first column of its rotation and how many numbers it has.
COLUMNS = {
    "root": (4, 4),
    "chest": (8, 4),
    "neck": (12, 4),
    "R_Hip": (16, 4),
    "R_Knee": (20, 1),
    "R_Ankle": (21, 4),
    "R_Shoulder": (25, 4),
    "R_Elbow": (29, 1),
    "L_Hip": (30, 4),
    "L_Knee": (34, 1),
    "L_Ankle": (35, 4),
    "L_Shoulder": (39, 4),
    "L_Elbow": (43, 1),
}


def import_deepmimic(contents: bytes, name: str, robot: Robot) -> Clip:
    """One clip. Clips that loop are repeated for at least ten seconds, so that the last frame is the first one's pose.

    Args:
        contents: of the text file.
        name: of the clip.
        robot: with SMPL's body names.

    Raises:
        UserError: if the contents are not such a clip, or the robot is another.
    """
    try:
        document = json.loads(contents)
        frames = np.array(document["Frames"], dtype=np.float64)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{name} is not a DeepMimic clip ({error})", "It is JSON with a list 'Frames'") from error
    if frames.ndim != 2 or frames.shape[1] != 44 or len(frames) < 2:
        raise UserError(f"{name} has frames of shape {frames.shape}", "A DeepMimic humanoid3d frame is 44 numbers")
    if not np.isfinite(frames).all():
        raise UserError(f"{name} holds a number that is not finite", "Take another copy of the clip")
    if (frames[:-1, 0] <= 0.0).any():  # the last one is held for as long as one likes
        raise UserError(f"{name} has a frame without duration", "Its first number is the frame's length in seconds")
    quats = np.stack([frames[:, first : first + 4] for first, width in COLUMNS.values() if width == 4])
    if (np.abs(np.linalg.norm(quats, axis=2) - 1.0) > LENGTH_TOLERANCE).any():
        raise UserError(f"{name} has a rotation that is no unit quaternion", "Take another copy of the clip")
    if "L_Shoulder" not in robot.body_names:
        raise UserError(f"DeepMimic clips cannot be retargeted to {robot.name}", "They fit --robot smpl")
    wraps = document.get("Loop") == "wrap"
    time = np.concatenate([[0.0], np.cumsum(frames[:-1, 0])])
    time, frames = _resample(time, frames)
    root_pos, rotations = _convert(frames)
    clip = _to_hinges(name, time, root_pos, rotations, robot, wraps=wraps)
    clearance = _clearance(root_pos, rotations)
    if wraps:
        clip = _close(clip)
    clip = put_on_ground(within_limits(smooth(clip, wraps=wraps), robot), robot, clearance, wraps=wraps)
    return rounded(_repeat(clip) if wraps else clip)


def _resample(time: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames at 60 Hz; quaternions are made sign-consistent, interpolated and normalised."""
    frames = frames.copy()
    for start, width in COLUMNS.values():
        if width == 4:
            q = frames[:, start : start + 4]
            for i in range(1, len(q)):
                if q[i] @ q[i - 1] < 0.0:
                    q[i] = -q[i]
    even = np.linspace(0.0, time[-1], max(2, round(time[-1] * RATE) + 1))
    columns = np.stack([np.interp(even, time, frames[:, c]) for c in range(frames.shape[1])], axis=1)
    for start, width in COLUMNS.values():
        if width == 4:
            columns[:, start : start + 4] /= np.linalg.norm(columns[:, start : start + 4], axis=1, keepdims=True)
    return even, columns


def _convert(frames: np.ndarray) -> tuple[Tensor, dict[str, Tensor]]:
    """Root positions (T, 3) m and joint rotations (T, 4), in our axes: (x, y, z) -> (x, -z, y)."""
    data = torch.from_numpy(frames)
    x, y, z = data[:, 1:4].unbind(-1)
    root_pos = torch.stack([STRIDE_SCALE * (x - x[0]), -STRIDE_SCALE * (z - z[0]), y], dim=-1)
    rotations = {}
    for joint, (start, width) in COLUMNS.items():
        if width == 4:
            w, a, b, c = data[:, start : start + 4].unbind(-1)
            rotations[joint] = torch.stack([w, a, -c, b], dim=-1)
        else:
            # Single angles turn about the clip's z, our -y.
            axis = torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64)
            rotations[joint] = R.from_axis_angle(axis.expand(len(data), 3), data[:, start])
    return root_pos, rotations


def _to_hinges(
    name: str, time: np.ndarray, root_pos: Tensor, rotations: dict[str, Tensor], robot: Robot, *, wraps: bool
) -> Clip:
    def part(q: Tensor, count: int) -> Tensor:
        return R.from_rotation_vector(R.to_rotation_vector(q) / count)

    bodies = {body: part(rotations["chest"], 3) for body in ("Torso", "Spine", "Chest")}
    bodies |= {body: part(rotations["neck"], 2) for body in ("Neck", "Head")}
    for side, angle in (("L", -math.pi / 2), ("R", math.pi / 2)):
        hang = R.from_axis_angle(torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64), torch.tensor(angle).double())
        hang = hang.expand(len(time), 4)
        bodies[f"{side}_Shoulder"] = R.multiply(rotations[f"{side}_Shoulder"], hang)
        bodies[f"{side}_Elbow"] = R.multiply(R.multiply(R.conjugate(hang), rotations[f"{side}_Elbow"]), hang)
        for joint in ("Hip", "Knee", "Ankle"):
            bodies[f"{side}_{joint}"] = rotations[f"{side}_{joint}"]
        bodies[f"{side}_Toe"] = _toe(rotations, side)
    limits = robot.joint_range()
    joint_pos = torch.zeros(len(time), robot.num_joints, dtype=torch.float64)
    for body, q in bodies.items():
        columns = [i for i, joint in enumerate(robot.joints) if joint.body == body]
        joint_pos[:, columns] = hinge_angles(q, limits[columns], wraps=wraps)
    return Clip(name, time, root_pos.numpy(), rotations["root"].numpy(), joint_pos.numpy())


def _toe(rotations: dict[str, Tensor], side: str) -> Tensor:
    """The clips' feet are one piece. Ours bend at the ball: the toes stay level while the heel is up."""
    foot = rotations["root"]
    for joint in ("Hip", "Knee", "Ankle"):
        foot = R.multiply(foot, rotations[f"{side}_{joint}"])
    forward = R.rotate(foot, torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).expand(len(foot), 3))
    heel_up = torch.asin((-forward[:, 2]).clamp(0.0, 1.0))
    axis = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    return R.from_axis_angle(axis.expand(len(foot), 3), -heel_up.clamp(0.0, 1.0))


def _clearance(root_pos: Tensor, rotations: dict[str, Tensor]) -> np.ndarray:
    """Height of the lowest point of the clips' own humanoid, (T,) m.

    Args:
        root_pos: (T, 3) m.
        rotations: (T, 4) of each joint, in its parent's frame; the root's in the world's.
    """

    def turned(q: Tensor, offset: tuple[float, float, float], sign: float = 1.0) -> Tensor:
        x, y, z = offset
        return R.rotate(q, torch.tensor([x, sign * y, z], dtype=torch.float64).expand(len(q), 3))

    heights = []
    for side, sign in (("L", 1.0), ("R", -1.0)):
        frames = {"root": (root_pos, rotations["root"])}
        for joint, (parent, offset) in SKELETON.items():
            pos, quat = frames[parent]
            rotation = rotations[joint if joint in rotations else f"{side}_{joint}"]
            frames[joint] = pos + turned(quat, offset, sign), R.multiply(quat, rotation)
        for joint, (points, radius) in SURFACE.items():
            pos, quat = frames[joint]
            heights += [(pos + turned(quat, point))[:, 2] - radius for point in points]
    return torch.stack(heights).amin(dim=0).numpy()


def _close(clip: Clip) -> Clip:
    """The cycle with what it fails to close spread over it: height, tilt and joints end where they began."""
    share = ((clip.time - clip.time[0]) / clip.duration)[:, None]
    root = clip.root_pos_w.copy()
    root[:, 2:] -= share * (root[-1, 2:] - root[0, 2:])
    quat = torch.from_numpy(clip.root_quat_w)
    gap = R.to_rotation_vector(R.multiply(R.conjugate(quat[-1]), quat[0]))
    quat = R.multiply(quat, R.from_rotation_vector(torch.from_numpy(share) * gap)).numpy()
    joint_pos = clip.joint_pos - share * (clip.joint_pos[-1] - clip.joint_pos[0])
    return Clip(clip.name, clip.time, root, quat, joint_pos)


def _repeat(clip: Clip) -> Clip:
    """The cycle over and over, for ten seconds or more, with its travel carried on."""
    travel = (clip.root_pos_w[-1] - clip.root_pos_w[0]) * [1.0, 1.0, 0.0]
    cycles = math.ceil(UNROLLED_S / clip.duration)
    rows = [(k, slice(0, -1)) for k in range(cycles - 1)] + [(cycles - 1, slice(None))]
    return Clip(
        clip.name,
        np.concatenate([clip.time[part] + k * clip.duration for k, part in rows]),
        np.concatenate([clip.root_pos_w[part] + k * travel for k, part in rows]),
        np.concatenate([clip.root_quat_w[part] for _, part in rows]),
        np.concatenate([clip.joint_pos[part] for _, part in rows]),
    )
