"""MuJoCo Warp (mujoco-warp): all worlds in step on one GPU; Warp's CPU device, slower than `mujoco`, is for tests.

A control step is one CUDA graph: physics, the guard against NaN, kinematics and velocities, and the state as torch views of
Warp's arrays. Nothing is copied to the host.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from protege.core import rotation as R
from protege.core.errors import UserError
from protege.core.robot import Robot
from protege.core.state import RobotState

from ..mjcf import build_spec

try:
    import mujoco_warp as mjw
    import warp as wp
except ModuleNotFoundError as error:
    raise UserError(f"{error.name} is not installed", 'Install it: pip install "protege-sim[mjwarp]"') from error

CONTACTS = 32  # a world on average; a lying body has about fifty, but few lie
CONSTRAINTS = 192  # rows a world: four a contact, one a joint at its limit
SPEED_LIMIT = 1e3  # m/s, rad/s; beyond it physics has gone wrong


@wp.kernel
def _guard(
    qpos: wp.array2d[float],
    qvel: wp.array2d[float],
    warmstart: wp.array2d[float],
    good: wp.array2d[float],
    wrong: wp.array[wp.bool],
):
    """A world with a NaN or an absurd speed goes back to its last good position, at rest."""
    world = wp.tid()
    bad = bool(False)
    for i in range(qpos.shape[1]):
        if not wp.isfinite(qpos[world, i]):
            bad = True
    for i in range(qvel.shape[1]):
        if not (wp.abs(qvel[world, i]) < SPEED_LIMIT):
            bad = True
    wrong[world] = bad
    for i in range(qpos.shape[1]):
        if bad:
            qpos[world, i] = good[world, i]
        else:
            good[world, i] = qpos[world, i]
    if bad:
        for i in range(qvel.shape[1]):
            qvel[world, i] = 0.0
            warmstart[world, i] = 0.0


@wp.kernel
def _body_velocities(
    xpos: wp.array2d[wp.vec3],
    subtree_com: wp.array2d[wp.vec3],
    cvel: wp.array2d[wp.spatial_vector],
    linear: wp.array2d[wp.vec3],
    angular: wp.array2d[wp.vec3],
):
    """cvel is (angular, linear) with the linear part at the robot's centre of mass; body 0 of Warp's is the world."""
    world, body = wp.tid()
    velocity = cvel[world, body + 1]
    turn = wp.spatial_top(velocity)
    arm = xpos[world, body + 1] - subtree_com[world, 1]
    angular[world, body] = turn
    linear[world, body] = wp.spatial_bottom(velocity) + wp.cross(turn, arm)


class MjwarpSimulator:
    """Implements `Simulator`.

    Raises:
        UserError: no such device, or too little of its memory.
    """

    def __init__(self, robot: Robot, num_envs: int, device: str = "cuda", num_threads: int = 0) -> None:
        self.robot, self.num_envs = robot, num_envs
        self.device = torch.device(device if ":" in device or device == "cpu" else f"{device}:0")
        wp.config.quiet = True
        wp.init()
        self._where = wp.device_from_torch(self.device)
        host = build_spec(robot).compile()
        with wp.ScopedDevice(self._where):
            self._model = mjw.put_model(host)
            self._data = mjw.make_data(host, num_envs, nconmax=CONTACTS, njmax=CONSTRAINTS)
            self._linear = wp.zeros((num_envs, robot.num_bodies), dtype=wp.vec3)
            self._angular = wp.zeros((num_envs, robot.num_bodies), dtype=wp.vec3)
            self._good = wp.clone(self._data.qpos)
            self._wrong = wp.zeros(num_envs, dtype=wp.bool)
        data = self._data
        self._qpos, self._qvel, self._ctrl = (wp.to_torch(x) for x in (data.qpos, data.qvel, data.ctrl))
        self._good_qpos, self._warmstart = wp.to_torch(self._good), wp.to_torch(data.qacc_warmstart)
        self._invalid = wp.to_torch(self._wrong)
        self.state = RobotState(
            self._qpos[:, 7:],
            self._qvel[:, 6:],
            wp.to_torch(data.xpos)[:, 1:],
            wp.to_torch(data.xquat)[:, 1:],
            wp.to_torch(self._linear),
            wp.to_torch(self._angular),
        )
        self._ctrl.copy_(self._qpos[:, 7:])
        self._step = self._recorded(self._physics)
        self._refresh = self._recorded(self._kinematics)
        self._refresh()

    def step(self, joint_target: Tensor) -> Tensor:
        self._ctrl.copy_(joint_target)
        self._step()
        return self._invalid.clone()

    def write(self, mask: Tensor, target: RobotState) -> None:
        # MuJoCo's free joint turns about body axes.
        root_ang_vel_b = R.rotate_inverse(target.root_quat_w, target.root_ang_vel_w)
        qpos = torch.cat([target.root_pos_w, target.root_quat_w, target.joint_pos], dim=1)
        qvel = torch.cat([target.root_lin_vel_w, root_ang_vel_b, target.joint_vel], dim=1)
        chosen = mask.unsqueeze(1)
        for mine, new in (
            (self._qpos, qpos),
            (self._good_qpos, qpos),
            (self._qvel, qvel),
            (self._ctrl, target.joint_pos),
            (self._warmstart, torch.zeros_like(self._warmstart)),
        ):
            mine.copy_(torch.where(chosen, new, mine))
        self._refresh()

    def contact_force_w(self) -> Tensor:
        force = torch.zeros(self.num_envs, self.robot.num_bodies + 1, 3, device=self.device)
        with self._warp():
            mjw.forward(self._model, self._data)
            contact = self._data.contact
            count = min(int(self._data.nacon.numpy()[0]), contact.dist.shape[0])
            if not count:
                return force[:, 1:]
            ids = wp.array(list(range(count)), dtype=int)
            wrench = wp.zeros(count, dtype=wp.spatial_vector)
            mjw.contact_force(self._model, self._data, ids, True, wrench)
        world, geoms = (wp.to_torch(x)[:count].long() for x in (contact.worldid, contact.geom))
        bodies = wp.to_torch(self._model.geom_bodyid).long()[geoms]
        on_second = wp.to_torch(wrench)[:, :3]
        for side, sign in ((0, -1.0), (1, 1.0)):
            force.index_put_((world, bodies[:, side]), sign * on_second, accumulate=True)
        return force[:, 1:]

    def state_dict(self) -> dict[str, Any]:
        return {name: x.clone() for name, x in self._kept.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, x in self._kept.items():
            x.copy_(state[name])
        self._refresh()

    def close(self) -> None:
        """Nothing to give back."""

    @property
    def _kept(self) -> dict[str, Tensor]:
        """What the physics carries from step to step."""
        return {
            "qpos": self._qpos,
            "qvel": self._qvel,
            "ctrl": self._ctrl,
            "good_qpos": self._good_qpos,
            "qacc_warmstart": self._warmstart,
        }

    def _physics(self) -> None:
        data = self._data
        for _ in range(self.robot.substeps):
            mjw.step(self._model, data)
        arrays = [data.qpos, data.qvel, data.qacc_warmstart, self._good, self._wrong]
        wp.launch(_guard, dim=self.num_envs, inputs=arrays)
        self._kinematics()

    def _kinematics(self) -> None:
        """Kinematics and velocities at the integrated state (a step leaves those of one substep before)."""
        data = self._data
        mjw.kinematics(self._model, data)
        mjw.com_pos(self._model, data)
        mjw.com_vel(self._model, data)
        arrays = [data.xpos, data.subtree_com, data.cvel, self._linear, self._angular]
        wp.launch(_body_velocities, dim=(self.num_envs, self.robot.num_bodies), inputs=arrays)

    def _warp(self) -> Any:
        """Warp on the device, in torch's current stream."""
        if self.device.type == "cpu":
            return wp.ScopedDevice(self._where)
        return wp.ScopedStream(wp.stream_from_torch(torch.cuda.current_stream(self.device)))

    def _recorded(self, work: Callable[[], None]) -> Callable[[], None]:
        """The launches of `work` as one CUDA graph; on a CPU, `work`."""

        def run() -> None:
            with self._warp():
                work()

        if self.device.type == "cpu":
            return run
        run()  # compiles what it launches
        with wp.ScopedDevice(self._where), wp.ScopedCapture() as capture:
            work()

        def launch(graph: Any) -> None:
            with self._warp():
                if torch.cuda.is_current_stream_capturing():
                    work()  # becomes part of the graph that is being captured
                else:
                    wp.capture_launch(graph)

        return functools.partial(launch, capture.graph)
