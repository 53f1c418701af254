"""What Isaac Lab has beside the contract of `test_simulator.py`: the same model, several simulations, room, devices, its extra."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
import warp as wp
from isaaclab.sim import SimulationContext

from protege.core.errors import UserError
from protege.core.robots import rotation as R
from protege.core.robots.kinematics import Kinematics
from protege.core.robots.robot import Body
from protege.core.robots.state import RobotState
from protege.core.runs.config import RunConfig, compose
from protege.core.runs.resuming import MAY_CHANGE
from protege.sim.engine import mujoco
from protege.sim.env_config import EnvConfig
from protege.sim.plugin import plugin
from protege.sim.robots import get_robot
from protege.sim.robots.mjcf import build_spec
from protege.sim.simulators import warp_device
from protege.sim.simulators.isaaclab import simulator as isaaclab
from protege.sim.simulators.isaaclab.arrays import newton_solver
from protege.sim.simulators.isaaclab.scene import joint_names
from protege.sim.simulators.isaaclab.simulator import IsaaclabSimulator
from protege.sim.simulators.simulator import make_simulator

ROBOT = get_robot("smpl")
WALK = "smpl_humanoid_walk.npy"
N, J, B = 2, ROBOT.num_joints, ROBOT.num_bodies
ALL = torch.ones(N, dtype=torch.bool)
HOLD = ROBOT.default_pose().expand(N, J)


@pytest.fixture(scope="module")
def sim() -> Iterator[IsaaclabSimulator]:
    simulator = IsaaclabSimulator(ROBOT, N, device="cpu")
    yield simulator
    simulator.close()


@pytest.fixture(scope="module")
def each_sim(robot) -> Iterator[IsaaclabSimulator]:
    """Of each robot in turn."""
    simulator = IsaaclabSimulator(robot, N, device="cpu")
    yield simulator
    simulator.close()


def standing(height: float, num_envs: int = N, **velocities: torch.Tensor) -> RobotState:
    """Upright in the default pose, the pelvis so high, m."""
    pos, quat = torch.tensor([[0.0, 0.0, height]]), torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    lin, ang = (velocities.get(name, torch.zeros(3)) for name in ("lin", "ang"))
    roots = [x.expand(num_envs, -1) for x in (pos, quat, lin.unsqueeze(0), ang.unsqueeze(0))]
    return Kinematics(ROBOT).state(*roots, ROBOT.default_pose().expand(num_envs, J), torch.zeros(num_envs, J))


def mujoco_at(model: mujoco.MjModel, state: RobotState) -> mujoco.MjData:
    """MuJoCo's data in the state of the first env."""
    data, s = mujoco.MjData(model), state[0]
    data.qpos[:] = torch.cat([s.root_pos_w, s.root_quat_w, s.joint_pos]).double().numpy()
    spin_b = R.rotate_inverse(s.root_quat_w, s.root_ang_vel_w)
    data.qvel[:] = torch.cat([s.root_lin_vel_w, spin_b, s.joint_vel]).double().numpy()
    return data


# The model ---------------------------------------------------------------------------------------------------------------


def test_the_solver_has_the_model_of_the_other_backends(robot, each_sim):
    """Field by field; bodies and hinges are matched by name."""
    each_sim.step(robot.default_pose().expand(N, -1))
    ours, solver = build_spec(robot).compile(), newton_solver()
    theirs, host = solver.mjw_model, solver.mj_model
    bodies = [
        0,
        *(
            ours.body(host.body(i).name.removeprefix("_World_envs_env_0_Robot_")).id
            for i in range(1, robot.num_bodies + 1)
        ),
    ]
    assert sorted(bodies) == list(range(robot.num_bodies + 1))
    hinges = np.concatenate([np.flatnonzero(ours.jnt_bodyid == body) for body in bodies])
    degrees = np.concatenate([np.arange(6), ours.jnt_dofadr[hinges[1:]]])

    def same(name: str, order: np.ndarray | list[int], rtol: float = 1e-5) -> None:
        np.testing.assert_allclose(getattr(theirs, name).numpy()[0], getattr(ours, name)[order], atol=1e-6, rtol=rtol)

    for name in ("body_mass", "body_subtreemass", "body_ipos"):
        same(name, bodies)
    same("body_invweight0", bodies, rtol=1e-3)  # inverted in single precision
    same("dof_invweight0", degrees, rtol=1e-3)
    np.testing.assert_allclose(theirs.body_pos.numpy()[0][2:], ours.body_pos[bodies[2:]], atol=1e-6)
    for name in ("jnt_axis", "jnt_solref", "jnt_solimp", "jnt_margin", "jnt_stiffness"):
        same(name, hinges)
    for name in ("jnt_range", "jnt_actfrcrange"):  # the root's free joint has neither
        np.testing.assert_allclose(getattr(theirs, name).numpy()[0][1:], getattr(ours, name)[hinges[1:]], atol=1e-6)
    assert list(host.jnt_actfrclimited[1:]) == [1] * robot.num_joints
    for name in ("dof_armature", "dof_damping", "dof_frictionloss"):
        same(name, degrees)
    np.testing.assert_allclose(inertias(theirs)[1:], inertias_of(ours)[bodies[1:]], atol=1e-6, rtol=1e-5)


def inertias(model) -> np.ndarray:
    """Of Warp's first env, in the bodies' frames, (B + 1, 3, 3)."""
    return rotated(model.body_inertia.numpy()[0], model.body_iquat.numpy()[0])


def inertias_of(model: mujoco.MjModel) -> np.ndarray:
    return rotated(model.body_inertia, model.body_iquat)


def rotated(diagonal: np.ndarray, quat: np.ndarray) -> np.ndarray:
    turn = np.zeros((len(quat), 9))
    for row, q in zip(turn, quat.astype(np.float64), strict=True):
        mujoco.mju_quat2Mat(row, q)
    turn = turn.reshape(-1, 3, 3)
    return turn @ (diagonal[:, :, None] * turn.transpose(0, 2, 1))


def test_shapes_servos_and_the_solver_are_those_of_the_other_backends(robot, each_sim):
    ours, solver = build_spec(robot).compile(), newton_solver()
    theirs, host = solver.mjw_model, solver.mj_model
    geoms = [0, *(ours.geom(host.geom(i).name.rsplit("/", 1)[1].rsplit("_", 1)[0]).id for i in range(1, host.ngeom))]
    shapes = geoms[1:]
    np.testing.assert_array_equal(host.geom_type, ours.geom_type[geoms])
    for kind, count in {"CAPSULE": 2, "SPHERE": 1, "BOX": 3}.items():
        these = [i for i in range(1, host.ngeom) if host.geom_type[i] == getattr(mujoco.mjtGeom, f"mjGEOM_{kind}")]
        size = theirs.geom_size.numpy()[0][these, :count]
        np.testing.assert_allclose(size, ours.geom_size[[geoms[i] for i in these], :count], atol=1e-6)
    for name in ("geom_pos", "geom_margin", "geom_gap", "geom_solref", "geom_solimp", "geom_friction"):
        np.testing.assert_allclose(getattr(theirs, name).numpy()[0][1:], getattr(ours, name)[shapes], atol=1e-6)
    collides = (host.geom_contype[:, None] & host.geom_conaffinity[None]) | (
        host.geom_conaffinity[:, None] & host.geom_contype[None]
    )
    assert collides[0, 1:].all(), "everything with the ground"
    assert collides[1:, 1:].any() == robot.self_collision
    # A spring and a damper for each hinge, which add up to our servo.
    joints = [joint_names(robot).index(name) for name in each_sim.scene["robot"].backend_joint_names]
    stiffness, damping = ([getattr(robot.joints[i], x) for i in joints] for x in ("stiffness", "damping"))
    bias = theirs.actuator_biasprm.numpy()[0]
    np.testing.assert_allclose(
        bias[0::2, 1:3], np.stack([np.negative(stiffness), np.zeros(robot.num_joints)], 1), rtol=1e-6
    )
    np.testing.assert_allclose(
        bias[1::2, 1:3], np.stack([np.zeros(robot.num_joints), np.negative(damping)], 1), rtol=1e-6
    )
    np.testing.assert_allclose(theirs.actuator_gainprm.numpy()[0][0::2, 0], stiffness, rtol=1e-6)
    assert not host.actuator_forcelimited.any() and not host.actuator_ctrllimited.any()
    for name in ("integrator", "cone", "iterations", "ls_iterations"):
        assert getattr(theirs.opt, name) == getattr(ours.opt, name), name
    assert theirs.opt.timestep.numpy()[0] == pytest.approx(ours.opt.timestep)
    np.testing.assert_allclose(theirs.opt.gravity.numpy()[0], ours.opt.gravity)


def test_the_solver_has_the_friction_of_each_shape(robot):
    """All three numbers, and how many of them count."""
    rubber = {"friction": (0.6, 0.02, 0.01), "condim": 6}

    def shod(body: Body) -> Body:
        return replace(body, geoms=tuple(replace(x, **rubber) for x in body.geoms)) if body.name in robot.feet else body

    shoes = replace(robot, bodies=tuple(map(shod, robot.bodies)))
    simulator = IsaaclabSimulator(shoes, N, device="cpu")
    ours, solver = build_spec(shoes).compile(), newton_solver()
    names = [solver.mj_model.geom(i).name.rsplit("/", 1)[1].rsplit("_", 1)[0] for i in range(1, solver.mj_model.ngeom)]
    shapes, friction = [ours.geom(name).id for name in names], solver.mjw_model.geom_friction.numpy()[0][1:]
    np.testing.assert_allclose(friction, ours.geom_friction[shapes], atol=1e-6)
    np.testing.assert_array_equal(solver.mjw_model.geom_condim.numpy()[1:], ours.geom_condim[shapes])
    assert set(ours.geom_condim[shapes]) == {3, 6}
    simulator.close()


def test_isaac_labs_own_view_is_in_the_robots_order(sim):
    articulation = sim.scene["robot"]
    assert tuple(articulation.body_names) == ROBOT.body_names
    assert articulation.joint_names == joint_names(ROBOT)
    assert joint_names(ROBOT)[:4] == ["L_Hip_x:0", "L_Hip_x:1", "L_Hip_x:2", "L_Knee_x:0"]
    sim.write(ALL, standing(1.5))
    sim.step(HOLD)
    data = articulation.data
    torch.testing.assert_close(data.joint_pos.torch, sim.state.joint_pos)
    torch.testing.assert_close(data.body_link_pos_w.torch, sim.state.body_pos_w)
    torch.testing.assert_close(data.body_link_quat_w.torch.roll(1, 2), sim.state.body_quat_w)
    torch.testing.assert_close(data.body_link_lin_vel_w.torch, sim.state.body_lin_vel_w, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(data.body_link_ang_vel_w.torch, sim.state.body_ang_vel_w)


def test_hinges_may_stand_askew_and_a_body_may_have_one():
    """Unlike the shipped robots: the knee turns about a tilted axis, and the head has one hinge."""
    tilted = [replace(j, axis=(0.0, 0.6, 0.8)) if j.name == "L_Knee_y" else j for j in ROBOT.joints]
    joints = tuple(j for j in tilted if j.name not in ("Head_x", "Head_z"))
    robot = replace(ROBOT, joints=joints, default_joint_pos=(0.0,) * len(joints))
    assert joint_names(robot).count("Head_y") == 1
    simulator = IsaaclabSimulator(robot, 1, device="cpu")
    angles = 0.3 * torch.randn(1, len(joints), generator=torch.Generator().manual_seed(0))
    pos, quat, still = torch.tensor([[0.0, 0.0, 2.0]]), torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.zeros(1, 3)
    target = Kinematics(robot).state(pos, quat, still, still, angles, angles)
    simulator.write(torch.tensor([True]), target)
    for name in ("body_pos_w", "body_quat_w", "body_lin_vel_w", "body_ang_vel_w"):
        torch.testing.assert_close(getattr(simulator.state, name), getattr(target, name), atol=1e-5, rtol=1e-4)
    simulator.close()


# Against MuJoCo ----------------------------------------------------------------------------------------------------------


def test_a_second_of_flight_is_mujocos(sim):
    """No torque reaches its limit: there, 1e-4 rad is what single precision can keep."""
    model = build_spec(ROBOT).compile()
    start = standing(8.0, lin=torch.tensor([0.5, 0.2, 2.0]), ang=torch.tensor([0.5, -0.3, 1.0]))
    data = mujoco_at(model, start)
    sim.write(ALL, start)
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        target = HOLD + 0.1 * torch.randn(N, J, generator=generator)
        assert not sim.step(target).any()
        data.ctrl[:] = target[0].double().numpy()
        mujoco.mj_step(model, data, ROBOT.substeps)
        assert np.abs(data.qfrc_actuator).max() < 500.0
    np.testing.assert_allclose(sim.state.joint_pos[0].numpy(), data.qpos[7:], atol=1e-4)
    np.testing.assert_allclose(sim.state.root_pos_w[0].numpy(), data.qpos[:3], atol=1e-3)


def test_the_ground_pushes_as_in_mujoco(sim):
    """On each body, after 1.5 s of standing, within 1 N of 620."""
    model = build_spec(ROBOT).compile()
    data = mujoco_at(model, standing(0.95))
    sim.write(ALL, standing(0.95))
    data.ctrl[:] = HOLD[0].double().numpy()
    for _ in range(45):
        sim.step(HOLD)
        mujoco.mj_step(model, data, ROBOT.substeps)
    want, wrench = np.zeros((B, 3)), np.zeros(6)
    for index, contact in enumerate(data.contact):
        mujoco.mj_contactForce(model, data, index, wrench)
        want[model.geom_bodyid[contact.geom[1]] - 1] += contact.frame.reshape(3, 3).T @ wrench[:3]
    force = sim.contact_force_w()[0].numpy()
    assert 550.0 < want[:, 2].sum() < 690.0
    np.testing.assert_allclose(force, want, atol=1.0)


def test_a_cuda_graph_may_hold_what_follows_the_physics(sim, monkeypatch):
    """On a GPU resets are captured; Isaac Lab then rejects some of its calls, depending on the state that is faked here."""
    sim.write(ALL, standing(0.95))
    want = [sim.state.body_pos_w.clone(), (sim.step(HOLD), sim.state.joint_pos.clone())[1]]
    queries = []
    with monkeypatch.context() as capturing:
        device = type(wp.get_device("cpu"))
        capturing.setattr(device, "is_capturing", property(lambda self: queries.append(self) or True))
        with pytest.raises(RuntimeError, match="cannot be called during CUDA graph capture"):
            _ = sim.scene["robot"].data.root_link_vel_w
        sim.write(ALL, standing(0.95))
    assert queries
    assert torch.equal(sim.state.body_pos_w, want[0])
    sim.step(HOLD)
    assert torch.equal(sim.state.joint_pos, want[1])


# Several simulations in one process ---------------------------------------------------------------------------------------


def test_three_environments_in_a_row():
    finals = []
    for num_envs in (1, 3, 1):
        config = EnvConfig(num_envs=num_envs, task_mix={"track": 1.0})
        env = plugin.make(RunConfig(robot="smpl", simulator="isaaclab", device="cpu", motion_file=[WALK]), config)
        obs = env.reset()
        for _ in range(3):
            obs = env.step(obs["reference_joint_pos"] - env.default_joint_pos).obs
        finals.append(env.state.joint_pos.clone())
        env.close()
        assert SimulationContext.instance() is None
    assert torch.equal(finals[0], finals[2]), "nothing is left of the one between"


def test_two_simulations_take_turns(sim):
    """As training and its evaluations do; one does not notice the other, even if that is left open or broken off."""
    sim.write(ALL, standing(0.95))
    saved = sim.state_dict()
    want = [(sim.step(HOLD), sim.state.joint_vel.clone())[1] for _ in range(6)]
    sim.load_state_dict(saved)
    other = IsaaclabSimulator(ROBOT, 3, device="cpu")
    for index, expected in enumerate(want):
        if index == 3:
            other.close()
            other = IsaaclabSimulator(ROBOT, 1, device="cpu")
        other.step(ROBOT.default_pose().expand(other.num_envs, J) + 0.3)
        sim.step(HOLD)
        assert torch.equal(sim.state.joint_vel, expected)
    force = sim.contact_force_w()
    other.step(ROBOT.default_pose().expand(1, J))
    assert torch.equal(sim.contact_force_w(), force) and force.abs().max() > 10.0


def test_one_that_cannot_be_built_leaves_nothing(monkeypatch, sim):
    def broken(*arguments) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(IsaaclabSimulator, "_allocate", broken)
    with pytest.raises(RuntimeError, match="something else"):
        make_simulator("isaaclab", ROBOT, 1, device="cpu")
    assert SimulationContext.instance() is None
    assert not sim.step(HOLD).any(), "the one that was there goes on"


def test_closing_twice_is_closing_once():
    simulator = IsaaclabSimulator(ROBOT, 1, device="cpu")
    simulator.close()
    simulator.close()
    assert SimulationContext.instance() is None


# Bad input ---------------------------------------------------------------------------------------------------------------


def test_contacts_beyond_the_capacity_raise_an_error(monkeypatch, capfd):
    monkeypatch.setattr(warp_device, "CHECK_EVERY", 5)
    simulator = IsaaclabSimulator(ROBOT, N, device="cpu", contacts=1)
    simulator.write(ALL, standing(0.93))
    capfd.readouterr()
    for _ in range(4):
        simulator.step(HOLD)
    with pytest.raises(UserError, match=r"isaaclab: 2 of 2 .* contacts\. Raise env\.isaaclab\.contacts \(now 1\)"):
        simulator.step(HOLD)
    assert capfd.readouterr() == ("", ""), "kernels print nothing"
    simulator.close()


def test_the_config_sets_the_capacity():
    parts = {"run": RunConfig, "env": EnvConfig}
    common = ["robot=smpl", "simulator=isaaclab", "device=cpu", "num_envs=1", f"motion_file=[{WALK}]"]
    config = compose(parts, None, [*common, "env.isaaclab.contacts=64", "env.isaaclab.constraints=200"])
    env = plugin.make(config.run, config.env)
    assert isinstance(env.simulator, IsaaclabSimulator)
    assert env.simulator.capacity.sizes == {"contacts": 64, "constraints": 200}
    data = newton_solver().mjw_data
    assert (data.naconmax, data.njmax) == (64, 200)
    env.close()
    with pytest.raises(UserError, match=r"env\.isaaclab\.contacts is 0\. Take 1 or more"):
        compose(parts, None, [*common, "env.isaaclab.contacts=0"])
    assert {"env.isaaclab.contacts", "env.isaaclab.constraints"} < MAY_CHANGE, "may be raised when a run goes on"


def test_too_many_envs_raise_an_error_with_the_number_that_fits(monkeypatch):
    def full(*arguments) -> None:
        raise RuntimeError("Failed to allocate 123456 bytes on device 'cuda:0'")

    monkeypatch.setattr(isaaclab, "build", full)
    monkeypatch.setattr(warp_device, "free_memory", lambda device: 2**30)
    with pytest.raises(UserError, match=r"^100000 envs do not fit into the 1\.0 GiB .* Take env\.num_envs=\d+ or less"):
        make_simulator("isaaclab", ROBOT, 100_000, device="cpu")


@pytest.mark.parametrize("device", ["cuda:7", "mps"])
def test_a_device_that_is_not_there_is_named(device):
    with pytest.raises(UserError, match=f"isaaclab: there is no device {device}; torch sees .* Take --device cpu"):
        make_simulator("isaaclab", ROBOT, 1, device=device)


@pytest.mark.parametrize("name", ["physx", "isaaclab-physx", "isaacsim"])
def test_physx_is_rejected(name):
    with pytest.raises(UserError, match=f"no simulator '{name}': PhysX is for later. Take isaaclab, on Newton"):
        make_simulator(name, ROBOT, 1, device="cpu")


@pytest.mark.parametrize(
    ("before", "complaint"),
    [
        (
            "sys.modules['isaaclab'] = None",
            'isaaclab is not installed. Install it, on Python 3.12: pip install "protege-sim[isaaclab]"',
        ),
        (
            "import protege.sim.bench, protege.sim.cli; sys.version_info = (3, 13, 1, 'final', 0)",
            "isaaclab runs on Python 3.12, not on 3.13. Make an environment with Python 3.12",
        ),
    ],
)
def test_a_missing_extra_or_python_is_reported_in_one_line(before, complaint):
    program = f"""
import sys
{before}
from protege.sim.cli import main
main(["bench", "--simulator", "isaaclab", "--device", "cpu", "--num-envs", "1"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2
    assert complaint in " ".join(done.stderr.split()), done.stderr
