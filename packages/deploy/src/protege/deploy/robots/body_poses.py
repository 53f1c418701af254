"""Forward kinematics of arbitrary poses in MuJoCo: body poses, and heights of the bodies' lowest points."""

import mujoco
import numpy as np

from ..geometry import Array
from ..motions.poses import Poses
from ..policy.metadata import Metadata


class BodyPoses:
    """Forward kinematics of a model, without moving the robot. Implements `clips.BodyContact`.

    Args:
        model: of MuJoCo, the robot's.
        data: of the model, changed by every call.
        qpos: (J,) indices of the policy's joints in `qpos`.
        bodies: (B,) the model's indices of the policy's bodies.
        metadata: of the policy.
    """

    def __init__(
        self, model: mujoco.MjModel, data: mujoco.MjData, qpos: Array, bodies: Array, metadata: Metadata
    ) -> None:
        self._model, self._data, self._qpos, self._bodies = model, data, qpos, bodies
        upright = np.zeros((1, 3)), np.array([[1.0, 0.0, 0.0, 0.0]]), np.array([metadata.default_joint_pos])
        self.leg_length = -float(self.contact_points(Poses(*upright))[..., 2].min())

    def __call__(self, poses: Poses) -> tuple[Array, Array]:
        """T poses -> body_pos_w (T, B, 3) m and body_quat_w (T, B, 4) wxyz, in the order of `Metadata.body_names`."""
        steps = len(poses.joint_pos)
        pos, quat = np.zeros((steps, len(self._bodies), 3)), np.zeros((steps, len(self._bodies), 4))
        for step in range(steps):
            self._place(poses, step)
            pos[step], quat[step] = self._data.xpos[self._bodies], self._data.xquat[self._bodies]
        return pos, quat

    def contact_points(self, poses: Poses) -> Array:
        """(T, B, 3) m: x and y of each body's origin, and as z the height of its lowest point, infinite without shapes."""
        model, steps = self._model, len(poses.joint_pos)
        points = np.zeros((steps, len(self._bodies), 3))
        place = {int(body): index for index, body in enumerate(self._bodies)}
        owner = model.geom_bodyid
        shapes = [(place[int(owner[geom])], geom) for geom in solid_geoms(model) if int(owner[geom]) in place]
        owners, geoms = np.array(shapes).reshape(-1, 2).T
        for step in range(steps):
            self._place(poses, step)
            points[step] = self._data.xpos[self._bodies]
            points[step, :, 2] = np.inf
            up = self._data.geom_xmat[geoms].reshape(-1, 3, 3)[:, 2]
            np.minimum.at(points[step, :, 2], owners, self._data.geom_xpos[geoms, 2] - _reach(model, geoms, up))
        return points

    def _place(self, poses: Poses, step: int) -> None:
        data = self._data
        data.qpos[:3], data.qpos[3:7] = poses.root_pos_w[step], poses.root_quat_w[step]
        data.qpos[self._qpos] = poses.joint_pos[step]
        mujoco.mj_kinematics(self._model, data)


def solid_geoms(model: mujoco.MjModel) -> list[int]:
    """The geoms that can collide; the others are only visible."""
    paired = np.isin(np.arange(model.ngeom), [model.pair_geom1, model.pair_geom2])
    return np.flatnonzero((model.geom_contype != 0) | (model.geom_conaffinity != 0) | paired).tolist()


def _reach(model: mujoco.MjModel, geoms: Array, up: Array) -> Array:
    """Extent of each geom below its centre, (G,) m; up (G, 3) is the vertical in its frame. Meshes count as their bounding box."""
    size, kind, box = model.geom_size[geoms], model.geom_type[geoms], model.geom_aabb[geoms]
    round_end = np.isin(kind, [mujoco.mjtGeom.mjGEOM_SPHERE, mujoco.mjtGeom.mjGEOM_CAPSULE])
    long = kind == mujoco.mjtGeom.mjGEOM_CAPSULE
    ball = size[:, 0] + np.where(long, size[:, 1], 0.0) * np.abs(up[:, 2])
    boxed = (np.abs(up) * box[:, 3:]).sum(axis=1) - (up * box[:, :3]).sum(axis=1)
    return np.where(round_end, ball, boxed)
