"""Robot descriptions, states, and the SMPL humanoid as one of them."""

import dataclasses

import pytest
import torch
from small_robots import robot_of

from protege.core.robots.robot import Body, Geom, Groups, Inertia, Joint, Robot, Site
from protege.core.robots.state import RobotState
from protege.sim.robots import get_robot

SMPL = get_robot("smpl")


def two_arms() -> Robot:
    """A root with two arms, one of them of two links."""
    bodies = (
        Body("trunk", None, (0.0, 0.0, 0.0), Inertia(6.0), (Geom("box", (0.1, 0.1, 0.2)), Geom("sphere", (0.1,)))),
        Body("upper", "trunk", (0.0, 0.2, 0.1), Inertia(2.0), (Geom("capsule", (0.05, 0.1)),)),
        Body("lower", "upper", (0.0, 0.3, 0.0), Inertia(1.5), (Geom("capsule", (0.05, 0.1)),)),
        Body("other", "trunk", (0.0, -0.2, 0.1), Inertia(0.25)),
    )
    joints = (
        Joint("swing", "upper", (1.0, 0.0, 0.0), (-1.0, 2.0), 100.0, 10.0, 40.0, action_scale=0.5),
        Joint("bend", "lower", (0.0, 0.0, 1.0), (0.0, 1.5), 50.0, 5.0, 20.0),
    )
    groups = Groups(("other",), ("lower",), ("lower",), ("other",), torso="trunk", head="upper", imu=Site("trunk"))
    return robot_of("arms", bodies, joints, default_joint_pos=(0.5, 0.25), groups=groups)


def test_properties_follow_from_the_description():
    robot = two_arms()
    assert (robot.num_bodies, robot.num_joints) == (4, 2)
    assert robot.body_names == ("trunk", "upper", "lower", "other")
    assert robot.joint_names == ("swing", "bend")
    assert robot.parents == (-1, 0, 1, 0)
    assert robot.mass == 9.75
    assert robot.substeps == 4
    assert robot.body_ids(robot.hands) == [2, 3] and robot.body_ids(robot.feet) == [3, 2]
    assert robot.head == "upper"
    assert robot.damping_time().tolist() == pytest.approx([0.1, 0.1])
    assert robot.action_scale().tolist() == [0.5, 1.0]
    assert robot.default_pose().tolist() == [0.5, 0.25]
    assert robot.joint_range().tolist() == [[-1.0, 2.0], [0.0, 1.5]]


def test_unknown_bodies_are_an_error():
    with pytest.raises(ValueError, match="not in tuple"):
        two_arms().body_ids(("nose",))


def test_a_robot_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        two_arms().name = "other"  # pyright: ignore[reportAttributeAccessIssue]


def test_the_humanoid_matches_its_published_figures():
    assert (SMPL.num_bodies, SMPL.num_joints) == (24, 69)
    assert SMPL.mass == pytest.approx(63.0, abs=0.5)
    assert SMPL.control_dt == pytest.approx(1 / 30) and SMPL.substeps == 4
    # Parents before children; x, y, z hinges in every body but the root, in body order.
    assert all(parent < i for i, parent in enumerate(SMPL.parents))
    assert [joint.body for joint in SMPL.joints] == [name for name in SMPL.body_names[1:] for _ in "xyz"]
    assert [joint.axis for joint in SMPL.joints[:3]] == [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
    low, high = SMPL.joint_range().T
    default = SMPL.default_pose()
    assert (low < high).all() and (low <= default).all() and (default <= high).all()
    assert len(SMPL.body_ids((*SMPL.feet, *SMPL.hands, SMPL.head))) == 7
    assert len(set(SMPL.joint_names)) == 69 and len(set(SMPL.body_names)) == 24


def test_left_and_right_limits_mirror_each_other():
    limits = dict(zip(SMPL.joint_names, SMPL.joint_range().tolist(), strict=True))
    for name, (low, high) in limits.items():
        if name.startswith("L_"):
            mirrored = [low, high] if name.endswith("_y") else [-high, -low]
            assert limits[name.replace("L_", "R_", 1)] == mirrored, name


def test_states_are_indexed_concatenated_and_cloned():
    def state(n: int, value: float) -> RobotState:
        vectors, quats = torch.full((n, 4, 3), value), torch.full((n, 4, 4), value)
        return RobotState(torch.full((n, 2), value), torch.full((n, 2), value), vectors, quats, vectors, vectors)

    joined = RobotState.cat([state(2, 1.0), state(3, 2.0)])
    assert joined.body_quat_w.shape == (5, 4, 4)
    assert joined[1:3].joint_pos.tolist() == [[1.0, 1.0], [2.0, 2.0]]
    assert joined[torch.tensor([4, 0])].root_pos_w[:, 0].tolist() == [2.0, 1.0]
    copy = joined.clone()
    joined[0:1].body_pos_w.zero_()  # a slice is a view
    assert joined.root_pos_w[0].tolist() == [0.0, 0.0, 0.0] and copy.root_pos_w[0].tolist() == [1.0, 1.0, 1.0]


def test_the_root_is_body_zero():
    n = torch.arange(2.0 * 3 * 4).reshape(2, 3, 4)
    state = RobotState(n[:, 0], n[:, 0], n[..., :3], n, n[..., 1:], n[..., :3] + 100.0)
    assert torch.equal(state.root_pos_w, n[:, 0, :3]) and torch.equal(state.root_quat_w, n[:, 0])
    assert torch.equal(state.root_lin_vel_w, n[:, 0, 1:]) and torch.equal(state.root_ang_vel_w, n[:, 0, :3] + 100.0)
