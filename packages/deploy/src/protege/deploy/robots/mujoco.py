"""The exported robot in MuJoCo."""

import logging
import os
from pathlib import Path

import numpy as np

from ..errors import DeployError, needs
from ..geometry import Array, multiply, rotated_back
from ..interface import Mode, RobotReading
from ..policy import metadata as _metadata
from ..policy.metadata import ROBOT_FILE, Metadata, StartState

try:
    with needs("cpu,mujoco"):
        import mujoco

        from .body_poses import BodyPoses, solid_geoms
except (RuntimeError, ImportError, AttributeError) as error:
    # The import opens the OpenGL library that MUJOCO_GL names, although nothing is drawn here.
    raise DeployError(
        f"MuJoCo cannot start with MUJOCO_GL={os.environ.get('MUJOCO_GL', '')} ({error})",
        "Unset MUJOCO_GL: nothing is drawn",
    ) from error

mujoco.set_mju_user_warning(logging.getLogger("mujoco").warning)  # not to MUJOCO_LOG.TXT in the working folder

START_CLEARANCE = 1e-3  # m between the lowest foot and the ground at the start
MODEL_TOLERANCE = 1e-4  # relative, between numbers of robot.xml and policy.json: earlier versions wrote six digits


class MujocoRobot:
    """Implements `RobotInterface` with `robot.xml`: a write sets the servos' targets and simulates one control period.

    Args:
        folder: an export.
        standing: start at rest in the default pose, even if the export has a state in motion.

    Raises:
        DeployError: robot.xml is missing, invalid, or lacks the policy's joints.
    """

    def __init__(self, folder: str | Path, *, standing: bool = False) -> None:
        self.metadata: Metadata = _metadata.load(folder)
        path = Path(folder) / ROBOT_FILE
        if not path.is_file():
            raise DeployError(f"{path} does not exist", "Export where protege-sim is installed, or put the MJCF there")
        try:
            self.model = self._compile(str(path))
            joints = [self.model.joint(name) for name in self.metadata.joint_names]
            self._servos = np.array([self.model.actuator(name).id for name in self.metadata.joint_names])
            self._bodies = np.array([self.model.body(name).id for name in self.metadata.body_names])
            head = self.metadata.fall.head_body
            self._tops = np.array([self.model.body(head).id]) if head else self._bodies
        except (ValueError, KeyError) as error:
            raise DeployError(f"{path}: {error}", "Export again") from error
        _compare(path, self.model, joints, self._servos, self.metadata)
        # MJCF files of earlier versions have six digits of the time step.
        self.model.opt.timestep = self.metadata.physics_dt
        self.data, self._posed = mujoco.MjData(self.model), mujoco.MjData(self.model)
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._qvel = np.array([joint.dofadr[0] for joint in joints])
        self.body_poses = BodyPoses(self.model, self._posed, self._qpos, self._bodies, self.metadata)
        self._root = int(self.model.body_rootid[joints[0].bodyid[0]])
        self._gain, self._bias = self.model.actuator_gainprm[:, 0].copy(), self.model.actuator_biasprm[:, 1].copy()
        self.reset()
        self._standing_heights = self._heights()
        self.reset(None if standing else self.metadata.start)

    def _compile(self, path: str) -> mujoco.MjModel:
        """The model of robot.xml."""
        return mujoco.MjModel.from_xml_path(path)

    def reset(self, start: StartState | None = None) -> None:
        """Set a state or, by default, the default pose at rest with the feet on the ground."""
        mujoco.mj_resetData(self.model, self.data)
        if start is None:
            self.data.qpos[:7] = [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
            self.data.qpos[self._qpos] = self.metadata.default_joint_pos
            self.data.qpos[2] = START_CLEARANCE - self._lowest_point()
        else:
            self._place(start)
        self.data.ctrl[self._servos] = self.data.qpos[self._qpos]
        mujoco.mj_kinematics(self.model, self.data)

    def read(self) -> RobotReading:
        qpos, qvel = self.data.qpos, self.data.qvel
        rotation = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, qpos[3:7])
        imu_quat, imu_ang_vel = self._inertial()
        return RobotReading(
            root_pos_w=qpos[:3].copy(),
            root_quat_w=qpos[3:7].copy(),
            root_lin_vel_w=qvel[:3].copy(),
            # The angular velocity of MuJoCo's free joint is in the body frame.
            root_ang_vel_w=rotation.reshape(3, 3) @ qvel[3:6],
            joint_pos=qpos[self._qpos],
            joint_vel=qvel[self._qvel],
            imu_quat=imu_quat,
            imu_ang_vel=imu_ang_vel,
        )

    def _inertial(self) -> tuple[Array, Array] | tuple[None, None]:
        """Rotation and angular velocity of the policy's inertial sensor, if it has one that is not on the root."""
        imu, data = self.metadata.imu, self._posed
        if imu is None or imu.body == self.metadata.body_names[0]:
            return None, None
        data.qpos[:], data.qvel[:] = self.data.qpos, self.data.qvel
        mujoco.mj_kinematics(self.model, data)
        mujoco.mj_comPos(self.model, data)
        mujoco.mj_comVel(self.model, data)
        body, velocity = self.model.body(imu.body).id, np.zeros(6)
        mujoco.mj_objectVelocity(self.model, data, mujoco.mjtObj.mjOBJ_XBODY, body, velocity, 0)
        quat = multiply(data.xquat[body], np.array(imu.quat))
        return quat, rotated_back(quat, velocity[:3])

    def write(self, joint_target: Array, mode: Mode = Mode.CONTROL) -> None:
        self._stiffen(mode)
        self.data.ctrl[self._servos] = joint_target
        mujoco.mj_step(self.model, self.data, self.metadata.substeps)

    def _stiffen(self, mode: Mode) -> None:
        """Set the servos' stiffness, zero to damp: their torque is gain * target + bias * angle + damping * velocity."""
        stiff = float(mode is Mode.CONTROL)
        self.model.actuator_gainprm[:, 0], self.model.actuator_biasprm[:, 1] = stiff * self._gain, stiff * self._bias

    def push(self, force_w: Array) -> None:
        """Push the root with a force, (3,) N in the world frame, until the next call."""
        self.data.xfrc_applied[self._root, :3] = force_w

    def contact_forces(self) -> tuple[Array, Array]:
        """Contact points, (C, 3) m, and the forces on the robot there, (C, 3) N, both in the world frame."""
        data, force = self.data, np.zeros(6)
        points, forces = np.zeros((data.ncon, 3)), np.zeros((data.ncon, 3))
        for index, contact in enumerate(data.contact[: data.ncon]):
            mujoco.mj_contactForce(self.model, data, index, force)
            # The force acts from the first geom on the second. The ground has the lower number.
            points[index], forces[index] = contact.pos, contact.frame.reshape(3, 3).T @ force[:3]
        return points, forces

    def close(self) -> None:
        """Does nothing."""

    @property
    def has_fallen(self) -> bool:
        """Whether root or head is below the share `Metadata.fall` of its height in the default pose.

        The heights at the start do not matter, because the robot may lie there.
        """
        mujoco.mj_kinematics(self.model, self.data)
        fall, (root, head), standing = self.metadata.fall, self._heights(), self._standing_heights
        return bool(root < fall.root * standing[0] or head < fall.head * standing[1])

    @property
    def standing_height(self) -> float:
        """Height of the root in the default pose with the feet on the ground, m."""
        return self._standing_heights[0]

    def _heights(self) -> tuple[float, float]:
        """Height of the root, and of the head or, if an export does not name it, the highest body, m."""
        return float(self.data.xpos[self._root, 2]), float(self.data.xpos[self._tops, 2].max())

    def _place(self, start: StartState) -> None:
        data, rotation = self.data, np.zeros(9)
        data.qpos[:3], data.qpos[3:7] = start.root_pos_w, start.root_quat_w
        data.qpos[self._qpos], data.qvel[self._qvel] = start.joint_pos, start.joint_vel
        mujoco.mju_quat2Mat(rotation, data.qpos[3:7])
        data.qvel[:3], data.qvel[3:6] = start.root_lin_vel_w, rotation.reshape(3, 3).T @ start.root_ang_vel_w

    def _lowest_point(self) -> float:
        """Height of the robot's lowest point over the ground's plane, m."""
        self.data.qpos[2] = lift = 3.0
        mujoco.mj_kinematics(self.model, self.data)
        model = self.model
        ground = int(np.flatnonzero(model.geom_type == int(mujoco.mjtGeom.mjGEOM_PLANE))[0])
        others = [geom for geom in solid_geoms(model) if model.geom_bodyid[geom]]  # not the world's
        return min(mujoco.mj_geomDistance(model, self.data, ground, g, 2 * lift, None) for g in others) - lift


def _compare(path: Path, model: mujoco.MjModel, joints: list, servos: Array, metadata: Metadata) -> None:
    """Compare robot.xml with `policy.json`; limits and ranges only if robot.xml has them.

    Raises:
        DeployError: time step, gains, limits or ranges differ; it names the first difference.
    """
    ids = [joint.id for joint in joints]
    limits = [model.jnt_actfrcrange[i, 1] if model.jnt_actfrclimited[i] else None for i in ids]
    ranges = [model.jnt_range[i] if model.jnt_limited[i] else None for i in ids]
    stated = {
        "physics_dt": [(model.opt.timestep, metadata.physics_dt)],
        "stiffness": zip(model.actuator_gainprm[servos, 0], metadata.stiffness, strict=True),
        "damping": zip(-model.actuator_biasprm[servos, 2], metadata.damping, strict=True),
        "effort_limit": zip(limits, metadata.effort_limit, strict=True),
        "joint_range": zip(ranges, metadata.joint_range, strict=True),
    }
    for name, pairs in stated.items():
        for index, (here, there) in enumerate(pairs):
            if here is not None and not np.allclose(here, there, rtol=MODEL_TOLERANCE, atol=1e-6):
                of = "" if name == "physics_dt" else f" of {metadata.joint_names[index]}"
                raise DeployError(f"{path} has {name}{of} {here}, policy.json {there}", "Export the policy again")
