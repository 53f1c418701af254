"""The robot as a MuJoCo model."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from protege.core.errors import UserError
from protege.sim.engine import mujoco
from protege.sim.robots import get_robot, robot_names
from protege.sim.robots.mjcf import build_spec, robot_xml

ROBOT = get_robot("smpl")


@pytest.fixture(scope="module")
def model():
    """Compiled from the text alone."""
    return mujoco.MjModel.from_xml_string(robot_xml("smpl"))


def names(model, kind, count: int) -> list[str]:
    return [mujoco.mj_id2name(model, kind, i) for i in range(count)]


def test_mass_is_that_of_the_description(model):
    assert model.body_mass.sum() == pytest.approx(ROBOT.mass, rel=1e-6) == pytest.approx(63.0, abs=0.5)
    for index, body in enumerate(ROBOT.bodies):
        assert model.body_mass[index + 1] == pytest.approx(body.inertia.mass)


def test_bodies_joints_and_servos_are_in_order(model):
    assert names(model, mujoco.mjtObj.mjOBJ_BODY, model.nbody)[1:] == list(ROBOT.body_names)
    assert names(model, mujoco.mjtObj.mjOBJ_JOINT, model.njnt) == ["root", *ROBOT.joint_names]
    assert names(model, mujoco.mjtObj.mjOBJ_ACTUATOR, model.nu) == list(ROBOT.joint_names)
    assert (model.nq, model.nv) == (76, 75)


def test_joints_are_as_described(model):
    np.testing.assert_allclose(model.jnt_range[1:], [joint.range for joint in ROBOT.joints], atol=1e-6)
    np.testing.assert_allclose(model.jnt_axis[1:], [joint.axis for joint in ROBOT.joints])
    np.testing.assert_allclose(model.dof_armature[6:], 0.02)
    np.testing.assert_allclose(model.body_pos[2:], [body.offset for body in ROBOT.bodies[1:]], atol=1e-9)


def test_torque_is_limited_at_the_joint_and_not_in_the_servo(model):
    """A limit on the actuator is invisible to implicitfast, which then blows up."""
    assert model.jnt_actfrclimited[1:].all()
    np.testing.assert_array_equal(model.jnt_actfrcrange[1:], [[-500.0, 500.0]] * 69)
    assert not model.actuator_forcelimited.any()
    assert not model.actuator_ctrllimited.any()


def test_servos_are_pd(model):
    stiffness, damping = ([getattr(j, key) for j in ROBOT.joints] for key in ("stiffness", "damping"))
    np.testing.assert_allclose(model.actuator_gainprm[:, 0], stiffness)
    np.testing.assert_allclose(model.actuator_biasprm[:, 1], np.negative(stiffness))
    np.testing.assert_allclose(model.actuator_biasprm[:, 2], np.negative(damping))
    hip = ROBOT.joint_names.index("L_Hip_x")
    assert (stiffness[hip], damping[hip]) == (800.0, 80.0)


def test_physics_runs_at_120_hz_with_implicitfast(model):
    assert model.opt.timestep == pytest.approx(1.0 / 120.0)
    assert model.opt.integrator == mujoco.mjtIntegrator.mjINT_IMPLICITFAST


def test_the_body_touches_the_ground_only(model):
    """A robot whose arms touch its body must not collide with itself."""
    body = model.geom_bodyid > 0
    collides = (model.geom_contype[:, None] & model.geom_conaffinity[None]) != 0
    assert not (collides | collides.T)[np.ix_(body, body)].any()
    assert (collides | collides.T)[np.ix_(body, ~body)].all()


def test_the_text_stands_alone():
    root = ET.fromstring(robot_xml("smpl"))
    assert not [node for node in root.iter() if "file" in node.attrib]
    assert root.get("model") == "smpl"


@pytest.mark.parametrize("name", robot_names())
def test_every_robot_compiles(name):
    robot = get_robot(name)
    assert build_spec(robot).compile().nu == robot.num_joints


def test_an_unknown_robot_is_named():
    with pytest.raises(UserError, match=r"no robot 'smlp'\. Did you mean 'smpl'\?"):
        robot_xml("smlp")
