"""Robots from model files: nothing is lost when they are written and read, and bad files are rejected in one line."""

import re
from dataclasses import replace
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import get_type_hints

import pytest
from hypothesis import given, settings
from small_robots import trees

from protege.core.errors import UserError
from protege.core.robots.robot import Robot, Safety, Site
from protege.core.runs.config import from_dict
from protege.sim import robots
from protege.sim.engine import mujoco
from protege.sim.robots import get_robot, robot_names
from protege.sim.robots.mjcf import IMU, robot_xml
from protege.sim.robots.model_file import read_robot, robot_of
from protege.sim.robots.robot_file import SECTIONS

G1 = Path(__file__).parents[2] / "packages/sim/src/protege/sim/robots/g1"


def said_of(robot: Robot):
    """The contents of the YAML file beside the robot's own MJCF."""
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
            "safety": vars(robot.safety),
            "fall": {"root": robot.fallen_root, "head": robot.fallen_head},
            "camera": vars(robot.camera),
            "looks": {"menagerie": robot.menagerie},
        },
    )  # fmt: skip


def there_and_back(robot: Robot) -> Robot:
    return robot_of(mujoco.MjModel.from_xml_string(robot_xml(robot)), said_of(robot))


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


# The registry ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def offered(monkeypatch):
    """Let packages offer robots by these entry points."""

    def offer(**entries: str) -> None:
        found = EntryPoints(EntryPoint(name, value, "protege.robots") for name, value in entries.items())
        monkeypatch.setattr(robots, "entry_points", found.select)
        robots.robot_names.cache_clear()

    yield offer
    robots.robot_names.cache_clear()


def test_a_folder_and_an_entry_point_make_a_robot(offered, tmp_path, monkeypatch):
    folder = tmp_path / "my_robots" / "twin"
    folder.mkdir(parents=True)
    path = edited(folder, {"robot.yaml": ("name: g1", "name: twin")})
    monkeypatch.syspath_prepend(tmp_path)
    offered(twin="my_robots.twin", alias="my_robots.twin", lost="my_robots.lost")
    assert robot_names() == ("alias", "lost", "twin")
    assert get_robot("twin") == replace(read_robot(G1 / "robot.yaml"), name="twin") and path.is_file()
    with pytest.raises(UserError, match="calls the robot twin, its entry point alias"):
        get_robot("alias")
    with pytest.raises(UserError, match=r"the robot lost should be in my_robots\.lost, which is not there"):
        get_robot("lost")
    with pytest.raises(UserError, match=r"no robot 'twins'\. Did you mean 'twin'\?"):
        get_robot("twins")


# Bad files ---------------------------------------------------------------------------------------------------------------


def edited(folder: Path, changes: dict[str, tuple[str, str]]) -> Path:
    """The G1's two files with one text in one of them replaced."""
    for name in ("g1.xml", "robot.yaml"):
        text = (G1 / name).read_text()
        old, new = changes.get(name, ("", ""))
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1) if old else text)
    return folder / "robot.yaml"


KNEE = '<joint class="knee" name="left_knee_joint" axis="0 1 0" range="-0.087267 2.8798"/>'
HEAD = '<geom type="sphere" size="0.07" pos="0.01 0 0.415"/>'
MODEL = {
    "a slide": (KNEE, KNEE.replace("/>", ' type="slide"/>'), "joint left_knee_joint is not a hinge but a slide", "hinges"),
    "a spring": (KNEE, KNEE.replace("/>", ' stiffness="3"/>'), "joint left_knee_joint has a spring", "out"),
    "an anchor": (KNEE, KNEE.replace("/>", ' pos="0 0 1"/>'), "left_knee_joint is not at the origin of body left_knee_link",
                  "pos=0 0 0"),
    "a ref": (KNEE, KNEE.replace("/>", ' ref="1"/>'), "joint left_knee_joint has a ref", "quat"),
    "no range": (KNEE, KNEE.replace("range", "user"), "joint left_knee_joint has no range", "Give it one"),
    "no class": (KNEE, KNEE.replace('class="knee"', ""), "joint left_knee_joint has no armature", "Give it one"),
    "no effort": (KNEE, KNEE.replace('class="knee"', 'armature="1"'), "left_knee_joint has no largest torque",
                  "actuatorfrcrange"),
    "no name": ('<body name="waist_roll_link"', "<body", "body 15 has no name", "Name all"),
    "a held root": ('<freejoint name="root"/>', '<joint name="hold" range="-1 1"/>', "joint hold holds the root pelvis", "free"),
    "two roots": ("  </worldbody>", '<body name="ball"><geom size="1"/></body></worldbody>', "it has the roots pelvis, ball",
                  "one tree"),
    "a loop": ("<contact>", '<equality><weld body1="pelvis" body2="torso_link"/></equality><contact>',
               "it has an equality constraint", "Remove it"),
    "no actuator": ('<motor name="left_knee_joint" joint="left_knee_joint"/>', "", "joint left_knee_joint has no actuator",
                    "<motor joint="),
    "two": ("  </actuator>", '<motor joint="left_knee_joint"/></actuator>', "left_knee_joint has 2 actuators", ""),
    "a mesh away": (HEAD, '<geom type="mesh" mesh="h" contype="0" conaffinity="0"/></body></worldbody><asset><mesh name="h" '
                    'file="head.stl"/></asset><worldbody><body>', "MuJoCo cannot read it", "Correct it"),
    "no mass": ('mass="3.813"', 'mass="0"', "pelvis", "Correct it"),
    "a cylinder": (HEAD, '<geom name="hat" type="cylinder" size="0.1 0.1"/>',
                   "geom hat of torso_link, which collides, is a cylinder", "box, capsule, sphere"),
    "no XML": ("<mujoco", "<muoco", "MuJoCo cannot read it", "Correct it"),
}  # fmt: skip
YAML = {
    "a key": ("groups:", "grups:", "unknown key grups", "Did you mean groups"),
    "an inner key": ("natural_frequency", "natural_frequenzy", "unknown key servos.natural_frequenzy", "natural_frequency"),
    "a group": ("[left_wrist_yaw_link]", "[left_wrist_link]", "groups.hands.left: no body is called 'left_wrist_link'",
                "Did you mean left_wrist"),
    "no feet": ("{left: [left_ankle_roll_link],", "{left: [],", "groups.feet.left is empty", "one entry"),
    "an imu": ("imu: imu", "imu: imus", "groups.imu: no site or body is called 'imus'", "Did you mean imu"),
    "a joint": ('"*_knee_joint"', "knees", "pose.joints: no joint is called 'knees'", "knee_joint"),
    "a pose": ("0.669", "66.9", "pose.joints: left_knee_joint at 66.9 rad is outside of its range", "2.8798"),
    "a rate": ("physics: 200", "physics: 210", "rates.physics is 210", "a multiple of rates.control, 50"),
    "no rate": ("{control: 50, physics: 200}", "{control: 50}", "rates.physics has no value", "rates.physics"),
    "a type": ("control: 50", "control: often", "rates.control", "type"),
    "an integrator": ("implicitfast", "implicitfaster", "physics.integrator is 'implicitfaster'", "euler"),
    "a limit": ("joint_reach: 0.4", "joint_reach: -0.4", "safety.joint_reach is -0.4", "0 or more"),
    "a model": ("model: g1.xml", "model: g2.xml", "MuJoCo cannot read it", ""),
    "motors alone": ("  natural_frequency: 10\n", "", "left_hip_pitch_joint is moved by something else than a position servo",
                     "servos.natural_frequency"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "old", "new", "problem", "remedy"),
    [("g1.xml", *case) for case in MODEL.values()] + [("robot.yaml", *case) for case in YAML.values()],
    ids=[*MODEL, *YAML],
)
def test_a_bad_file_is_refused_with_element_and_remedy(tmp_path, name, old, new, problem, remedy):
    with pytest.raises(UserError) as caught:
        read_robot(edited(tmp_path, {name: (old, new)}))
    error = caught.value
    assert problem in error.problem and remedy in error.remedy, str(error)
    assert str(tmp_path) in error.problem and "\n" not in str(error)


def test_a_body_that_nothing_moves_needs_mass_as_well(tmp_path):
    """MuJoCo allows it; a simulator of bodies does not."""
    lid = HEAD + '<body name="lid"/>'
    with pytest.raises(UserError, match=r"g1\.xml: body lid has no mass\. Give it an inertial"):
        read_robot(edited(tmp_path, {"g1.xml": (HEAD, lid)}))


def test_a_robot_that_collides_with_nothing_needs_a_height_or_shapes(tmp_path):
    """Without both it has no place above the ground."""
    path = edited(tmp_path, {"robot.yaml": ("  root_height: 0.76\n", "")})
    model = tmp_path / "g1.xml"
    model.write_text(re.sub("<geom (?!.*contype)", '<geom contype="0" conaffinity="0" ', model.read_text()))
    with pytest.raises(UserError, match=r"g1\.xml: nothing of it collides\. Give the feet boxes, capsules or spheres"):
        read_robot(path)


def test_other_descriptions_than_mjcf_are_named(tmp_path):
    path = edited(tmp_path, {})
    (tmp_path / "g1.xml").write_text(
        '<?xml version="1.0"?>\n<!-- G1 -->\n<robot name="g1"><link name="pelvis"/></robot>'
    )
    with pytest.raises(UserError, match=r"g1\.xml is a URDF\. Convert it to MJCF"):
        read_robot(path)
    for name in ("g1.xml", "g1.urdf"):
        with pytest.raises(UserError, match=rf"{name} is a model, not a robot\.yaml\. Write one beside it"):
            get_robot(str(tmp_path / name))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"there is no robot file .*robot\.yaml\. Give a robot\.yaml"):
        read_robot(tmp_path / "robot.yaml")


def test_looks_are_left_out_and_gains_may_come_from_the_model(tmp_path):
    looks = '<geom type="ellipsoid" size="1 2 3" contype="0" conaffinity="0"/>'
    path = edited(tmp_path, {"g1.xml": (HEAD, HEAD + looks), "robot.yaml": ("  natural_frequency: 10\n", "")})
    model = tmp_path / "g1.xml"
    model.write_text(model.read_text().replace("<motor ", '<position kp="60" kv="4" '))
    robot = read_robot(path)
    assert robot.bodies == get_robot("g1").bodies
    knee = robot.joints[3]
    assert (knee.name, knee.stiffness, knee.damping, knee.effort_limit) == ("left_knee_joint", 60.0, 4.0, 139.0)
    assert knee.action_scale == pytest.approx(0.25 * 139.0 / 60.0)


def test_a_robot_file_contains_only_its_own_safety_limits(tmp_path):
    path = edited(tmp_path, {"robot.yaml": ("{joint_reach: 0.4}", "{joint_reach: 0.4, tilt: null, torque: 1}")})
    assert read_robot(path).safety == Safety(joint_reach=0.4, tilt=None, torque=1.0)
    assert get_robot("g1").safety == Safety(joint_reach=0.4) and get_robot("smpl").safety == Safety()


def test_default_camera_and_height_follow_from_the_size(tmp_path):
    path = edited(tmp_path, {"robot.yaml": ("  root_height: 0.76\n", "")})
    path.write_text(path.read_text().replace("camera: {distance: 2.4, height: 0.65}", ""))
    robot = read_robot(path)
    assert robot.root_height == pytest.approx(0.757, abs=1e-3)  # the lowest sphere touches the ground
    assert robot.camera.distance == 3.0 * robot.root_height and robot.camera.height == 0.9 * robot.root_height
    assert robot.head == "torso_link"


def test_the_page_shows_a_file_that_is_read(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "robots.md").read_text()
    path = edited(tmp_path, {})
    path.write_text(page.split("```yml\n")[1].split("```")[0])
    assert read_robot(path).bodies == get_robot("g1").bodies
    for name, section in SECTIONS.items():
        for key in get_type_hints(section):
            assert f"`{name}.{key}`" in page, f"{name}.{key}"
