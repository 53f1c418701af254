"""Hand-made DeepMimic clips: frames of 44 known numbers."""

import json
import math

from protege.core.motions import Clip
from protege.core.robots.robot import Robot
from protege.sim.motions.readers.deepmimic import read
from protege.sim.motions.readers.document import Document
from protege.sim.motions.readers.humanoid3d import COLUMNS
from protege.sim.motions.readers.options import Options
from protege.sim.motions.retarget import retarget

FRAME_S = 1.0 / 30.0


def frame(pos=(0.0, 0.9, 0.0), **rotations) -> list[float]:
    """One frame: duration, root position (y up), and all rotations zero but those given by joint name."""
    numbers = [FRAME_S, *pos]
    for joint, (_, width) in COLUMNS.items():
        zero = [1.0, 0.0, 0.0, 0.0] if width == 4 else [0.0]
        value = rotations.get(joint, zero)
        numbers += [value] if isinstance(value, float) else list(value)
    assert len(numbers) == 44
    return numbers


def turned(axis: str, angle: float) -> list[float]:
    """A quaternion, w first, about one of the clip's axes."""
    return [math.cos(angle / 2), *(math.sin(angle / 2) * (axis == letter) for letter in "xyz")]


def document(frames: list[list[float]], loop: str = "none") -> bytes:
    return json.dumps({"Loop": loop, "Frames": frames}).encode()


def walk(frames: int = 31, loop: str = "wrap", speed: float = 1.0) -> bytes:
    """Glides along the clip's x at `speed` m/s while the legs swing once to and fro."""
    rows = []
    for i in range(frames):
        phase = 2.0 * math.pi * i / (frames - 1)
        swing = 0.4 * math.sin(phase)
        legs = {"L_Hip": turned("z", swing), "R_Hip": turned("z", -swing), "L_Knee": -0.3 + 0.3 * math.cos(phase)}
        rows.append(frame((speed * FRAME_S * i, 0.9, 0.0), **legs))
    return document(rows, loop)


def import_deepmimic(contents: bytes, name: str, robot: Robot) -> Clip:
    """A robot's clip from the contents of a file."""
    (motion,) = read(Document(name, name, "text", contents), Options())
    return retarget(motion, robot)
