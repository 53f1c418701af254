"""The robot as URDF is the robot of the simulator."""

import mujoco
import numpy as np
from students import ROBOT

from protege.deploy.export.urdf import FEATHER, urdf
from protege.sim.robots.mjcf import robot_xml


def test_mujoco_reads_the_same_robot() -> None:
    text = urdf(ROBOT).replace("<link", '<mujoco><compiler fusestatic="false" discardvisual="true"/></mujoco><link', 1)
    ours, theirs = mujoco.MjModel.from_xml_string(robot_xml("smpl")), mujoco.MjModel.from_xml_string(text)
    assert [theirs.joint(k).name for k in range(theirs.njnt)] == list(ROBOT.joint_names)
    ids = [ours.joint(name).id for name in ROBOT.joint_names]
    np.testing.assert_allclose(theirs.jnt_range, ours.jnt_range[ids], atol=1e-6)
    np.testing.assert_allclose(theirs.jnt_axis, ours.jnt_axis[ids], atol=1e-6)
    for name in ROBOT.body_names[1:]:  # the root is the world there
        a, b = ours.body(name), theirs.body(name)
        np.testing.assert_allclose(b.mass, a.mass, rtol=1e-5)
        np.testing.assert_allclose(np.sort(b.inertia), np.sort(a.inertia), rtol=1e-4)
        np.testing.assert_allclose(b.ipos, a.ipos, atol=1e-6)
    # And the same bodies are at the same places, in a pose that bends every joint.
    pose = np.random.default_rng(0).uniform(-0.4, 0.4, ROBOT.num_joints)
    here, there = mujoco.MjData(ours), mujoco.MjData(theirs)
    here.qpos[:7], here.qpos[[ours.jnt_qposadr[k] for k in ids]] = [0, 0, 0, 1, 0, 0, 0], pose
    there.qpos[:] = pose
    mujoco.mj_kinematics(ours, here)
    mujoco.mj_kinematics(theirs, there)
    for name in ROBOT.body_names[1:]:
        np.testing.assert_allclose(there.body(name).xpos, here.body(name).xpos, atol=1e-5)
        np.testing.assert_allclose(there.body(name).xmat, here.body(name).xmat, atol=1e-5)
    assert FEATHER[0] * theirs.nbody < 1e-3
