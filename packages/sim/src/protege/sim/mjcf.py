"""A robot description as a MuJoCo model."""

import mujoco

from protege.core.robot import Robot

ROBOT_BIT, GROUND_BIT = 1, 2
GEOMS = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
}


def build_spec(robot: Robot) -> mujoco.MjSpec:
    """One robot on a plane: a free root, hinges, and a PD position servo on each.

    The servos carry no force limit: one on the actuator is invisible to `implicitfast`, which then integrates the damping
    as if it were not there and blows up. Torques are limited at the joints instead (`actuatorfrcrange`).
    """
    spec = mujoco.MjSpec()
    spec.modelname = robot.name
    spec.compiler.degree = False
    spec.compiler.autolimits = True
    spec.option.timestep = robot.physics_dt
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.iterations = 10
    spec.option.ls_iterations = 10
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 1280, 960
    ground = spec.worldbody.add_geom(name="ground", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 1])
    ground.contype, ground.conaffinity = GROUND_BIT, ROBOT_BIT
    ground.friction = [1.0, 0.005, 0.0001]
    nodes = {}
    for body in robot.bodies:
        parent = spec.worldbody if body.parent is None else nodes[body.parent]
        node = nodes[body.name] = parent.add_body(name=body.name, pos=body.offset)
        if body.parent is None:
            node.add_freejoint(name="root")
        for index, geom in enumerate(body.geoms):
            size = list(geom.size) + [0.0] * (3 - len(geom.size))
            shape = node.add_geom(
                name=f"{body.name}_{index}",
                type=GEOMS[geom.kind],
                size=size,
                pos=geom.pos,
                quat=geom.quat,
                mass=geom.mass,
            )
            shape.contype, shape.conaffinity = ROBOT_BIT, GROUND_BIT
            shape.friction = [1.0, 0.005, 0.0001]
    for joint in robot.joints:
        nodes[joint.body].add_joint(
            name=joint.name,
            type=mujoco.mjtJoint.mjJNT_HINGE,
            axis=joint.axis,
            range=joint.range,
            armature=joint.armature,
            actfrclimited=mujoco.mjtLimited.mjLIMITED_TRUE,
            actfrcrange=[-joint.effort_limit, joint.effort_limit],
        )
        servo = spec.add_actuator(name=joint.name, target=joint.name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        servo.gainprm[0] = joint.stiffness
        servo.biastype = mujoco.mjtBias.mjBIAS_AFFINE
        servo.biasprm[1], servo.biasprm[2] = -joint.stiffness, -joint.damping
    return spec
