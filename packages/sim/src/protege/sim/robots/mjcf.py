"""A robot description as a MuJoCo model."""

import torch
from torch import Tensor

from protege.core.robots import rotation as R
from protege.core.robots.robot import FRICTION, Joint, Robot, Site, Vec3
from protege.core.robots.state import RobotState

from ..engine import mujoco
from ..terrain import Terrain
from . import get_robot
from .exact_xml import exact_xml
from .kinds import CONES, GEOMS, INTEGRATORS
from .looks import add_looks

ROBOT_BIT, GROUND_BIT = 1, 2
IMU = "imu"
"""The site where the inertial sensor sits."""

TERRAIN = "terrain"

SKIN, SHOES, HANDS = (0.93, 0.72, 0.52, 1.0), (0.24, 0.28, 0.36, 1.0), (0.98, 0.82, 0.66, 1.0)
"""Colours, rgba: the body, the feet, and hands and head."""


def build_spec(robot: Robot, terrain: Terrain | None = None) -> mujoco.MjSpec:
    """One robot on the ground: a free root, hinges, and a PD position servo on each. Visual shapes are added by `add_looks`.

    The servos have no force limit: `implicitfast` ignores a limit of the actuator, integrates its damping as if it did not exist,
    and becomes unstable. Torques are limited at the joints instead (`actuatorfrcrange`).

    Args:
        terrain: placed on the plane at height 0, as a body `TERRAIN` that `mocap_pos` moves; None for the plane alone.
    """
    spec = mujoco.MjSpec()
    spec.modelname = robot.name
    spec.compiler.degree = False
    spec.compiler.autolimits = True
    _set_option(spec.option, robot)
    slip = _ground_friction(robot)
    _add_surroundings(spec, slip)
    if terrain is not None:
        _add_terrain(spec, terrain, slip)
    colors = {**dict.fromkeys(robot.feet, SHOES), **dict.fromkeys((*robot.hands, robot.head), HANDS)}
    nodes = {}
    for body in robot.bodies:
        parent = spec.worldbody if body.parent is None else nodes[body.parent]
        node = nodes[body.name] = parent.add_body(name=body.name, pos=body.offset, quat=body.quat)
        node.explicitinertial, node.mass = True, body.inertia.mass
        node.ipos, node.iquat, node.inertia = body.inertia.center, body.inertia.quat, body.inertia.moments
        if body.parent is None:
            node.add_freejoint(name="root")
            _add_sun(node)
        for index, geom in enumerate(body.geoms):
            node.add_geom(
                name=f"{body.name}_{index}",
                type=GEOMS[geom.kind],
                size=list(geom.size) + [0.0] * (3 - len(geom.size)),
                pos=geom.pos,
                quat=geom.quat,
                contype=ROBOT_BIT,
                conaffinity=GROUND_BIT | (ROBOT_BIT if robot.self_collision else 0),
                friction=geom.friction,
                condim=geom.condim,
                rgba=colors.get(body.name, SKIN),
            )
    imu = robot.groups.imu
    if imu != Site(imu.body):
        nodes[imu.body].add_site(name=IMU, pos=imu.pos, quat=imu.quat)
    for joint in robot.joints:
        _add_servo(spec, nodes[joint.body], joint)
    for first, second in robot.excluded_pairs:
        spec.add_exclude(bodyname1=first, bodyname2=second)
    return spec


def robot_xml(robot: Robot | str) -> str:
    """A robot with its visual shapes, or the installed one with this name, as one self-contained MJCF file.

    Raises:
        UserError: there is no robot with this name.
    """
    robot = get_robot(robot) if isinstance(robot, str) else robot
    spec = build_spec(robot)
    add_looks(spec, robot)
    spec.compile()
    return exact_xml(spec)


def coordinates(state: RobotState) -> tuple[Tensor, Tensor]:
    """MuJoCo's qpos (N, 7 + J) and qvel (N, 6 + J) of N robots. Its angular velocity is in the root's axes, rad/s."""
    spin_b = R.rotate_inverse(state.root_quat_w, state.root_ang_vel_w)
    qpos = torch.cat([state.root_pos_w, state.root_quat_w, state.joint_pos], dim=1)
    return qpos, torch.cat([state.root_lin_vel_w, spin_b, state.joint_vel], dim=1)


def _set_option(option: mujoco.MjOption, robot: Robot) -> None:
    solver = robot.solver
    option.timestep = robot.physics_dt
    option.integrator = INTEGRATORS[solver.integrator]
    option.cone = CONES[solver.cone]
    option.iterations, option.ls_iterations, option.impratio = solver.iterations, solver.ls_iterations, solver.impratio


def _add_servo(spec: mujoco.MjSpec, node, joint: Joint) -> None:
    """A hinge with torque = stiffness · (target - angle) - damping · rate."""
    node.add_joint(
        name=joint.name,
        type=mujoco.mjtJoint.mjJNT_HINGE,
        axis=joint.axis,
        range=joint.range,
        armature=joint.armature,
        frictionloss=joint.frictionloss,
        damping=[joint.passive_damping, 0.0, 0.0],
        actfrclimited=mujoco.mjtLimited.mjLIMITED_TRUE,
        actfrcrange=[-joint.effort_limit, joint.effort_limit],
    )
    servo = spec.add_actuator(name=joint.name, target=joint.name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
    servo.gainprm[0] = joint.stiffness
    servo.biastype = mujoco.mjtBias.mjBIAS_AFFINE
    servo.biasprm[1], servo.biasprm[2] = -joint.stiffness, -joint.damping


def _ground_friction(robot: Robot) -> Vec3:
    """The least friction of any shape: of two touching shapes MuJoCo uses the larger friction, so each shape's own applies."""
    frictions = [geom.friction for body in robot.bodies for geom in body.geoms] or [FRICTION]
    sliding, torsional, rolling = map(min, zip(*frictions, strict=True))
    return sliding, torsional, rolling


def _add_surroundings(spec: mujoco.MjSpec, friction: Vec3) -> None:
    """The ground, a checkerboard of one-metre tiles under a pale sky."""
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 1920, 1080
    spec.visual.quality.shadowsize = 2048
    spec.visual.map.shadowclip = 3.0
    spec.visual.headlight.ambient = [0.35, 0.35, 0.35]
    spec.visual.headlight.diffuse = [0.35, 0.35, 0.35]
    spec.visual.headlight.specular = [0.0, 0.0, 0.0]
    spec.visual.rgba.haze = [0.86, 0.91, 0.96, 1.0]
    spec.stat.extent, spec.stat.center = 2.0, [0.0, 0.0, 1.0]
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.62, 0.76, 0.90],
        rgb2=[0.92, 0.95, 0.98],
        width=256,
        height=256,
    )
    spec.add_texture(
        name="tiles",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        mark=mujoco.mjtMark.mjMARK_EDGE,
        rgb1=[0.70, 0.74, 0.79],
        rgb2=[0.62, 0.66, 0.72],
        markrgb=[0.82, 0.85, 0.89],
        width=512,
        height=512,
    )
    floor = spec.add_material(name="floor", texuniform=True, texrepeat=[0.5, 0.5], specular=0.1)
    floor.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "tiles"
    spec.worldbody.add_geom(
        name="ground",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[0, 0, 1],
        contype=GROUND_BIT,
        conaffinity=ROBOT_BIT,
        friction=friction,
        material="floor",
    )


def _add_terrain(spec: mujoco.MjSpec, terrain: Terrain, friction: Vec3) -> None:
    """The height field."""
    # MuJoCo Warp does not support this for height fields.
    spec.option.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_MULTICCD)
    terrain.add_to(spec, TERRAIN)
    spec.worldbody.add_body(name=TERRAIN, mocap=True).add_geom(
        name=TERRAIN,
        type=mujoco.mjtGeom.mjGEOM_HFIELD,
        hfieldname=TERRAIN,
        contype=GROUND_BIT,
        conaffinity=ROBOT_BIT,
        friction=friction,
        material="floor",
    )


def _add_sun(root) -> None:
    """A light that follows the robot, so that its shadow is sharp everywhere."""
    root.add_light(
        name="sun",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        mode=mujoco.mjtCamLight.mjCAMLIGHT_TRACK,
        pos=[-1.5, -2.0, 4.0],
        dir=[0.33, 0.44, -0.83],
        diffuse=[0.55, 0.53, 0.50],
        specular=[0.1, 0.1, 0.1],
        castshadow=True,
    )
