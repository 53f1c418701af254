"""Robots from model files: nothing is lost on the way there and back, and bad files are refused in one line."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from small_robots import trees

from protege.core.robots.robot import Robot, Site
from protege.core.runs.config import from_dict
from protege.sim.engine import mujoco
from protege.sim.robots import get_robot, robot_names
from protege.sim.robots.exact_xml import exact_xml
from protege.sim.robots.mjcf import IMU, build_spec
from protege.sim.robots.model_file import robot_of
from protege.sim.robots.robot_file import SECTIONS

G1 = Path(__file__).parents[2] / "packages/sim/src/protege/sim/robots/g1"


def said_of(robot: Robot):
    """What the YAML file beside the robot's own MJCF says."""
    groups, joint = robot.groups, robot.joints[0] if robot.joints else None
    return from_dict(
        SECTIONS,
        {
            "robot": {"name": robot.name, "model": "-", "source": robot.source, "licence": robot.licence},
            "rates": {"control": 1.0 / robot.control_dt, "physics": 1.0 / robot.physics_dt},
            "groups": {
                "feet": {"left": list(groups.left_foot), "right": list(groups.right_foot)},
                "hands": {"left": list(groups.left_hand), "right": list(groups.right_hand)},
                "torso": groups.torso,
                "head": groups.head,
                "imu": groups.imu.body if groups.imu == Site(groups.imu.body) else IMU,
            },
            "servos": {"log_std": joint.log_std} if joint else {},
            "pose": {"joints": dict(zip(robot.joint_names, robot.default_joint_pos, strict=True)),
                     "root_height": robot.root_height},
            "physics": {**vars(robot.solver), "self_collision": robot.self_collision},
            "camera": vars(robot.camera),
        },
    )  # fmt: skip


def there_and_back(robot: Robot) -> Robot:
    spec = build_spec(robot)
    spec.compile()
    return robot_of(mujoco.MjModel.from_xml_string(exact_xml(spec)), said_of(robot))


@settings(max_examples=40)
@given(trees(depth_first=True))
def test_nothing_of_any_robot_is_lost_in_its_mjcf(robot):
    assert there_and_back(robot) == robot


@pytest.mark.parametrize("name", robot_names())
def test_nothing_of_a_shipped_robot_is_lost_in_its_mjcf(name):
    robot, again = get_robot(name), there_and_back(get_robot(name))
    assert again.bodies == robot.bodies and again.groups == robot.groups
    assert (again.solver, again.excluded_pairs) == (robot.solver, robot.excluded_pairs)
    for ours, theirs in zip(robot.joints, again.joints, strict=True):
        assert {**vars(ours), "action_scale": 1.0} == {**vars(theirs), "action_scale": 1.0}
