"""The Unitree G1 against the figures that it was written from, and on its feet.

The wheel of mjlab 1.6 holds an MJCF with these figures. `MJLAB_WHEEL` names its file (`pip download --no-deps "mjlab==1.6.*"`);
without it a table of what was computed from it has to do.
"""

import os
from pathlib import Path
from xml.etree import ElementTree
from zipfile import ZipFile

import numpy as np
import pytest
import torch

from protege.core.motions import Clip
from protege.core.robots import rotation as R
from protege.core.robots.kinematics import Kinematics
from protege.core.robots.state import RobotState
from protege.sim.engine import mujoco
from protege.sim.env import HumanoidEnv
from protege.sim.env_config import EnvConfig
from protege.sim.references.gait import balanced, center_of_mass
from protege.sim.robots import get_robot
from protege.sim.robots.mjcf import build_spec
from protege.sim.simulators.simulator import Simulator, make_simulator

ROBOT = get_robot("g1")
J = ROBOT.num_joints
MEMBER = "mjlab/asset_zoo/robots/unitree_g1/xmls/g1.xml"

# Of the published MJCF, root at the origin and joints at +0.1, -0.1, +0.1, ... rad: bodies' origins, m, and moments of inertia
# about some joints of all that they move, without rotors, kg·m².
MASS = 33.341142
PLACES = {
    "left_knee_link": (-0.0335849, 0.0807085, -0.4355338),
    "right_ankle_roll_link": (-0.0349608, -0.1904837, -0.7507268),
    "torso_link": (-0.0039437, -0.0003957, 0.0440000),
    "left_wrist_yaw_link": (0.2057762, 0.1677115, 0.0552600),
    "right_wrist_yaw_link": (0.1978714, -0.1279560, 0.0960759),
}
INERTIAS = {
    "left_hip_pitch_joint": 0.9018842,
    "right_knee_joint": 0.1164049,
    "waist_yaw_joint": 0.2858869,
    "right_shoulder_roll_joint": 0.0726838,
}


@pytest.fixture(scope="module")
def ours() -> mujoco.MjModel:
    return build_spec(ROBOT).compile()


@pytest.fixture(scope="module")
def published() -> mujoco.MjModel:
    """The wheel's model; its meshes weigh nothing and are left out."""
    wheel = os.environ.get("MJLAB_WHEEL")
    if not wheel:
        pytest.skip("MJLAB_WHEEL does not name the wheel of mjlab 1.6")
    root = ElementTree.fromstring(ZipFile(Path(wheel)).read(MEMBER))
    for node in list(root.iter()):
        for child in list(node):
            if child.tag in ("asset", "sensor") or "mesh" in child.attrib:
                node.remove(child)
    return mujoco.MjModel.from_xml_string(ElementTree.tostring(root, encoding="unicode"))


def posed(model: mujoco.MjModel, root: np.ndarray, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Origins (B, 3) and rotations (B, 9) of all bodies, and the joint-space inertia (6 + J, 6 + J) without rotors."""
    data, full = mujoco.MjData(model), np.zeros((model.nv, model.nv))
    data.qpos[:] = np.concatenate([root, joints])
    mujoco.mj_forward(model, data)
    mujoco.mj_fullM(model, data, full)
    rows = [model.body(name).id for name in ROBOT.body_names]
    return data.xpos[rows], data.xmat[rows], full - np.diag(model.dof_armature)


def test_it_is_as_heavy_and_as_long_as_published(ours):
    assert ours.body_mass.sum() == pytest.approx(MASS, abs=1e-6) == ROBOT.mass
    pos, _, inertia = posed(ours, np.array([0.0, 0, 0, 1, 0, 0, 0]), 0.1 * (-1.0) ** np.arange(J))
    for name, place in PLACES.items():
        np.testing.assert_allclose(pos[ROBOT.body_names.index(name)], place, atol=1e-6, err_msg=name)
    for name, moment in INERTIAS.items():
        row = ours.joint(name).dofadr[0]
        assert inertia[row, row] == pytest.approx(moment, rel=1e-4), name


def test_it_is_the_published_robot_in_a_thousand_poses(ours, published):
    assert published.body_mass.sum() == pytest.approx(ours.body_mass.sum(), abs=1e-6)
    assert [published.joint(i).name for i in range(1, 1 + J)] == list(ROBOT.joint_names)
    np.testing.assert_array_equal(published.jnt_range[1:], ours.jnt_range[1:])
    low, high = ours.jnt_range[1:].T
    generator = np.random.default_rng(0)
    for _ in range(1000):
        root = generator.normal(size=7)
        root[2] += 5.0
        root[3:] /= np.linalg.norm(root[3:])
        joints = generator.uniform(low, high)
        mine, theirs = posed(ours, root, joints), posed(published, root, joints)
        np.testing.assert_allclose(mine[0], theirs[0], atol=1e-6, rtol=0.0)
        np.testing.assert_allclose(mine[1], theirs[1], atol=1e-6, rtol=0.0)
        np.testing.assert_allclose(mine[2], theirs[2], atol=1e-9, rtol=1e-4)


def test_servos_follow_from_their_rotors():
    """BeyondMimic's rule by hand for an arm motor: 0.003609725 kg·m² at 10 Hz, 62.83 rad/s, and 25 N·m."""
    elbow = ROBOT.joints[ROBOT.joint_names.index("left_elbow_joint")]
    assert elbow.stiffness == pytest.approx(0.003609725 * 62.831853**2) == pytest.approx(14.2506, abs=1e-4)
    assert elbow.damping == pytest.approx(4.0 * 0.003609725 * 62.831853) == pytest.approx(0.90722, abs=1e-5)
    assert elbow.effort_limit == 25.0 and elbow.action_scale == pytest.approx(0.25 * 25.0 / 14.2506, abs=1e-4)
    ankle = ROBOT.joints[ROBOT.joint_names.index("right_ankle_pitch_joint")]
    assert ankle.stiffness == pytest.approx(2.0 * elbow.stiffness) and ankle.effort_limit == 50.0
    assert ankle.action_scale == pytest.approx(elbow.action_scale)
    assert (ROBOT.control_dt, ROBOT.physics_dt, ROBOT.substeps) == (0.02, 0.005, 4)


def test_no_shapes_of_the_default_pose_touch(ours):
    data = mujoco.MjData(ours)
    data.qpos[:] = [0.0, 0.0, 2.0, 1.0, 0.0, 0.0, 0.0, *ROBOT.default_joint_pos]
    mujoco.mj_forward(ours, data)
    assert data.ncon == 0
    # Bent by the elbow towards the chest, an arm touches the trunk: its shapes do collide.
    data.qpos[ours.joint("left_shoulder_roll_joint").qposadr] = -1.0
    mujoco.mj_forward(ours, data)
    assert data.ncon > 0


def test_it_is_balanced_by_both_hinges_of_its_ankles():
    """From a forward lean, to level soles under the centre of mass."""
    pose, tilt = ROBOT.default_pose().double(), torch.tensor([0.0, 0.2, 0.0], dtype=torch.float64)
    kinematics = Kinematics(ROBOT).double()
    pose, tilt = balanced(pose, tilt, ROBOT, kinematics)
    pos, quat = kinematics(torch.zeros(1, 3, dtype=torch.float64), R.from_rotation_vector(tilt)[None], pose[None])
    feet = ROBOT.body_ids(ROBOT.feet)
    up = R.rotate(quat[0, feet], torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(2, 3))
    assert (up[:, 2] > 0.9999).all()
    assert (center_of_mass(pos, quat, ROBOT)[0] - pos[0, feet].mean(dim=0))[:2].norm() < 2e-3


def on_its_feet(num_envs: int = 1) -> RobotState:
    """At rest in the default pose, at its height."""
    root = torch.tensor([[0.0, 0.0, ROBOT.root_height]]), torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    still, pose = torch.zeros(num_envs, 3), ROBOT.default_pose().expand(num_envs, J)
    pos, quat = (x.expand(num_envs, -1) for x in root)
    return Kinematics(ROBOT).state(pos, quat, still, still, pose, torch.zeros(num_envs, J))


def steadied(sim: Simulator) -> torch.Tensor:
    """The default pose as targets, with ankles and waist turned against the lean.

    Both ankles together give 57 N·m/rad, a robot that leans about them wants m·g·h = 200: servos as soft as these, whose targets do
    not move, let it fall within 1.5 s.
    """
    state, target = sim.state, ROBOT.default_pose().repeat(sim.num_envs, 1)
    feet = state.body_pos_w[:, ROBOT.body_ids(ROBOT.feet), 0].mean(dim=1)
    ahead = center_of_mass(state.body_pos_w, state.body_quat_w, ROBOT)[:, 0] - feet - 0.04  # of the middle of the soles
    for name in ("left_ankle_pitch_joint", "right_ankle_pitch_joint"):
        target[:, ROBOT.joint_names.index(name)] += 10.0 * ahead + 2.0 * state.root_lin_vel_w[:, 0]
    waist = ROBOT.joint_names.index("waist_pitch_joint")
    target[:, waist] -= 3.0 * state.joint_pos[:, waist]
    return target


def test_it_stands_for_two_seconds():
    sim = make_simulator("mujoco", ROBOT, 1, device="cpu", num_threads=1)
    sim.write(torch.ones(1, dtype=torch.bool), on_its_feet())
    for _ in range(round(2.0 / ROBOT.control_dt)):
        assert not sim.step(steadied(sim)).any()
    assert 0.70 < float(sim.state.root_pos_w[0, 2]) < 0.77
    assert float((sim.state.joint_pos - ROBOT.default_pose()).abs().max()) < 0.15
    force = sim.contact_force_w()[0]
    assert float(force[:, 2].sum()) == pytest.approx(ROBOT.mass * 9.81, rel=0.02)
    torch.testing.assert_close(force[ROBOT.body_ids(ROBOT.feet)].sum(0), force.sum(0))
    sim.close()


def test_mjwarp_moves_it_as_mujoco_does():
    """0.2 s on its feet, in single precision."""
    states = []
    for name in ("mujoco", "mjwarp"):
        sim = make_simulator(name, ROBOT, 1, device="cpu", num_threads=1)
        sim.write(torch.ones(1, dtype=torch.bool), on_its_feet())
        for _ in range(10):
            assert not sim.step(steadied(sim)).any()
        states.append(sim.state.clone())
        sim.close()
    torch.testing.assert_close(states[1].body_pos_w, states[0].body_pos_w, atol=1e-5, rtol=0.0)
    torch.testing.assert_close(states[1].joint_pos, states[0].joint_pos, atol=1e-4, rtol=0.0)


def test_an_environment_of_it_runs_at_its_own_rate():
    time, still = np.arange(101) / 100.0, np.tile([1.0, 0.0, 0.0, 0.0], (101, 1))
    place = np.stack([0.0 * time, 0.0 * time, np.full(101, ROBOT.root_height)], axis=1)
    clip = Clip("standing", time, place, still, np.tile(ROBOT.default_joint_pos, (101, 1)))
    sim = make_simulator("mujoco", ROBOT, 2, device="cpu", num_threads=1)
    env = HumanoidEnv(sim, [clip], EnvConfig(num_envs=2), seed=0)
    obs = env.reset()
    assert obs["reference_joint_pos"].shape == (2, J) and obs["poses"].shape[2:] == (ROBOT.num_bodies, 12)
    torch.testing.assert_close(obs["reference_joint_pos"], ROBOT.default_pose().expand(2, J), atol=1e-5, rtol=0.0)
    for _ in range(5):
        step = env.step(obs["reference_joint_pos"] - ROBOT.default_pose())
        assert not step.invalid.any() and all(x.isfinite().all() for x in step.obs.values())
    assert sim.data[0].time == pytest.approx(5 * 0.02)  # pyright: ignore[reportAttributeAccessIssue]
    env.close()
