"""The contract of every simulator backend. A new line in SIMULATORS is tested without a change here.

Each backend is built once with three worlds; every test writes the state from which it starts. On a machine without a GPU
Warp compiles its kernels for the CPU: once for all, some seconds each set.
"""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from protege.core.errors import UserError
from protege.core.robots import rotation as R
from protege.core.robots.kinematics import Kinematics
from protege.core.robots.state import RobotState
from protege.sim.engine import mujoco
from protege.sim.robots import get_robot
from protege.sim.robots.mjcf import build_spec
from protege.sim.simulators.simulator import SIMULATORS, Simulator, make_simulator

ROBOT = get_robot("smpl")
N, J = 3, ROBOT.num_joints
ALL = torch.ones(N, dtype=torch.bool)
KINEMATICS = Kinematics(ROBOT)
FIELDS = ("joint_pos", "joint_vel", "body_pos_w", "body_quat_w", "body_lin_vel_w", "body_ang_vel_w")


def build(name: str, num_threads: int = 1) -> Simulator:
    """A backend on the CPU; the development environment has them all."""
    return make_simulator(name, ROBOT, N, device="cpu", num_threads=num_threads)


@pytest.fixture(scope="module", params=SIMULATORS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def sim(name: str) -> Iterator[Simulator]:
    simulator = build(name)
    yield simulator
    simulator.close()


def world(*indices: int) -> torch.Tensor:
    """The mask of some worlds."""
    return torch.isin(torch.arange(N), torch.tensor(indices))


def random_state(seed: int = 0, height: float = 3.0) -> RobotState:
    """In the air, turned any way, moving, joints within their limits."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    low, high = ROBOT.joint_range().T
    middle, half = (low + high) / 2.0, (high - low) / 2.0
    joints = middle + 0.5 * half * (2.0 * torch.rand(N, J, generator=generator) - 1.0)
    pos = normal(N, 3) + torch.tensor([0.0, 0.0, height])
    return KINEMATICS.state(pos, R.normalize(normal(N, 4)), normal(N, 3), normal(N, 3), joints, normal(N, J))


def resting(
    height: float = 3.0,
    quat: torch.Tensor | None = None,
    joints: torch.Tensor | None = None,
    lin_vel: torch.Tensor | None = None,
    ang_vel: torch.Tensor | None = None,
) -> RobotState:
    """At rest, upright in the default pose unless told otherwise."""
    quat = torch.tensor([[1.0, 0.0, 0.0, 0.0]]) if quat is None else quat.reshape(1, 4)
    pos = torch.tensor([[0.0, 0.0, height]])
    joints = (ROBOT.default_pose() if joints is None else joints).reshape(1, J)
    lin, ang = (torch.zeros(3) if x is None else x for x in (lin_vel, ang_vel))
    roots = [pos.expand(N, 3), quat.expand(N, 4), lin.expand(N, 3), ang.expand(N, 3)]
    return KINEMATICS.state(*roots, joints.expand(N, J), torch.zeros(N, J))


def snapshot(sim: Simulator, worlds: list[int]) -> list[torch.Tensor]:
    return [getattr(sim.state, field)[worlds].clone() for field in FIELDS]


def assert_same(a: list[torch.Tensor], b: list[torch.Tensor]) -> None:
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def rollout(sim: Simulator, steps: int, seed: int = 1) -> list[torch.Tensor]:
    """The states of all worlds after some steps of random targets."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        sim.step(ROBOT.default_pose() + 0.2 * torch.randn(N, J, generator=generator))
    return snapshot(sim, list(range(N)))


def test_shapes(sim):
    assert (sim.num_envs, sim.robot) == (N, ROBOT)
    shapes = [tuple(getattr(sim.state, field).shape) for field in FIELDS]
    assert shapes == [(N, J), (N, J), (N, 24, 3), (N, 24, 4), (N, 24, 3), (N, 24, 3)]
    assert all(getattr(sim.state, field).dtype == torch.float32 for field in FIELDS)


def test_what_is_written_is_read(sim):
    told = random_state()
    sim.write(ALL, told)

    def assert_near(read: torch.Tensor, written: torch.Tensor) -> None:
        torch.testing.assert_close(read, written, atol=1e-5, rtol=1e-5)

    assert_near(sim.state.joint_pos, told.joint_pos)
    assert_near(sim.state.joint_vel, told.joint_vel)
    assert_near(sim.state.root_pos_w, told.root_pos_w)
    assert_near(sim.state.root_lin_vel_w, told.root_lin_vel_w)
    assert_near(sim.state.root_ang_vel_w, told.root_ang_vel_w)
    quat = told.root_quat_w
    same_half = torch.where(quat[:, :1] * sim.state.root_quat_w[:, :1] < 0.0, -quat, quat)
    assert_near(sim.state.root_quat_w, same_half)


def test_views_of_the_state_stay_valid(sim):
    view = sim.state.joint_pos
    sim.write(ALL, random_state(3))
    assert sim.state.joint_pos is view
    sim.step(torch.zeros(N, J))
    assert sim.state.joint_pos is view


@pytest.mark.parametrize(
    ("joint", "turned"),
    [
        ("R_Elbow_z", ["R_Elbow", "R_Wrist", "R_Hand"]),
        ("L_Knee_y", ["L_Knee", "L_Ankle", "L_Toe"]),
        ("Head_x", ["Head"]),
    ],
)
def test_joints_and_bodies_are_in_the_robots_order(sim, joint, turned):
    index = ROBOT.joint_names.index(joint)
    sim.write(ALL, resting())
    before = sim.state.body_quat_w[0].clone()
    joints = ROBOT.default_pose()
    joints[index] += 0.3
    sim.write(ALL, resting(joints=joints))
    moved = R.angle_between(before, sim.state.body_quat_w[0]) > 1e-3
    assert [ROBOT.body_names[i] for i in moved.nonzero().squeeze(1)] == turned
    # The target of that joint turns it, too.
    sim.write(ALL, resting())
    for _ in range(6):
        sim.step(joints.expand(N, J))
    change = sim.state.joint_pos[0] - ROBOT.default_pose()
    assert int(change.abs().argmax()) == index
    assert change[index] > 0.15


def test_quaternions_are_wxyz(sim):
    quarter = R.from_yaw(torch.tensor(torch.pi / 2))
    sim.write(ALL, resting(quat=quarter))
    torch.testing.assert_close(sim.state.root_quat_w[0].abs(), torch.tensor([0.5**0.5, 0.0, 0.0, 0.5**0.5]))
    # Turned a quarter to the left, the left hip, at y in the pelvis, is at -x; and the toes point along y.
    hip, toe = (ROBOT.body_names.index(body) for body in ("L_Hip", "L_Toe"))
    x, y, _ = ROBOT.bodies[hip].offset
    torch.testing.assert_close(sim.state.body_pos_w[0, hip, :2], torch.tensor([-y, x]), atol=1e-6, rtol=0.0)
    assert sim.state.body_pos_w[0, toe, 1] > 0.05


def test_velocities_are_in_the_world_frame(sim):
    """A robot that lies on its side and turns about the vertical."""
    lying = R.from_axis_angle(torch.tensor([1.0, 0.0, 0.0]), torch.tensor(torch.pi / 2))
    spin, drift = torch.tensor([0.0, 0.0, 3.0]), torch.tensor([0.5, -0.25, 0.0])
    sim.write(ALL, resting(quat=lying, lin_vel=drift, ang_vel=spin))
    torch.testing.assert_close(sim.state.body_ang_vel_w[0], spin.expand(24, 3), atol=1e-5, rtol=0.0)
    arm = sim.state.body_pos_w[0] - sim.state.root_pos_w[0]
    rigid = drift + torch.linalg.cross(spin.expand_as(arm), arm)
    torch.testing.assert_close(sim.state.body_lin_vel_w[0], rigid, atol=1e-5, rtol=0.0)
    sim.step(ROBOT.default_pose().expand(N, J))
    turned = R.multiply(R.from_yaw(torch.tensor(3.0 * ROBOT.control_dt)), lying)
    assert R.angle_between(sim.state.root_quat_w[0], turned) < 0.03


def test_bodies_are_where_kinematics_says(sim):
    sim.write(ALL, random_state(5))
    for _ in range(4):
        s = sim.state
        want = KINEMATICS.state(
            s.root_pos_w, s.root_quat_w, s.root_lin_vel_w, s.root_ang_vel_w, s.joint_pos, s.joint_vel
        )
        torch.testing.assert_close(s.body_pos_w, want.body_pos_w, atol=1e-5, rtol=0.0)
        assert R.angle_between(s.body_quat_w, want.body_quat_w).max() < 1e-3  # acos of float32 near 1
        torch.testing.assert_close(s.body_lin_vel_w, want.body_lin_vel_w, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(s.body_ang_vel_w, want.body_ang_vel_w, atol=1e-4, rtol=1e-4)
        sim.step(ROBOT.default_pose().expand(N, J))


def test_flight_under_pd_targets_is_mujocos(sim):
    """In the air, where contacts cannot hide a wrong gain, mass or order.

    After 0.4 s every backend is within 0.1 mm, 1e-4 rad and 1e-2 rad/s of MuJoCo in double precision; `mjwarp`, in single
    precision all through, as well.
    """
    model = build_spec(ROBOT).compile()
    data = mujoco.MjData(model)
    start = random_state(7)
    sim.write(ALL, start)
    s = start[0]
    data.qpos[:] = torch.cat([s.body_pos_w[0], s.body_quat_w[0], s.joint_pos]).double().numpy()
    spin_b = R.rotate_inverse(s.body_quat_w[0], s.body_ang_vel_w[0])
    data.qvel[:] = torch.cat([s.body_lin_vel_w[0], spin_b, s.joint_vel]).double().numpy()
    generator = torch.Generator().manual_seed(8)
    for _ in range(12):
        target = ROBOT.default_pose() + 0.3 * torch.randn(N, J, generator=generator)
        assert not sim.step(target).any()
        data.ctrl[:] = target[0].double().numpy()
        mujoco.mj_step(model, data, ROBOT.substeps)
    assert data.qpos[2] > 1.5, "still flying"
    np.testing.assert_allclose(sim.state.root_pos_w[0].numpy(), data.qpos[:3], atol=1e-4)
    np.testing.assert_allclose(sim.state.joint_pos[0].numpy(), data.qpos[7:], atol=1e-4)
    np.testing.assert_allclose(sim.state.joint_vel[0].numpy(), data.qvel[6:], atol=1e-2)


def test_a_fall_is_mujocos(sim):
    """Feet, knees and hands on the ground, joints at their limits: after 1.5 s within 0.1 mm and 1e-4 rad of MuJoCo."""
    model = build_spec(ROBOT).compile()
    data = mujoco.MjData(model)
    start = resting(height=0.95, ang_vel=torch.tensor([0.0, 0.3, 0.0]))
    sim.write(ALL, start)
    s = start[0]
    data.qpos[:] = torch.cat([s.body_pos_w[0], s.body_quat_w[0], s.joint_pos]).double().numpy()
    data.qvel[4] = 0.3
    generator, touched = torch.Generator().manual_seed(8), 0
    for _ in range(45):
        target = ROBOT.default_pose() + 0.1 * torch.randn(N, J, generator=generator)
        assert not sim.step(target).any()
        data.ctrl[:] = target[0].double().numpy()
        mujoco.mj_step(model, data, ROBOT.substeps)
        touched += data.ncon > 0
    assert touched > 20 and data.qpos[2] < 0.3, "fallen"
    np.testing.assert_allclose(sim.state.root_pos_w[0].numpy(), data.qpos[:3], atol=1e-4)
    np.testing.assert_allclose(sim.state.joint_pos[0].numpy(), data.qpos[7:], atol=1e-4)


def test_standing_contact_carries_the_weight_on_the_feet(sim):
    sim.write(ALL, resting(height=0.95))
    target = ROBOT.default_pose().expand(N, J)
    forces = []
    for step in range(45):
        assert not sim.step(target).any()
        if step >= 30:
            forces.append(sim.contact_force_w())
    force = torch.stack(forces).mean(dim=0)
    assert force.shape == (N, 24, 3)
    torch.testing.assert_close(force.sum(dim=1)[:, 2], torch.full((N,), ROBOT.mass * 9.81), rtol=0.03, atol=0.0)
    feet = ROBOT.body_ids(ROBOT.feet)
    torch.testing.assert_close(force[:, feet].sum(dim=1), force.sum(dim=1))
    assert force.sum(dim=1)[:, :2].abs().max() < 30.0


def test_in_the_air_nothing_touches(sim):
    sim.write(ALL, resting())
    sim.step(ROBOT.default_pose().expand(N, J))
    assert sim.contact_force_w().abs().max() == 0.0


def test_asking_for_contact_forces_changes_nothing(sim):
    sim.write(ALL, resting(height=0.93))
    rollout(sim, 10)
    saved = sim.state_dict()
    want = rollout(sim, 5)
    sim.load_state_dict(saved)
    sim.contact_force_w()
    assert_same(rollout(sim, 5), want)


def test_writing_one_world_leaves_the_others_bit_identical(sim):
    sim.write(ALL, random_state(9, height=1.2))
    rollout(sim, 5)
    saved, before = sim.state_dict(), snapshot(sim, [0, 2])
    want = [x[[0, 2]] for x in rollout(sim, 10)]
    sim.load_state_dict(saved)
    fresh = random_state(10)
    sim.write(world(1), fresh)
    assert_same(snapshot(sim, [0, 2]), before)
    torch.testing.assert_close(sim.state.joint_pos[1], fresh.joint_pos[1], atol=1e-6, rtol=0.0)
    assert_same([x[[0, 2]] for x in rollout(sim, 10)], want)


def test_each_world_takes_its_own_row(sim):
    sim.write(ALL, resting())
    told = random_state(11)
    told.joint_pos[1] = torch.nan  # not asked for, not looked at
    sim.write(world(2, 0), told)
    torch.testing.assert_close(sim.state.joint_pos[[2, 0]], told.joint_pos[[2, 0]], atol=1e-6, rtol=0.0)
    torch.testing.assert_close(sim.state.joint_pos[1], ROBOT.default_pose(), atol=1e-6, rtol=0.0)
    before = snapshot(sim, [0, 1, 2])
    sim.write(world(), random_state(12))
    assert_same(snapshot(sim, [0, 1, 2]), before)


def test_a_reset_world_has_no_memory(sim):
    """What a world did before it is written must not show: forces, warm starts of the contact solver, time."""
    sim.write(ALL, resting(height=0.93))
    begun, want = sim.state_dict(), rollout(sim, 10)
    rollout(sim, 10, seed=13)
    sim.write(ALL, resting(height=0.93))
    again = sim.state_dict()
    assert all(torch.equal(again[key], value) for key, value in begun.items())
    assert_same(rollout(sim, 10), want)


def test_a_world_without_a_number_is_reported_and_harms_no_other(sim):
    sim.write(ALL, resting(height=0.95))
    rollout(sim, 10)
    saved, before = sim.state_dict(), snapshot(sim, [0, 1, 2])
    target = ROBOT.default_pose().repeat(N, 1)
    sim.step(target)
    want = snapshot(sim, [0, 2])
    sim.load_state_dict(saved)
    target[1, 7] = torch.nan
    assert sim.step(target).tolist() == [False, True, False]
    assert_same(snapshot(sim, [0, 2]), want)
    assert_recovered(sim, 1, before)


def assert_recovered(sim: Simulator, index: int, before: list[torch.Tensor]) -> None:
    """The world is at the pose it had before, at rest, and goes on from there."""
    torch.testing.assert_close(sim.state.joint_pos[index], before[0][index], atol=1e-5, rtol=0.0)
    torch.testing.assert_close(sim.state.body_pos_w[index], before[2][index], atol=1e-5, rtol=0.0)
    for rate in (sim.state.joint_vel, sim.state.body_lin_vel_w, sim.state.body_ang_vel_w):
        assert rate[index].abs().max() == 0.0
    assert not sim.step(ROBOT.default_pose().expand(N, J)).any()
    assert all(x.isfinite().all() for x in snapshot(sim, [0, 1, 2]))


def test_a_state_without_a_number_is_reported_and_harms_no_other(sim):
    sim.write(ALL, resting(height=0.95))
    rollout(sim, 5)
    saved, before = sim.state_dict(), snapshot(sim, [0, 1, 2])
    target = ROBOT.default_pose().expand(N, J)
    sim.step(target)
    want = snapshot(sim, [0, 2])
    sim.load_state_dict(saved)
    broken = resting()
    broken.body_pos_w[1, 0, 0] = torch.nan
    broken.joint_vel[1] = torch.nan
    sim.write(world(1), broken)
    assert sim.step(target).tolist() == [False, True, False]
    assert_same(snapshot(sim, [0, 2]), want)
    assert_recovered(sim, 1, before)


def test_a_world_that_explodes_is_reported_and_harms_no_other(sim, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sim.write(ALL, resting(height=0.95))
    rollout(sim, 5)
    saved = sim.state_dict()
    target = ROBOT.default_pose().expand(N, J)
    sim.step(target)
    want = snapshot(sim, [0, 1])
    sim.load_state_dict(saved)
    state = random_state(14)
    state.joint_vel[2] = 1e7
    sim.write(world(2), state)
    before = snapshot(sim, [0, 1, 2])
    assert sim.step(target).tolist() == [False, False, True]
    assert_same(snapshot(sim, [0, 1]), want)
    assert_recovered(sim, 2, before)
    assert list(tmp_path.iterdir()) == []  # no MUJOCO_LOG.TXT


def test_a_saved_simulation_continues_exactly(sim, name, tmp_path):
    sim.write(ALL, random_state(15, height=1.0))
    rollout(sim, 10)
    torch.save(sim.state_dict(), tmp_path / "state")
    here = snapshot(sim, [0, 1, 2])
    want = rollout(sim, 15, seed=16)
    other = build(name)
    other.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert_same(snapshot(other, [0, 1, 2]), here)
    assert_same(rollout(other, 15, seed=16), want)
    other.close()


def test_results_do_not_depend_on_the_number_of_threads(sim, name):
    sim.write(ALL, random_state(17, height=1.0))
    want = rollout(sim, 15)
    for threads in (2, 5):
        other = build(name, threads)
        other.write(ALL, random_state(17, height=1.0))
        assert_same(rollout(other, 15), want)
        other.close()


def test_the_mujoco_backend_is_for_the_cpu():
    with pytest.raises(UserError, match="runs on the CPU, not on cuda"):
        make_simulator("mujoco", ROBOT, 1, device="cuda")


def test_an_unknown_simulator_is_named():
    with pytest.raises(UserError, match=r"no simulator 'bullet'\. Known: mujoco"):
        make_simulator("bullet", ROBOT, 1, device="cpu")
