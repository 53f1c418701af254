"""Clips of SMPL's robot, and where its bodies are."""

import numpy as np
import torch

from protege.core.motions import Clip
from protege.core.robots.kinematics import Kinematics
from protege.sim.motions.surface import trace
from protege.sim.robots import get_robot

ROBOT = get_robot("smpl")


def bodies(clip: Clip) -> dict[str, np.ndarray]:
    """Position of each body, (T, 3) m."""
    pos, _ = Kinematics(ROBOT)(
        *(torch.from_numpy(x).float() for x in (clip.root_pos_w, clip.root_quat_w, clip.joint_pos))
    )
    return {name: pos[:, i].numpy() for i, name in enumerate(ROBOT.body_names)}


def feet_height(clip: Clip) -> np.ndarray:
    """Height of the lowest foot point in each frame, (T,) m."""
    surface = trace(clip, ROBOT)
    return surface.height[:, np.isin(surface.body, ROBOT.body_ids(ROBOT.feet))].min(axis=1)
