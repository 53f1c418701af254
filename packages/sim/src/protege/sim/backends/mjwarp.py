"""MuJoCo Warp (mujoco-warp): all worlds in step on one GPU; Warp's CPU device, slower than `mujoco`, is for tests.

A control step is one CUDA graph: physics, the guard against NaN, kinematics and velocities, and the state as torch views of
Warp's arrays. Nothing is copied to the host.
"""

import functools
import os
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor

from protege.core import rotation as R
from protege.core.errors import UserError
from protege.core.robot import Robot
from protege.core.state import RobotState

from ..commands.reference import keep
from ..engine import mujoco
from ..env_config import MjwarpParams
from ..mjcf import build_spec
from ..simulator import Variation
from .nominal import Nominal

try:
    import mujoco_warp as mjw
    import warp as wp

    from .mjwarp_kernels import body_velocities, guard
    from .warp_compile import compile_together
except ModuleNotFoundError as error:
    raise UserError(f"{error.name} is not installed", 'Install it: pip install "protege-sim[mjwarp]"') from error

CONTACTS_FULL = int(mjw.OverflowType.BROADPHASE | mjw.OverflowType.NARROWPHASE)
CONSTRAINTS_FULL = int(mjw.OverflowType.NEFC | mjw.OverflowType.NJMAX_NNZ)
CHECK_EVERY = 1000  # control steps between looks at what had no room
COMPILERS = 8  # Warp modules that are compiled at a time
SOLVER_SHARE = 0.6  # of the memory of Warp's data, what its solver takes besides


def _checked(device: str) -> torch.device:
    """The device by its whole name.

    Raises:
        UserError: there is none, or it is neither a CPU nor one of NVIDIA's GPUs.
    """
    kind, _, index = device.partition(":")
    if kind == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if kind != "cuda" or int(index or 0) >= count:
        raise UserError(f"mjwarp: there is no device {device}; torch sees {count} CUDA GPUs", "Take --device cpu")
    return torch.device("cuda", int(index or 0))


def _free_memory(device: torch.device) -> int:
    """Bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _size(data: Any) -> int:
    """Bytes of the Warp arrays in a dataclass and in those that it holds."""
    parts = vars(data).values()
    arrays = sum(x.capacity for x in parts if isinstance(x, wp.array))
    return arrays + sum(_size(x) for x in parts if is_dataclass(x))


def _rounded(count: int) -> int:
    """Down to its first two digits."""
    unit = 10 ** max(len(str(count)) - 2, 0)
    return count // unit * unit


class MjwarpSimulator:
    """Implements `Simulator`.

    Args:
        num_threads: of no use here.
        varied: model fields in which worlds may differ have a row for each.
        contacts: see `MjwarpParams`.
        constraints: the same.

    Raises:
        UserError: no such device, or too little of its memory.
    """

    def __init__(
        self,
        robot: Robot,
        num_envs: int,
        device: str = "cuda",
        num_threads: int = 0,
        *,
        varied: bool = False,
        contacts: int = MjwarpParams.contacts,
        constraints: int = MjwarpParams.constraints,
    ) -> None:
        self.robot, self.num_envs, self.device = robot, num_envs, _checked(device)
        self._room = {"nconmax": contacts, "njmax": constraints}
        self._steps = 0
        wp.config.log_level = wp.LOG_WARNING
        wp.init()
        self._where = wp.device_from_torch(self.device)
        host, free = build_spec(robot).compile(), _free_memory(self.device)
        try:
            self._allocate(host, varied)
        except RuntimeError as error:
            if "Failed to allocate" not in str(error):
                raise
            fit = int(free / self._memory_of_a_world(host))
            raise UserError(
                f"{num_envs} worlds do not fit into the {free / 2**30:.1f} GiB that are free on {self.device}",
                f"Take env.num_envs={_rounded(fit)} or less" if fit else "Free some of it",
            ) from error

    def _allocate(self, host: mujoco.MjModel, varied: bool) -> None:
        """Make the worlds, the views of their arrays and the recorded launches."""
        robot, num_envs = self.robot, self.num_envs
        with wp.ScopedDevice(self._where):
            self._model = mjw.put_model(host, dict.fromkeys(Nominal.FIELDS if varied else (), num_envs))
            self._model.opt.warn_overflow = False  # it would print from kernels, a line a world and step
            self._data = mjw.make_data(host, num_envs, **self._room)
            self._linear = wp.zeros((num_envs, robot.num_bodies), dtype=wp.vec3)
            self._angular = wp.zeros((num_envs, robot.num_bodies), dtype=wp.vec3)
            self._good = wp.clone(self._data.qpos)
            self._wrong = wp.zeros(num_envs, dtype=wp.bool)
        self._nominal = Nominal(host, robot, self.device, torch.float32)
        self._bodies = {name: wp.to_torch(getattr(self._model, name)) for name in Nominal.FIELDS} if varied else {}
        data = self._data
        self._qpos, self._qvel, self._ctrl = (wp.to_torch(x) for x in (data.qpos, data.qvel, data.ctrl))
        self._good_qpos, self._warmstart = wp.to_torch(self._good), wp.to_torch(data.qacc_warmstart)
        self._invalid, self._overflow = wp.to_torch(self._wrong), wp.to_torch(data.overflow)
        self._push_w = wp.to_torch(data.xfrc_applied)[:, 1, :3]
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
        self._overflow.zero_()  # recording the physics took a step with all robots stuck in the ground

    def step(self, joint_target: Tensor) -> Tensor:
        self._ctrl.copy_(joint_target)
        self._step()
        self._steps += 1
        if self._steps % CHECK_EVERY == 0:
            self.check_room()
        return self._invalid.clone()

    def write(self, mask: Tensor, target: RobotState) -> None:
        # MuJoCo's free joint turns about body axes.
        root_ang_vel_b = R.rotate_inverse(target.root_quat_w, target.root_ang_vel_w)
        qpos = torch.cat([target.root_pos_w, target.root_quat_w, target.joint_pos], dim=1)
        qvel = torch.cat([target.root_lin_vel_w, root_ang_vel_b, target.joint_vel], dim=1)
        chosen = mask.unsqueeze(1)
        good = qpos.isfinite().all(dim=1, keepdim=True)
        for mine, new in (
            (self._qpos, qpos),
            (self._good_qpos, torch.where(good, qpos, self._good_qpos)),
            (self._qvel, qvel),
            (self._ctrl, target.joint_pos),
            (self._warmstart, torch.zeros_like(self._warmstart)),
        ):
            mine.copy_(torch.where(chosen, new, mine))
        self._refresh()

    def overflowed(self) -> int:
        """How many worlds had no room for all their contacts or constraints since the last `check_room`.

        Worlds that went wrong do not count: they are reported by `step` anyway.
        """
        return int((self._overflow & (CONTACTS_FULL | CONSTRAINTS_FULL) != 0).sum())

    def check_room(self) -> None:
        """Complain where contacts are left out that should count; `step` does so now and then.

        Raises:
            UserError: in more than one of a hundred worlds, or in any of less.
        """
        bits, count = self._overflow.clone(), self.overflowed()
        self._overflow.zero_()
        if count <= self.num_envs // 100:
            return
        rows = bool((bits & CONSTRAINTS_FULL).any())
        what, value = ("constraints", self._room["njmax"]) if rows else ("contacts", self._room["nconmax"])
        raise UserError(
            f"mjwarp: {count} of {self.num_envs} worlds had no room for all their {what}",
            f"Raise env.mjwarp.{what} (now {value})",
        )

    def push(self, force_w: Tensor) -> None:
        self._push_w.copy_(force_w)

    def randomize(self, mask: Tensor, variation: Variation) -> None:
        assert self._bodies, "not made with `varied`"
        for name, value in self._nominal.varied(variation).items():
            keep(self._bodies[name], mask, value)

    def contact_force_w(self) -> Tensor:
        force = torch.zeros(self.num_envs, self.robot.num_bodies + 1, 3, device=self.device)
        with self._warp():
            mjw.forward(self._model, self._data)
            contact = self._data.contact
            count = min(int(self._data.nacon.numpy()[0]), contact.dist.shape[0])
            if not count:
                return force[:, 1:]
            ids = wp.array(list(range(count)), dtype=int)
            wrench = wp.zeros(count, dtype=wp.spatial_vectorf)
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
            **self._bodies,
        }

    def _physics(self) -> None:
        data = self._data
        for _ in range(self.robot.substeps):
            mjw.step(self._model, data)
        arrays = [data.qpos, data.qvel, data.qacc_warmstart, data.ctrl, data.overflow, self._good, self._wrong]
        wp.launch(guard, dim=self.num_envs, inputs=arrays)
        self._kinematics()

    def _kinematics(self) -> None:
        """Kinematics and velocities at the integrated state (a step leaves those of one substep before)."""
        data = self._data
        mjw.kinematics(self._model, data)
        mjw.com_pos(self._model, data)
        mjw.com_vel(self._model, data)
        arrays = [data.xpos, data.subtree_com, data.cvel, self._linear, self._angular]
        wp.launch(body_velocities, dim=(self.num_envs, self.robot.num_bodies), inputs=arrays)

    def _memory_of_a_world(self, host: mujoco.MjModel) -> float:
        """Bytes."""
        with wp.ScopedDevice("cpu"):
            return (1.0 + SOLVER_SHARE) * _size(mjw.make_data(host, 1, **self._room))

    def _warp(self) -> Any:
        """Warp on the device, in torch's current stream."""
        if self.device.type == "cpu":
            return wp.ScopedDevice(self._where)
        return wp.ScopedStream(wp.stream_from_torch(torch.cuda.current_stream(self.device)), sync_enter=False)

    def _recorded(self, work: Callable[[], None]) -> Callable[[], None]:
        """The launches of `work` as one CUDA graph; on a CPU, `work`."""

        def run() -> None:
            with self._warp():
                work()

        if self.device.type == "cpu":
            return run
        compile_together(run, COMPILERS)
        run()  # allocates
        with wp.ScopedDevice(self._where), wp.ScopedCapture() as capture:
            work()

        def launch(graph: Any) -> None:
            with self._warp():
                if torch.cuda.is_current_stream_capturing():
                    work()  # becomes part of the graph that is being captured
                else:
                    wp.capture_launch(graph)

        return functools.partial(launch, capture.graph)
