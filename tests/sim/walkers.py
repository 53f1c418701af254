"""Skeletons that walk, made by hand: where each foot stands, and for how long, is known."""

from dataclasses import dataclass

import numpy as np
import torch

from protege.core.robots import rotation as R
from protege.sim.motions.source import Skeleton, SkeletonMotion

THIGH, SHANK, ANKLE, TOE = 0.42, 0.40, 0.08, 0.13
"""m: thigh, shank, the ankle over the sole, the toes' joint before the ankle."""
HEIGHT = 0.86
"""m, of the hips."""
STANCE, STEP = 0.6, 0.5
"""s that a foot stands, and that it swings."""
RATE = 60.0

# Role-like name -> parent and offset, m, in a T-pose that faces x.
BODIES = {
    "Hips": ("", (0.0, 0.0, 0.0)),
    "LeftUpLeg": ("Hips", (0.0, 0.1, 0.0)),
    "LeftLeg": ("LeftUpLeg", (0.0, 0.0, -THIGH)),
    "LeftFoot": ("LeftLeg", (0.0, 0.0, -SHANK)),
    "LeftToe": ("LeftFoot", (TOE, 0.0, -0.06)),
    "RightUpLeg": ("Hips", (0.0, -0.1, 0.0)),
    "RightLeg": ("RightUpLeg", (0.0, 0.0, -THIGH)),
    "RightFoot": ("RightLeg", (0.0, 0.0, -SHANK)),
    "RightToe": ("RightFoot", (TOE, 0.0, -0.06)),
    "Spine": ("Hips", (0.0, 0.0, 0.1)),
    "Spine1": ("Spine", (0.0, 0.0, 0.12)),
    "Spine2": ("Spine1", (0.0, 0.0, 0.12)),
    "Neck": ("Spine2", (0.0, 0.0, 0.22)),
    "Head": ("Neck", (0.02, 0.0, 0.1)),
    "LeftShoulder": ("Spine2", (0.0, 0.06, 0.16)),
    "LeftArm": ("LeftShoulder", (0.0, 0.12, 0.0)),
    "LeftForeArm": ("LeftArm", (0.0, 0.28, 0.0)),
    "LeftHand": ("LeftForeArm", (0.0, 0.25, 0.0)),
    "RightShoulder": ("Spine2", (0.0, -0.06, 0.16)),
    "RightArm": ("RightShoulder", (0.0, -0.12, 0.0)),
    "RightForeArm": ("RightArm", (0.0, -0.28, 0.0)),
    "RightHand": ("RightForeArm", (0.0, -0.25, 0.0)),
}
NAMES = tuple(BODIES)


@dataclass(frozen=True)
class Walk:
    """A walk along x with hanging arms.

    Attributes:
        motion: of LAFAN1's 22 joints, at rest in a T-pose.
        standing: (T,) of the left foot and the right one.
    """

    motion: SkeletonMotion
    standing: tuple[np.ndarray, np.ndarray]


def walk(seconds: float = 4.0, *, slide: float = 0.0, speed: float = 0.8) -> Walk:
    """Args: slide: m/s by which feet that stand move on."""
    time = np.arange(round(seconds * RATE)) / RATE
    cycle = STANCE + STEP
    root = np.stack([speed * time, 0.0 * time, HEIGHT + 0.0 * time], axis=1)
    rotations = np.zeros((len(time), len(NAMES), 4))
    rotations[..., 0] = 1.0
    standing = []
    for side, start in (("Left", 0.0), ("Right", 0.5 * cycle)):
        turns, phase = np.divmod(time + start, cycle)
        landed = turns * cycle - start  # when this foot last landed
        stands = phase < STANCE
        ahead = 0.5 * speed * STANCE
        stood = speed * landed + ahead + slide * phase.clip(max=STANCE)
        swung = ((phase - STANCE) / STEP).clip(0.0, 1.0)
        smooth = swung**2 * (3.0 - 2.0 * swung)
        ankle_x = stood + smooth * (speed * cycle - slide * STANCE)
        ankle_z = ANKLE + 0.12 * np.sin(np.pi * swung) ** 2
        _bend(rotations, side, ankle_x - root[:, 0], ankle_z - HEIGHT)
        standing.append(stands)
        arm = 1.4 if side == "Right" else -1.4
        rotations[:, NAMES.index(f"{side}Arm")] = [np.cos(arm / 2), np.sin(arm / 2), 0.0, 0.0]
    motion = SkeletonMotion(
        "walk", time, root, rotations[:, 0], RATE, "bvh", "walk.bvh", skeleton=skeleton(), rotations=rotations
    )
    return Walk(motion, (standing[0], standing[1]))


def skeleton() -> Skeleton:
    parents = tuple(NAMES.index(parent) if parent else -1 for parent, _ in BODIES.values())
    return Skeleton(NAMES, parents, np.array([offset for _, offset in BODIES.values()]))


def _bend(rotations: np.ndarray, side: str, x: np.ndarray, z: np.ndarray) -> None:
    """Angles about y that bring an ankle to (x, z) from its hip with a level sole, by the law of cosines."""
    far = np.hypot(x, z)
    knee = np.pi - np.arccos((THIGH**2 + SHANK**2 - far**2) / (2.0 * THIGH * SHANK))
    lean = np.arccos((THIGH**2 + far**2 - SHANK**2) / (2.0 * THIGH * far))
    hip = -np.arctan2(x, -z) - lean
    for name, angle in (("UpLeg", hip), ("Leg", knee), ("Foot", -hip - knee)):
        body = NAMES.index(side + name)
        rotations[:, body, 0], rotations[:, body, 2] = np.cos(angle / 2), np.sin(angle / 2)


def with_other_rest(motion: SkeletonMotion, turns: np.ndarray) -> SkeletonMotion:
    """The same motion of a skeleton whose bodies' frames are turned by (B, 4): at rest its limbs point anywhere."""
    turn, parents = torch.from_numpy(turns), motion.skeleton.parents
    local = torch.from_numpy(motion.rotations)
    outer = torch.stack(
        [turn[max(parent, 0)] if parent >= 0 else torch.tensor([1.0, 0, 0, 0]).double() for parent in parents]
    )
    new = R.multiply(R.multiply(R.conjugate(outer).expand_as(local), local), turn.expand_as(local)).numpy()
    offsets = R.rotate_inverse(outer, torch.from_numpy(motion.skeleton.offsets)).numpy()
    other = Skeleton(motion.skeleton.names, parents, offsets)
    return SkeletonMotion(
        motion.name,
        motion.time,
        motion.root_pos_w,
        new[:, 0],
        motion.fps,
        "bvh",
        motion.file,
        skeleton=other,
        rotations=new,
    )


def renamed(motion: SkeletonMotion, names: tuple[str, ...]) -> SkeletonMotion:
    """The same motion of a skeleton with other names."""
    other = Skeleton(names, motion.skeleton.parents, motion.skeleton.offsets)
    return SkeletonMotion(
        motion.name,
        motion.time,
        motion.root_pos_w,
        motion.root_quat_w,
        motion.fps,
        "bvh",
        motion.file,
        skeleton=other,
        rotations=motion.rotations,
    )


def as_bvh(motion: SkeletonMotion) -> str:
    """A BVH file of it, z up turned to y up, centimetres, rotations in the order Z, X, Y."""
    to = torch.tensor([np.sqrt(0.5), -np.sqrt(0.5), 0.0, 0.0], dtype=torch.float64)  # z up -> y up
    q = torch.from_numpy(motion.rotations)
    q = R.multiply(R.multiply(to.expand_as(q), q), R.conjugate(to).expand_as(q)).numpy()
    offsets = 100.0 * motion.skeleton.offsets[:, [0, 2, 1]] * [1.0, 1.0, -1.0]
    root = 100.0 * motion.root_pos_w[:, [0, 2, 1]] * [1.0, 1.0, -1.0]
    order = list[int]()

    def joint(index: int, depth: int) -> list[str]:
        order.append(index)
        pad, name = "\t" * depth, motion.skeleton.names[index]
        channels = "6 Xposition Yposition Zposition" if index == 0 else "3"
        lines = [
            f"{pad}{'JOINT' if index else 'ROOT'} {name}",
            f"{pad}{{",
            "{}\tOFFSET {:.6f} {:.6f} {:.6f}".format(pad, *offsets[index]),
        ]
        lines.append(f"{pad}\tCHANNELS {channels} Zrotation Xrotation Yrotation")
        children = [i for i, parent in enumerate(motion.skeleton.parents) if parent == index]
        for child in children:
            lines += joint(child, depth + 1)
        if not children:
            lines += [f"{pad}\tEnd Site", f"{pad}\t{{", f"{pad}\t\tOFFSET 0 0 5", f"{pad}\t}}"]
        return [*lines, f"{pad}}}"]

    lines = ["HIERARCHY", *joint(0, 0), "MOTION", f"Frames: {len(q)}", f"Frame Time: {1.0 / motion.fps:.8f}"]
    for frame in range(len(q)):
        numbers = list(root[frame])
        for index in order:
            w, x, y, z = q[frame, index]
            # R = Rz(a) Rx(b) Ry(c)
            b = np.arcsin(np.clip(2.0 * (y * z + w * x), -1.0, 1.0))
            a = np.arctan2(2.0 * (w * z - x * y), 1.0 - 2.0 * (x * x + z * z))
            c = np.arctan2(2.0 * (w * y - x * z), 1.0 - 2.0 * (x * x + y * y))
            numbers += np.degrees([a, b, c]).tolist()
        lines.append(" ".join(f"{number:.6f}" for number in numbers))
    return "\n".join(lines) + "\n"
