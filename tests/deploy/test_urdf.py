"""The robot as URDF is the robot of the simulator."""

import mujoco
import numpy as np
import pytest

from protege.deploy.export.urdf import CHAIN_LINK_INERTIA, urdf
from protege.sim.robots import get_robot, robot_names
from protege.sim.robots.mjcf import robot_xml


@pytest.mark.parametrize("name", robot_names())
def test_mujoco_reads_the_same_robot(name) -> None:
    robot = get_robot(name)
    text = urdf(robot).replace("<link", '<mujoco><compiler fusestatic="false" discardvisual="true"/></mujoco><link', 1)
    ours, theirs = mujoco.MjModel.from_xml_string(robot_xml(name)), mujoco.MjModel.from_xml_string(text)
    assert [theirs.joint(k).name for k in range(theirs.njnt)] == list(robot.joint_names)
    ids = [ours.joint(name).id for name in robot.joint_names]
    np.testing.assert_allclose(theirs.jnt_range, ours.jnt_range[ids], atol=1e-6)
    np.testing.assert_allclose(theirs.jnt_axis, ours.jnt_axis[ids], atol=1e-6)
    for body in robot.body_names[1:]:  # the root is the world there
        a, b = ours.body(body), theirs.body(body)
        np.testing.assert_allclose(b.mass, a.mass, rtol=1e-5)
        np.testing.assert_allclose(np.sort(b.inertia), np.sort(a.inertia), rtol=1e-4)
        np.testing.assert_allclose(b.ipos, a.ipos, atol=1e-6)
    # And the same bodies are at the same places, in a pose that bends every joint.
    pose = np.random.default_rng(0).uniform(-0.4, 0.4, robot.num_joints)
    here, there = mujoco.MjData(ours), mujoco.MjData(theirs)
    here.qpos[:7], here.qpos[[ours.jnt_qposadr[k] for k in ids]] = [0, 0, 0, 1, 0, 0, 0], pose
    there.qpos[:] = pose
    mujoco.mj_kinematics(ours, here)
    mujoco.mj_kinematics(theirs, there)
    for body in robot.body_names[1:]:
        np.testing.assert_allclose(there.body(body).xpos, here.body(body).xpos, atol=1e-5)
        np.testing.assert_allclose(there.body(body).xmat, here.body(body).xmat, atol=1e-5)
    assert CHAIN_LINK_INERTIA[0] * theirs.nbody < 1e-3
