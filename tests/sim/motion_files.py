"""Motion files of every format, written by hand in its layout: a robot or person that moves ahead at 1 m/s and swings."""

import io
import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pickles import array, listed, mapping, number, pickled, raw, real, text

from protege.core.robots import rotation as R
from protege.core.robots.kinematics import Kinematics
from protege.core.robots.robot import Robot
from protege.sim.motions.importer import motions_in
from protege.sim.motions.readers.arrays import from_rotation_vectors
from protege.sim.motions.readers.options import Options
from protege.sim.motions.readers.smpl_family import NAMES, OWN_ORDER, skeleton
from protege.sim.motions.source import SourceMotion
from protege.sim.robots import get_robot

FPS, FRAMES = 30, 61


def roll(wxyz: np.ndarray) -> np.ndarray:
    """Quaternions from wxyz to xyzw."""
    return np.roll(wxyz, -1, axis=-1)


def turn(axis: str, angle: np.ndarray) -> np.ndarray:
    """(T, 4) wxyz about an axis."""
    half, index = 0.5 * np.asarray(angle), 1 + "xyz".index(axis)
    q = np.zeros((len(half), 4))
    q[:, 0], q[:, index] = np.cos(half), np.sin(half)
    return q


def swing(frames: int = FRAMES, fps: float = FPS, size: float = 0.3) -> np.ndarray:
    """(T,) rad, once to and fro a second, from zero."""
    return size * np.sin(2.0 * math.pi * np.arange(frames) / fps)


def robot_walk(
    robot: Robot, frames: int = FRAMES, fps: float = FPS
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Root (T, 3) and (T, 4) wxyz, joints (T, J), bodies (T, B, 3): the default pose with all joints swinging a little."""
    joints = np.array(robot.default_joint_pos) + swing(frames, fps, 0.05)[:, None]
    pos = np.stack([np.arange(frames) / fps, np.zeros(frames), np.full(frames, robot.root_height)], axis=1)
    quat = turn("z", 0.6 + swing(frames, fps, 0.1))
    bodies, _ = Kinematics(robot).double()(*map(torch.from_numpy, (pos, quat, joints)))
    return pos, quat, joints, bodies.numpy()


def csv(robot: Robot, order: str = "xyzw", head: bool = False, joints: int | None = None, scale: float = 1.0) -> bytes:
    """A table as Unitree or Kimodo write it."""
    pos, quat, angles, _ = robot_walk(robot)
    rows = np.concatenate([scale * pos, roll(quat) if order == "xyzw" else quat, angles[:, :joints]], axis=1)
    names = [*"xyz", *(f"q{letter}" for letter in order), *robot.joint_names[:joints]]
    lines = [",".join(names)] * head + [",".join(f"{x:.17g}" for x in row) for row in rows]
    return "\n".join(lines).encode()


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def mjlab(robot: Robot, breadth_first: bool = False) -> bytes:
    """BeyondMimic's layout, without names."""
    pos, quat, joints, bodies = robot_walk(robot)
    _, turns = Kinematics(robot).double()(*map(torch.from_numpy, (pos, quat, joints)))
    body_order, joint_order = list(range(robot.num_bodies)), list(range(robot.num_joints))
    if breadth_first:
        depth = {name: len(ancestors(robot, name)) for name in robot.body_names}
        body_order = sorted(body_order, key=lambda i: depth[robot.body_names[i]])  # sorted() keeps siblings in order
        place = {robot.body_names[i]: rank for rank, i in enumerate(body_order)}
        joint_order = sorted(joint_order, key=lambda i: place[robot.joints[i].body])
    return npz(fps=np.array([FPS]), joint_pos=joints[:, joint_order], joint_vel=joints * 0.0, body_pos_w=bodies[:, body_order],
               body_quat_w=turns.numpy()[:, body_order])  # fmt: skip


def ancestors(robot: Robot, name: str) -> list[str]:
    parents = {body.name: body.parent for body in robot.bodies}
    found, at = [], parents[name]
    while at is not None:
        found.append(at)
        at = parents[at]
    return found


def holosoma(robot: Robot) -> bytes:
    """Joints with the root in front, named; bodies with the world in front, named."""
    pos, quat, joints, bodies = robot_walk(robot)
    shuffled = np.arange(robot.num_joints)[::-1]
    world = np.concatenate([np.zeros((FRAMES, 1, 3)), bodies], axis=1)
    return npz(fps=np.array([FPS]), joint_pos=np.concatenate([pos, quat, joints[:, shuffled]], axis=1), body_pos_w=world,
               body_quat_w=np.zeros((FRAMES, robot.num_bodies + 1, 4)), body_names=np.array(["world", *robot.body_names]),
               joint_names=np.array(robot.joint_names)[shuffled])  # fmt: skip


def locomujoco(robot: Robot, split_points: Sequence[int] = (0, FRAMES)) -> bytes:
    """MuJoCo's coordinates; the free joint is named too, and what is missing is None."""
    pos, quat, joints, _ = robot_walk(robot)
    count = robot.num_joints + 1
    return npz(qpos=np.concatenate([pos, quat, joints], axis=1), qvel=np.zeros((FRAMES, count + 5)), frequency=np.array(float(FPS)),
               joint_names=np.array(["root", *robot.joint_names]), njnt=np.array(count), jnt_type=np.array([0] + [3] * (count - 1)),
               split_points=np.array(split_points), body_names=np.array(["world", *robot.body_names]),
               site_names=np.array(None, dtype=object))  # fmt: skip


def packed(values: np.ndarray, kind: str = "f8") -> bytes:
    """A numpy array's instructions in a pickle."""
    return array(values.shape, kind, raw(np.ascontiguousarray(values).astype(f"<{kind}").tobytes()))


def gmr(robot: Robot, joints: list[int] | None = None, bodies: bool = True) -> bytes:
    """GMR's pickle, of some of the joints, with the bodies in the root's frame."""
    pos, quat, angles, world = robot_walk(robot)
    if joints is not None:
        angles = np.where(np.isin(np.arange(robot.num_joints), joints), angles, 0.0)
        world = Kinematics(robot).double()(*map(torch.from_numpy, (pos, quat, angles)))[0].numpy()
        angles = angles[:, joints]
    fields = {"fps": real(29.97), "root_pos": packed(pos), "root_rot": packed(roll(quat)), "dof_pos": packed(angles)}
    if bodies:
        q = torch.from_numpy(quat)[:, None].expand(FRAMES, robot.num_bodies, 4)
        local = R.rotate_inverse(q, torch.from_numpy(world - world[:, :1])).numpy()
        fields |= {"local_body_pos": packed(local), "link_body_list": listed(*map(text, robot.body_names))}
    return pickled(mapping(**fields))


def mimickit(frames: np.ndarray, loop: int = 0) -> bytes:
    return pickled(mapping(loop_mode=number(loop), fps=number(FPS), frames=packed(frames)))


def rotation_vectors(q: np.ndarray) -> np.ndarray:
    return R.to_rotation_vector(torch.from_numpy(np.ascontiguousarray(q))).numpy()


def smpl_walk(frames: int = FRAMES) -> tuple[np.ndarray, np.ndarray]:
    """Root (T, 3) and rotations (T, 24, 4) of SMPL in our order and axes: arms hang, legs swing, the root heads to the left."""
    rotations = np.zeros((frames, len(NAMES), 4))
    rotations[..., 0] = 1.0
    angle = swing(frames)
    for name, axis, by in (("Pelvis", "z", 0.4 + 0.1 * angle), ("L_Hip", "y", angle), ("R_Hip", "y", -angle),
                           ("L_Knee", "y", angle + 0.3), ("Head", "z", angle), ("L_Shoulder", "x", angle * 0.0 - 1.4),
                           ("R_Shoulder", "x", angle * 0.0 + 1.4), ("L_Wrist", "z", 0.5 * angle)):  # fmt: skip
        rotations[:, NAMES.index(name)] = turn(axis, by)
    way = np.arange(frames) / FPS
    return np.stack([way * math.cos(0.4), way * math.sin(0.4), np.full(frames, 0.95)], axis=1), rotations


def world(rotations: np.ndarray) -> np.ndarray:
    """Rotations (T, 24, 4) in the parents' frames -> in the world's."""
    q, found = torch.from_numpy(rotations), []
    for index, parent in enumerate(skeleton().parents):
        found.append(q[:, index] if parent < 0 else R.multiply(found[parent], q[:, index]))
    return torch.stack(found, dim=1).numpy()


def poselib(local: bool = False, xyzw: bool = True, names: tuple[str, ...] = NAMES, **changes: bytes) -> bytes:
    """ProtoMotions 1's .npy: a pickled mapping, quaternions xyzw of the world's frame."""
    pos, rotations = smpl_walk()
    body = skeleton()
    quat = rotations if local else world(rotations)
    tree = mapping(
        node_names=listed(*map(text, names)),
        parent_indices=mapping(arr=packed(np.array(body.parents), "i8")),
        local_translation=mapping(arr=packed(body.offsets, "f4")),
    )
    fields = {
        "rotation": mapping(arr=packed(roll(quat) if xyzw else quat)), "root_translation": mapping(arr=packed(pos)),
        "skeleton_tree": tree, "is_local": b"\x88" if local else b"\x89", "fps": array((), "f8", raw(struct.pack("<d", FPS))),
    } | changes  # fmt: skip
    whole = array((), "O8", listed(mapping(**fields)))
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + pickled(whole)


def smpl_parameters() -> tuple[np.ndarray, np.ndarray]:
    """AMASS's poses (T, 24, 3), in SMPL's own order and axes, and the pelvis (T, 3), of `smpl_walk`."""
    pos, ours = smpl_walk()
    to = torch.tensor([0.5, 0.5, 0.5, 0.5], dtype=torch.float64).expand(FRAMES, 24, 4)
    q = torch.from_numpy(ours)
    own = R.multiply(R.multiply(R.conjugate(to), q), to)
    own[:, 0] = R.multiply(q[:, 0], to[:, 0])
    order = [NAMES.index(name) for name in OWN_ORDER]
    return rotation_vectors(own.numpy()[:, order]), pos


def amass(kind: str = "smplh", **changes: Any) -> bytes:
    poses, pelvis = smpl_parameters()
    trans = pelvis - np.array([-0.0018, -0.2233, 0.0282])
    hands = np.full((FRAMES, 30, 3), 0.3)
    if kind == "smplh":
        rows = np.concatenate([poses[:, :22], hands], axis=1).reshape(FRAMES, -1)
        fields = {
            "trans": trans,
            "poses": rows,
            "betas": np.zeros(16),
            "gender": np.array("male"),
            "mocap_framerate": float(FPS),
        }
    else:
        fields = {"trans": trans, "root_orient": poses[:, 0], "pose_body": poses[:, 1:22].reshape(FRAMES, -1),
                  "pose_hand": hands.reshape(FRAMES, -1), "gender": np.array("neutral"), "mocap_frame_rate": np.array(FPS),
                  "surface_model_type": np.array("smplx")}  # fmt: skip
    return npz(**{key: value for key, value in (fields | changes).items() if value is not None})


def estimated(project: str = "aist", persons: int = 1) -> bytes:
    """`smpl_walk` as AIST++, GVHMR and WHAM store it: y up; for WHAM of several persons."""
    poses, pelvis = smpl_parameters()
    down = torch.tensor([math.sqrt(0.5), -math.sqrt(0.5), 0.0, 0.0], dtype=torch.float64).expand(FRAMES, 4)
    root = R.multiply(down, torch.from_numpy(from_rotation_vectors(poses[:, 0])))
    poses = np.concatenate([rotation_vectors(root.numpy())[:, None], poses[:, 1:]], axis=1).reshape(FRAMES, -1)
    trans = R.rotate(down, torch.from_numpy(pelvis)).numpy() - np.array([-0.0018, -0.2233, 0.0282])
    if project == "gvhmr":
        world = {
            "global_orient": poses[:, :3],
            "body_pose": poses[:, 3:66],
            "transl": trans,
            "betas": np.zeros((FRAMES, 10)),
        }
        return saved({"smpl_params_global": {key: torch.from_numpy(x) for key, x in world.items()}})
    if project == "wham":
        one = mapping(pose_world=packed(poses), trans_world=packed(trans), pose=packed(poses), trans=packed(trans))
        return pickled(b"}(" + b"".join(number(k) + one for k in range(persons)) + b"u")
    return pickled(
        mapping(smpl_poses=packed(poses), smpl_trans=packed(90.0 * trans), smpl_scaling=packed(np.array([90.0])))
    )


def phc(names: tuple[str, ...] = ("0-walk", "0-walk again")) -> bytes:
    poses, pelvis = smpl_parameters()
    one = mapping(pose_aa=packed(poses.reshape(FRAMES, -1)), root_trans_offset=packed(pelvis), fps=number(FPS))
    return pickled(b"}(" + b"".join(text(name) + one for name in names) + b"u")


def saved(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def protomotions(robot: Robot) -> dict[str, Any]:
    """A .motion's fields; the robot's bodies, quaternions xyzw."""
    pos, quat, joints, bodies = robot_walk(robot)
    _, turns = Kinematics(robot).double()(*map(torch.from_numpy, (pos, quat, joints)))
    return {"fps": FPS, "dof_pos": torch.from_numpy(joints), "rigid_body_pos": torch.from_numpy(bodies),
            "rigid_body_rot": turns.roll(-1, dims=-1), "rigid_body_contacts": torch.ones(FRAMES, 9) > 0.5}  # fmt: skip


def smpl_motion() -> dict[str, Any]:
    """A .motion's fields of SMPL: joints are rotation vectors."""
    pos, rotations = smpl_walk()
    from protege.sim.motions.skeleton_kinematics import body_positions

    body = skeleton()
    places = body_positions(pos, rotations, body.offsets, body.parents)
    return {"fps": FPS, "dof_pos": torch.from_numpy(rotation_vectors(rotations[:, 1:]).reshape(FRAMES, -1)),
            "rigid_body_pos": torch.from_numpy(places), "rigid_body_rot": torch.from_numpy(roll(world(rotations)))}  # fmt: skip


def library(*motions: dict[str, Any], names: tuple[str, ...] = ()) -> bytes:
    """Motions packed into one .pt."""
    counts = torch.tensor([len(one["dof_pos"]) for one in motions])
    fields = {"gts": "rigid_body_pos", "grs": "rigid_body_rot", "dps": "dof_pos"}
    tensors = {key: torch.cat([one[field] for one in motions]) for key, field in fields.items()}
    return saved(tensors | {"length_starts": counts.cumsum(0) - counts, "motion_num_frames": counts, "motion_files": names,
                            "motion_dt": torch.full((len(motions),), 1.0 / FPS)})  # fmt: skip


BVH = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition %(order)s
  JOINT Left Leg
  {
    OFFSET 10 -45 0
    CHANNELS 3 %(order)s
    End Site
    {
      OFFSET 0 -45 0
    }
  }
  JOINT Spine
  {
    OFFSET 0 60 0
    CHANNELS 3 %(order)s
    End Site
    {
      OFFSET 0 20 5
    }
  }
}
MOTION
Frames: %(frames)d
Frame Time: 0.0333333
%(rows)s
"""


def bvh(order: str = "ZYX", rows: list[list[float]] | None = None, scale: float = 1.0) -> bytes:
    """A stick figure in centimetres, y up, whose hips are 90 cm high."""
    rows = rows or [[0.0, 90.0 * scale, i * scale, 10.0, 20.0, 30.0, i, 0.0, 0.0, 0.0, 0.0, 0.0] for i in range(20)]
    words = " ".join(f"{axis}rotation" for axis in order)
    lines = "\n".join(" ".join(f"{x:.6f}" for x in row) for row in rows)
    filled = BVH % {"order": words, "frames": len(rows), "rows": lines}
    if scale != 1.0:
        filled = "\n".join(
            " ".join([line.split()[0].rjust(8), *(str(float(x) * scale) for x in line.split()[1:])])
            if line.strip().startswith("OFFSET") else line for line in filled.splitlines()
        )  # fmt: skip
    return filled.encode()


SMPL, G1 = get_robot("smpl"), get_robot("g1")


def read(contents: bytes, **options: Any) -> list[SourceMotion]:
    """The motions in the contents of a file."""
    return list(motions_in(contents, "walk.x", "walk", Options(**options)))


def close(a: np.ndarray, b: np.ndarray, within: float = 1e-9) -> bool:
    """Whether rotations are the same, whatever their sign."""
    turned = [torch.from_numpy(np.ascontiguousarray(x)) for x in (a, b)]
    return bool(R.angle_between(*turned).max() < max(within, 1e-6))
