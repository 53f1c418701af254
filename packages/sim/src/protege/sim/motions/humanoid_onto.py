"""DeepMimic's humanoid onto a robot with three hinges for each of the bodies named here: rotations become hinge angles."""

import numpy as np
import torch
from torch import Tensor

from protege.core.motions import Clip
from protege.core.robots import rotation as R
from protege.core.robots.robot import Robot

from . import cycles
from .ground import put_on_ground, smooth, within_limits
from .hinges import hinge_angles
from .readers.humanoid3d import contact_points, hanging
from .source import SkeletonMotion

STRIDE_SCALE = 0.94  # the actor of the clips has longer legs


def has_humanoid_hinges(robot: Robot) -> bool:
    """Whether a robot has the bodies whose hinges these motions use."""
    return {"Torso", "L_Shoulder", "L_Toe"} <= set(robot.body_names)


def humanoid_onto(motion: SkeletonMotion, robot: Robot, *, touch: bool = True) -> Clip:
    """The clip. A cycle is closed, so that the last frame repeats the first pose.

    Args:
        motion: of DeepMimic's humanoid, with evenly spaced frames.
        robot: see `has_humanoid_hinges`.
        touch: put it on the ground, frame by frame, where the humanoid touches it with a foot, a hand or its back.
    """
    wraps, names = motion.wraps, motion.skeleton.names
    rotations = {name: torch.from_numpy(np.ascontiguousarray(motion.rotations[:, i])) for i, name in enumerate(names)}
    root_pos = torch.from_numpy(motion.root_pos_w)
    clearance = contact_points(root_pos, rotations)[..., 2].min(axis=1)
    way = torch.tensor([STRIDE_SCALE, STRIDE_SCALE, 1.0], dtype=torch.float64)
    clip = _to_hinges(motion.name, motion.time, way * root_pos, rotations, robot, wraps=wraps)
    if wraps:
        clip = cycles.close(clip)
    clip = within_limits(smooth(clip, wraps=wraps), robot)
    return put_on_ground(clip, robot, clearance, wraps=wraps) if touch else clip


def _to_hinges(
    name: str, time: np.ndarray, root_pos: Tensor, rotations: dict[str, Tensor], robot: Robot, *, wraps: bool
) -> Clip:
    def part(q: Tensor, count: int) -> Tensor:
        return R.from_rotation_vector(R.to_rotation_vector(q) / count)

    bodies = {body: part(rotations["chest"], 3) for body in ("Torso", "Spine", "Chest")}
    bodies |= {body: part(rotations["neck"], 2) for body in ("Neck", "Head")}
    for side in ("L", "R"):
        hang = hanging(side).expand(len(time), 4)  # the robot's arms are stretched out at rest
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
    """The clips' feet are rigid. Ours bend at the ball: the toes stay level while the heel is raised."""
    foot = rotations["root"]
    for joint in ("Hip", "Knee", "Ankle"):
        foot = R.multiply(foot, rotations[f"{side}_{joint}"])
    forward = R.rotate(foot, torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).expand(len(foot), 3))
    heel_up = torch.asin((-forward[:, 2]).clamp(0.0, 1.0))
    axis = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    return R.from_axis_angle(axis.expand(len(foot), 3), -heel_up.clamp(0.0, 1.0))
