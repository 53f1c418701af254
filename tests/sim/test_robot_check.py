"""`protege sim robots check`: doubts about a robot's files are reported, and servos that explode are rejected."""

from dataclasses import replace
from math import pi

import numpy as np
import pytest
from biped import AHEAD, TRUNK, write
from click.testing import CliRunner, Result
from legged import SERVO

from protege.core.errors import UserError
from protege.core.robots.robot import Body, Camera, Geom, Groups, Inertia, Joint, Robot, Site, Solver
from protege.sim.cli import main
from protege.sim.robot_check import report
from protege.sim.robot_check.default_pose import posed
from protege.sim.robot_check.doubts import colliding_pairs, doubts
from protege.sim.robot_check.loads import standing_torques
from protege.sim.robot_check.stability import unstable_servos
from protege.sim.robot_check.trial import GRAVITY, drop, hang
from protege.sim.robots import get_robot
from protege.sim.robots.model_file import read_robot

NO_HANDS = "groups.hands is empty"


def arm(solver: Solver | None = None, **changes) -> Robot:
    """A heavy root with one hinge, about whose axis 0.05 kg·m² turn: those of 2 kg that are 0.1 m ahead, and 0.03 of their own."""
    joint = Joint("shoulder", "arm", (0.0, 1.0, 0.0), (-1.0, 1.0), 100.0, 4.0, 1e9)
    return Robot(
        name="arm",
        bodies=(
            Body("root", None, (0.0, 0.0, 0.0), Inertia(1e9, moments=(1e9, 1e9, 1e9)), (Geom("sphere", (0.1,)),)),
            Body("arm", "root", (0.0, 0.0, 0.5), Inertia(2.0, (0.1, 0.0, 0.0), (0.03, 0.03, 0.03))),
        ),
        joints=(replace(joint, **changes),),
        default_joint_pos=(0.0,),
        groups=Groups(("arm",), ("arm",), (), (), "root", "root", Site("root")),
        root_height=1.0,
        control_dt=0.02,
        physics_dt=0.005,
        camera=Camera(3.0, 1.0),
        solver=solver or Solver(),
    )


# Facts and doubts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["smpl", "g1"])
def test_nothing_is_doubtful_about_the_shipped_robots(name):
    robot = get_robot(name)
    assert doubts(robot) == []
    text = "\n".join(report.facts(robot))
    assert f"{name}: {robot.num_bodies} bodies, {robot.num_joints} joints, {robot.mass:.2f} kg" in text
    assert all(any(line.startswith(f"{joint} ") for line in text.splitlines()) for joint in robot.joint_names)


def test_colliding_pairs_are_all_but_parents_and_exceptions(tmp_path):
    robot = read_robot(write(tmp_path))
    assert colliding_pairs(robot) == 5 * 4 // 2 - 4  # five bodies with shapes, four of them have a parent
    assert colliding_pairs(replace(robot, excluded_pairs=(("left_leg", "right_leg"), ("left_foot", "left_leg")))) == 5
    assert colliding_pairs(replace(robot, self_collision=False)) == 0


def test_hip_and_ankle_torques_balance_the_mass_ahead_of_them(tmp_path):
    """Legs are straight below the hips, so that each joint of both legs holds half of the trunk's moment."""
    robot = read_robot(write(tmp_path))
    np.testing.assert_allclose(standing_torques(robot), 4 * [TRUNK * GRAVITY * AHEAD / 2.0], rtol=1e-9)


FAULTS = {
    "feet in the air": (
        ("groups:", "pose: {root_height: 0.5}\ngroups:"),
        "groups.feet.left is 0.050 m above the ground in the default pose. Take pose.root_height: 0.450",
    ),
    "feet in the ground": (
        ("groups:", "pose: {root_height: 0.4}\ngroups:"),
        "groups.feet.right is 0.050 m in the ground",
    ),
    "feet without shapes": (
        ('<geom type="box" size="0.1 0.04 0.02" pos="0 0 -0.03"/>', ""),
        "groups.feet.left has no shape that touches the ground",
    ),
    "knees on the ground": (
        ("left: [left_foot], right: [right_foot]", "left: [left_leg], right: [right_leg]"),
        "body left_foot is lower than the feet in the default pose. Name it in groups.feet",
    ),
    "weak joints": (
        ("-60 60", "-1 1"),
        "joint left_hip needs 1.18 N·m to stand in the default pose and has at most 1. Raise its limit (actuatorfrcrange)",
    ),
    "bodies in each other": (
        ('size="0.1 0.04 0.02"', 'size="0.1 0.12 0.02"'),
        'left_foot and right_foot are 0.040 m in each other in the default pose. Write <exclude body1="left_foot"',
    ),
    "left on the right": (
        ("left: [left_foot], right: [right_foot]", "left: [right_foot], right: [left_foot]"),
        "groups.feet has its left ones on the right. Swap them",
    ),
    "a full turn": (('range="-1 1"', 'range="-4 4"'), "joint left_hip turns by 8 rad, a full turn or more"),
    "no damping": ((SERVO, 'kp="200"'), "joint left_hip has no damping. Give its servo one: kv"),
    "grams": ((f'mass="{TRUNK}"', 'mass="8000"'), "the model has a mass of 8e+03 kg in all. Give masses in kg"),
    "unstable servos": ((SERVO, 'kp="10000" kv="10"'), "joint left_ankle has a servo (10000 N·m/rad, 10 N·m·s/rad) that is"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_files_is_doubtful(fault, tmp_path):
    assert [str(finding)[: len(NO_HANDS)] for finding in doubts(read_robot(write(tmp_path)))] == [NO_HANDS]
    change, message = FAULTS[fault]
    robot = read_robot(write(tmp_path, change))
    assert any(message in str(finding) for finding in [*unstable_servos(robot), *doubts(robot)])


# Stability -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("integrator", ["euler", "implicitfast"])
def test_a_servo_is_unstable_from_the_stiffness_on_that_algebra_gives(integrator):
    """With inertia I and a step h, stiffness k and damping d of one hinge: h² k < 4 I + 2 h d, or - 2 h d if d counts as it was."""
    inertia, step, damping = 0.05, 0.005, 4.0
    sign = -1.0 if integrator == "euler" else 1.0
    limit = (4.0 * inertia + sign * 2.0 * step * damping) / step**2
    robot = arm(Solver(integrator), stiffness=0.999 * limit)
    assert unstable_servos(robot) == []
    [finding] = unstable_servos(arm(Solver(integrator), stiffness=1.01 * limit))
    assert finding.element == "joint shoulder" and "unstable at 200 Hz" in finding.problem
    assert "Take rates.physics of 400, or" in finding.remedy
    assert ("implicitfast" in finding.remedy) == (integrator == "euler")


# Trials --------------------------------------------------------------------------------------------------------------------


def test_an_arm_that_hangs_sags_by_its_weight_over_its_stiffness():
    trial = hang(arm(), "mujoco")
    angle = trial.sag[0]
    assert angle == pytest.approx(2.0 * GRAVITY * 0.1 * np.cos(angle) / 100.0, rel=1e-3)
    assert trial.exploded == "" and trial.speed < 1e-3 and trial.fell_at is None


@pytest.mark.parametrize(("name", "sag", "falls"), [("smpl", 0.02, False), ("g1", 0.3, True)])
def test_shipped_robots_hang_and_stand_as_their_servos_let_them(name, sag, falls):
    robot = get_robot(name)
    held, dropped = hang(robot, "mujoco"), drop(robot, "mujoco")
    assert held.exploded == dropped.exploded == "" and held.fell_at is None
    assert 0.005 < max(np.abs(held.sag)) < sag and held.speed < report.MOVING_SPEED
    assert (dropped.fell_at is not None) == falls


@pytest.mark.parametrize("trial", [hang, drop])
def test_servos_that_are_too_stiff_explode(trial, tmp_path):
    robot = read_robot(write(tmp_path, (SERVO, 'kp="100000" kv="10"'), ("-60 60", "-1e6 1e6")))
    assert trial(robot, "mujoco").exploded


# The command ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def drawn(monkeypatch) -> list:
    """Pictures are noted instead of drawn."""
    pictures = []
    monkeypatch.setattr(report, "draw", lambda robot, path: pictures.append((robot.name, path)))
    return pictures


def check(*words: object) -> Result:
    return CliRunner().invoke(main, ["robots", "check", *map(str, words)])


def test_the_command_says_what_it_found(tmp_path, drawn):
    result = check(write(tmp_path), "--output", tmp_path / "out", "--simulator", "mujoco")
    assert result.exit_code == 0, result.output
    assert drawn == [("biped", tmp_path / "out" / "biped.png")]
    lines = result.stdout.splitlines()
    assert lines[0] == "biped: 5 bodies, 4 joints, 11.00 kg, root 0.450 m over the ground"
    assert lines[lines.index("doubtful: 1") + 1].strip().startswith(NO_HANDS)
    assert lines[-1].startswith("mujoco: held in the air its joints sag by up to 0.000 rad")
    assert lines[-1].endswith("dropped from 5 cm, its targets held still, it stands for 2 s")


def test_a_robot_that_explodes_is_refused_with_its_gains(tmp_path, drawn):
    path = write(tmp_path, (SERVO, 'kp="100000" kv="10"'), ("-60 60", "-1e6 1e6"))
    result = check(path, "--simulator", "mujoco")
    assert result.exit_code == 2
    assert "mujoco: held in the air it explodes after" in result.stdout
    assert "errors: 1\n  joint left_ankle has a servo (100000 N·m/rad" in result.stdout
    unstable, hung, dropped = result.stderr.splitlines()
    assert unstable.startswith("error: biped: joint left_ankle has a servo (100000 N·m/rad")
    assert "Take rates.physics of" in unstable
    assert all(" explodes after " in line and line.endswith("or more armature") for line in (hung, dropped))


def test_files_that_cannot_be_used_are_one_line(tmp_path, drawn):
    result = check(write(tmp_path, ('<position joint="left_hip"/>', "")))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "biped.xml: joint left_hip has no actuator. Give it one" in result.stderr
    assert "there is no robot file" in check(tmp_path / "none.yaml").stderr
    assert "no simulator 'x'" in check("g1", "--simulator", "x").stderr


def test_all_errors_in_the_files_are_reported_together(tmp_path, drawn):
    path = write(
        tmp_path,
        ('<position joint="left_hip"/>', ""),
        ('range="-0.8 0.8"', ""),
        ('<geom type="box" size="0.06 0.12 0.1" pos="0 0 0.15"/>', '<geom name="hat" type="cylinder" size="0.1 0.1"/>'),
        ("torso: trunk", "torso: trunc"),
        ("servos: {", "pose: {joints: {knee: 0.1, left_hip: 2}}\nlegs: 2\nphysic: {}\nservos: {"),
    )
    files = f"error: {tmp_path / 'robot.yaml'}: ", f"error: {tmp_path / 'biped.xml'}: "
    expected = [
        (files[0], "unknown key legs"),
        (files[0], "unknown key physic. Did you mean physics?"),
        (files[1], "geom hat of trunk, which collides, is a cylinder"),
        (files[1], "joint left_hip has no actuator"),
        (files[1], "joint left_ankle has no range"),
        (files[1], "joint right_ankle has no range"),
        (files[0], "pose.joints: no joint is called 'knee'"),
        (files[0], "pose.joints: left_hip at 2 rad is outside of its range"),
        (files[0], "groups.torso: no body is called 'trunc'. Did you mean trunk?"),
    ]
    result = check(path)
    assert (result.exit_code, result.stdout) == (2, "")
    for line, (file, words) in zip(result.stderr.splitlines(), expected, strict=True):
        assert line.startswith(file + words), line


def test_all_wrong_values_of_a_section_are_reported(tmp_path, drawn):
    servos = "servos: {stiffness: {'*_hip': 0, left_ankle: -1}, log_std: -30, damping_ratio: 0}\nsafety: {tilt: -1, torque: -2}"
    result = check(write(tmp_path, ("servos: {action_scale: 0.3}", servos)))
    values = (
        *("servos.stiffness.*_hip is 0", "servos.stiffness.left_ankle is -1", "servos.damping_ratio is 0"),
        *("servos.log_std is -30", "safety.torque is -2.0", "safety.tilt is -1.0"),
    )
    assert result.exit_code == 2
    for line, value in zip(result.stderr.splitlines(), values, strict=True):
        assert line.startswith(f"error: {tmp_path / 'robot.yaml'}: {value}"), line


def test_a_wrong_section_is_reported_once(tmp_path, drawn):
    """Without its servos no gains are checked, and without its groups no bodies; the rest is checked."""
    path = write(tmp_path, ("kp=", "user="), ("servos: {action_scale: 0.3}", "servos: {natural_frequenzy: 5, damping_ratio: x}"),
                 ("imu: trunk", ""), ("control: 50, physics: 200", "control: 50, physics: 210"), ("-60 60", "0 0"))  # fmt: skip
    first, *others = result = check(path).stderr.splitlines()
    words = [
        "rates.physics is 210",
        "groups.imu has no value",
        "unknown key servos.natural_frequenzy",
        "servos.damping_ratio",
    ]
    assert all(word in line for word, line in zip(words, [first, *others], strict=False)), result
    assert [line.split(": ", 2)[2].partition(". ")[0] for line in result[4:]] == [
        f"joint {name} has no largest torque" for name in ("left_hip", "left_ankle", "right_hip", "right_ankle")
    ]


def test_a_picture_shows_the_frames_or_says_why_there_is_none(tmp_path, monkeypatch):
    def no_gl(*_: object) -> None:
        raise UserError("no OpenGL found", "Install one")

    monkeypatch.setattr(report, "draw", no_gl)
    lines = list(report.check(read_robot(write(tmp_path)), tmp_path / "x.png", ["mujoco"]))
    assert "picture: none, no OpenGL found. Install one" in lines


def test_axes_are_drawn(tmp_path, gl):
    import imageio.v3 as iio

    list(report.check(read_robot(write(tmp_path)), tmp_path / "x.png", ["mujoco"]))
    red, green, blue = np.moveaxis(iio.imread(tmp_path / "x.png").astype(int), -1, 0)
    assert ((red > 120) & (green < 60) & (blue < 60)).sum() > 50  # x axes
    assert ((blue > 120) & (green < 60) & (red < 60)).sum() > 50  # z axes


@pytest.mark.parametrize("simulator", ["mjwarp", "isaaclab"])
def test_every_simulator_reports_the_same(simulator):
    pytest.importorskip({"mjwarp": "mujoco_warp", "isaaclab": "isaaclab_newton"}[simulator])
    robot = get_robot("g1")
    here, there = hang(robot, "mujoco"), hang(robot, simulator)
    assert there.exploded == "" and there.fell_at is None
    np.testing.assert_allclose(there.sag, here.sag, atol=2e-3)
    assert drop(robot, simulator).fell_at == pytest.approx(drop(robot, "mujoco").fell_at, abs=0.1)


# Gains and shapes that a robot.yaml gives ------------------------------------------------------------------------------------


def test_gains_by_joint_win_over_the_models_and_over_a_rule(tmp_path):
    servos = "servos: {natural_frequency: 10, stiffness: {'*_hip': 50, left_hip: 60}, damping: {'*_hip': 2}, "
    by_name = {joint.name: joint for joint in read_robot(write(tmp_path, ("servos: {", servos))).joints}
    assert [(by_name[x].stiffness, by_name[x].damping) for x in ("left_hip", "right_hip")] == [(60.0, 2.0), (50.0, 2.0)]
    assert by_name["left_ankle"].stiffness == pytest.approx(0.01 * (20.0 * pi) ** 2)


@pytest.mark.parametrize(
    ("servos", "words"),
    [
        ("stiffness: {'*_hip': 50}", r"robot\.yaml: servos\.damping: nothing fits the joint left_hip"),
        ("damping: {'*_hip': 5}", r"robot\.yaml: servos\.stiffness: nothing fits the joint left_hip"),
        ("stiffness: {'*_hop': 50}", r"robot\.yaml: servos\.stiffness: no joint is called '\*_hop'\. Did you mean"),
        ("stiffness: {'*_hip': 0}", r"servos\.stiffness\.\*_hip is 0\. Take above 0"),
        ("damping: {'*_hip': -1}", r"servos\.damping\.\*_hip is -1\. Take 0 or more"),
    ],
)
def test_gains_that_are_not_whole_are_refused(servos, words, tmp_path):
    with pytest.raises(UserError, match=words):
        read_robot(write(tmp_path, ("servos: {", f"servos: {{{servos}, ")))


def test_cylinders_become_capsules_if_configured(tmp_path):
    change = ('<geom type="box" size="0.06 0.12 0.1" pos="0 0 0.15"/>',
              '<geom type="cylinder" size="0.05 0.2" pos="0 0 0.15"/><geom type="cylinder" size="0.1 0.02"/>')  # fmt: skip
    with pytest.raises(UserError, match=r"is a cylinder\. Take .* or set physics\.cylinders_as_capsules"):
        read_robot(write(tmp_path, change))
    robot = read_robot(write(tmp_path, change, ("physics: {", "physics: {cylinders_as_capsules: true, ")))
    long, flat = robot.bodies[0].geoms
    assert (long.kind, long.pos) == ("capsule", (0.0, 0.0, 0.15)) and long.size == pytest.approx((0.05, 0.15))
    assert (flat.kind, flat.size) == ("sphere", (0.1,))


SHOE = """<asset><mesh name="shoe" vertex="-.05 -.04 -.05  .15 -.03 -.05  .15 .04 -.05  -.05 .04 -.05  -.03 0 .02"/></asset>
<worldbody>"""


def test_meshes_become_upright_boxes_if_configured(tmp_path):
    """The shoe is turned by a quarter about z, so that its x is the foot's y; the foot itself is turned at rest."""
    shape = ('<geom type="box" size="0.1 0.04 0.02" pos="0 0 -0.03"/>',
             '<geom type="mesh" mesh="shoe" pos="0 0 -0.01" quat="1 0 0 1" friction="0.6"/>')  # fmt: skip
    with pytest.raises(UserError, match=r"is a mesh\. Take .* or set physics\.meshes_as_boxes"):
        read_robot(write(tmp_path, ("<worldbody>", SHOE), shape))
    boxes = ("physics: {", "physics: {meshes_as_boxes: true, ")
    (sole,) = read_robot(write(tmp_path, ("<worldbody>", SHOE), shape, boxes)).bodies[2].geoms
    assert (sole.kind, sole.friction[0]) == ("box", 0.6)
    np.testing.assert_allclose(sole.size, (0.04, 0.1, 0.035), atol=1e-7)
    np.testing.assert_allclose(sole.pos, (0.0, 0.05, -0.025), atol=1e-7)
    turned = ('<body name="left_foot"', '<body name="left_foot" quat="1 1 0 0"')
    robot = read_robot(write(tmp_path, ("<worldbody>", SHOE), shape, boxes, turned))
    (sole,) = robot.bodies[2].geoms  # y of the foot is up now, and its z points to the right
    np.testing.assert_allclose(sole.quat, np.array([1.0, -1.0, 0.0, 0.0]) / np.sqrt(2.0), atol=1e-7)
    np.testing.assert_allclose(sole.size, (0.04, 0.035, 0.1), atol=1e-7)
    np.testing.assert_allclose(sole.pos, (0.0, 0.05, -0.025), atol=1e-7)


FOOT = '<geom type="box" size="0.1 0.04 0.02" pos="0 0 -0.03"/>'


def test_friction_is_that_of_the_file(tmp_path):
    """The feet's own: less than the floor's usual 1, and with all of `condim` 6. The trunk keeps MuJoCo's."""
    rubber = FOOT.replace("/>", ' friction="0.6 0.02 0.01" condim="6"/>')
    robot = read_robot(write(tmp_path, (FOOT, rubber), ('pos="0 0 0.15"/>', 'pos="0 0 -0.35"/>')))
    trunk, foot = robot.bodies[0].geoms[0], robot.bodies[2].geoms[0]
    assert (trunk.friction, trunk.condim) == ((1.0, 0.005, 0.0001), 3)
    assert (foot.friction, foot.condim) == ((0.6, 0.02, 0.01), 6)
    model, data, _ = posed(replace(robot, self_collision=False), lift=-0.01)
    touching = {model.geom(contact.geom[1]).name: contact for contact in data.contact}
    assert set(touching) == {"trunk_0", "left_foot_0", "right_foot_0"}
    for name, friction, condim in (("trunk_0", trunk.friction, 3), ("left_foot_0", foot.friction, 6)):
        sliding, torsional, rolling = friction
        np.testing.assert_allclose(touching[name].friction, [sliding, sliding, torsional, rolling, rolling])
        assert touching[name].dim == condim


def test_a_pair_with_the_floor_gives_the_friction(tmp_path):
    named = FOOT.replace("<geom", '<geom name="sole{}" contype="0" conaffinity="0" friction="0.3 0.1 0.1"')
    path = write(tmp_path, (FOOT, named), ("</worldbody>", '<geom name="floor" type="plane" size="1 1 1"/></worldbody><contact>'
                 '<pair geom1="sole0" geom2="floor" friction="0.8 0.8 0.02 0.01 0.01" condim="4"/>'
                 '<pair geom1="sole1" geom2="trunk" friction="0.2 0.2 0 0 0"/></contact>'),
                 ('<geom type="box" size="0.06', '<geom name="trunk" type="box" size="0.06'))  # fmt: skip
    model = path.with_name("biped.xml")
    model.write_text(model.read_text().replace("sole{}", "sole0", 1).replace("sole{}", "sole1", 1))
    left, right = (read_robot(path).bodies[k].geoms[0] for k in (2, 4))
    assert (left.friction, left.condim) == ((0.8, 0.02, 0.01), 4)
    assert (right.friction, right.condim) == ((0.3, 0.1, 0.1), 3)


def test_a_shape_that_collides_by_a_pair_alone_collides(tmp_path):
    trunk = '<geom type="box" size="0.06 0.12 0.1" pos="0 0 0.15"/>'
    looks = trunk.replace("<geom", '<geom name="box" contype="0" conaffinity="0"')
    pair = (
        '<geom name="floor" type="plane" size="1 1 1"/></worldbody><contact><pair geom1="box" geom2="floor"/></contact>'
    )
    assert read_robot(write(tmp_path, (trunk, looks))).bodies[0].geoms == ()
    paired = read_robot(write(tmp_path, (trunk, looks), ("</worldbody>", pair)))
    assert paired.bodies == read_robot(write(tmp_path)).bodies
