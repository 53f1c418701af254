"""The torques that a robot needs to stand still in its default pose."""

import numpy as np

from protege.core.robots.robot import Robot

from ..engine import mujoco
from .default_pose import contacts, posed
from .finding import Finding


def standing_torques(robot: Robot) -> np.ndarray:
    """(J,) N·m that hold the default pose against gravity, with half the weight on each foot.

    The ground's force acts below the centre of mass, as it must if the robot stands still, even where there is no foot.
    """
    model, data, at = posed(robot, lift=10.0)  # in the air, so that MuJoCo computes no contacts
    weight = robot.mass * -model.opt.gravity[2]
    places = contacts(robot)
    feet = [_sole(robot, names, places) for names in (robot.groups.left_foot, robot.groups.right_foot)]
    under = data.subtree_com[at.root, :2] - places[feet, :2].mean(axis=0)
    torque = data.qfrc_bias.copy()
    for foot in feet:
        point = np.array([*(places[foot, :2] + under), data.xpos[at.bodies][foot, 2]])
        jacobian = np.zeros((3, model.nv))
        mujoco.mj_jac(model, data, jacobian, None, point, range(model.nbody)[at.bodies][foot])
        torque -= jacobian.T @ (0.0, 0.0, weight / 2.0)
    return torque[at.joint_vel]


def weak_joints(robot: Robot) -> list[Finding]:
    """Joints whose largest torque cannot hold the default pose."""
    return [
        Finding(
            f"joint {joint.name}",
            f"needs {abs(torque):.3g} N·m to stand in the default pose and has at most {joint.effort_limit:g}",
            "Raise its limit (actuatorfrcrange), or take a pose that is straighter above the feet (pose.joints)",
        )
        for joint, torque in zip(robot.joints, standing_torques(robot).tolist(), strict=True)
        if abs(torque) > joint.effort_limit
    ]


def _sole(robot: Robot, names: tuple[str, ...], places: np.ndarray) -> int:
    """The lowest body of a foot; places (B, 3), see `contacts`."""
    bodies = robot.body_ids(names)
    return min(bodies, key=lambda body: round(float(places[body, 2]), 3))
