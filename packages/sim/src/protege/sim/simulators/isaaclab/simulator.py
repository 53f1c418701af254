"""Isaac Lab 3 on Newton with the MuJoCo Warp solver, without Isaac Sim: all envs step together on one GPU, or slowly on a CPU.

The robot is an `Articulation` of Isaac Lab, authored as USD from the same MuJoCo model as in the other backends. A control step is
one step of its simulation, whose substeps are one CUDA graph.
"""

import gc
import sys
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from protege.core.errors import UserError
from protege.core.robots import rotation as R
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState

from ...env_config import IsaaclabParams
from ...robots.mjcf import build_spec
from ...terrain import Terrain
from ..simulator import Variation

if sys.version_info[:2] != (3, 12):
    version = ".".join(map(str, sys.version_info[:2]))
    raise UserError(f"isaaclab runs on Python 3.12, not on {version}", "Make an environment with Python 3.12")
try:
    import warp as wp
    from isaaclab.assets import Articulation
    from isaaclab_newton.physics import NewtonManager

    from ..mjwarp_kernels import guard
    from ..warp_device import CapacityMonitor, checked_device, fitting, torch_stream
    from .arrays import Arrays, VariedBodies, newton_solver
    from .process import Place
    from .scene import build
except ModuleNotFoundError as error:
    package = (error.name or "").partition(".")[0]
    raise UserError(
        f"{package} is not installed", 'Install it, on Python 3.12: pip install "protege-sim[isaaclab]"'
    ) from error

# Isaac Lab collects garbage whenever a simulation ends. The million imported objects stay anyway, and scanning them takes half a
# second.
gc.freeze()


class IsaaclabSimulator:
    """Implements `Simulator`.

    Contact forces are those of the last physics step; after a `write` they are outdated.

    Args:
        num_threads: not used.
        varied: let `randomize` make envs differ.
        contacts: see `IsaaclabParams`.
        constraints: the same.

    Attributes:
        scene: Isaac Lab's `InteractiveScene`: `scene["robot"]`, `scene["contacts"]`.

    Raises:
        UserError: the device does not exist or has too little memory, or a terrain is given.
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
        contacts: int = IsaaclabParams.contacts,
        constraints: int = IsaaclabParams.constraints,
    ) -> None:
        if terrain is not None:
            raise UserError("isaaclab supports only flat ground, not env.terrain", "Take --simulator mujoco or mjwarp")
        self.terrain = None
        self.robot, self.num_envs, self.device = robot, num_envs, checked_device("isaaclab", device)
        wp.config.log_level = wp.LOG_WARNING
        model = build_spec(robot).compile()
        self._place = Place()
        with ExitStack() as unfinished:
            unfinished.callback(self._place.close)
            self._place.enter()
            with fitting(num_envs, self.device, model, nconmax=contacts, njmax=constraints):
                self.scene = build(robot, model, num_envs, str(self.device), contacts, constraints)
                self._allocate(varied)
            unfinished.pop_all()
        self.capacity = CapacityMonitor("isaaclab", self._arrays.overflow, contacts, constraints)

    def _allocate(self, varied: bool) -> None:
        """Create the views and run a first step, which compiles, records, and passes Isaac Lab's settings to the solver."""
        self._robot: Articulation = self.scene["robot"]
        self._sensor: Any = self.scene["contacts"]
        self._sensor_order = [self._sensor.sensor_names.index(name) for name in self.robot.body_names]
        assert self.scene.sim
        self._simulation = self.scene.sim
        newton_solver().mjw_model.opt.warn_overflow = False  # it would print one line per env and step from kernels
        arrays = self._arrays = Arrays(self._robot, self.robot, self.device)
        self.state, n, j = arrays.state, self.num_envs, self.robot.num_joints
        self._target = self.robot.default_pose(self.device).repeat(n, 1)
        self._push_w = torch.zeros(n, 3, device=self.device)
        self._wrong = torch.zeros(n, dtype=torch.bool, device=self.device)
        with wp.ScopedDevice(wp.device_from_torch(self.device)):
            self._simulation.step(render=False)
            arrays.publish()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self._still = torch.zeros(n, 6 + j, device=self.device)
        self._good = self._pose().clone()
        self._bodies = VariedBodies(self._robot, self.robot, self.device) if varied else None
        arrays.overflow.zero_()

    def step(self, joint_target: Tensor) -> Tensor:
        self._place.enter()
        self._target.copy_(joint_target)
        with torch_stream(self.device):
            self._robot.actuators.target_command.set_position_index(value=self._target)
            self._robot.write_data_to_sim()
            self._arrays.root_force_w.copy_(self._push_w)
            self._simulation.step(render=False)
            self.scene.update(self.robot.control_dt)
            self._arrays.publish()
            self._guard()
        self.capacity.step()
        return self._wrong.clone()

    def write(self, mask: Tensor, target: RobotState) -> None:
        self._place.enter()
        pose = torch.cat([target.root_pos_w, target.root_quat_w, target.joint_pos], dim=1)
        velocity = torch.cat([target.root_lin_vel_w, target.root_ang_vel_w, target.joint_vel], dim=1)
        good = mask & pose.isfinite().all(dim=1)
        self._good.copy_(torch.where(good.unsqueeze(1), pose, self._good))
        with torch_stream(self.device):
            self._put(mask, pose, velocity)

    def push(self, force_w: Tensor) -> None:
        self._push_w.copy_(force_w)

    def place(self, mask: Tensor, origin: Tensor) -> None:
        """There is no terrain to move."""

    def randomize(self, mask: Tensor, variation: Variation) -> None:
        assert self._bodies, "not made with `varied`"
        self._bodies.change(mask, variation)

    def contact_force_w(self) -> Tensor:
        self._place.enter()
        with torch_stream(self.device):
            self._sensor.update(0.0, force_recompute=True)
            return self._sensor.data.net_forces_w.torch[:, self._sensor_order]

    def state_dict(self) -> dict[str, Any]:
        return {name: x.clone() for name, x in self._saved_state.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._place.enter()
        saved_state = self._saved_state
        for name, x in saved_state.items():
            x.copy_(state[name])
        with torch_stream(self.device):
            NewtonManager.invalidate_fk()
            self._simulation.forward()
            self._arrays.publish()
        saved_state["qacc_warmstart"].copy_(state["qacc_warmstart"])  # which `forward` has reset

    def close(self) -> None:
        """End the simulation; another one may follow in this process."""
        self._place.close()

    @property
    def _saved_state(self) -> dict[str, Tensor]:
        """State that the physics carries from step to step."""
        return {**self._arrays.physics_state, "good": self._good, **(self._bodies.fields if self._bodies else {})}

    def _pose(self) -> Tensor:
        """Root position, quaternion wxyz, and joint angles, (N, 7 + J)."""
        return torch.cat([self.state.root_pos_w, self.state.root_quat_w, self.state.joint_pos], dim=1)

    def _put(self, mask: Tensor, pose: Tensor, velocity: Tensor) -> None:
        """Write the envs where mask (N,) is True.

        Isaac Lab's quaternions are xyzw. Its writers by mask have fixed shapes, so that a CUDA graph may hold them. The writer of
        the root frame's velocity cannot be captured, so the velocity of the centre of mass is written.

        Args:
            pose: (N, 7 + J), see `_pose`.
            velocity: (N, 6 + J), of the root, linear and angular in the world frame, and of the joints.
        """
        chosen, articulation = wp.from_torch(mask), self._robot
        root = torch.cat([pose[:, :3], pose[:, 4:7], pose[:, 3:4]], dim=1)
        arm, spin = R.rotate(pose[:, 3:7], self._arrays.root_center), velocity[:, 3:6]
        root_velocity = torch.cat([velocity[:, :3] + R.cross(spin, arm), spin], dim=1)
        joint_pos, joint_vel = pose[:, 7:].contiguous(), velocity[:, 6:].contiguous()
        articulation.write_root_link_pose_to_sim_mask(root_pose=root, env_mask=chosen)
        articulation.write_root_com_velocity_to_sim_mask(root_velocity=root_velocity, env_mask=chosen)
        articulation.write_joint_position_to_sim_mask(position=joint_pos, env_mask=chosen)
        articulation.write_joint_velocity_to_sim_mask(velocity=joint_vel, env_mask=chosen)
        self._simulation.forward()
        self._arrays.publish()

    def _guard(self) -> None:
        """Reset envs with a NaN or an absurd speed to their last valid pose, at rest."""
        s, arrays = self.state, self._arrays
        velocity = torch.cat([s.root_lin_vel_w, s.root_ang_vel_w, s.joint_vel], dim=1)
        tensors = [self._pose(), velocity, arrays.physics_state["qacc_warmstart"], self._target, arrays.overflow]
        tensors += [self._good, self._good[:, 7:]]
        wp.launch(guard, dim=self.num_envs, inputs=[*map(wp.from_torch, tensors), wp.from_torch(self._wrong)])
        if self.device.type == "cuda" or bool(self._wrong.any()):  # on a GPU, without reading the flags
            self._put(self._wrong, self._good, self._still)
