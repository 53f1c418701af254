"""DeepMimic's humanoid3d text clips (Peng et al. 2018, arXiv 1804.02717).

Where a robot has three hinges for each of the bodies named here, rotations become their angles. Any other robot gets such a
robot's clip by inverse kinematics.

A frame is 44 numbers: duration, root position (y up), then rotations: quaternions (w first) and single angles. In the
clips' zero pose the arms hang; in that robot's they are stretched out.
"""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from protege.core.motions import Clip
from protege.core.robots import rotation as R
from protege.core.robots.robot import Robot

from ..robots import get_robot, robot_names
from .deepmimic_source import check_source, read_deepmimic
from .hinges import hinge_angles
from .humanoid3d import COLUMNS, contact_points, to_world
from .inverse_kinematics import on_robot
from .retarget import put_on_ground, rounded, smooth, within_limits

STRIDE_SCALE = 0.94  # the clips' actor has longer legs
UNROLLED_S = 10.0
RATE = 60.0
SOURCE = "DeepMimic (Peng et al. 2018, arXiv 1804.02717)"


def import_deepmimic(contents: bytes, name: str, robot: Robot) -> Clip:
    """One clip. Clips that loop are repeated for at least ten seconds, so that the last frame is the first one's pose.

    Args:
        contents: of the text file.
        name: of the clip.
        robot: with the bodies named here, or one that there is a map for.

    Raises:
        UserError: if the contents are not such a clip, nobody could move like this, or there is no map for the robot.

    Returns:
        the clip; its `warnings` are of what is unlikely about the source.
    """
    if not _fits(robot):
        source_robot = next(known for known in map(get_robot, robot_names()) if _fits(known))
        return on_robot(import_deepmimic(contents, name, source_robot), source_robot, robot)
    source = read_deepmimic(contents, name)
    doubts, wraps = check_source(source, name), source.wraps
    time, frames = _resample(source.time, source.frames)
    root_pos, rotations = to_world(frames, STRIDE_SCALE)
    clip = _to_hinges(name, time, root_pos, rotations, robot, wraps=wraps)
    clearance = contact_points(root_pos, rotations)[..., 2].min(axis=1)
    if wraps:
        clip = _close(clip)
    clip = put_on_ground(within_limits(smooth(clip, wraps=wraps), robot), robot, clearance, wraps=wraps)
    clip = rounded(_repeat(clip) if wraps else clip)
    facts = {"robot": robot.name, "joint_names": robot.joint_names, "fps": RATE, "source": SOURCE}
    return replace(clip, **facts, warnings=tuple(doubts))


def _fits(robot: Robot) -> bool:
    """Whether a robot has the bodies whose hinges these clips turn."""
    return {"Torso", "L_Shoulder", "L_Toe"} <= set(robot.body_names)


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
