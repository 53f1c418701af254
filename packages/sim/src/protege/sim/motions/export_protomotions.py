"""A clip as a `.motion` of ProtoMotions 3: a dict of float32 tensors of the joints and of all bodies, quaternions xyzw."""

from functools import cache
from importlib.resources import files
from typing import Any, BinaryIO

import torch
from torch import Tensor

from protege.core.motions import Clip
from protege.core.motions.contact import contact_points
from protege.core.motions.table import frame_table
from protege.core.robots import rotation as R
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState
from protege.core.runs import plain_yaml

from .smpl_onto import has_smpl_hinges

CONTACT_HEIGHT, CONTACT_SPEED = 0.02, 0.15
"""m, m/s: a body touches the ground while its lowest point is lower and its origin slower. In ProtoMotions' own files, feet on the
ground are slower than 0.147 m/s, and others faster than 0.151."""


def write_motion(clip: Clip, robot: Robot, rate: float, file: BinaryIO) -> None:
    """Write a `.motion` with torch.save; see `motion_fields`."""
    torch.save(motion_fields(clip, robot, rate), file)


def motion_fields(clip: Clip, robot: Robot, rate: float) -> dict[str, Any]:
    """The fields of a `.motion`, T evenly spaced frames.

    Velocities are central differences. Bodies are the robot's, in its order, and additional ones of ProtoMotions' model
    (maps/protomotions_bodies.yaml), B in all.

    Args:
        rate: frames per second.

    Returns:
        `fps`; `dof_pos` (T, J) rad, `dof_vel` (T, J) rad/s; for a robot with SMPL's hinges, the rotation vector of each body in its
        parent's frame, and its angular velocity in its own; for the bodies' origins, world frame: `rigid_body_pos` (T, B, 3) m,
        `rigid_body_rot` (T, B, 4) xyzw, `rigid_body_vel` (T, B, 3) m/s, `rigid_body_ang_vel` (T, B, 3) rad/s;
        `rigid_body_contacts` (T, B) bool, see `CONTACT_HEIGHT`.
    """
    state = frame_table([clip], robot, "cpu", rate)
    joint_pos, joint_vel = state.joint_pos, state.joint_vel
    if has_smpl_hinges(robot):
        joint_pos, joint_vel = _rotation_vectors(state, robot, rate)
    touches = _touches(state, robot)
    fields = {"pos": state.body_pos_w, "rot": state.body_quat_w.roll(-1, dims=-1), "vel": state.body_lin_vel_w,
              "ang_vel": state.body_ang_vel_w, "contacts": touches}  # fmt: skip
    own = _with_fixed(fields, state, robot)
    return {"fps": rate, "dof_pos": joint_pos, "dof_vel": joint_vel} | {f"rigid_body_{k}": x for k, x in own.items()}


def _rotation_vectors(state: RobotState, robot: Robot, rate: float) -> tuple[Tensor, Tensor]:
    """(T, 3 (B - 1)) rad, rotation vectors of all bodies but the root, and their angular velocities, rad/s."""
    quat = state.body_quat_w.double()
    local = R.multiply(R.conjugate(quat[:, list(robot.parents[1:])]), quat[:, 1:])
    turn = R.to_rotation_vector(R.multiply(R.conjugate(local[:-1]), local[1:])) * rate
    speed = (torch.cat([turn[:1], turn]) + torch.cat([turn, turn[-1:]])) / 2.0
    return R.to_rotation_vector(local).flatten(1).float(), speed.flatten(1).float()


def _touches(state: RobotState, robot: Robot) -> Tensor:
    """(T, B) whether each body touches the ground."""
    pose = (state.body_pos_w[:, 0], state.body_quat_w[:, 0], state.joint_pos)
    lowest = torch.from_numpy(contact_points(robot, *(x.double().numpy() for x in pose))[..., 2])
    return (lowest < CONTACT_HEIGHT) & (state.body_lin_vel_w.norm(dim=-1) < CONTACT_SPEED)


def _with_fixed(fields: dict[str, Tensor], state: RobotState, robot: Robot) -> dict[str, Tensor]:
    """The fields of all bodies, including those that are fixed to others."""
    fixed, columns = _fixed().get(robot.name, {}), list[dict[str, Tensor]]()
    for index, name in enumerate(robot.body_names):
        own = {key: x[:, index] for key, x in fields.items()}
        columns.append(own)
        if name in fixed:
            quat = state.body_quat_w[:, index]
            arm = R.rotate(quat, quat.new_tensor(fixed[name]).expand(len(quat), 3))
            swung = torch.linalg.cross(own["ang_vel"], arm)
            moved = {"pos": own["pos"] + arm, "vel": own["vel"] + swung, "contacts": torch.zeros_like(own["contacts"])}
            columns.append({**own, **moved})
    return {key: torch.stack([column[key] for column in columns], dim=1) for key in fields}


@cache
def _fixed() -> dict[str, dict[str, list[float]]]:
    data: Any = plain_yaml.read(files(__package__).joinpath("maps", "protomotions_bodies.yaml").read_bytes())
    return data["robots"]
