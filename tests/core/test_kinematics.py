"""Forward kinematics and velocities against MuJoCo's own, finite differences and random skeletons."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_robots import LIGHT, robot_of, trees
from torch import Tensor

from protege.core.robots import rotation as R
from protege.core.robots.kinematics import Kinematics
from protege.core.robots.robot import Body, Joint, Robot
from protege.core.robots.state import RobotState
from protege.sim.references.gait import center_of_mass
from protege.sim.robots import get_robot, robot_names
from protege.sim.robots.mjcf import build_spec

SMPL = get_robot("smpl")
Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def random_inputs(robot: Robot, n: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Inputs:
    """Arguments of `Kinematics.state`."""
    g = torch.Generator().manual_seed(seed)

    def draw(size: int) -> Tensor:
        return torch.randn(n, size, generator=g, dtype=dtype)

    return draw(3), R.normalize(draw(4)), draw(3), draw(3), draw(robot.num_joints), 2.0 * draw(robot.num_joints)


def mujoco_state(robot: Robot, inputs: Inputs) -> RobotState:
    """The state by MuJoCo, in double precision, with velocities of the body frames' origins by `mj_objectVelocity`."""
    model = build_spec(robot).compile()
    data = mujoco.MjData(model)
    pos, quat, lin, ang, joint_pos, joint_vel = (x.double() for x in inputs)
    rows: dict[str, list[Tensor]] = {"pos": [], "quat": [], "lin": [], "ang": []}
    ids = [model.body(name).id for name in robot.body_names]
    # MuJoCo sorts bodies and their joints depth first.
    joints = np.array([model.joint(name).qposadr[0] for name in robot.joint_names], dtype=int)
    for i in range(len(pos)):
        data.qpos[:7], data.qpos[joints] = torch.cat([pos[i], quat[i]]).numpy(), joint_pos[i].numpy()
        # A free joint's angular velocity is in the body's frame.
        data.qvel[:6] = torch.cat([lin[i], R.rotate_inverse(quat[i], ang[i])]).numpy()
        data.qvel[joints - 1] = joint_vel[i].numpy()
        mujoco.mj_forward(model, data)
        velocity = torch.zeros(len(ids), 6, dtype=torch.float64)
        for row, body in zip(velocity, ids, strict=True):
            mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_XBODY, body, row.numpy(), 0)
        rows["pos"].append(torch.from_numpy(data.xpos[ids]).clone())
        rows["quat"].append(torch.from_numpy(data.xquat[ids]).clone())
        rows["ang"].append(velocity[:, :3])
        rows["lin"].append(velocity[:, 3:])
    return RobotState(joint_pos, joint_vel, *(torch.stack(rows[key]) for key in ("pos", "quat", "lin", "ang")))


def worst(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).abs().max())


def worst_quat(a: Tensor, b: Tensor) -> float:
    """The same up to sign."""
    return worst(a * (a.double() * b.double()).sum(-1, keepdim=True).sign(), b)


def chain(offsets: list[tuple[float, float, float]], joints: list[tuple[int, tuple[float, float, float]]]) -> Robot:
    """A chain of bodies; joints as (body, axis)."""
    bodies = [Body("b0", None, (0.0, 0.0, 0.0), LIGHT)]
    bodies += [Body(f"b{i}", f"b{i - 1}", offset, LIGHT) for i, offset in enumerate(offsets, start=1)]
    hinges = [Joint(f"j{i}", f"b{b}", axis, (-3.0, 3.0), 1.0, 0.1, 500.0) for i, (b, axis) in enumerate(joints)]
    return robot_of("chain", tuple(bodies), tuple(hinges))


def test_a_two_link_arm_by_hand():
    robot = chain([(1.0, 0.0, 0.0), (2.0, 0.0, 0.0)], [(1, (0.0, 0.0, 1.0)), (2, (0.0, 0.0, 1.0))])
    quarter = torch.pi / 2
    state = Kinematics(robot).state(
        torch.tensor([[0.0, 0.0, 5.0]]),
        torch.tensor([[1.0, 0.0, 0.0, 0.0]]),
        torch.tensor([[0.0, 0.0, 0.5]]),
        torch.zeros(1, 3),
        torch.tensor([[quarter, -quarter]]),
        torch.tensor([[3.0, 4.0]]),
    )
    # The first hinge, at (1, 0, 5), turns the second link from x to y; the second turns its own frame back.
    assert worst(state.body_pos_w[0], torch.tensor([[0.0, 0.0, 5.0], [1.0, 0.0, 5.0], [1.0, 2.0, 5.0]])) < 1e-6
    assert worst_quat(state.body_quat_w[0, 2], torch.tensor([1.0, 0.0, 0.0, 0.0])) < 1e-6
    assert worst(state.body_ang_vel_w[0], torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 3.0], [0.0, 0.0, 7.0]])) < 1e-6
    # 3 rad/s at 2 m along y moves the tip by -6 m/s in x.
    assert worst(state.body_lin_vel_w[0], torch.tensor([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5], [-6.0, 0.0, 0.5]])) < 1e-5


def test_hinges_of_a_body_turn_in_the_order_listed():
    robot = chain([(1.0, 0.0, 0.0)], [(1, (1.0, 0.0, 0.0)), (1, (0.0, 1.0, 0.0)), (1, (0.0, 0.0, 1.0))])
    angles = torch.tensor([[0.3, -0.5, 0.7]])
    _, quat = Kinematics(robot)(torch.zeros(1, 3), torch.tensor([[1.0, 0.0, 0.0, 0.0]]), angles)
    turns = [R.from_axis_angle(torch.eye(3)[k], angles[0, k]) for k in range(3)]
    assert worst(quat[0, 1], R.multiply(R.multiply(turns[0], turns[1]), turns[2])) < 1e-6


def test_poses_and_velocities_of_the_humanoid_match_mujoco():
    inputs = random_inputs(SMPL, 20)
    ours, theirs = Kinematics(SMPL).state(*inputs), mujoco_state(SMPL, inputs)
    assert worst(ours.body_pos_w, theirs.body_pos_w) < 1e-5
    assert worst_quat(ours.body_quat_w, theirs.body_quat_w) < 1e-5
    assert worst(ours.body_lin_vel_w, theirs.body_lin_vel_w) < 1e-4
    assert worst(ours.body_ang_vel_w, theirs.body_ang_vel_w) < 1e-4


@pytest.mark.parametrize("name", robot_names())
def test_body_positions_of_every_robot_match_mujoco(name):
    """In 1000 poses, to 1e-6 m."""
    robot = get_robot(name)
    pos, quat, *_, joint_pos, joint_vel = random_inputs(robot, 1000, dtype=torch.float64)
    still = torch.zeros_like(pos)
    ours = Kinematics(robot).double().state(pos, quat, still, still, joint_pos, joint_vel)
    theirs = mujoco_state(robot, (pos, quat, still, still, joint_pos, joint_vel))
    assert worst(ours.body_pos_w, theirs.body_pos_w) < 1e-6
    assert worst_quat(ours.body_quat_w, theirs.body_quat_w) < 1e-6
    assert worst(ours.body_lin_vel_w, theirs.body_lin_vel_w) < 1e-5


@pytest.mark.parametrize("name", robot_names())
def test_the_centre_of_mass_of_every_robot_matches_mujoco(name):
    robot = get_robot(name)
    pos, quat, *_, joint_pos, _ = random_inputs(robot, 1, dtype=torch.float64)
    model = build_spec(robot).compile()
    data = mujoco.MjData(model)
    data.qpos[:] = torch.cat([pos[0], quat[0], joint_pos[0]]).numpy()
    mujoco.mj_forward(model, data)
    ours = center_of_mass(*Kinematics(robot).double()(pos, quat, joint_pos), robot)
    assert worst(ours[0], torch.from_numpy(data.subtree_com[1])) < 1e-6


def test_a_rest_rotation_turns_axes_and_children_by_hand():
    """A second body rotated by 90 degrees about z at rest: its x hinge is the first one's y axis, and so on."""
    half = 0.5**0.5
    bodies = (
        Body("b0", None, (0.0, 0.0, 0.0), LIGHT),
        Body("b1", "b0", (1.0, 0.0, 0.0), LIGHT, quat=(half, 0.0, 0.0, half)),
        Body("b2", "b1", (0.0, 0.0, 3.0), LIGHT),
    )
    robot = robot_of("turned", bodies, (Joint("j", "b1", (1.0, 0.0, 0.0), (-3.0, 3.0), 1.0, 0.1, 1.0),))
    still = torch.zeros(1, 3)
    upright = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    state = Kinematics(robot).state(still, upright, still, still, torch.tensor([[torch.pi / 2]]), torch.tensor([[2.0]]))
    # About y, a quarter turn takes z to x.
    assert worst(state.body_pos_w[0, 2], torch.tensor([4.0, 0.0, 0.0])) < 1e-6
    assert worst(state.body_ang_vel_w[0, 2], torch.tensor([0.0, 2.0, 0.0])) < 1e-6
    # omega x r = (0, 2, 0) x (3, 0, 0) = (0, 0, -6).
    assert worst(state.body_lin_vel_w[0, 2], torch.tensor([0.0, 0.0, -6.0])) < 1e-5


def test_forward_and_state_agree_and_do_not_change_their_inputs(robot):
    inputs = random_inputs(robot, 5)
    kinematics = Kinematics(robot)
    state = kinematics.state(*inputs)
    pos, quat = kinematics(inputs[0], inputs[1], inputs[4])
    assert torch.equal(pos, state.body_pos_w) and torch.equal(quat, state.body_quat_w)
    assert pos.is_contiguous() and quat.is_contiguous()
    assert torch.allclose(state.root_pos_w, inputs[0]) and torch.allclose(state.root_quat_w, inputs[1])
    assert torch.equal(state.root_lin_vel_w, inputs[2]) and torch.equal(state.root_ang_vel_w, inputs[3])
    assert state.joint_pos is inputs[4] and state.joint_vel is inputs[5]


def test_velocities_are_the_derivatives_of_poses(robot):
    pos, quat, lin, ang, joint_pos, joint_vel = random_inputs(robot, 4, dtype=torch.float64)
    kinematics = Kinematics(robot).double()
    state = kinematics.state(pos, quat, lin, ang, joint_pos, joint_vel)
    dt = 1e-5

    def at(time: float) -> tuple[Tensor, Tensor]:
        turned = R.multiply(R.from_rotation_vector(time * ang), quat)
        return kinematics(pos + time * lin, turned, joint_pos + time * joint_vel)

    (before_pos, before_quat), (after_pos, after_quat) = at(-dt), at(dt)
    turn = R.to_rotation_vector(R.multiply(after_quat, R.conjugate(before_quat)))
    assert worst((after_pos - before_pos) / (2 * dt), state.body_lin_vel_w) < 1e-6
    assert worst(turn / (2 * dt), state.body_ang_vel_w) < 1e-6


@settings(max_examples=25)
@given(trees(), st.integers(0, 1000))
def test_any_tree_of_hinges_matches_mujoco(robot, seed):
    inputs = random_inputs(robot, 2, seed, torch.float64)
    ours, theirs = Kinematics(robot).double().state(*inputs), mujoco_state(robot, inputs)
    assert worst(ours.body_pos_w, theirs.body_pos_w) < 1e-6
    assert worst_quat(ours.body_quat_w, theirs.body_quat_w) < 1e-6
    assert worst(ours.body_lin_vel_w, theirs.body_lin_vel_w) < 1e-5
    assert worst(ours.body_ang_vel_w, theirs.body_ang_vel_w) < 1e-5


def test_an_exported_graph_takes_any_batch(robot):
    pos, quat, _, _, joint_pos, _ = random_inputs(robot, 2)
    kinematics = Kinematics(robot)
    batch = {0: torch.export.Dim("batch")}
    graph = torch.export.export(kinematics, (pos, quat, joint_pos), dynamic_shapes=(batch, batch, batch))
    traced = graph.module()
    for n in (1, 3):
        pos, quat, _, _, joint_pos, _ = random_inputs(robot, n, seed=1)
        for got, want in zip(traced(pos, quat, joint_pos), kinematics(pos, quat, joint_pos), strict=True):
            assert torch.allclose(got, want, rtol=0.0, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(trees(), st.integers(0, 100))
def test_gradients_match_automatic_differentiation(robot, seed):
    check_gradients(robot, seed)


def test_gradients_of_shipped_robots_match_automatic_differentiation(robot):
    check_gradients(robot, seed=0)


def check_gradients(robot: Robot, seed: int) -> None:
    """Compare gradients of poses and full states with automatic differentiation."""
    kinematics = Kinematics(robot).double()
    inputs = [x.requires_grad_() for x in random_inputs(robot, 3, seed, torch.float64)]
    posed = [inputs[0], inputs[1], inputs[4]]
    for where, mine, recorded in (
        (posed, kinematics(*posed), kinematics._poses(*posed)[:2]),
        (inputs, bodies(kinematics.state(*inputs)), kinematics._motion(*inputs)[:4]),
    ):
        pulls = [torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype) for x in mine]
        found = torch.autograd.grad(mine, where, pulls)
        expected = list(torch.autograd.grad(recorded, where, [pull.permute(2, 1, 0) for pull in pulls]))
        along = (expected[1] * inputs[1]).sum(-1, keepdim=True)
        expected[1] = expected[1] - along * inputs[1]  # gradients of unit quaternions are tangential
        for a, b in zip(found, expected, strict=True):
            # Rest rotations and axes have unit length only to float32 precision.
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def bodies(state: RobotState) -> list[Tensor]:
    return [state.body_pos_w, state.body_quat_w, state.body_lin_vel_w, state.body_ang_vel_w]


@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
def test_fused_kernels_agree_with_torch():
    """Values and gradients of shipped robots, 70 envs: more than a block."""
    script = Path(__file__).with_name("kinematics_on_triton.py")
    interpreted = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, script], env=interpreted, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(robot_names())
