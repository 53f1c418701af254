"""A robot from its model file (MJCF) and the YAML file beside it.

The compiled model is read: there, everything that the file leaves to defaults, classes, frames or shapes is a number. Elements that
the physics here does not support are rejected by name. A shape that collides with nothing is a visual shape if it is in group 2 and
is not a mesh; otherwise it is left out.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from protege.core.errors import UserError
from protege.core.motions.contact import leg_length
from protege.core.robots.robot import (
    Body,
    Camera,
    Geom,
    GeomKind,
    Groups,
    Inertia,
    Joint,
    Look,
    LookKind,
    Robot,
    Safety,
    Site,
    Solver,
)
from protege.core.runs.config import Config

from ..engine import mujoco
from .faults import Faults
from .kinds import GEOMS, LOOKS, SIZES, VISUAL
from .mesh_boxes import box_around
from .patterns import by_joint, did_you_mean
from .robot_file import SECTIONS, GroupNames, Physics, examine_robot_file
from .servos import Gains, gains_by_joint, servo

GEOM_KINDS: dict[int, GeomKind] = {int(kind): name for name, kind in GEOMS.items()}
LOOK_KINDS: dict[int, LookKind] = {int(kind): name for name, kind in LOOKS.items()}
COLOR_DIGITS = 4
"""Digits of a colour: MuJoCo stores it in single precision."""
REPLACED = {
    int(mujoco.mjtGeom.mjGEOM_CYLINDER): "cylinders_as_capsules",
    int(mujoco.mjtGeom.mjGEOM_MESH): "meshes_as_boxes",
}
"""Kinds of shapes that can be replaced, and the key of `physics` that does."""
JOINT_KINDS = {int(kind): kind.name.removeprefix("mjJNT_").lower() for kind in mujoco.mjtJoint.__members__.values()}
SOLVER_FIELDS = [f.name for f in fields(Solver)]
SHAPE_NAMES = {int(kind): kind.name.removeprefix("mjGEOM_").lower() for kind in mujoco.mjtGeom.__members__.values()}
URDF, URDF_SNIFFED = re.compile(rb"<robot[\s>]"), 20_000
"""The root element of a URDF, and the number of bytes at its start in which it is looked for, behind comments."""
URDF_REMEDY = "Convert it to MJCF: MuJoCo's MjSpec.from_file(...).to_xml() does, then add a freejoint and motors"
NOTHING_COLLIDES_REMEDY = (
    'Give the feet boxes, capsules or spheres without contype="0" conaffinity="0"; '
    "if a scene's pairs say what collides, name the scene under robot.model"
)


def read_robot(path: Path) -> Robot:
    """The robot of a YAML file and of the model file that it names.

    Raises:
        UserError: one of them is missing or invalid; it names file, element and remedy.
    """
    robot, errors = examine_robot(path)
    for error in errors:
        raise error
    assert robot is not None
    return robot


def examine_robot(path: Path) -> tuple[Robot | None, list[UserError]]:
    """The robot of a YAML file and of the model file that it names, or None; and all errors in them."""
    sections, errors = examine_robot_file(path)
    if sections.robot is None:
        return None, errors
    file = path.parent / sections.robot.model
    try:
        if file.is_file() and URDF.search(file.read_bytes()[:URDF_SNIFFED]):
            return None, [*errors, UserError(f"{file} is a URDF", URDF_REMEDY)]
        model = mujoco.MjSpec.from_file(str(file)).compile()
    except ValueError as error:
        return None, [*errors, UserError(f"{file}: MuJoCo cannot read it ({error})", "Correct it")]
    robot, faults = _examined(model, sections)
    for fault in faults:
        where = path if fault.problem.split(".")[0] in ("groups", "pose", "servos") else file
        errors.append(UserError(f"{where}: {fault.problem}", fault.remedy))
    return (None if errors else robot), errors


def robot_of(model: mujoco.MjModel, sections: Config) -> Robot:
    """The robot of a compiled model.

    Args:
        model: contains one robot; bodies that are fixed to the world are left out.
        sections: of the robot's YAML file, by name; see `read_robot_file`.

    Raises:
        UserError: it names the element.
    """
    robot, faults = _examined(model, sections)
    for fault in faults:
        raise fault
    assert robot is not None
    return robot


def _examined(model: mujoco.MjModel, sections: Config) -> tuple[Robot | None, Faults]:
    """The robot, and all errors in its model; None if there are any, or if a section of the YAML file is missing."""
    faults = Faults()
    _check_whole(model, faults)
    bodies = [faults.collect(_body, model, sections, body, faults) for body in range(1, model.nbody)]
    hinge = mujoco.mjtJoint.mjJNT_HINGE
    hinges = [x for x in range(model.njnt) if model.jnt_bodyid[x] > 1 and model.jnt_type[x] == hinge]
    gains = (
        gains_by_joint([model.joint(joint).name for joint in hinges], sections.servos, faults)
        if sections.servos
        else {}
    )
    joints = [_joint(model, sections, gains, joint, faults) for joint in hinges]
    pose = _pose(model, hinges, sections.pose.joints, faults) if sections.pose else ()
    groups = _groups(model, sections.groups, faults) if sections.groups else None
    if faults or groups is None or None in [getattr(sections, name) for name in SECTIONS]:
        return None, faults
    robot = Robot(
        name=sections.robot.name,
        bodies=tuple(body for body in bodies if body),
        joints=tuple(joint for joint in joints if joint),
        default_joint_pos=pose,
        groups=groups,
        root_height=sections.pose.root_height or 0.0,
        control_dt=1.0 / sections.rates.control,
        physics_dt=1.0 / sections.rates.physics,
        camera=Camera(0.0, 0.0),
        solver=Solver(**{name: x for name, x in vars(sections.physics).items() if name in SOLVER_FIELDS}),
        self_collision=sections.physics.self_collision,
        excluded_pairs=tuple(_pair(model, int(pair)) for pair in model.exclude_signature),
        fallen_root=sections.fall.root,
        fallen_head=sections.fall.head,
        safety=Safety(**vars(sections.safety)),
        source=sections.robot.source,
        licence=sections.robot.licence,
        menagerie=sections.looks.menagerie,
    )
    height = robot.root_height or leg_length(robot)
    if not isfinite(height):
        faults.append(UserError("nothing of it collides", NOTHING_COLLIDES_REMEDY))
        return None, faults
    camera = Camera(sections.camera.distance or 3.0 * height, sections.camera.height or 0.9 * height)
    return replace(robot, root_height=height, camera=camera), faults


def _check_whole(model: mujoco.MjModel, faults: Faults) -> None:
    """Check that the model is one tree of hinges with a free root."""

    def refuse(problem: str, remedy: str) -> None:
        faults.append(UserError(problem, remedy))

    roots = [model.body(body).name for body in range(1, model.nbody) if model.body_parentid[body] == 0]
    if len(roots) != 1:
        what = f"the roots {', '.join(roots)}" if roots else "no bodies"
        refuse(f"it has {what}", "Leave the robot's one tree of bodies in the world")
    for kind, count in (("an equality constraint", model.neq), ("a tendon", model.ntendon)):
        if count:
            refuse(f"it has {kind}", "Remove it: a robot is a tree of hinges and nothing else")
    for joint in range(model.njnt):
        name, kind = model.joint(joint).name, JOINT_KINDS[int(model.jnt_type[joint])]
        if model.jnt_bodyid[joint] == 1 and kind != "free":
            refuse(f"joint {name} holds the root {model.body(1).name}", "Give the root a freejoint, or no joint at all")
        if model.jnt_bodyid[joint] > 1 and kind != "hinge":
            refuse(f"joint {name} is not a hinge but a {kind}", "Replace it by hinges, or leave it out")


def _body(model: mujoco.MjModel, sections: Config, body: int, faults: Faults) -> Body:
    name, parent = model.body(body).name, int(model.body_parentid[body])
    if not name:
        raise UserError(f"body {body} has no name", "Name all bodies and joints")
    mass = float(model.body_mass[body])
    if not mass > 0.0:
        raise UserError(f"body {name} has no mass", "Give it an inertial, or make it a site of its parent")
    inertia = Inertia(mass, *(_numbers(x[body]) for x in (model.body_ipos, model.body_inertia, model.body_iquat)))
    paired = np.isin(np.arange(model.ngeom), [model.pair_geom1, model.pair_geom2])
    of_body, touches = model.geom_bodyid == body, (model.geom_contype != 0) | (model.geom_conaffinity != 0) | paired
    visual = (model.geom_group == VISUAL) & np.isin(model.geom_type, list(LOOK_KINDS))
    geoms = [
        faults.collect(_geom, model, sections.physics, int(geom), name) for geom in np.flatnonzero(of_body & touches)
    ]
    return Body(
        name=name,
        parent=model.body(parent).name if parent else None,
        offset=_numbers(model.body_pos[body]) if parent else (0.0, 0.0, 0.0),
        inertia=inertia,
        geoms=tuple(geom for geom in geoms if geom),
        quat=_numbers(model.body_quat[body]) if parent else (1.0, 0.0, 0.0, 0.0),
        looks=tuple(_look(model, int(geom)) for geom in np.flatnonzero(of_body & visual & ~touches)),
    )


def _geom(model: mujoco.MjModel, physics: Physics | None, geom: int, body: str) -> Geom:
    kind = int(model.geom_type[geom])
    place = _numbers(model.geom_pos[geom]), _numbers(model.geom_quat[geom]), *_contact(model, geom)
    if kind == mujoco.mjtGeom.mjGEOM_CYLINDER and (physics is None or physics.cylinders_as_capsules):
        radius, half, _ = model.geom_size[geom].tolist()
        # A capsule as long as the cylinder, including its round ends; a sphere if it is flatter than wide.
        return Geom("capsule", (radius, half - radius), *place) if half > radius else Geom("sphere", (radius,), *place)
    if kind == mujoco.mjtGeom.mjGEOM_MESH and (physics is None or physics.meshes_as_boxes):
        return Geom("box", *box_around(model, geom), *_contact(model, geom))
    if kind not in GEOM_KINDS:
        name = model.geom(geom).name or f"{geom}"
        raise UserError(
            f"geom {name} of {body}, which collides, is a {SHAPE_NAMES[kind]}",
            f'Take {", ".join(GEOMS)} for what collides, and contype="0" conaffinity="0" for looks'
            + (f", or set physics.{REPLACED[kind]}" if kind in REPLACED else ""),
        )
    return Geom(GEOM_KINDS[kind], _numbers(model.geom_size[geom][: SIZES[GEOM_KINDS[kind]]]), *place)


def _contact(model: mujoco.MjModel, geom: int) -> tuple[Any, int]:
    """Friction and `condim` of a shape: those of its `pair` with a shape that is fixed to the world, otherwise its own."""
    for pair, (first, second) in enumerate(zip(model.pair_geom1, model.pair_geom2, strict=True)):
        if geom in (first, second) and 0 in model.geom_bodyid[[first, second]]:
            sliding, _, torsional, rolling, _ = _numbers(model.pair_friction[pair])
            return (sliding, torsional, rolling), int(model.pair_dim[pair])
    return _numbers(model.geom_friction[geom]), int(model.geom_condim[geom])


def _look(model: mujoco.MjModel, geom: int) -> Look:
    kind, material = LOOK_KINDS[int(model.geom_type[geom])], int(model.geom_matid[geom])
    rgba = model.geom_rgba[geom] if material < 0 else model.mat_rgba[material]
    return Look(
        kind=kind,
        size=_numbers(model.geom_size[geom][: SIZES[kind]]),
        pos=_numbers(model.geom_pos[geom]),
        quat=_numbers(model.geom_quat[geom]),
        rgba=_numbers(rgba.astype(float).round(COLOR_DIGITS)),
    )


def _hinge_faults(model: mujoco.MjModel, joint: int) -> Iterator[UserError]:
    """Properties of a hinge that the physics here does not support."""
    name, degree = model.joint(joint).name, int(model.jnt_dofadr[joint])
    body = model.body(int(model.jnt_bodyid[joint])).name
    if not name:
        yield UserError(f"a joint of body {body} has no name", "Name all bodies and joints")
    if model.jnt_pos[joint].any():
        yield UserError(f"joint {name} is not at the origin of body {body}", "Move the body's origin there: pos=0 0 0")
    if model.qpos0[model.jnt_qposadr[joint]] != 0.0:
        yield UserError(f"joint {name} has a ref", "Turn the body instead (quat), so that its angle is 0 as modelled")
    if model.jnt_stiffness[joint] or model.jnt_stiffnesspoly[joint].any() or model.dof_dampingpoly[degree].any():
        yield UserError(
            f"joint {name} has a spring, or damping that is not linear", "Take stiffness and further terms out"
        )
    if not model.jnt_limited[joint]:
        yield UserError(f"joint {name} has no range", "Give it one, rad or degrees as the file's compiler says")


def _joint(
    model: mujoco.MjModel, sections: Config, gains: dict[str, Gains], joint: int, faults: Faults
) -> Joint | None:
    name, degree = model.joint(joint).name, int(model.jnt_dofadr[joint])
    body = model.body(int(model.jnt_bodyid[joint])).name
    faults.extend(_hinge_faults(model, joint))
    found = servo(model, joint, sections.servos, gains.get(name), faults)
    if found is None or sections.servos is None:
        return None
    (stiffness, damping), effort = found
    low, high = model.jnt_range[joint].tolist()
    share = sections.servos.action_effort
    return Joint(
        name=name,
        body=body,
        axis=_numbers(model.jnt_axis[joint]),
        range=(low, high),
        stiffness=stiffness,
        damping=damping,
        effort_limit=effort,
        armature=float(model.dof_armature[degree]),
        frictionloss=float(model.dof_frictionloss[degree]),
        passive_damping=float(model.dof_damping[degree]),
        action_scale=sections.servos.action_scale if share is None else share * effort / stiffness,
        log_std=sections.servos.log_std,
    )


def _pose(model: mujoco.MjModel, hinges: Sequence[int], angles: dict[str, float], faults: Faults) -> tuple[float, ...]:
    """The default pose, one angle per joint, rad."""
    pose = dict.fromkeys([model.joint(joint).name for joint in hinges], 0.0)
    pose.update(by_joint("pose.joints", list(pose), angles, faults))
    for joint in hinges:
        name, (low, high) = model.joint(joint).name, model.jnt_range[joint].tolist()
        if model.jnt_limited[joint] and not low <= pose[name] <= high:
            problem = f"pose.joints: {name} at {pose[name]:g} rad is outside of its range"
            faults.append(UserError(problem, f"Take {low:g} to {high:g}"))
    return tuple(pose.values())


def _groups(model: mujoco.MjModel, group_names: GroupNames, faults: Faults) -> Groups:
    names = [model.body(body).name for body in range(1, model.nbody)]

    def known(key: str, *wanted: str) -> tuple[str, ...]:
        for name in [name for name in wanted if name not in names]:
            faults.append(UserError(f"groups.{key}: no body is called {name!r}", did_you_mean(name, names)))
        return wanted

    sites = {model.site(site).name: site for site in range(model.nsite)}
    if group_names.imu in sites:
        site = sites[group_names.imu]
        body = model.body(int(model.site_bodyid[site])).name
        imu = Site(body, _numbers(model.site_pos[site]), _numbers(model.site_quat[site]))
    elif group_names.imu in names:
        imu = Site(group_names.imu)
    else:
        problem, imu = f"groups.imu: no site or body is called {group_names.imu!r}", Site("")
        faults.append(UserError(problem, did_you_mean(group_names.imu, [*sites, *names])))
    torso = known("torso", group_names.torso)[0]
    return Groups(
        left_foot=known("feet.left", *group_names.feet.left),
        right_foot=known("feet.right", *group_names.feet.right),
        left_hand=known("hands.left", *group_names.hands.left),
        right_hand=known("hands.right", *group_names.hands.right),
        torso=torso,
        head=known("head", group_names.head)[0] if group_names.head else torso,
        imu=imu,
    )


def _pair(model: mujoco.MjModel, signature: int) -> tuple[str, str]:
    """Two bodies that do not collide, which MuJoCo stores in one number."""
    return model.body(signature >> 16).name, model.body(signature & 0xFFFF).name


def _numbers(values: np.ndarray) -> Any:
    """A tuple of floats."""
    return tuple(float(x) for x in values)
