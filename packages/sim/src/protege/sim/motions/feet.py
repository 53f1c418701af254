"""Keep standing feet in place: legs are bent so that soles neither slide over the ground nor penetrate it.

A skeleton of other proportions, and a recording itself, lets feet slide by centimetres. `foot_moves` computes how far each foot has
to be moved. Then each leg alone is solved for the foot's new position and its old rotation; all other joints stay as they are. A
foot that swings into the other leg is moved aside.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from protege.core.motions import Clip
from protege.core.robots.robot import Robot

from ..engine import mujoco
from ..robots.mjcf import build_spec
from .foot_moves import foot_moves
from .ground import STEADY_SMOOTHING, averaged, frames, largest
from .legs_apart import foot_ways
from .soles import leg_bodies
from .surface import trace
from .world_poses import robot_poses

MAX_LEG_STRETCH = 0.965
"""Largest stretch of a leg, as a share of its length: a straight leg cannot be adjusted vertically. The root is lowered instead."""
MAX_ROOT_DROP = 0.05
"""m, by which the root is lowered at most."""
SMOOTHING_FRAMES = (0.5, 0.7, 0.8, 0.9, 1.0, 1.2)
"""Standard deviations, frames of 60 Hz, for smoothing the change of the legs' joints: feet that land stop abruptly."""
MAX_JUMP_RATIO, MAX_JUMP_ACCELERATION = 2.0, 580.0
"""Largest growth of the joints' speed jumps, up to MAX_JUMP_ACCELERATION rad/s² or their original size. The least smoothing that
satisfies it is used."""
MAX_ASIDE_ROUNDS = 2
"""Largest number of times that feet which swing into the other leg are moved aside."""
GAUSS_NEWTON_STEPS, DAMPING, ROTATION_WEIGHT, CHANGE_WEIGHT = 12, 0.02, 0.1, 0.01
"""Gauss-Newton steps for a leg; their damping, m; and the weights of the foot's rotation and of the joints' change, m per rad."""


def pinned(clip: Clip, robot: Robot, standing: Sequence[np.ndarray], extra: int = 0) -> Clip:
    """The clip with standing feet held on the ground.

    Args:
        clip: on the ground to within centimetres, T evenly spaced frames.
        standing: for the left and the right foot, (T,) when it stands.
        extra: frames at either end that only provide a smooth continuation.
    """
    step = clip.duration / (len(clip.time) - 1)
    surface = trace(clip, robot)
    feet = [robot.groups.left_foot, robot.groups.right_foot]
    moves = []
    for names, stands in zip(feet, standing, strict=True):
        own = np.isin(surface.body, robot.body_ids(names))
        moves.append(foot_moves(surface.points[:, own, :2], surface.height[:, own], stands, step))
    bent = _bent(clip, robot, moves, extra)
    for _ in range(MAX_ASIDE_ROUNDS):
        ways = foot_ways(bent, robot, standing)
        if ways is None:
            break
        moves = [move + way for move, way in zip(moves, ways, strict=True)]
        bent = _bent(clip, robot, moves, extra)
    return bent


def _bent(clip: Clip, robot: Robot, moves: Sequence[np.ndarray], extra: int) -> Clip:
    """The clip with its feet moved by (T, 3) m each."""
    legs = [_Leg(robot, names[0]) for names in (robot.groups.left_foot, robot.groups.right_foot)]
    step = clip.duration / (len(clip.time) - 1)
    drop = np.max([_too_far(clip, robot, leg, move) for leg, move in zip(legs, moves, strict=True)], axis=0)
    steady = frames(STEADY_SMOOTHING, step)
    drop = averaged(largest(drop, steady), steady)[:, None] * [0.0, 0.0, 1.0]
    clip, moves = replace(clip, root_pos_w=clip.root_pos_w - drop), [move + drop for move in moves]
    joint_pos = clip.joint_pos.copy()
    for frame in range(len(clip.time)):
        pose = np.concatenate([clip.root_pos_w[frame], clip.root_quat_w[frame], clip.joint_pos[frame]])
        for leg, move in zip(legs, moves, strict=True):
            joint_pos[frame, leg.joints] = leg.moved(pose, move[frame])
    return _calm(clip, joint_pos - clip.joint_pos, robot, extra)


def _calm(clip: Clip, bent: np.ndarray, robot: Robot, extra: int) -> Clip:
    """The clip with its joints changed by (T, J) rad, smoothed according to `SMOOTHING_FRAMES` and `MAX_JUMP_RATIO`."""
    low, high = robot.joint_range().double().numpy().T
    step = clip.duration / (len(clip.time) - 1)
    inside, joint_pos = slice(extra, len(bent) - extra), clip.joint_pos
    before = _jump(joint_pos[inside])
    most = max(before, min(MAX_JUMP_RATIO * before, MAX_JUMP_ACCELERATION * step**2))
    for deviation in SMOOTHING_FRAMES:
        joint_pos = (clip.joint_pos + averaged(bent, frames(deviation, step))).clip(low, high)
        if _jump(joint_pos[inside]) <= most:
            break
    return replace(clip, joint_pos=joint_pos)


def _jump(joint_pos: np.ndarray) -> float:
    """rad, the largest change of a joint's step between consecutive frames (T, J)."""
    return float(np.abs(np.diff(joint_pos, n=2, axis=0)).max(initial=0.0))


def _too_far(clip: Clip, robot: Robot, leg: "_Leg", move: np.ndarray) -> np.ndarray:
    """(T,) m, by which the root must be lowered so that a leg reaches its moved foot."""
    hip, ankle = (robot.body_names.index(name) for name in (leg.chain[-1], leg.chain[0]))
    pos, _ = robot_poses(robot, clip.root_pos_w, clip.root_quat_w, clip.joint_pos)
    zero, _ = robot_poses(robot, np.zeros((1, 3)), clip.root_quat_w[:1], np.zeros((1, robot.num_joints)))
    longest = MAX_LEG_STRETCH * np.linalg.norm(zero[0, hip] - zero[0, ankle])
    way = pos[:, hip] - pos[:, ankle] - move
    high = np.sqrt((longest**2 - (way[:, :2] ** 2).sum(axis=1)).clip(0.0))
    too_far = np.linalg.norm(way, axis=1) > longest
    return np.where(too_far, (way[:, 2] - high).clip(0.0, MAX_ROOT_DROP), 0.0)


class _Leg:
    """The joints from the root to a foot, and a MuJoCo model to solve for them.

    mink's quadratic program includes all joints of the robot, with constraints on those that stay: for the same 0.3 mm it takes
    0.8 ms per frame for a leg of the G1 and 14 for SMPL's; these steps take 0.5.

    Attributes:
        chain: bodies from the foot up to the hip.
        joints: (L,) their indices.
    """

    def __init__(self, robot: Robot, foot: str) -> None:
        self.model = build_spec(robot).compile()
        self.data, self.foot = mujoco.MjData(self.model), self.model.body(foot).id
        self.chain = leg_bodies(robot, foot)
        self.joints = [i for i, joint in enumerate(robot.joints) if joint.body in self.chain]
        self.low, self.high = robot.joint_range().double().numpy()[self.joints].T
        # Change in the previous frame, so that a nearly straight leg bends in the same direction.
        self.change = np.zeros(len(self.joints))
        self.weights = np.array([1.0, 1.0, 1.0, ROTATION_WEIGHT, ROTATION_WEIGHT, ROTATION_WEIGHT])

    def moved(self, pose: np.ndarray, move: np.ndarray) -> np.ndarray:
        """(L,) rad, which put the foot at its place in a pose (7 + J,), moved by (3,) m and not rotated, as closely as possible."""
        data, columns = self.data, [7 + i for i in self.joints]
        rows = [6 + i for i in self.joints]
        data.qpos[:] = pose
        mujoco.mj_kinematics(self.model, data)
        place, turn = data.xpos[self.foot] + move, data.xquat[self.foot].copy()
        start, spatial, off = pose[columns].clip(self.low, self.high), np.zeros((6, self.model.nv)), np.zeros(6)
        angles = (start + self.change).clip(self.low, self.high)
        for _ in range(GAUSS_NEWTON_STEPS):
            data.qpos[columns] = angles
            mujoco.mj_kinematics(self.model, data)
            mujoco.mj_comPos(self.model, data)
            off[:3] = place - data.xpos[self.foot]
            _turn_between(off[3:], data.xquat[self.foot], turn)
            if np.abs(off).max() < 1e-5:
                break
            mujoco.mj_jacBody(self.model, data, spatial[:3], spatial[3:], self.foot)
            jacobian, error = spatial[:, rows] * self.weights[:, None], off * self.weights
            push = jacobian.T @ error - CHANGE_WEIGHT**2 * (angles - start)
            # A joint at a limit that is pushed against it does not take part.
            free = ~((angles <= self.low) & (push < 0.0) | (angles >= self.high) & (push > 0.0))
            jacobian = jacobian * free
            normal = jacobian.T @ jacobian + (DAMPING**2 + CHANGE_WEIGHT**2) * np.eye(len(free))
            angles = (angles + np.linalg.solve(normal, push * free).clip(-0.2, 0.2)).clip(self.low, self.high)
        self.change = angles - start
        return angles


def _turn_between(into: np.ndarray, here: np.ndarray, there: np.ndarray) -> None:
    """Write the rotation vector (3,) rad, world frame, from one rotation (4,) to another."""
    back, between = np.empty(4), np.empty(4)
    mujoco.mju_negQuat(back, here)
    mujoco.mju_mulQuat(between, there, back)
    mujoco.mju_quat2Vel(into, between, 1.0)
