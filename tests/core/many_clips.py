"""Small libraries of different clips, in which the robot moves forwards, turns and swings its joints."""

import numpy as np

from protege.core.motions import Clip
from protege.core.robots.robot import Robot


def swinging(robot: Robot, name: str, seconds: float, seed: int, fps: float = 30.0) -> Clip:
    time = np.arange(int(seconds * fps) + 1) / fps
    yaw = 0.2 * time + seed
    quat = np.stack([np.cos(yaw / 2), 0 * yaw, 0 * yaw, np.sin(yaw / 2)], axis=1)
    pos = np.stack([0.3 * time * np.cos(seed), 0.3 * time * np.sin(seed), robot.root_height + 0 * time], axis=1)
    low, high = robot.joint_range().double().numpy().T
    joints = robot.default_pose().double().numpy() + 0.04 * (high - low) * np.sin(
        time[:, None] * (1.0 + 0.1 * np.arange(robot.num_joints)) + seed
    )
    return Clip(name, time, pos, quat, joints, robot.joint_names, robot.name, fps)


def many(robot: Robot, count: int, shortest: float = 0.6, longest: float = 1.6) -> list[Clip]:
    """Clips of different lengths, s."""
    lengths = np.random.default_rng(0).uniform(shortest, longest, count)
    return [swinging(robot, f"clip{i}", seconds, i) for i, seconds in enumerate(lengths)]
