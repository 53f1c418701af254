"""Newton's and its solver's arrays of the robots in an Isaac Lab scene, as torch tensors in our order and conventions."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import warp as wp
from isaaclab.assets import Articulation
from isaaclab_newton.physics import NewtonManager
from newton.solvers import SolverMuJoCo
from torch import Tensor

from protege.core.errors import UserError
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState

from ...references.rows import assign_where
from ..nominal import Nominal
from ..simulator import Variation
from .kernels import publish_bodies, publish_joints
from .scene import PRIM, joint_names


def newton_solver() -> Any:
    """The solver, a `SolverMuJoCo`, of the active simulation."""
    assert isinstance(NewtonManager._solver, SolverMuJoCo)
    return NewtonManager._solver


class Arrays:
    """Views of the moving state.

    Attributes:
        state: refreshed by `publish`.
        physics_state: state that the physics carries from step to step, (N, ...) each.
        root_force_w: (N, 3) N, at the root's centre of mass, for the next step only.
        root_center: (N, 3) m, the root's nominal centre of mass in its frame; Newton stores the velocity of this point.
        overflow: (N,) the solver's flags.
    """

    def __init__(self, articulation: Articulation, robot: Robot, device: torch.device) -> None:
        view, newton, data = articulation.root_view, NewtonManager.get_state_0(), newton_solver().mjw_data
        n, bodies, joints = articulation.num_instances, robot.num_bodies, robot.num_joints

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(n, *shape, device=device)

        self.state = RobotState(
            zeros(joints), zeros(joints), zeros(bodies, 3), zeros(bodies, 4), zeros(bodies, 3), zeros(bodies, 3)
        )
        assert newton.joint_q is not None and newton.joint_qd is not None
        self.physics_state = {
            "joint_q": wp.to_torch(newton.joint_q).view(n, -1),
            "joint_qd": wp.to_torch(newton.joint_qd).view(n, -1),
            "qacc_warmstart": wp.to_torch(data.qacc_warmstart),
        }
        self.overflow = wp.to_torch(data.overflow)
        root = articulation.backend_body_names.index(robot.body_names[0])
        self.root_force_w = wp.to_torch(view.get_attribute("body_f", newton)[:, 0])[:, root, :3]
        centers = view.get_attribute("body_com", NewtonManager.get_model())[:, 0]
        self.root_center = wp.to_torch(centers)[:, root]
        body_order = [articulation.backend_body_names.index(name) for name in robot.body_names]
        joint_order = [articulation.backend_joint_names.index(name) for name in joint_names(robot)]
        s, place = self.state, wp.device_from_torch(device)
        self._bodies = [
            view.get_link_transforms(newton)[:, 0],
            view.get_link_velocities(newton)[:, 0],
            centers,
            wp.array(body_order, dtype=int, device=place),
            wp.from_torch(s.body_pos_w, wp.vec3),
            wp.from_torch(s.body_quat_w, wp.vec4),
            wp.from_torch(s.body_lin_vel_w, wp.vec3),
            wp.from_torch(s.body_ang_vel_w, wp.vec3),
        ]
        self._joints = [
            view.get_dof_positions(newton)[:, 0],
            view.get_dof_velocities(newton)[:, 0],
            wp.array(joint_order, dtype=int, device=place),
            wp.from_torch(s.joint_pos),
            wp.from_torch(s.joint_vel),
        ]

    def publish(self) -> None:
        """Refresh `state`."""
        wp.launch(publish_bodies, dim=self.state.body_pos_w.shape[:2], inputs=self._bodies)
        wp.launch(publish_joints, dim=self.state.joint_pos.shape, inputs=self._joints)


class VariedBodies:
    """The solver's model in which envs differ: the fields of `mjwarp`, one row per env, in the solver's order.

    Newton keeps the nominal masses. It reads and writes the root's velocity at the nominal centre of mass.

    Attributes:
        fields: by name, (N, ...).
    """

    def __init__(self, articulation: Articulation, robot: Robot, device: torch.device) -> None:
        solver = newton_solver()
        model, host = solver.mjw_model, solver.mj_model
        nominal = {name: getattr(model, name).numpy()[0] for name in Nominal.BODIES}
        self.fields = {name: wp.to_torch(getattr(model, name)) for name in Nominal.BODIES}
        labels = [host.body(body).name.rpartition(f"_{PRIM}_")[2] for body in range(host.nbody)]
        bodies = [labels.index(name) for name in robot.body_names]
        hinges = np.flatnonzero(np.isin(host.jnt_bodyid, bodies[1:]))
        actuators = np.flatnonzero(np.isin(host.actuator_trnid[:, 0], hinges))
        # Newton's degrees of freedom that they drive, counted from the robot's first: each twice, by a spring and a damper.
        dofs = solver.mjc_jnt_to_newton_dof.numpy()[0]
        driven = dofs[host.actuator_trnid[actuators, 0]] - dofs[hinges].min()
        names, backend = joint_names(robot), articulation.backend_joint_names
        self._joints = torch.tensor([names.index(backend[i]) for i in driven], device=device)
        host_fields = SimpleNamespace(**nominal, body_parentid=host.body_parentid)
        rows = [torch.tensor(x, device=device) for x in (bodies, actuators)]
        self.nominal = Nominal(host_fields, device, torch.float32, rows[0], rows[1])

    def change(self, mask: Tensor, variation: Variation) -> None:
        """Change the envs where mask (N,) is True.

        Raises:
            UserError: effort limits or contacts differ: Newton stores these elsewhere.
        """
        if variation.effort is not None or variation.contact_time is not None:
            raise UserError(
                "isaaclab cannot vary env.randomization.effort and contact_time", "Leave them at [1, 1], or take mjwarp"
            )
        gains = variation.gains
        mine = replace(variation, gains=None if gains is None else gains[:, self._joints])
        for name, value in self.nominal.varied(mine).items():
            assign_where(self.fields[name], mask, value)
