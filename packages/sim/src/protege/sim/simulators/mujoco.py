"""MuJoCo in C, one MjData per env, distributed over threads (MuJoCo releases Python's lock while it computes)."""

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from protege.core.errors import UserError
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState
from protege.core.threads import available_cores

from ..engine import mujoco
from ..robots.addresses import addresses
from ..robots.mjcf import TERRAIN, build_spec, coordinates
from ..terrain import Terrain
from .nominal import Nominal
from .simulator import Variation

INTEGRATION = int(mujoco.mjtState.mjSTATE_INTEGRATION)
BAD_STATE_WARNINGS = [int(getattr(mujoco.mjtWarning, f"mjWARN_BAD{what}")) for what in ("QPOS", "QVEL", "QACC")]
MAX_SPEED = 1e3  # m/s and rad/s; faster states, or states with NaN, are invalid


class MujocoSimulator:
    """Implements `Simulator` on CPU threads.

    Args:
        varied: give each env its own model.

    Raises:
        UserError: the device is not the CPU.
    """

    def __init__(
        self,
        robot: Robot,
        num_envs: int,
        device: str = "cpu",
        num_threads: int = 0,
        *,
        varied: bool = False,
        terrain: Terrain | None = None,
    ) -> None:
        self.device = torch.device(device)
        if self.device.type != "cpu":
            raise UserError(f"the mujoco simulator runs on the CPU, not on {device}", "Take --device cpu, or mjwarp")
        self.robot, self.num_envs, self.terrain = robot, num_envs, terrain
        spec = build_spec(robot, terrain)
        if varied:
            for texture in spec.textures:
                texture.width = texture.height = 1  # most of the memory of a model, which is not drawn
        self.model = spec.compile()
        self._at = at = addresses(self.model, robot)
        nominal = self.model, self.device, torch.float64, at.bodies, at.actuators, at.joints
        self._nominal = Nominal(*nominal) if varied else None
        self.models = [self._own_model() if varied else self.model for _ in range(num_envs)]
        self.data = [mujoco.MjData(self.model) for _ in range(num_envs)]
        self._push_w = np.zeros((num_envs, 3))
        self._mocap_pos = np.tile(self.data[0].mocap_pos, (num_envs, 1, 1))  # of the terrain, where there is one
        threads = min(num_threads or available_cores(), num_envs)
        self._pool = ThreadPoolExecutor(threads)
        self._chunks = [range(i, num_envs, threads) for i in range(threads)]
        n, b = num_envs, robot.num_bodies
        self._qpos, self._qvel = np.zeros((n, self.model.nq)), np.zeros((n, self.model.nv))
        self._good = np.tile(self.model.qpos0, (n, 1))
        self._xpos, self._xquat = np.zeros((n, b, 3)), np.zeros((n, b, 4))
        self._cvel, self._com = np.zeros((n, b, 6)), np.zeros((n, 3))
        j = robot.num_joints
        self.state = RobotState(
            torch.zeros(n, j),
            torch.zeros(n, j),
            torch.zeros(n, b, 3),
            torch.zeros(n, b, 4),
            torch.zeros(n, b, 3),
            torch.zeros(n, b, 3),
        )
        self._each(range(n), self._refresh)
        self._publish(slice(None))

    def step(self, joint_target: Tensor) -> Tensor:
        target = joint_target.double().numpy()
        substeps, at = self.robot.substeps, self._at
        # MuJoCo replaces non-finite values by zero, with a warning. Here the physics of that env counts as wrong.
        wrong = ~(np.isfinite(target).all(1) & np.isfinite(self._qpos).all(1) & np.isfinite(self._qvel).all(1))

        def advance(env: int) -> None:
            if wrong[env]:
                return
            data = self.data[env]
            data.ctrl[at.actuators] = target[env]
            data.xfrc_applied[at.root, :3] = self._push_w[env]
            try:
                mujoco.mj_step(self.models[env], data, substeps)
            except mujoco.FatalError:  # the solver cannot factorise an exploded state
                wrong[env] = True
                return
            # MuJoCo has reset an env that exploded to its model's first pose, and counted a warning.
            wrong[env] = data.warning.number[BAD_STATE_WARNINGS].any()
            self._refresh(env)

        self._each(range(self.num_envs), advance)
        wrong |= ~(np.isfinite(self._qpos).all(1) & (np.abs(self._qvel).max(1) < MAX_SPEED))
        for env in np.flatnonzero(wrong):
            self._recover(int(env))
        self._keep_good()
        self._publish(slice(None))
        return torch.from_numpy(wrong)

    def write(self, mask: Tensor, target: RobotState) -> None:
        envs = mask.nonzero().squeeze(1)
        qpos, qvel = (x.double().numpy() for x in coordinates(target[envs]))
        envs, at = envs.tolist(), self._at

        def put(row: int) -> None:
            data = self._reset(envs[row])
            data.qpos[at.qpos], data.qvel[at.qvel] = qpos[row], qvel[row]
            data.ctrl[at.actuators] = data.qpos[at.joint_pos]
            self._refresh(envs[row])

        self._each(range(len(envs)), put)
        self._keep_good()
        self._publish(envs)

    def push(self, force_w: Tensor) -> None:
        self._push_w[:] = force_w.numpy()

    def place(self, mask: Tensor, origin: Tensor) -> None:
        envs = mask.numpy()
        self._mocap_pos[envs, self.model.body(TERRAIN).mocapid[0], :2] = -origin.numpy()[envs]

    def randomize(self, mask: Tensor, variation: Variation) -> None:
        assert self._nominal, "not made with `varied`"
        values = {name: x.numpy() for name, x in self._nominal.varied(variation).items()}
        for env in mask.nonzero().squeeze(1).tolist():
            for name, value in values.items():
                getattr(self.models[env], name)[:] = value[env]

    def set_physics_dt(self, dt: float) -> None:
        for model in {id(x): x for x in (self.model, *self.models)}.values():
            model.opt.timestep = dt

    def contact_force_w(self) -> Tensor:
        force = np.zeros((self.num_envs, self.model.nbody, 3))
        wrench = np.zeros(6)
        for env, (model, data) in enumerate(zip(self.models, self.data, strict=True)):
            mujoco.mj_forward(model, data)
            for index, contact in enumerate(data.contact):
                mujoco.mj_contactForce(model, data, index, wrench)
                world_force = contact.frame.reshape(3, 3).T @ wrench[:3]
                for geom, sign in zip(contact.geom, (-1.0, 1.0), strict=True):
                    force[env, model.geom_bodyid[geom]] += sign * world_force
        return torch.from_numpy(force[:, self._at.bodies]).float()

    def state_dict(self) -> dict[str, Any]:
        size = mujoco.mj_stateSize(self.model, INTEGRATION)
        saved = np.zeros((self.num_envs, size))
        for row, data in zip(saved, self.data, strict=True):
            mujoco.mj_getState(self.model, data, row, INTEGRATION)
        return {"integration": torch.from_numpy(saved), **self._bodies()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for row, data in zip(state["integration"].numpy(), self.data, strict=True):
            mujoco.mj_setState(self.model, data, row, INTEGRATION)
        self._mocap_pos[:] = [data.mocap_pos for data in self.data]
        for name in self._bodies():
            for model, value in zip(self.models, state[name].numpy(), strict=True):
                getattr(model, name)[:] = value
        self._each(range(self.num_envs), self._refresh)
        self._keep_good()
        self._publish(slice(None))

    def close(self) -> None:
        self._pool.shutdown()

    def _own_model(self) -> mujoco.MjModel:
        """A copy in which centres of mass may be anywhere."""
        model = copy.copy(self.model)
        model.body_sameframe[:], model.geom_sameframe[:] = 0, 0  # disable shortcuts for coinciding frames
        return model

    def _bodies(self) -> dict[str, Tensor]:
        """The fields in which the envs' models may differ, (N, ...) each; empty if they do not."""
        names = self._nominal.fields if self._nominal else ()
        return {name: torch.from_numpy(np.stack([getattr(x, name) for x in self.models])) for name in names}

    def _each(self, rows: range, work) -> None:
        """Run work(row) for all rows, distributed over the threads."""
        parts = [rows[chunk.start :: chunk.step] for chunk in self._chunks]

        def run(part: range) -> None:
            for row in part:
                work(row)

        for _ in self._pool.map(run, parts):
            pass

    def _refresh(self, env: int) -> None:
        """Kinematics and velocities at the integrated state (mj_step leaves those of the previous substep)."""
        model, data, at = self.models[env], self.data[env], self._at
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_comVel(model, data)
        self._qpos[env], self._qvel[env] = data.qpos, data.qvel
        self._xpos[env], self._xquat[env] = data.xpos[at.bodies], data.xquat[at.bodies]
        self._cvel[env], self._com[env] = data.cvel[at.bodies], data.subtree_com[at.root]

    def _reset(self, env: int) -> mujoco.MjData:
        """Reset everything to the model's values, except the terrain's position."""
        data = self.data[env]
        mujoco.mj_resetData(self.models[env], data)
        data.mocap_pos[:] = self._mocap_pos[env]
        return data

    def _recover(self, env: int) -> None:
        """Back to the last valid pose, at rest."""
        self._reset(env).qpos[:] = self._good[env]
        self._refresh(env)

    def _keep_good(self) -> None:
        """Store the poses without NaN, for `_recover`."""
        good = np.isfinite(self._qpos).all(1)
        self._good[good] = self._qpos[good]

    def _publish(self, envs: slice | list[int]) -> None:
        """Copy the arrays that `_refresh` filled into `state`."""
        state, at = self.state, self._at
        state.joint_pos[envs] = torch.from_numpy(self._qpos[envs, at.joint_pos]).float()
        state.joint_vel[envs] = torch.from_numpy(self._qvel[envs, at.joint_vel]).float()
        state.body_pos_w[envs] = torch.from_numpy(self._xpos[envs]).float()
        state.body_quat_w[envs] = torch.from_numpy(self._xquat[envs]).float()
        # cvel is (angular, linear) with the linear part at the robot's centre of mass.
        angular, linear = self._cvel[envs, :, :3], self._cvel[envs, :, 3:]
        arm = self._xpos[envs] - self._com[envs, None]
        state.body_ang_vel_w[envs] = torch.from_numpy(angular).float()
        state.body_lin_vel_w[envs] = torch.from_numpy(linear + np.cross(angular, arm)).float()
