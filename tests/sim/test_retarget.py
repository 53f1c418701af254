"""Retargeting to another robot by inverse kinematics: targets by hand, what the solution keeps, and the shipped clips of the G1."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from protege.core.motions import Clip, load_clip
from protege.core.robots.kinematics import Kinematics
from protege.sim.engine import mujoco
from protege.sim.motions.anatomy import in_skeleton, shipped_maps
from protege.sim.motions.inverse_kinematics import aims, solve
from protege.sim.motions.surface import trace
from protege.sim.motions.world_poses import of_clip
from protege.sim.robots import get_robot
from protege.sim.robots.mjcf import build_spec

SMPL, G1 = get_robot("smpl"), get_robot("g1")
ROLES = in_skeleton(shipped_maps()["smpl"], SMPL.body_names)


def places(robot, clip: Clip) -> dict[str, np.ndarray]:
    """Position of each body, (T, 3) m."""
    parts = (torch.from_numpy(x).double() for x in (clip.root_pos_w, clip.root_quat_w, clip.joint_pos))
    pos, _ = Kinematics(robot).double()(*parts)
    return {name: pos[:, i].numpy() for i, name in enumerate(robot.body_names)}


def piece(name: str, frames: int) -> Clip:
    clip = load_clip(f"smpl_humanoid_{name}.npy", SMPL)
    part = {key: getattr(clip, key)[:frames] for key in ("time", "root_pos_w", "root_quat_w", "joint_pos")}
    return replace(clip, **part)


def zero() -> Clip:
    """SMPL's zero pose, a T-pose, turned by 90° to face y."""
    quat = np.tile([np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)], (2, 1))
    return Clip("zero", np.array([0.0, 1.0]), np.tile([1.0, 2.0, 0.9], (2, 1)), quat, np.zeros((2, SMPL.num_joints)))


def test_targets_of_a_t_pose_by_hand():
    wanted = aims(of_clip(zero(), SMPL), ROLES, G1)
    got, rotations, scale = wanted.positions, wanted.rotations, wanted.scale
    source = places(SMPL, zero())
    assert scale == pytest.approx(0.847, abs=5e-4)  # the legs have 0.658 m from hip to ankle, SMPL's 0.777
    np.testing.assert_allclose(got["pelvis"], scale * np.tile([1.0, 2.0, 0.9], (2, 1)), atol=1e-9)
    # Fixed to the pelvis, which faces y: the robot's own offset (0, 0.064452, -0.1027), turned.
    np.testing.assert_allclose(got["left_hip_pitch_link"] - got["pelvis"], [[-0.064452, 0.0, -0.1027]] * 2, atol=1e-6)
    # A segment: the source's direction, the robot's length.
    shank = got["left_ankle_roll_link"] - got["left_knee_link"]
    along = source["L_Ankle"] - source["L_Knee"]
    length = 0.30001 + 0.017558
    np.testing.assert_allclose(np.linalg.norm(shank, axis=1), length, atol=1e-5)
    np.testing.assert_allclose(shank / length, along / np.linalg.norm(along, axis=1, keepdims=True), atol=1e-4)
    # A T-pose's arms are level.
    arm = got["left_wrist_roll_link"] - got["left_elbow_link"]
    assert abs(arm[0, 2]) < 0.03 and arm[0, 0] < -0.1
    np.testing.assert_allclose(rotations["torso_link"], zero().root_quat_w, atol=1e-6)


def test_feet_and_hands_reach_their_targets_within_the_limits():
    clip = piece("walk", 40)
    goal = aims(of_clip(clip, SMPL), ROLES, G1)
    wanted, qpos = goal.positions, solve(G1, goal)
    moved = replace(clip, root_pos_w=qpos[:, :3], root_quat_w=qpos[:, 3:7], joint_pos=qpos[:, 7:])
    there = places(G1, moved)
    for body, near in [("left_ankle_roll_link", 0.005), ("right_ankle_roll_link", 0.005), ("pelvis", 0.01),
                       ("left_wrist_roll_link", 0.02), ("right_wrist_roll_link", 0.02)]:  # fmt: skip
        assert np.linalg.norm(there[body] - wanted[body], axis=1).mean() < near, body
    low, high = G1.joint_range().double().numpy().T
    assert (moved.joint_pos >= low - 1e-6).all() and (moved.joint_pos <= high + 1e-6).all()


@pytest.mark.parametrize("name", ["walk", "run", "jump"])
def test_the_shipped_clips_of_the_g1(name):
    clip = load_clip(f"g1_humanoid_{name}.npy", G1)
    assert not clip.warnings and clip.is_cyclic and clip.robot == "g1" and clip.joint_names == G1.joint_names
    lowest = trace(clip, G1).height.min(axis=1)
    assert lowest.min() > -1e-3 and (lowest < 0.01).mean() > 0.4
    # Limbs do not go through each other: this project's shapes overlap by less than 1.5 cm.
    model = build_spec(G1).compile()
    data, deepest = mujoco.MjData(model), 0.0
    for row in range(0, len(clip.time), 4):
        data.qpos[:] = np.concatenate([clip.root_pos_w[row] + [0, 0, 1], clip.root_quat_w[row], clip.joint_pos[row]])
        mujoco.mj_forward(model, data)
        deepest = min([deepest, *data.contact.dist])
    assert deepest > -0.015
