"""The robot as USD; that physics reads it as it should is in `test_isaaclab.py`."""

from dataclasses import replace

import pytest
import torch
from biped import write
from click.testing import CliRunner
from pxr import Usd, UsdGeom, UsdPhysics, UsdShade

from protege.core.errors import UserError
from protege.core.robots.kinematics import Kinematics
from protege.sim.cli import main
from protege.sim.engine import mujoco
from protege.sim.robots import get_robot
from protege.sim.robots.mjcf import build_spec
from protege.sim.simulators.isaaclab.usd import add_robot

ROBOT = get_robot("smpl")


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(word) for word in words])
    return result.exit_code, result.output


HINGES = {
    "smpl": ("L_Knee_y", "Y", 154.7, "L_Hip"),  # 2.7 rad in degrees
    "g1": ("left_knee_joint", "Y", 165.0, "left_hip_yaw_link"),  # 2.8798 rad
}
"""A hinge of each robot: its axis, upper limit (degrees), and the body that it hangs from."""


@pytest.mark.parametrize("suffix", ["usda", "usd"])
def test_the_file_holds_the_robot(robot, tmp_path, suffix):
    path = tmp_path / "robots" / f"{robot.name}.{suffix}"
    assert run("robots", robot.name, "--usd", path) == (0, f"{path}\n")
    stage = Usd.Stage.Open(str(path))
    root = stage.GetDefaultPrim()
    assert root.GetName() == robot.name and root.HasAPI(UsdPhysics.ArticulationRootAPI)
    assert root.GetAttribute("newton:selfCollisionEnabled").Get() is robot.self_collision
    assert root.GetAttribute("newton:jointsAddMobility").Get() is True
    assert (UsdGeom.GetStageUpAxis(stage), UsdGeom.GetStageMetersPerUnit(stage)) == ("Z", 1.0)
    prims = list(stage.Traverse())
    bodies = [prim for prim in prims if prim.HasAPI(UsdPhysics.RigidBodyAPI)]
    assert {prim.GetName() for prim in bodies} == set(robot.body_names)
    mass = sum(UsdPhysics.MassAPI(prim).GetMassAttr().Get() for prim in bodies)
    assert mass == pytest.approx(robot.mass, rel=1e-5)
    hinges = {prim.GetName(): UsdPhysics.RevoluteJoint(prim) for prim in prims if prim.IsA(UsdPhysics.RevoluteJoint)}
    assert set(hinges) == set(robot.joint_names)
    name, axis, limit, above = HINGES[robot.name]
    assert hinges[name].GetAxisAttr().Get() == axis
    assert hinges[name].GetUpperLimitAttr().Get() == pytest.approx(limit, abs=0.01)
    assert [str(x) for x in hinges[name].GetBody0Rel().GetTargets()] == [f"/{robot.name}/{above}"]
    assert sum(prim.HasAPI(UsdPhysics.CollisionAPI) for prim in prims) == sum(len(body.geoms) for body in robot.bodies)


def test_bodies_are_where_they_are_at_rest(robot, tmp_path):
    """All hinges at zero, as kinematics has them."""
    run("robots", robot.name, "--usd", tmp_path / "robot.usda")
    stage, cache = Usd.Stage.Open(str(tmp_path / "robot.usda")), UsdGeom.XformCache()
    origin, upright = torch.zeros(1, 3), torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    pos, quat = Kinematics(robot)(origin, upright, torch.zeros(1, robot.num_joints))
    for i, name in enumerate(robot.body_names):
        place = cache.GetLocalToWorldTransform(stage.GetPrimAtPath(f"/{robot.name}/{name}"))
        assert tuple(place.ExtractTranslation()) == pytest.approx(pos[0, i].tolist(), abs=1e-6), name
        turn = place.ExtractRotationQuat()
        here = torch.tensor([turn.GetReal(), *turn.GetImaginary()])
        assert float((here * quat[0, i]).sum().abs()) == pytest.approx(1.0, abs=1e-6), name


def test_bad_requests_are_one_line(tmp_path):
    code, output = run("robots", "--usd", tmp_path / "smpl.usda")
    assert code == 2 and "--usd needs the robot's NAME" in output
    code, output = run("robots", "smpl", "--usd", tmp_path / "smpl.stl")
    assert (code, output.count("\n")) == (2, 1) and "smpl.stl is not the name of a USD file. Let it end in" in output
    (tmp_path / "taken").touch()
    code, output = run("robots", "smpl", "--usd", tmp_path / "taken" / "smpl.usda")
    assert (code, output.count("\n")) == (2, 1) and "taken" in output


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("cylinder", r"geometry Pelvis_0 is a cylinder, which is not written to USD\. Known: box, capsule, sphere"),
        (
            "slide",
            r"L_Hip_x is a slide joint between bodies, which is not written to USD\. Known: a free root and hinges",
        ),
        ("bolted", r"root is a hinge joint to the world, which is not written to USD"),
    ],
)
def test_unsupported_elements_are_named(change, complaint):
    spec = build_spec(ROBOT)
    if change == "cylinder":
        next(geom for geom in spec.geoms if geom.name == "Pelvis_0").type = mujoco.mjtGeom.mjGEOM_CYLINDER
    elif change == "slide":
        next(joint for joint in spec.joints if joint.name == "L_Hip_x").type = mujoco.mjtJoint.mjJNT_SLIDE
    else:
        next(joint for joint in spec.joints if joint.name == "root").type = mujoco.mjtJoint.mjJNT_HINGE
    with pytest.raises(UserError, match=complaint):
        add_robot(Usd.Stage.CreateInMemory(), "/smpl", spec.compile(), ROBOT.body_names)


def test_joint_and_collision_properties_are_written():
    g1 = get_robot("g1")
    knee = replace(g1.joints[3], frictionloss=0.25, passive_damping=0.5)
    robot = replace(g1, joints=(*g1.joints[:3], knee, *g1.joints[4:]))
    stage = Usd.Stage.CreateInMemory()
    root = add_robot(stage, "/g1", build_spec(robot).compile(), robot.body_names)
    assert root.GetAttribute("newton:selfCollisionEnabled").Get() is True
    apart = UsdPhysics.FilteredPairsAPI(stage.GetPrimAtPath("/g1/pelvis")).GetFilteredPairsRel().GetTargets()
    assert [str(path) for path in apart] == ["/g1/left_hip_roll_link", "/g1/right_hip_roll_link"]
    joint = stage.GetPrimAtPath("/g1/joints/left_knee_joint")
    values = [joint.GetAttribute(f"mjc:{name}").Get() for name in ("armature", "frictionloss", "damping")]
    assert values == [knee.armature, 0.25, 0.5]
    # At rest the knee is turned against the thigh by the published quaternion, to six digits.
    turn = UsdPhysics.RevoluteJoint(joint).GetLocalRot0Attr().Get()
    assert (turn.GetReal(), *turn.GetImaginary()) == pytest.approx((0.996179, 0.0, 0.0873386, 0.0), abs=1e-6)


def test_each_shape_has_its_own_friction(tmp_path):
    foot = '<geom type="box" size="0.1 0.04 0.02" pos="0 0 -0.03"'
    path = write(tmp_path, (foot, foot + ' friction="0.6 0.02 0.01" condim="6"'))
    assert run("robots", path, "--usd", tmp_path / "biped.usda")[0] == 0
    stage = Usd.Stage.Open(str(tmp_path / "biped.usda"))
    for name, friction, condim in (
        ("trunk/trunk_0", (1.0, 0.005, 0.0001), None),
        ("left_foot/left_foot_0", (0.6, 0.02, 0.01), 6),
    ):
        shape = stage.GetPrimAtPath(f"/biped/{name}")
        surface, _ = UsdShade.MaterialBindingAPI(shape).ComputeBoundMaterial("physics")
        prim, material = surface.GetPrim(), UsdPhysics.MaterialAPI(surface.GetPrim())
        assert material.GetStaticFrictionAttr().Get() == material.GetDynamicFrictionAttr().Get()
        written = (
            material.GetDynamicFrictionAttr().Get(),
            *(prim.GetAttribute(f"newton:{x}Friction").Get() for x in ("torsional", "rolling")),
        )
        assert written == pytest.approx(friction)
        assert shape.GetAttribute("mjc:condim").Get() == condim


def test_a_body_without_joints_is_held_to_its_parent(tmp_path):
    """To USD it would be a second, free robot."""
    inertial = '<inertial pos="0 0 0" mass="0.1" diaginertia="1e-4 1e-4 1e-4"/>'
    sole = f'<body name="left_sole" pos="0 0 -0.05" quat="0 1 0 0">{inertial}</body>'
    foot = '<body name="left_foot" pos="0 0 -0.4">'
    path = write(tmp_path, (foot, foot + sole))
    assert run("robots", path, "--usd", tmp_path / "biped.usda")[0] == 0
    stage = Usd.Stage.Open(str(tmp_path / "biped.usda"))
    [weld] = [UsdPhysics.FixedJoint(prim) for prim in stage.Traverse() if prim.IsA(UsdPhysics.FixedJoint)]
    ends = [[str(x) for x in end.GetTargets()] for end in (weld.GetBody0Rel(), weld.GetBody1Rel())]
    assert ends == [["/biped/left_foot"], ["/biped/left_sole"]]
    assert tuple(weld.GetLocalPos0Attr().Get()) == pytest.approx((0.0, 0.0, -0.05))
    turn = weld.GetLocalRot0Attr().Get()
    assert (turn.GetReal(), *turn.GetImaginary()) == pytest.approx((0.0, 1.0, 0.0, 0.0))
