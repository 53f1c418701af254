"""Whether a clip is a motion that a robot could make: one check for loading, training, inspecting, evaluating and deploying.

An error is what no robot could do, a warning what is unlikely to be meant. All fifteen clips of DeepMimic pass without either;
what they measure stands beside the limits. numpy alone: the robot's side shares this file (see docs/architecture.md).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

LONGEST = 1200.0
"""s. Longer ones are units of time that are wrong, or recordings to be cut: at 60 Hz a library holds 5 kB a frame."""
SHORTEST = 0.5
"""s. An episode in a shorter clip is over before anything can be learned from it; the shortest stride takes longer."""
SLOWEST_RATE, LOW_RATE, HIGH_RATE = 4.0, 15.0, 500.0
"""Frames a second. Between frames a motion is a straight line: at less than 15 steps lose their swing, at less than 4 all is
lost. Motion capture records at 24 to 250."""
GAP, WIDE_GAP, UNUSUAL_GAP = 0.1, 1.0, 4.0
"""s between two frames, the latter an error; and by how much more than the median that has to be."""
RATE_TOLERANCE = 0.1
"""By which share the frames' rate may differ from the clip's own `fps`."""
FARTHEST = 1e4
"""m from the origin: further out float32 cannot tell millimetres apart."""
TALLEST = 3.0
"""Lengths of a leg: how high above the floor a root may be. A backflip's is at 1.2."""
FAST_ROOT, FASTEST_ROOT = 8.0, 20.0
"""m/s. DeepMimic's reach 4.2, the fastest human 12.4."""
FAST_TURN, FASTEST_TURN = 20.0, 60.0
"""rad/s of the root. DeepMimic's reach 11.6, a figure skater 35."""
FAST_JOINT, FASTEST_JOINT = 50.0, 100.0
"""rad/s of one joint between two frames. DeepMimic's reach 38 in the backflip, a pitcher's shoulder 120 for a moment."""
HURRIED_JOINT, HURRIED_SHARE = 22.0, 0.95
"""rad/s that the fastest joint stays below in most frames. DeepMimic's reach 19; a walk at four times its speed 27."""
PAST_LIMIT, FAR_PAST_LIMIT = 0.05, 0.3
"""rad past a joint's limit. The imported clips keep their limits; simulators' limits give way by some hundredths."""
DEEP, TOO_DEEP = 0.05, 0.25
"""In the floor: m, and lengths of a leg. The clips that are shipped are in it by less than a millimetre."""
FLOATS, FLOATS_HIGH = 0.05, 0.15
"""m over the floor, of the lowest point."""
FLIGHT, LONGEST_FLIGHT = 0.8, 1.2
"""s in the air at a time. DeepMimic's reach 0.5; one of 0.8 s is a jump of 78 cm, one of 1.2 s of 1.8 m."""
TRAVELS = 0.3
"""m/s from the first to the last frame: a clip that is slower goes nowhere."""
BACKWARDS = -0.7
"""Cosine between travel and facing, weighted by distance. DeepMimic's lowest is -0.32, a roll's."""
DRAGGED, MOONWALK = 0.9, 1.2
"""Speed of the body part that bears the robot, along its travel, over the root's. A walk's is 0.5, for ankles roll over toes."""
TURNED_AROUND = 2.0 * np.pi
"""rad. Angles beyond it are degrees, or turns that were not taken out."""

RATE_REMEDY = "Time is in seconds: give each frame its index over the recording's frames a second"
LENGTH_REMEDY = "Lengths are metres, z is up and the floor is at z = 0"
MEND = "Mend or cut the frame"


@dataclass(frozen=True)
class Finding:
    """Something about a clip that no robot could do (an error), or that is unlikely to be meant (a warning).

    Attributes:
        severity: `error` or `warning`.
        field: of the clip: `time`, `root_pos_w`, `root_quat_w` or `joint_pos`.
        frame: index of the worst frame.
        problem: what is wrong there, with numbers and units.
        remedy: what to do about it.
    """

    severity: Literal["error", "warning"]
    field: str
    frame: int
    problem: str
    remedy: str

    @property
    def where(self) -> str:
        """Field, frame and problem in words."""
        return f"{self.field} of frame {self.frame}: {self.problem}"

    def __str__(self) -> str:
        return f"{self.where}. {self.remedy}"


@dataclass(frozen=True)
class _Motion:
    """What is checked; arrays as in `check`."""

    time: np.ndarray
    pos: np.ndarray
    quat: np.ndarray
    joint_pos: np.ndarray

    @property
    def steps(self) -> np.ndarray:
        """(T - 1,) s between frames."""
        return np.diff(self.time)

    @property
    def mean_velocity(self) -> np.ndarray:
        """(2,) m/s on the ground, from the first to the last frame."""
        return (self.pos[-1] - self.pos[0])[:2] / (self.time[-1] - self.time[0])


def check(
    time: np.ndarray,
    root_pos_w: np.ndarray,
    root_quat_w: np.ndarray,
    joint_pos: np.ndarray,
    *,
    joint_names: Sequence[str],
    joint_range: np.ndarray,
    leg_length: float,
    fps: float | None = None,
    contact_points: Callable[[], np.ndarray] | None = None,
) -> list[Finding]:
    """Everything that is implausible about a motion of T frames, errors first. Each kind is said once, of its worst frame.

    Args:
        time: (T,) s, rising.
        root_pos_w: (T, 3) m, z up.
        root_quat_w: (T, 4) wxyz, of unit length.
        joint_pos: (T, J) rad.
        joint_names: J names, in the order of `joint_pos`.
        joint_range: (J, 2) rad, the joints' limits.
        leg_length: m, from the root to the lowest point of the robot standing: its measure of length.
        fps: what the clip says of its rate, frames a second.
        contact_points: gives (T, B, 3) m: of each body where its origin is, and as z its lowest point. Asked for only if
            the numbers are sane. Without it nothing is said about floor and feet, but for a root in the floor.
    """
    motion = _Motion(time, root_pos_w, root_quat_w, joint_pos)
    with np.errstate(over="ignore", invalid="ignore"):
        found = [*_timing(motion, fps), *_root(motion, leg_length), *_joints(motion, joint_names, joint_range)]
        points = None
        if contact_points is not None and not any(one.severity == "error" for one in found):
            points = contact_points()
            found += _floor(motion, points, leg_length)
        found += _facing(motion, points)
    return sorted(found, key=lambda one: one.severity)  # "error" comes before "warning"


def errors(findings: Sequence[Finding]) -> list[Finding]:
    """Those that no robot could do."""
    return [one for one in findings if one.severity == "error"]


def warnings(findings: Sequence[Finding]) -> list[Finding]:
    """Those that are unlikely to be meant."""
    return [one for one in findings if one.severity == "warning"]


def _graded(
    values: np.ndarray, warn: float, fail: float, field: str, problem: str, remedy: str, after: int = 0
) -> Iterator[Finding]:
    """One finding if the largest of the values (T,) is above a limit.

    Args:
        problem: a template in which `{worst}` is the largest value and `{count}` says in how many frames it is too large.
        after: how many frames lie before the first value's.
    """
    worst = int(np.argmax(np.where(np.isnan(values), np.inf, values)))
    if not values[worst] <= warn:
        count = int((~(values <= warn)).sum())
        others = f" ({count} frames are)" if count > 1 else ""
        severity = "error" if not values[worst] <= fail else "warning"
        yield Finding(severity, field, worst + after, problem.format(worst=float(values[worst])) + others, remedy)


# Time ------------------------------------------------------------------------------------------------------------------


def _timing(motion: _Motion, fps: float | None) -> Iterator[Finding]:
    steps, frames = motion.steps, len(motion.time)
    duration, median = float(motion.time[-1] - motion.time[0]), float(np.median(steps))
    if not duration <= LONGEST or median > 1.0 / SLOWEST_RATE:
        problem = f"{frames} frames take {duration:.4g} s, {1.0 / median:.3g} a second (is time in seconds?)"
        yield Finding("error", "time", frames - 1, problem, f"{RATE_REMEDY}; cut recordings of more than {LONGEST:g} s")
        return
    if median > 1.0 / LOW_RATE:
        yield Finding(
            "warning", "time", 0, f"{1.0 / median:.1f} frames a second are few: steps are cut off", RATE_REMEDY
        )
    if median < 1.0 / HIGH_RATE:
        yield Finding("warning", "time", 0, f"{1.0 / median:.4g} frames a second (is time in seconds?)", RATE_REMEDY)
    if duration < SHORTEST:
        problem = f"the clip ends after {duration:.3g} s, {frames} frames: an episode in it is over at once"
        yield Finding("warning", "time", frames - 1, problem, f"{RATE_REMEDY}, or take a longer cut")
    if fps is not None and abs(1.0 / median / fps - 1.0) > RATE_TOLERANCE:
        problem = f"there are {1.0 / median:.4g} frames a second, but the clip says fps {fps:g}"
        yield Finding("warning", "time", 0, problem, RATE_REMEDY)
    if steps.max() > UNUSUAL_GAP * median:
        problem = "{worst:.3g} s are missing before it"
        yield from _graded(steps, GAP, WIDE_GAP, "time", problem, "Cut the clip in two there", after=1)


# Root ------------------------------------------------------------------------------------------------------------------


def _root(motion: _Motion, leg: float) -> Iterator[Finding]:
    pos, steps = motion.pos, motion.steps
    far, high = np.abs(pos).max(axis=1), pos[:, 2]
    if not high.max() <= TALLEST * leg:
        legs = float(np.median(high)) / leg
        guess = " (centimetres?)" if 20.0 < legs < 200.0 else " (millimetres?)" if 200.0 < legs < 2000.0 else ""
        frame = int(np.argmax(high))
        problem = f"the root is {high[frame]:.4g} m above the floor, {high[frame] / leg:.3g} lengths of a leg{guess}"
        yield Finding("error", "root_pos_w", frame, problem, LENGTH_REMEDY)
    elif high.min() < 0.0:
        frame = int(np.argmin(high))
        side = np.abs(np.median(pos[:, 1])) / leg
        guess = " (is y up?)" if 0.4 < side < 1.5 and np.median(high) < 0.3 * leg else ""
        problem = f"the root is {-high[frame]:.3g} m below the floor{guess}"
        yield Finding(
            "error", "root_pos_w", frame, problem, f"{LENGTH_REMEDY}; where y is up, (x, y, z) is (x, -z, y) here"
        )
    yield from _graded(far, FARTHEST, FARTHEST, "root_pos_w", "it is {worst:.4g} m from the origin", LENGTH_REMEDY)
    if far.max() <= FARTHEST:
        moved = np.linalg.norm(np.diff(pos, axis=0), axis=1)
        frame = int(np.argmax(moved / steps))
        problem = f"the root jumps {moved[frame]:.3g} m to it, at {{worst:.1f}} m/s"
        remedy = "Cut the clip in two where it jumps; is time in seconds and the length in metres?"
        yield from _graded(moved / steps, FAST_ROOT, FASTEST_ROOT, "root_pos_w", problem, remedy, after=1)
    turned = _angles(motion.quat)
    frame = int(np.argmax(turned / steps))
    problem = f"the root turns by {np.degrees(turned[frame]):.0f} degrees to it, at {{worst:.0f}} rad/s"
    yield from _graded(
        turned / steps, FAST_TURN, FASTEST_TURN, "root_quat_w", problem, f"{MEND}; quaternions are wxyz", 1
    )
    upright, otherwise = _up(motion.quat), _up(np.roll(motion.quat, 1, axis=1))
    if np.median(upright) < 0.5 and (otherwise > 0.8).mean() > 0.95:
        problem = "the robot lies or stands on its head; as xyzw it would stand upright in every frame"
        yield Finding("error", "root_quat_w", 0, problem, "Write quaternions as wxyz: np.roll(xyzw, 1, axis=1)")


def _angles(quat: np.ndarray) -> np.ndarray:
    """(T - 1,) rad between each rotation and the next."""
    unit = quat / np.linalg.norm(quat, axis=1, keepdims=True)
    cosine = np.abs((unit[1:] * unit[:-1]).sum(axis=1)).clip(max=1.0)
    return 2.0 * np.arccos(cosine)


def _up(quat: np.ndarray) -> np.ndarray:
    """(T,) how upright: the z component of the root's own z axis."""
    return 1.0 - 2.0 * (quat[:, 1] ** 2 + quat[:, 2] ** 2)


# Joints ----------------------------------------------------------------------------------------------------------------


def _joints(motion: _Motion, names: Sequence[str], limits: np.ndarray) -> Iterator[Finding]:
    angles = motion.joint_pos
    past = np.maximum(limits[:, 0] - angles, angles - limits[:, 1])
    frame, joint = divmod(int(past.argmax()), len(names))
    largest = float(np.abs(angles).max())
    guess = " (degrees?)" if largest > TURNED_AROUND else ""
    problem = f"{names[joint]} is at {angles[frame, joint]:.4g} rad, {{worst:.3g}} past its limit{guess}"
    remedy = "Joint angles are radians, in the robot's order: "
    if largest > TURNED_AROUND:
        remedy += "convert them with np.radians"
    else:
        remedy += "take out whole turns" if largest > np.pi else "`protege sim robots` lists it, with the limits"
    yield from _graded(past.max(axis=1), PAST_LIMIT, FAR_PAST_LIMIT, "joint_pos", problem, remedy)
    if past.max() > FAR_PAST_LIMIT:
        return  # its speed would say the same again
    speed = np.abs(np.diff(angles, axis=0)) / motion.steps[:, None]
    frame, joint = divmod(int(speed.argmax()), len(names))
    fastest = speed.max(axis=1)
    problem = f"{names[joint]} turns at {{worst:.0f}} rad/s to it"
    before = list(_graded(fastest, FAST_JOINT, FASTEST_JOINT, "joint_pos", problem, f"{MEND}; is time in seconds?", 1))
    yield from before
    usual = float(np.quantile(fastest, HURRIED_SHARE))
    if not before and usual > HURRIED_JOINT:
        problem = f"in every twentieth frame a joint turns faster than {usual:.0f} rad/s (is the rate too high?)"
        yield Finding("warning", "joint_pos", int(frame) + 1, problem, RATE_REMEDY)


# Floor and feet --------------------------------------------------------------------------------------------------------


def _floor(motion: _Motion, points: np.ndarray, leg: float) -> Iterator[Finding]:
    """Args: points: as `contact_points` of `check` gives them."""
    height, time = points[..., 2].min(axis=1), motion.time
    problem = "the robot is {worst:.2f} m in the floor"
    yield from _graded(-height, DEEP, TOO_DEEP * leg, "root_pos_w", problem, f"{LENGTH_REMEDY}; raise the root")
    remedy = f"{LENGTH_REMEDY}; lower the root until a foot touches it"
    begin, end = _longest(height > FLOATS_HIGH)
    if end > begin and time[end - 1] - time[begin] > LONGEST_FLIGHT:
        seconds = time[end - 1] - time[begin]
        problem = (
            f"the robot hangs in the air for {seconds:.1f} s, at least {height[begin:end].min():.2f} m over the floor"
        )
        yield Finding("error", "root_pos_w", begin, problem, remedy)
        return
    begin, end = _longest(height > FLOATS)
    seconds = time[end - 1] - time[begin] if end > begin else 0.0
    if seconds > FLIGHT or height.min() > FLOATS:
        problem = (
            f"the robot hangs in the air for {seconds:.2f} s, at least {height[begin:end].min():.2f} m over the floor"
        )
        yield Finding("warning", "root_pos_w", begin, problem, remedy)


def _longest(mask: np.ndarray) -> tuple[int, int]:
    """Beginning and end of the longest run of True in a mask (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    if not len(edges):
        return 0, 0
    runs = edges.reshape(-1, 2)
    begin, end = runs[(runs[:, 1] - runs[:, 0]).argmax()]
    return int(begin), int(end)


def _facing(motion: _Motion, points: np.ndarray | None) -> Iterator[Finding]:
    """Travel against facing, and feet that slide along. Args: points: as `contact_points` of `check` gives them."""
    speed = float(np.linalg.norm(motion.mean_velocity))
    if not TRAVELS < speed < FASTEST_ROOT:
        return
    way, dragged = motion.mean_velocity / speed, 0.0
    if points is not None:
        bearing = points[..., 2].argmin(axis=1)
        rows, same = np.arange(len(bearing) - 1), bearing[1:] == bearing[:-1]
        moved = (points[rows + 1, bearing[1:], :2] - points[rows, bearing[1:], :2]) @ way
        on_floor = same & (np.maximum(points[1:, :, 2].min(axis=1), points[:-1, :, 2].min(axis=1)) < FLOATS)
        if on_floor.any():
            dragged = float(moved[on_floor].sum() / motion.steps[on_floor].sum()) / speed
    ahead = travel_against_facing(motion.pos, motion.quat)
    if ahead < BACKWARDS:
        sliding = dragged > MOONWALK
        problem = f"the robot travels backwards at {speed:.2f} m/s" + (", on feet that slide along" if sliding else "")
        remedy = "If quaternions are xyzw, write them as wxyz: np.roll(xyzw, 1, axis=1)"
        yield Finding("error" if sliding else "warning", "root_quat_w", 0, problem, remedy)
    elif dragged > DRAGGED:
        problem = f"the feet slide along at {dragged * speed:.2f} m/s while the root travels at {speed:.2f}"
        yield Finding("warning", "root_pos_w", 0, problem, "Are joints in the robot's order, and lengths in metres?")


def travel_against_facing(root_pos_w: np.ndarray, root_quat_w: np.ndarray) -> float:
    """Mean cosine between where the root goes and where it faces, weighted by distance: 1 ahead, 0 sideways, -1 backwards.

    Args:
        root_pos_w: (T, 3) m.
        root_quat_w: (T, 4) wxyz.
    """
    w, x, y, z = root_quat_w[:-1].T
    facing = np.stack([1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z)], axis=1)
    moved = np.diff(root_pos_w[:, :2], axis=0)
    ahead = (moved * facing).sum(axis=1) / np.linalg.norm(facing, axis=1).clip(min=1e-9)
    return float(ahead.sum() / max(float(np.linalg.norm(moved, axis=1).sum()), 1e-9))
