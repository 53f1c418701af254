"""MuJoCo Warp (mujoco-warp): all envs step together on one GPU. Warp's CPU device is slower than `mujoco`; it is for tests.

A control step is one CUDA graph: physics, the guard against NaN, kinematics and velocities. The state is a set of torch views of
Warp's arrays. Nothing is copied to the host. Other processes compile the kernels until the first use.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from protege.core.errors import UserError
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState
from protege.core.threads import available_cores

from ..engine import mujoco
from ..env_config import MjwarpParams
from ..references.rows import assign_where, zero_where
from ..robots.addresses import addresses
from ..robots.mjcf import TERRAIN, build_spec, coordinates
from ..terrain import Terrain
from .nominal import Nominal
from .simulator import Variation

try:
    import mujoco_warp as mjw
    import warp as wp

    from .mjwarp_kernels import body_velocities, guard
    from .warp_compile import Build
    from .warp_device import CapacityMonitor, checked_device, fitting, torch_stream
except ModuleNotFoundError as error:
    raise UserError(f"{error.name} is not installed", 'Install it: pip install "protege-sim[mjwarp]"') from error

MAX_COMPILERS = 16  # Warp modules that are compiled in parallel, on as many cores; each takes up to 0.5 GB of memory


class MjwarpSimulator:
    """Implements `Simulator`.

    Args:
        num_threads: not used.
        varied: give the model fields in which envs may differ a row per env.
        contacts: see `MjwarpParams`.
        constraints: the same.

    Raises:
        UserError: the device does not exist, or has too little memory.
    """

    def __init__(
        self,
        robot: Robot,
        num_envs: int,
        device: str = "cuda",
        num_threads: int = 0,
        *,
        varied: bool = False,
        terrain: Terrain | None = None,
        contacts: int = MjwarpParams.contacts,
        constraints: int = MjwarpParams.constraints,
    ) -> None:
        self.robot, self.num_envs, self.device = robot, num_envs, checked_device("mjwarp", device)
        wp.config.log_level = wp.LOG_WARNING
        wp.init()
        self._where = wp.device_from_torch(self.device)
        self.terrain = terrain
        host, room = build_spec(robot, terrain).compile(), {"nconmax": contacts, "njmax": constraints}
        self._fitting = functools.partial(fitting, num_envs, self.device, host, **room)
        with self._fitting():
            self._allocate(host, varied, **room)
        self._build: Build | None = None
        self._launches: tuple[Callable[[], None], Callable[[], None]] | None = None
        if self.device.type == "cuda":
            self._build = Build(self._all_kernels, min(available_cores(), MAX_COMPILERS))
        else:
            self._prepare()
        self.capacity = CapacityMonitor("mjwarp", self._overflow, contacts, constraints)

    def _allocate(self, host: mujoco.MjModel, varied: bool, **room: int) -> None:
        """Create the envs and the views of their arrays."""
        robot, num_envs = self.robot, self.num_envs
        with wp.ScopedDevice(self._where):
            self._model = mjw.put_model(host, dict.fromkeys(Nominal.FIELDS if varied else (), num_envs))
            self._model.opt.warn_overflow = False  # it would print one line per env and step from kernels
            self._data = mjw.make_data(host, num_envs, **room)
            self._linear = wp.zeros((num_envs, robot.num_bodies), dtype=wp.vec3)
            self._angular = wp.zeros((num_envs, robot.num_bodies), dtype=wp.vec3)
            self._good = wp.clone(self._data.qpos)
            self._wrong = wp.zeros(num_envs, dtype=wp.bool)
        self._at = at = addresses(host, robot)
        self._nominal = Nominal(host, self.device, torch.float32, at.bodies, at.actuators, at.joints)
        self._bodies = {name: wp.to_torch(getattr(self._model, name)) for name in Nominal.FIELDS} if varied else {}
        data = self._data
        self._qpos, self._qvel, self._ctrl = (wp.to_torch(x) for x in (data.qpos, data.qvel, data.ctrl))
        self._good_qpos, self._warmstart = wp.to_torch(self._good), wp.to_torch(data.qacc_warmstart)
        self._invalid, self._overflow = wp.to_torch(self._wrong), wp.to_torch(data.overflow)
        self._first_qpos = torch.from_numpy(host.qpos0).float().to(self.device).expand(num_envs, -1)
        self._first_qvel = torch.zeros((), device=self.device).expand_as(self._qvel)
        self._push_w = wp.to_torch(data.xfrc_applied)[:, at.root, :3]
        self.state = RobotState(
            self._qpos[:, at.joint_pos],
            self._qvel[:, at.joint_vel],
            wp.to_torch(data.xpos)[:, at.bodies],
            wp.to_torch(data.xquat)[:, at.bodies],
            wp.to_torch(self._linear),
            wp.to_torch(self._angular),
        )
        self._moved = {} if self.terrain is None else {"mocap_pos": wp.to_torch(data.mocap_pos)}
        self._terrain_row = -1 if self.terrain is None else int(host.body(TERRAIN).mocapid[0])
        self._target = self._ctrl[:, at.actuators]
        self._target.copy_(self.state.joint_pos)
        self._guard_inputs = [
            *(data.qpos, data.qvel, data.qacc_warmstart, data.ctrl[:, at.actuators], data.overflow),
            *(self._good, self._good[:, at.joint_pos], self._wrong),
        ]
        self._velocity_inputs = [
            *(data.xpos[:, at.bodies], data.subtree_com[:, at.root], data.cvel[:, at.bodies]),
            *(self._linear, self._angular),
        ]

    def _prepare(self) -> tuple[Callable[[], None], Callable[[], None]]:
        """The recorded launches of a control step, and of kinematics alone. The first call waits for their kernels."""
        if self._launches is None:
            if self._build is not None:
                self._build.load()
            with self._fitting():
                self._launches = self._recorded(self._physics), self._recorded(self._kinematics)
            self._launches[1]()
            self._overflow.zero_()  # recording the physics ran a step with all robots inside the ground
        return self._launches

    def step(self, joint_target: Tensor) -> Tensor:
        step, _ = self._prepare()
        self._target.copy_(joint_target)
        step()
        self.capacity.step()
        return self._invalid.clone()

    def write(self, mask: Tensor, target: RobotState) -> None:
        _, refresh = self._prepare()
        qpos, qvel = coordinates(target)
        qpos = _inserted(qpos, self._first_qpos, self._at.qpos)
        qvel = _inserted(qvel, self._first_qvel, self._at.qvel)
        good = qpos.abs().amax(dim=1) < torch.inf  # neither infinite nor NaN
        assign_where(self._qpos, mask, qpos)
        assign_where(self._good_qpos, mask & good, qpos)
        assign_where(self._qvel, mask, qvel)
        assign_where(self._target, mask, target.joint_pos)
        zero_where(self._warmstart, mask)
        refresh()

    def push(self, force_w: Tensor) -> None:
        self._push_w.copy_(force_w)

    def place(self, mask: Tensor, origin: Tensor) -> None:
        assign_where(self._moved["mocap_pos"][:, self._terrain_row, :2], mask, -origin)

    def randomize(self, mask: Tensor, variation: Variation) -> None:
        assert self._bodies, "not made with `varied`"
        for name, value in self._nominal.varied(variation).items():
            assign_where(self._bodies[name], mask, value)

    def set_physics_dt(self, dt: float) -> None:
        # The recorded launches read it from this array, so that one CUDA graph serves all rates.
        wp.to_torch(self._model.opt.timestep).fill_(dt)

    def contact_force_w(self) -> Tensor:
        self._prepare()
        force = torch.zeros(self.num_envs, self._model.nbody, 3, device=self.device)
        with torch_stream(self.device):
            mjw.forward(self._model, self._data)
            contact = self._data.contact
            count = min(int(self._data.nacon.numpy()[0]), contact.dist.shape[0])
            if not count:
                return force[:, self._at.bodies]
            ids = wp.array(list(range(count)), dtype=int)
            wrench = wp.zeros(count, dtype=wp.spatial_vectorf)
            mjw.contact_force(self._model, self._data, ids, True, wrench)
        env, geoms = (wp.to_torch(x)[:count].long() for x in (contact.worldid, contact.geom))
        bodies = wp.to_torch(self._model.geom_bodyid).long()[geoms]
        on_second = wp.to_torch(wrench)[:, :3]
        for side, sign in ((0, -1.0), (1, 1.0)):
            force.index_put_((env, bodies[:, side]), sign * on_second, accumulate=True)
        return force[:, self._at.bodies]

    def state_dict(self) -> dict[str, Any]:
        self._prepare()
        return {name: x.clone() for name, x in self._saved_state.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        _, refresh = self._prepare()
        for name, x in self._saved_state.items():
            x.copy_(state[name])
        refresh()

    def close(self) -> None:
        """Stop compiling, if the simulator was never used."""
        if self._build is not None and self._launches is None:
            self._build.cancel()

    @property
    def _saved_state(self) -> dict[str, Tensor]:
        """State that the physics carries from step to step."""
        return {
            "qpos": self._qpos,
            "qvel": self._qvel,
            "ctrl": self._ctrl,
            "good_qpos": self._good_qpos,
            "qacc_warmstart": self._warmstart,
            **self._bodies,
            **self._moved,
        }

    def _physics(self) -> None:
        data = self._data
        for _ in range(self.robot.substeps):
            mjw.step(self._model, data)
        wp.launch(guard, dim=self.num_envs, inputs=self._guard_inputs)
        self._kinematics()

    def _kinematics(self) -> None:
        """Kinematics and velocities at the integrated state (a step leaves those of the previous substep)."""
        data = self._data
        mjw.kinematics(self._model, data)
        mjw.com_pos(self._model, data)
        mjw.com_vel(self._model, data)
        wp.launch(body_velocities, dim=(self.num_envs, self.robot.num_bodies), inputs=self._velocity_inputs)

    def _all_kernels(self) -> None:
        with torch_stream(self.device):
            self._physics()

    def _recorded(self, work: Callable[[], None]) -> Callable[[], None]:
        """The launches of `work` as one CUDA graph; on a CPU, `work` itself."""

        def run() -> None:
            with torch_stream(self.device):
                work()

        if self.device.type == "cpu":
            return run
        run()  # allocates
        with wp.ScopedDevice(self._where), wp.ScopedCapture() as capture:
            work()

        def launch(graph: Any) -> None:
            with torch_stream(self.device):
                if torch.cuda.is_current_stream_capturing():
                    work()  # becomes part of the graph that is being captured
                else:
                    wp.capture_launch(graph)

        return functools.partial(launch, capture.graph)


def _inserted(part: Tensor, whole: Tensor, where: slice) -> Tensor:
    """`whole` (N, K) with its columns `where` replaced by `part`."""
    if part.shape == whole.shape:
        return part
    return torch.cat([whole[:, : where.start], part, whole[:, where.stop :]], dim=1)
