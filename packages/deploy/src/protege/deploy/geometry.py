"""Rotations and positions on the ground, with numpy: world frame (x forward, y left, z up), quaternions wxyz."""

import math
from dataclasses import dataclass

import numpy as np

Array = np.ndarray


def multiply(a: Array, b: Array) -> Array:
    """Hamilton product: rotate by b, then by a. (..., 4), (..., 4) -> (..., 4)."""
    aw, ax, ay, az = np.moveaxis(a, -1, 0)
    bw, bx, by, bz = np.moveaxis(b, -1, 0)
    w, x = aw * bw - ax * bx - ay * by - az * bz, aw * bx + ax * bw + ay * bz - az * by
    y, z = aw * by - ax * bz + ay * bw + az * bx, aw * bz + ax * by - ay * bx + az * bw
    return np.stack([w, x, y, z], axis=-1)


def rotated_back(quat: Array, vector: Array) -> Array:
    """A world-frame vector (3,) in the frame of a body with rotation (4,)."""
    w, x, y, z = (float(c) for c in quat)
    around = np.array([x, y, z])
    twice = 2.0 * np.cross(around, vector)
    return np.asarray(vector) - w * twice + np.cross(around, twice)


def yaw(quat: Array) -> float:
    """Heading: the angle about world z of a rotation's x axis, seen from above, (4,) -> rad."""
    w, x, y, z = (float(c) for c in quat)
    return float(np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z)))


def tilt(quat: Array) -> float:
    """Angle between a rotation's z axis and the vertical, (4,) -> rad."""
    _, x, y, _ = (float(c) for c in quat)
    return float(np.arccos(np.clip(1.0 - 2.0 * (x * x + y * y), -1.0, 1.0)))


def turned(vectors: Array, angle: float) -> Array:
    """Vectors on the ground (..., 2), turned to the left by an angle, rad."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(vectors, dtype=np.float64) @ np.array([[cos, sin], [-sin, cos]])


def turned_quat(quat: Array, angle: float) -> Array:
    """Rotations (..., 4), turned about the world's vertical by an angle, rad."""
    return multiply(np.array([np.cos(angle / 2.0), 0.0, 0.0, np.sin(angle / 2.0)]), quat)


@dataclass(frozen=True)
class Pose2D:
    """A position and a heading on the ground, which define a frame with x ahead and y to the left: point (2,) m, yaw rad."""

    point: Array
    yaw: float

    def to_world(self, points: Array) -> Array:
        """Points (..., 2) m of this frame, in the world frame."""
        return self.point + turned(points, self.yaw)

    def direction(self, degrees: float) -> Array:
        """Unit vector (2,) at an angle in degrees to the left, in the world frame."""
        angle = math.radians(degrees)
        return turned(np.array([math.cos(angle), math.sin(angle)]), self.yaw)
