"""A robot as USD, authored from its compiled MuJoCo model: rigid bodies, shapes, hinges and materials, but no servos.

All quantities that physics needs are written, so that defaults do not matter: UsdPhysics' own attributes, Newton's (`newton:`) for
margins, self-collision and stacked hinges, and MuJoCo's (`mjc:`) for armature and the stiffness of limits. Hinges of one body are
joints between the same two bodies; `newton:jointsAddMobility` declares that each of them adds a degree of freedom.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from protege.core.errors import UserError
from protege.core.files import writable_folder
from protege.core.robots.robot import Robot

from ...engine import mujoco
from ...robots.addresses import body_rows
from ...robots.mjcf import build_spec

try:
    from pxr import Gf, Sdf, Usd, UsdGeom, UsdPhysics, UsdShade
except ModuleNotFoundError as error:
    raise UserError(
        "USD's pxr is not installed", 'Install it, on Python 3.12: pip install "protege-sim[isaaclab]"'
    ) from error

Types = Sdf.ValueTypeNames
MIN_FRICTION = 2e-5  # below mjMINMU, 1e-5, contacts are ill-conditioned according to MuJoCo
DEFAULT_CONDIM = 3  # of shapes without their own
AXES = {(1.0, 0.0, 0.0): "X", (0.0, 1.0, 0.0): "Y", (0.0, 0.0, 1.0): "Z"}


def export_robot(robot: Robot, path: Path) -> None:
    """Write the robot alone, as the default prim of a USD file.

    Raises:
        UserError: the file's name does not end in a USD suffix, or the file cannot be written.
    """
    if path.suffix not in (".usd", ".usda", ".usdc"):
        raise UserError(f"{path} is not the name of a USD file", "Let it end in .usda (text) or .usd")
    writable_folder(path.parent)
    stage = Usd.Stage.CreateInMemory()
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    UsdPhysics.SetStageKilogramsPerUnit(stage, 1.0)
    stage.SetDefaultPrim(add_robot(stage, f"/{robot.name}", build_spec(robot).compile(), robot.body_names))
    if not stage.Export(str(path)):
        raise UserError(f"{path} cannot be written", "Choose another place")


def add_robot(stage: Usd.Stage, path: str, model: mujoco.MjModel, body_names: Sequence[str]) -> Usd.Prim:
    """Author the robot with these bodies of a MuJoCo model under `path`, its root at the prim's origin.

    Raises:
        UserError: it has a shape or a joint of an unsupported kind.
    """
    rows = body_rows(model, body_names)
    bodies = range(rows.start, rows.stop)
    root = UsdGeom.Xform.Define(stage, path).GetPrim()
    _apply(root, "PhysicsArticulationRootAPI", "NewtonArticulationRootAPI")
    _set(root, "newton:selfCollisionEnabled", Types.Bool, _touches_itself(model, np.isin(model.geom_bodyid, bodies)))
    _set(root, "newton:jointsAddMobility", Types.Bool, True)
    surfaces: dict[tuple[float, ...], UsdShade.Material] = {}
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    for body in bodies:
        _add_body(stage, f"{path}/{model.body(body).name}", model, body, bodies[0], data)
        for geom in np.flatnonzero(model.geom_bodyid == body).tolist():
            friction = tuple(model.geom_friction[geom].tolist())
            if friction not in surfaces:
                surfaces[friction] = _add_surface(stage, f"{path}/surface_{len(surfaces)}", friction)
            shape = _add_shape(stage, f"{path}/{model.body(body).name}", model, geom)
            _bind(shape, surfaces[friction])
    for signature in model.exclude_signature.tolist():  # two bodies in one number
        first, second = (model.body(body).name for body in (signature >> 16, signature & 0xFFFF))
        filtered = UsdPhysics.FilteredPairsAPI.Apply(stage.GetPrimAtPath(f"{path}/{first}"))
        filtered.CreateFilteredPairsRel().AddTarget(f"{path}/{second}")
    for joint in np.flatnonzero(np.isin(model.jnt_bodyid, bodies)).tolist():
        _add_joint(stage, path, model, joint)
    for body in bodies[1:]:
        if model.body_jntnum[body] == 0:
            _add_weld(stage, path, model, body)
    return root


def add_ground(stage: Usd.Stage, path: str) -> Usd.Prim:
    """Author an endless level floor at height zero.

    Its own friction is almost zero. Of two touching shapes MuJoCo uses the larger friction, so the robot's applies: an env can be
    slippery although all envs share one ground.
    """
    root = UsdGeom.Xform.Define(stage, path).GetPrim()
    plane = UsdGeom.Plane.Define(stage, f"{path}/plane")
    plane.CreateAxisAttr(UsdGeom.Tokens.z)
    _make_solid(plane.GetPrim(), margin=0.0, gap=0.0)
    _bind(plane.GetPrim(), _add_surface(stage, f"{path}/surface", (MIN_FRICTION, 0.0, 0.0)))
    return root


# Bodies and shapes -------------------------------------------------------------------------------------------------------


def _add_body(stage: Usd.Stage, path: str, model: mujoco.MjModel, body: int, root: int, data: mujoco.MjData) -> None:
    """A rigid body at its pose relative to the root in the model's first pose."""
    form = UsdGeom.Xform.Define(stage, path)
    turn, place = Gf.Quatd(*data.xquat[root]).GetInverse(), data.xpos[body] - data.xpos[root]
    form.AddTranslateOp().Set(Gf.Rotation(turn).TransformDir(Gf.Vec3d(*place)))
    form.AddOrientOp().Set(Gf.Quatf(turn * Gf.Quatd(*data.xquat[body])))
    prim = form.GetPrim()
    UsdPhysics.RigidBodyAPI.Apply(prim)
    mass = UsdPhysics.MassAPI.Apply(prim)
    mass.CreateMassAttr(float(model.body_mass[body]))
    mass.CreateCenterOfMassAttr(_vector(model.body_ipos[body]))
    mass.CreateDiagonalInertiaAttr(_vector(model.body_inertia[body]))
    mass.CreatePrincipalAxesAttr(_quaternion(model.body_iquat[body]))


def _add_shape(stage: Usd.Stage, parent: str, model: mujoco.MjModel, geom: int) -> Usd.Prim:
    name, kind = model.geom(geom).name, int(model.geom_type[geom])
    if kind not in SHAPES:
        known = ", ".join(_kind(mujoco.mjtGeom, each) for each in SHAPES)
        raise UserError(
            f"geometry {name} is a {_kind(mujoco.mjtGeom, kind)}, which is not written to USD", f"Known: {known}"
        )
    shape = SHAPES[kind](stage, f"{parent}/{name}", model.geom_size[geom])
    shape.AddTranslateOp().Set(Gf.Vec3d(*model.geom_pos[geom]))
    shape.AddOrientOp().Set(_quaternion(model.geom_quat[geom]))
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        shape.AddScaleOp().Set(_vector(model.geom_size[geom]))
    shape.CreateDisplayColorAttr([_vector(model.geom_rgba[geom][:3])])
    _make_solid(shape.GetPrim(), float(model.geom_margin[geom]), float(model.geom_gap[geom]))
    if model.geom_condim[geom] != DEFAULT_CONDIM:
        _apply(shape.GetPrim(), "MjcCollisionAPI")
        _set(shape.GetPrim(), "mjc:condim", Types.Int, int(model.geom_condim[geom]))
    return shape.GetPrim()


def _box(stage: Usd.Stage, path: str, size: np.ndarray) -> UsdGeom.Gprim:
    """A cube from -1 to 1, to be scaled by the half extents."""
    box = UsdGeom.Cube.Define(stage, path)
    box.CreateSizeAttr(2.0)
    return box


def _capsule(stage: Usd.Stage, path: str, size: np.ndarray) -> UsdGeom.Gprim:
    """A capsule along z; USD's height, like MuJoCo's half length, does not include the round ends."""
    capsule = UsdGeom.Capsule.Define(stage, path)
    capsule.CreateAxisAttr(UsdGeom.Tokens.z)
    capsule.CreateRadiusAttr(float(size[0]))
    capsule.CreateHeightAttr(2.0 * float(size[1]))
    return capsule


def _sphere(stage: Usd.Stage, path: str, size: np.ndarray) -> UsdGeom.Gprim:
    sphere = UsdGeom.Sphere.Define(stage, path)
    sphere.CreateRadiusAttr(float(size[0]))
    return sphere


SHAPES: dict[int, Callable[[Usd.Stage, str, np.ndarray], UsdGeom.Gprim]] = {
    int(mujoco.mjtGeom.mjGEOM_BOX): _box,
    int(mujoco.mjtGeom.mjGEOM_CAPSULE): _capsule,
    int(mujoco.mjtGeom.mjGEOM_SPHERE): _sphere,
}


def _make_solid(prim: Usd.Prim, margin: float, gap: float) -> None:
    """Make a shape collide, with this contact margin and gap, m."""
    UsdPhysics.CollisionAPI.Apply(prim)
    _apply(prim, "NewtonCollisionAPI")
    _set(prim, "newton:contactMargin", Types.Float, margin)
    _set(prim, "newton:contactGap", Types.Float, gap)


def _add_surface(stage: Usd.Stage, path: str, friction: tuple[float, ...]) -> UsdShade.Material:
    """A material; friction: sliding, torsion (m), rolling (m)."""
    surface = UsdShade.Material.Define(stage, path)
    prim = surface.GetPrim()
    material = UsdPhysics.MaterialAPI.Apply(prim)
    material.CreateStaticFrictionAttr(friction[0])
    material.CreateDynamicFrictionAttr(friction[0])
    _apply(prim, "NewtonMaterialAPI")
    _set(prim, "newton:torsionalFriction", Types.Float, friction[1])
    _set(prim, "newton:rollingFriction", Types.Float, friction[2])
    return surface


def _bind(prim: Usd.Prim, surface: UsdShade.Material) -> None:
    UsdShade.MaterialBindingAPI.Apply(prim).Bind(surface, UsdShade.Tokens.weakerThanDescendants, "physics")


def _touches_itself(model: mujoco.MjModel, robot: np.ndarray) -> bool:
    """Whether any two of the robot's shapes may collide; `robot`: indices of its shapes in the model."""
    types, affinities = model.geom_contype[robot], model.geom_conaffinity[robot]
    return bool((types[:, None] & affinities[None]).any())


# Joints ------------------------------------------------------------------------------------------------------------------


def _add_joint(stage: Usd.Stage, path: str, model: mujoco.MjModel, joint: int) -> None:
    """A hinge. The root's free joint has no counterpart in USD, where unconstrained bodies are free."""
    body, kind, name = int(model.jnt_bodyid[joint]), model.jnt_type[joint], model.joint(joint).name
    parent = int(model.body_parentid[body])
    if kind == mujoco.mjtJoint.mjJNT_FREE and parent == 0:
        return
    if kind != mujoco.mjtJoint.mjJNT_HINGE or parent == 0:
        what = f"a {_kind(mujoco.mjtJoint, kind)} joint {'to the world' if parent == 0 else 'between bodies'}"
        raise UserError(f"{name} is {what}, which is not written to USD", "Known: a free root and hinges")
    hinge = UsdPhysics.RevoluteJoint.Define(stage, f"{path}/joints/{name}")
    hinge.CreateBody0Rel().SetTargets([f"{path}/{model.body(parent).name}"])
    hinge.CreateBody1Rel().SetTargets([f"{path}/{model.body(body).name}"])
    axis = AXES.get(tuple(model.jnt_axis[joint].tolist()))
    turn = Gf.Quatd(1.0) if axis else Gf.Rotation(Gf.Vec3d.XAxis(), Gf.Vec3d(*model.jnt_axis[joint])).GetQuat()
    rest, anchor = Gf.Quatd(*model.body_quat[body]), Gf.Vec3d(*model.jnt_pos[joint])
    hinge.CreateAxisAttr(axis or "X")
    hinge.CreateLocalPos0Attr(Gf.Vec3f(Gf.Vec3d(*model.body_pos[body]) + Gf.Rotation(rest).TransformDir(anchor)))
    hinge.CreateLocalRot0Attr(Gf.Quatf(rest * turn))
    hinge.CreateLocalPos1Attr(Gf.Vec3f(anchor))
    hinge.CreateLocalRot1Attr(Gf.Quatf(turn))
    if model.jnt_limited[joint]:
        low, high = np.degrees(model.jnt_range[joint]).tolist()
        hinge.CreateLowerLimitAttr(low)
        hinge.CreateUpperLimitAttr(high)
    prim, degree = hinge.GetPrim(), int(model.jnt_dofadr[joint])
    _apply(prim, "MjcJointAPI")
    _set(prim, "mjc:armature", Types.Double, float(model.dof_armature[degree]))
    _set(prim, "mjc:frictionloss", Types.Double, float(model.dof_frictionloss[degree]))
    _set(prim, "mjc:damping", Types.Double, float(model.dof_damping[degree]))
    _set(prim, "mjc:solreflimit", Types.DoubleArray, model.jnt_solref[joint].tolist())
    _set(prim, "mjc:solimplimit", Types.DoubleArray, model.jnt_solimp[joint].tolist())


def _add_weld(stage: Usd.Stage, path: str, model: mujoco.MjModel, body: int) -> None:
    """Fix a body without joints to its parent; in USD it would otherwise be free."""
    name, parent = model.body(body).name, model.body(int(model.body_parentid[body])).name
    weld = UsdPhysics.FixedJoint.Define(stage, f"{path}/joints/{name}_weld")
    weld.CreateBody0Rel().SetTargets([f"{path}/{parent}"])
    weld.CreateBody1Rel().SetTargets([f"{path}/{name}"])
    weld.CreateLocalPos0Attr(_vector(model.body_pos[body]))
    weld.CreateLocalRot0Attr(_quaternion(model.body_quat[body]))


# Values ------------------------------------------------------------------------------------------------------------------


def _apply(prim: Usd.Prim, *schemas: str) -> None:
    """Apply schemas by name, because pxr alone does not know Newton's and MuJoCo's."""
    for schema in schemas:
        prim.AddAppliedSchema(schema)


def _set(prim: Usd.Prim, name: str, kind: Sdf.ValueTypeName, value: object) -> None:
    prim.CreateAttribute(name, kind, custom=False).Set(value)


def _vector(x: np.ndarray) -> Gf.Vec3f:
    return Gf.Vec3f(*x.tolist())


def _quaternion(wxyz: np.ndarray) -> Gf.Quatf:
    return Gf.Quatf(*wxyz.tolist())


def _kind(enum: type, value: int) -> str:
    """A kind of geometry or joint in one word: `capsule`, `hinge`."""
    return enum(value).name.rsplit("_", 1)[-1].lower()
