"""The SMPL humanoid: 24 bodies, 69 hinges, 63 kg; x forward, y left, z up, T-pose at zero.

Joint offsets: the mean shape of SMPL (Loper et al. 2015). Segment masses: fractions of body mass after de Leva (1996), the
trunk shared among its bodies. Gains: stiff at the legs and trunk, soft at the ends.
"""

import math

from protege.core.robots.robot import Body, Geom, Joint, Quat, Robot, Vec3

MASS = 63.0

# body: (parent, offset m, share of mass, shapes). A capsule is (radius, end point); it starts at the body's origin.
_CAPSULE, _BOX, _SPHERE = "capsule", "box", "sphere"


def _capsule(radius: float, start: Vec3, end: Vec3, mass: float) -> Geom:
    """A capsule whose round ends reach `start` and `end` (m, body frame)."""
    d = tuple(b - a for a, b in zip(start, end, strict=True))
    length = math.sqrt(sum(x * x for x in d))
    half = max(length / 2 - radius, 0.01)
    center = tuple((a + b) / 2 for a, b in zip(start, end, strict=True))
    return Geom("capsule", (radius, half), mass, (center[0], center[1], center[2]), _from_z(d, length))


def _from_z(d: tuple[float, ...], length: float) -> Quat:
    """The shortest rotation of the z axis onto d."""
    x, y, z = (c / length for c in d)
    if z < -0.999999:
        return (0.0, 1.0, 0.0, 0.0)
    w = math.sqrt((1.0 + z) / 2.0)
    return (w, -y / (2.0 * w), x / (2.0 * w), 0.0)


def _side(name: str, sign: float) -> dict[str, Vec3]:
    """One leg's and one arm's joint offsets in the parent frame, m; the mean shape is slightly lopsided."""
    left = {
        "Hip": (-0.007, 0.070, -0.091),
        "Knee": (-0.004, 0.034, -0.375),
        "Ankle": (-0.044, -0.014, -0.398),
        "Toe": (0.119, 0.026, -0.056),
        "Thorax": (-0.034, 0.079, 0.122),
        "Shoulder": (-0.009, 0.091, 0.030),
        "Elbow": (-0.028, 0.260, -0.013),
        "Wrist": (-0.001, 0.249, 0.009),
        "Hand": (-0.015, 0.084, -0.008),
    }
    right = {
        "Hip": (-0.004, -0.068, -0.090),
        "Knee": (-0.009, -0.038, -0.383),
        "Ankle": (-0.042, 0.016, -0.398),
        "Toe": (0.123, -0.025, -0.048),
        "Thorax": (-0.039, -0.082, 0.119),
        "Shoulder": (-0.009, -0.096, 0.033),
        "Elbow": (-0.021, -0.254, -0.013),
        "Wrist": (-0.006, -0.255, 0.008),
        "Hand": (-0.010, -0.085, -0.006),
    }
    return left if sign > 0 else right


def _leg(side: str, sign: float) -> list[Body]:
    at = _side(side, sign)
    knee, ankle, toe = at["Knee"], at["Ankle"], at["Toe"]
    sole = -0.080
    return [
        Body(f"{side}_Hip", "Pelvis", at["Hip"], (_capsule(0.062, (0.0, 0.0, -0.01), knee, 0.1416 * MASS),)),
        Body(f"{side}_Knee", f"{side}_Hip", knee, (_capsule(0.045, (0.0, 0.0, -0.02), ankle, 0.0433 * MASS),)),
        Body(
            f"{side}_Ankle",
            f"{side}_Knee",
            ankle,
            (Geom("box", (0.085, 0.045, (sole + 0.02) / -2.0), 0.0107 * MASS, (0.030, toe[1] / 2, (sole - 0.02) / 2)),),
        ),
        Body(
            f"{side}_Toe",
            f"{side}_Ankle",
            toe,
            (Geom("box", (0.035, 0.045, 0.018), 0.0030 * MASS, (0.032, 0.0, sole - toe[2] + 0.018)),),
        ),
    ]


def _arm(side: str, sign: float) -> list[Body]:
    at = _side(side, sign)
    shoulder, elbow, wrist, hand = at["Shoulder"], at["Elbow"], at["Wrist"], at["Hand"]
    return [
        Body(f"{side}_Thorax", "Chest", at["Thorax"], (_capsule(0.045, (0.0, 0.0, 0.0), shoulder, 0.0150 * MASS),)),
        Body(f"{side}_Shoulder", f"{side}_Thorax", shoulder, (_capsule(0.042, (0.0, 0.0, 0.0), elbow, 0.0271 * MASS),)),
        Body(f"{side}_Elbow", f"{side}_Shoulder", elbow, (_capsule(0.035, (0.0, 0.0, 0.0), wrist, 0.0162 * MASS),)),
        Body(f"{side}_Wrist", f"{side}_Elbow", wrist, (_capsule(0.030, (0.0, 0.0, 0.0), hand, 0.0041 * MASS),)),
        Body(
            f"{side}_Hand", f"{side}_Wrist", hand, (Geom("sphere", (0.040,), 0.0020 * MASS, (0.0, 0.02 * sign, 0.0)),)
        ),
    ]


BODIES: tuple[Body, ...] = (
    Body(
        "Pelvis", None, (0.0, 0.0, 0.0), (_capsule(0.095, (-0.01, -0.13, -0.03), (-0.01, 0.13, -0.03), 0.1117 * MASS),)
    ),
    *_leg("L", 1.0),
    *_leg("R", -1.0),
    Body(
        "Torso",
        "Pelvis",
        (-0.027, -0.003, 0.109),
        (_capsule(0.085, (0.0, -0.12, 0.03), (0.0, 0.12, 0.03), 0.0850 * MASS),),
    ),
    Body(
        "Spine",
        "Torso",
        (0.001, 0.005, 0.135),
        (_capsule(0.085, (0.01, -0.13, 0.01), (0.01, 0.13, 0.01), 0.0850 * MASS),),
    ),
    Body(
        "Chest",
        "Spine",
        (0.025, 0.002, 0.053),
        (_capsule(0.095, (-0.02, -0.15, 0.09), (-0.02, 0.15, 0.09), 0.1229 * MASS),),
    ),
    Body(
        "Neck",
        "Chest",
        (-0.043, -0.003, 0.214),
        (_capsule(0.050, (0.0, 0.0, -0.03), (0.04, 0.0, 0.07), 0.0160 * MASS),),
    ),
    Body("Head", "Neck", (0.051, 0.005, 0.065), (Geom("sphere", (0.098,), 0.0534 * MASS, (-0.005, 0.0, 0.085)),)),
    *_arm("L", 1.0),
    *_arm("R", -1.0),
)

# Gains by the end of the body's name: stiffness N·m/rad, damping N·m·s/rad.
GAINS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("Hip", "Knee", "Ankle"), (800.0, 80.0)),
    "Toe": (500.0, 50.0),
    **dict.fromkeys(("Torso", "Spine", "Chest"), (1000.0, 100.0)),
    **dict.fromkeys(("Neck", "Head", "Thorax", "Shoulder", "Elbow"), (500.0, 50.0)),
    **dict.fromkeys(("Wrist", "Hand"), (300.0, 30.0)),
}

# Limits of the x, y and z hinge, rad, for the left side; the right side mirrors x and z.
RANGES: dict[str, tuple[tuple[float, float], ...]] = {
    "Hip": ((-0.9, 1.4), (-2.6, 1.2), (-1.2, 1.2)),
    "Knee": ((-0.4, 0.4), (-0.2, 2.7), (-0.4, 0.4)),
    "Ankle": ((-0.8, 0.8), (-1.2, 1.2), (-0.8, 0.8)),
    "Toe": ((-0.3, 0.3), (-1.2, 0.8), (-0.3, 0.3)),
    **dict.fromkeys(("Torso", "Spine", "Chest"), ((-0.8, 0.8), (-0.8, 1.3), (-0.9, 0.9))),
    **dict.fromkeys(("Neck", "Head"), ((-0.9, 0.9), (-1.0, 1.0), (-1.2, 1.2))),
    "Thorax": ((-0.6, 0.6), (-0.6, 0.6), (-0.6, 0.6)),
    "Shoulder": ((-3.1, 3.1), (-3.1, 3.1), (-3.1, 3.1)),
    "Elbow": ((-3.1, 3.1), (-3.1, 3.1), (-3.1, 3.1)),
    **dict.fromkeys(("Wrist", "Hand"), ((-1.2, 1.2), (-1.2, 1.2), (-1.2, 1.2))),
}

AXES: tuple[tuple[str, Vec3], ...] = (("x", (1.0, 0.0, 0.0)), ("y", (0.0, 1.0, 0.0)), ("z", (0.0, 0.0, 1.0)))


def _joints() -> tuple[Joint, ...]:
    joints = []
    for body in BODIES[1:]:
        part = body.name.split("_")[-1]
        for (letter, axis), (low, high) in zip(AXES, RANGES[part], strict=True):
            if body.name.startswith("R_") and letter != "y":
                low, high = -high, -low
            joints.append(Joint(f"{body.name}_{letter}", body.name, axis, (low, high), *GAINS[part]))
    return tuple(joints)


JOINTS = _joints()

# Standing with the arms down: shoulders turned by 80 degrees about x.
_DEFAULT = {"L_Shoulder_x": -1.4, "R_Shoulder_x": 1.4}

SMPL = Robot(
    name="smpl",
    bodies=BODIES,
    joints=JOINTS,
    default_joint_pos=tuple(_DEFAULT.get(joint.name, 0.0) for joint in JOINTS),
    feet=("L_Ankle", "L_Toe", "R_Ankle", "R_Toe"),
    hands=("L_Hand", "R_Hand"),
    head="Head",
)
