"""The contract of every simulator backend. A new line in SIMULATORS is tested without a change here.

Each backend is built once for each robot, with three envs; every test writes the state from which it starts. On a machine
without a GPU Warp compiles its kernels for the CPU: once for all, some seconds each set.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from robot_states import N, hold, mujocos, on_its_feet, random_state, resting

from protege.core.errors import UserError
from protege.core.robots import rotation as R
from protege.core.robots.kinematics import Kinematics
from protege.core.robots.robot import Robot
from protege.sim.engine import mujoco
from protege.sim.robots import get_robot
from protege.sim.simulators.simulator import SIMULATORS, Simulator, make_simulator

ALL = torch.ones(N, dtype=torch.bool)
FIELDS = ("joint_pos", "joint_vel", "body_pos_w", "body_quat_w", "body_lin_vel_w", "body_ang_vel_w")


def build(name: str, robot: Robot, num_threads: int = 1) -> Simulator:
    """A backend on the CPU; the development environment has them all."""
    return make_simulator(name, robot, N, device="cpu", num_threads=num_threads)


@pytest.fixture(scope="module", params=SIMULATORS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def sim(name: str, robot: Robot) -> Iterator[Simulator]:
    simulator = build(name, robot)
    yield simulator
    simulator.close()


def mask(*indices: int) -> torch.Tensor:
    """The mask of some envs."""
    return torch.isin(torch.arange(N), torch.tensor(indices))


def snapshot(sim: Simulator, envs: list[int]) -> list[torch.Tensor]:
    return [getattr(sim.state, field)[envs].clone() for field in FIELDS]


def assert_same(a: list[torch.Tensor], b: list[torch.Tensor]) -> None:
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def rollout(sim: Simulator, steps: int, seed: int = 1) -> list[torch.Tensor]:
    """The states of all envs after some steps of random targets."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        sim.step(hold(sim.robot) + 0.2 * torch.randn(N, sim.robot.num_joints, generator=generator))
    return snapshot(sim, list(range(N)))


def test_shapes(sim, robot):
    assert (sim.num_envs, sim.robot) == (N, robot)
    shapes = [tuple(getattr(sim.state, field).shape) for field in FIELDS]
    j, b = {"smpl": (69, 24), "g1": (29, 30)}[robot.name]
    assert shapes == [(N, j), (N, j), (N, b, 3), (N, b, 4), (N, b, 3), (N, b, 3)]
    assert all(getattr(sim.state, field).dtype == torch.float32 for field in FIELDS)


def test_what_is_written_is_read(sim, robot):
    target = random_state(robot)
    sim.write(ALL, target)

    def assert_near(read: torch.Tensor, written: torch.Tensor) -> None:
        torch.testing.assert_close(read, written, atol=1e-5, rtol=1e-5)

    assert_near(sim.state.joint_pos, target.joint_pos)
    assert_near(sim.state.joint_vel, target.joint_vel)
    assert_near(sim.state.root_pos_w, target.root_pos_w)
    assert_near(sim.state.root_lin_vel_w, target.root_lin_vel_w)
    assert_near(sim.state.root_ang_vel_w, target.root_ang_vel_w)
    quat = target.root_quat_w
    same_half = torch.where(quat[:, :1] * sim.state.root_quat_w[:, :1] < 0.0, -quat, quat)
    assert_near(sim.state.root_quat_w, same_half)


def test_views_of_the_state_stay_valid(sim, robot):
    view = sim.state.joint_pos
    sim.write(ALL, random_state(robot, 3))
    assert sim.state.joint_pos is view
    sim.step(hold(robot))
    assert sim.state.joint_pos is view


TURNED = {
    "smpl": {
        "R_Elbow_z": ["R_Elbow", "R_Wrist", "R_Hand"],
        "L_Knee_y": ["L_Knee", "L_Ankle", "L_Toe"],
        "Head_x": ["Head"],
    },
    "g1": {
        "right_elbow_joint": [f"right_{x}_link" for x in ("elbow", "wrist_roll", "wrist_pitch", "wrist_yaw")],
        "left_knee_joint": ["left_knee_link", "left_ankle_pitch_link", "left_ankle_roll_link"],
        "left_wrist_yaw_joint": ["left_wrist_yaw_link"],
    },
}
"""Which bodies a joint turns."""


def test_joints_and_bodies_are_in_the_robots_order(sim, robot):
    for joint, turned in TURNED[robot.name].items():
        index = robot.joint_names.index(joint)
        sim.write(ALL, resting(robot))
        before = sim.state.body_quat_w[0].clone()
        joints = robot.default_pose()
        joints[index] += 0.3
        sim.write(ALL, resting(robot, joints=joints))
        moved = R.angle_between(before, sim.state.body_quat_w[0]) > 1e-3
        assert [robot.body_names[i] for i in moved.nonzero().squeeze(1)] == turned
        # The target of that joint turns it, too, within 0.2 s.
        sim.write(ALL, resting(robot))
        for _ in range(round(0.2 / robot.control_dt)):
            sim.step(joints.expand(N, -1))
        change = sim.state.joint_pos[0] - robot.default_pose()
        assert int(change.abs().argmax()) == index
        assert change[index] > 0.15


def test_quaternions_are_wxyz(sim, robot):
    quarter = R.from_yaw(torch.tensor(torch.pi / 2))
    sim.write(ALL, resting(robot, quat=quarter))
    torch.testing.assert_close(sim.state.root_quat_w[0].abs(), torch.tensor([0.5**0.5, 0.0, 0.0, 0.5**0.5]))
    # Turned a quarter to the left, a hip, at (x, y) in the root, is at (-y, x).
    hips = [i for i, parent in enumerate(robot.parents) if parent == 0]
    at = [(-robot.bodies[i].offset[1], robot.bodies[i].offset[0]) for i in hips]
    assert max(abs(x) for x, _ in at) > 0.05
    torch.testing.assert_close(sim.state.body_pos_w[0, hips, :2], torch.tensor(at), atol=1e-6, rtol=0.0)


def test_velocities_are_in_the_world_frame(sim, robot):
    """A robot that lies on its side and turns about the vertical."""
    lying = R.from_axis_angle(torch.tensor([1.0, 0.0, 0.0]), torch.tensor(torch.pi / 2))
    spin, drift = torch.tensor([0.0, 0.0, 3.0]), torch.tensor([0.5, -0.25, 0.0])
    sim.write(ALL, resting(robot, quat=lying, lin_vel=drift, ang_vel=spin))
    torch.testing.assert_close(sim.state.body_ang_vel_w[0], spin.expand(robot.num_bodies, 3), atol=1e-5, rtol=0.0)
    arm = sim.state.body_pos_w[0] - sim.state.root_pos_w[0]
    rigid = drift + torch.linalg.cross(spin.expand_as(arm), arm)
    torch.testing.assert_close(sim.state.body_lin_vel_w[0], rigid, atol=1e-5, rtol=0.0)
    sim.step(hold(robot))
    turned = R.multiply(R.from_yaw(torch.tensor(3.0 * robot.control_dt)), lying)
    assert R.angle_between(sim.state.root_quat_w[0], turned) < 0.03


def test_bodies_are_where_kinematics_says(sim, robot):
    sim.write(ALL, random_state(robot, 5))
    for _ in range(4):
        s = sim.state
        want = Kinematics(robot).state(
            s.root_pos_w, s.root_quat_w, s.root_lin_vel_w, s.root_ang_vel_w, s.joint_pos, s.joint_vel
        )
        torch.testing.assert_close(s.body_pos_w, want.body_pos_w, atol=1e-5, rtol=0.0)
        assert R.angle_between(s.body_quat_w, want.body_quat_w).max() < 1e-3  # acos of float32 near 1
        torch.testing.assert_close(s.body_lin_vel_w, want.body_lin_vel_w, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(s.body_ang_vel_w, want.body_ang_vel_w, atol=1e-4, rtol=1e-4)
        sim.step(hold(robot))


def flown(sim: Simulator, robot: Robot, seconds: float) -> mujoco.MjData:
    """Simulate all envs and a separate MuJoCo in flight under the same random targets."""
    start = random_state(robot, 7)
    sim.write(ALL, start)
    model, data = mujocos(robot, start)
    generator = torch.Generator().manual_seed(8)
    for _ in range(round(seconds / robot.control_dt)):
        target = hold(robot) + 0.3 * torch.randn(N, robot.num_joints, generator=generator)
        assert not sim.step(target).any()
        data.ctrl[:] = target[0].double().numpy()
        mujoco.mj_step(model, data, robot.substeps)
        assert not any(0 in (model.geom_bodyid[x] for x in pair) for pair in data.contact.geom), "still flying"
    return data


def assert_flies_as(sim: Simulator, data: mujoco.MjData) -> None:
    """Within 0.1 mm, 1e-4 rad and 1e-2 rad/s."""
    np.testing.assert_allclose(sim.state.root_pos_w[0].numpy(), data.qpos[:3], atol=1e-4)
    np.testing.assert_allclose(sim.state.joint_pos[0].numpy(), data.qpos[7:], atol=1e-4)
    np.testing.assert_allclose(sim.state.joint_vel[0].numpy(), data.qvel[6:], atol=1e-2)


def test_flight_under_pd_targets_is_mujocos(sim, robot):
    """In the air, where contacts with the ground cannot hide a wrong gain, mass or order.

    After 0.4 s every backend is where MuJoCo in double precision is; `mjwarp`, in single precision all through, as well.
    """
    assert_flies_as(sim, flown(sim, robot, 0.4))


@pytest.mark.parametrize("rate", [37.0, 50.0])
def test_a_control_step_has_its_nominal_length_at_any_rate(name, robot, rate):
    """Rates that do not divide 60, with physics at four times of each."""
    other = replace(robot, control_dt=1.0 / rate, physics_dt=1.0 / rate / 4.0)
    sim = build(name, other)
    assert_flies_as(sim, flown(sim, other, 0.3))
    # Without an own motion it falls as a stone: by g t (t + dt) / 2 with a physics step dt.
    sim.write(ALL, resting(other))
    for _ in range(10):
        sim.step(hold(other))
    t, dt = 10.0 / rate, other.physics_dt
    fallen = torch.full((N,), 0.5 * 9.81 * t * (t + dt))
    torch.testing.assert_close(3.0 - sim.state.root_pos_w[:, 2], fallen, atol=1e-4, rtol=0.0)
    sim.close()


def test_a_fall_is_mujocos(sim, robot):
    """Feet, knees and hands on the ground, joints at their limits: after 1.5 s within 0.1 mm and 1e-4 rad of MuJoCo.

    The G1, whose arms lie on its trunk by then, within 5e-4 rad.
    """
    start = on_its_feet(robot, ang_vel=torch.tensor([0.0, 0.3, 0.0]))
    sim.write(ALL, start)
    model, data = mujocos(robot, start)
    generator, touched = torch.Generator().manual_seed(8), 0
    for _ in range(round(1.5 / robot.control_dt)):
        target = hold(robot) + 0.1 * torch.randn(N, robot.num_joints, generator=generator)
        assert not sim.step(target).any()
        data.ctrl[:] = target[0].double().numpy()
        mujoco.mj_step(model, data, robot.substeps)
        touched += data.ncon > 0
    assert touched > 20 and data.qpos[2] < 0.3, "fallen"
    np.testing.assert_allclose(sim.state.root_pos_w[0].numpy(), data.qpos[:3], atol=1e-4)
    np.testing.assert_allclose(
        sim.state.joint_pos[0].numpy(), data.qpos[7:], atol=5e-4 if robot.self_collision else 1e-4
    )


def test_standing_contact_carries_the_weight_on_the_feet(sim, robot):
    """On average from 0.4 s to 0.8 s: later the G1, whose ankles are soft, begins to fall."""
    sim.write(ALL, on_its_feet(robot))
    forces = []
    for step in range(round(0.8 / robot.control_dt)):
        assert not sim.step(hold(robot)).any()
        if step >= 0.4 / robot.control_dt:
            forces.append(sim.contact_force_w())
    force = torch.stack(forces).mean(dim=0)
    assert force.shape == (N, robot.num_bodies, 3)
    torch.testing.assert_close(force.sum(dim=1)[:, 2], torch.full((N,), robot.mass * 9.81), rtol=0.03, atol=0.0)
    feet = robot.body_ids(robot.feet)
    torch.testing.assert_close(force[:, feet].sum(dim=1), force.sum(dim=1))
    assert force.sum(dim=1)[:, :2].abs().max() < 30.0


def test_in_the_air_nothing_touches(sim, robot):
    sim.write(ALL, resting(robot))
    sim.step(hold(robot))
    assert sim.contact_force_w().abs().max() == 0.0


def test_reading_contact_forces_changes_nothing(sim, robot):
    sim.write(ALL, on_its_feet(robot, sunk=0.02))
    rollout(sim, 10)
    saved = sim.state_dict()
    want = rollout(sim, 5)
    sim.load_state_dict(saved)
    sim.contact_force_w()
    assert_same(rollout(sim, 5), want)


def test_writing_one_env_leaves_the_others_bit_identical(sim, robot):
    sim.write(ALL, random_state(robot, 9, height=1.2))
    rollout(sim, 5)
    saved, before = sim.state_dict(), snapshot(sim, [0, 2])
    want = [x[[0, 2]] for x in rollout(sim, 10)]
    sim.load_state_dict(saved)
    fresh = random_state(robot, 10)
    sim.write(mask(1), fresh)
    assert_same(snapshot(sim, [0, 2]), before)
    torch.testing.assert_close(sim.state.joint_pos[1], fresh.joint_pos[1], atol=1e-6, rtol=0.0)
    assert_same([x[[0, 2]] for x in rollout(sim, 10)], want)


def test_each_env_takes_its_own_row(sim, robot):
    sim.write(ALL, resting(robot))
    target = random_state(robot, 11)
    target.joint_pos[1] = torch.nan  # not in the mask, so it is ignored
    sim.write(mask(2, 0), target)
    torch.testing.assert_close(sim.state.joint_pos[[2, 0]], target.joint_pos[[2, 0]], atol=1e-6, rtol=0.0)
    torch.testing.assert_close(sim.state.joint_pos[1], robot.default_pose(), atol=1e-6, rtol=0.0)
    before = snapshot(sim, [0, 1, 2])
    sim.write(mask(), random_state(robot, 12))
    assert_same(snapshot(sim, [0, 1, 2]), before)


def test_a_reset_env_has_no_memory(sim, robot):
    """What an env did before it is written must not show: forces, warm starts of the contact solver, time."""
    sim.write(ALL, on_its_feet(robot, sunk=0.02))
    begun, want = sim.state_dict(), rollout(sim, 10)
    rollout(sim, 10, seed=13)
    sim.write(ALL, on_its_feet(robot, sunk=0.02))
    again = sim.state_dict()
    assert all(torch.equal(again[key], value) for key, value in begun.items())
    assert_same(rollout(sim, 10), want)


def test_an_env_with_a_nan_target_is_reported_and_the_others_are_unaffected(sim, robot):
    sim.write(ALL, on_its_feet(robot))
    rollout(sim, 10)
    saved, before = sim.state_dict(), snapshot(sim, [0, 1, 2])
    target = hold(robot)
    sim.step(target)
    want = snapshot(sim, [0, 2])
    sim.load_state_dict(saved)
    target[1, 7] = torch.nan
    assert sim.step(target).tolist() == [False, True, False]
    assert_same(snapshot(sim, [0, 2]), want)
    assert_recovered(sim, 1, before)


def assert_recovered(sim: Simulator, index: int, before: list[torch.Tensor]) -> None:
    """The env is at the pose it had before, at rest, and goes on from there."""
    torch.testing.assert_close(sim.state.joint_pos[index], before[0][index], atol=1e-5, rtol=0.0)
    torch.testing.assert_close(sim.state.body_pos_w[index], before[2][index], atol=1e-5, rtol=0.0)
    for rate in (sim.state.joint_vel, sim.state.body_lin_vel_w, sim.state.body_ang_vel_w):
        assert rate[index].abs().max() == 0.0
    assert not sim.step(hold(sim.robot)).any()
    assert all(x.isfinite().all() for x in snapshot(sim, [0, 1, 2]))


def test_an_env_with_a_nan_state_is_reported_and_the_others_are_unaffected(sim, robot):
    sim.write(ALL, on_its_feet(robot))
    rollout(sim, 5)
    saved, before = sim.state_dict(), snapshot(sim, [0, 1, 2])
    target = hold(robot)
    sim.step(target)
    want = snapshot(sim, [0, 2])
    sim.load_state_dict(saved)
    broken = resting(robot)
    broken.body_pos_w[1, 0, 0] = torch.nan
    broken.joint_vel[1] = torch.nan
    sim.write(mask(1), broken)
    assert sim.step(target).tolist() == [False, True, False]
    assert_same(snapshot(sim, [0, 2]), want)
    assert_recovered(sim, 1, before)


def test_an_env_that_explodes_is_reported_and_the_others_are_unaffected(sim, robot, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sim.write(ALL, on_its_feet(robot))
    rollout(sim, 5)
    saved = sim.state_dict()
    target = hold(robot)
    sim.step(target)
    want = snapshot(sim, [0, 1])
    sim.load_state_dict(saved)
    state = random_state(robot, 14)
    state.joint_vel[2] = 1e7
    sim.write(mask(2), state)
    before = snapshot(sim, [0, 1, 2])
    assert sim.step(target).tolist() == [False, False, True]
    assert_same(snapshot(sim, [0, 1]), want)
    assert_recovered(sim, 2, before)
    assert list(tmp_path.iterdir()) == []  # no MUJOCO_LOG.TXT


def test_a_saved_simulation_continues_exactly(sim, robot, name, tmp_path):
    sim.write(ALL, random_state(robot, 15, height=1.0))
    rollout(sim, 10)
    torch.save(sim.state_dict(), tmp_path / "state")
    here = snapshot(sim, [0, 1, 2])
    want = rollout(sim, 15, seed=16)
    other = build(name, robot)
    other.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert_same(snapshot(other, [0, 1, 2]), here)
    assert_same(rollout(other, 15, seed=16), want)
    other.close()


def test_results_do_not_depend_on_the_number_of_threads(sim, robot, name):
    sim.write(ALL, random_state(robot, 17, height=1.0))
    want = rollout(sim, 15)
    for threads in (2, 5):
        other = build(name, robot, threads)
        other.write(ALL, random_state(robot, 17, height=1.0))
        assert_same(rollout(other, 15), want)
        other.close()


def test_the_mujoco_backend_is_for_the_cpu():
    with pytest.raises(UserError, match="runs on the CPU, not on cuda"):
        make_simulator("mujoco", get_robot("smpl"), 1, device="cuda")


def test_an_unknown_simulator_is_named():
    with pytest.raises(UserError, match=r"no simulator 'bullet'\. Known: mujoco"):
        make_simulator("bullet", get_robot("smpl"), 1, device="cpu")
