"""Plausibility checks of motions, used in loading, training, inspection, evaluation and deployment.

An error is a physically impossible motion, a warning a probably unintended one. All fifteen clips of DeepMimic pass without
either; their values are given with the limits. Only numpy is used, because `protege.deploy` shares this file (see
docs/architecture.md).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

MAX_DURATION = 1200.0
"""s. In longer clips the unit of time is wrong, or they should be cut: at 60 Hz a library needs 5 kB per frame."""
MIN_DURATION = 0.5
"""s. Episodes in shorter clips are too short to learn from; even the shortest stride takes longer."""
MIN_RATE, LOW_RATE, HIGH_RATE = 4.0, 15.0, 500.0
"""Hz. Motions are interpolated linearly between frames: below 15 Hz steps lose their swing, below 4 Hz the motion is lost. Motion
capture records at 24 to 250 Hz."""
LONG_GAP, MAX_GAP, GAP_RATIO = 0.1, 1.0, 4.0
"""s between two frames: warning, error; and the ratio to the median time step above which a gap is checked."""
RATE_TOLERANCE = 0.1
"""Relative tolerance between the frames' rate and the clip's `fps`."""
MAX_DISTANCE = 1e4
"""m from the origin. Further out float32 does not resolve millimetres."""
MAX_HEIGHT = 3.0
"""Largest height of the root in leg lengths. A backflip reaches 1.2."""
HIGH_ROOT_SPEED, MAX_ROOT_SPEED = 8.0, 20.0
"""m/s: warning, error. DeepMimic's clips reach 4.2, the fastest human 12.4."""
HIGH_ROOT_TURN, MAX_ROOT_TURN = 20.0, 60.0
"""rad/s of the root: warning, error. DeepMimic's clips reach 11.6, a figure skater 35."""
HIGH_JOINT_SPEED, MAX_JOINT_SPEED = 50.0, 100.0
"""rad/s of a joint between two frames: warning, error. DeepMimic's backflip reaches 38, a pitcher's shoulder briefly 120."""
SUSTAINED_JOINT_SPEED, SUSTAINED_SHARE = 22.0, 0.95
"""rad/s below which the fastest joint stays in this share of the frames. DeepMimic's clips reach 19; a walk played four times too
fast 27."""
OVER_LIMIT, FAR_OVER_LIMIT = 0.05, 0.3
"""rad beyond a joint's limit: warning, error. The shipped clips respect the limits; simulators allow some hundredths more."""
FLOOR_DEPTH, MAX_DEPTH = 0.05, 0.25
"""Penetration of the floor: warning in m, error in leg lengths. The shipped clips penetrate it by less than a millimetre."""
HIGH_CLEARANCE, MAX_CLEARANCE = 0.05, 0.15
"""Height of the lowest point over the floor, m: warning, error."""
LONG_FLIGHT, MAX_FLIGHT = 0.8, 1.2
"""s in the air without contact: warning, error. DeepMimic's clips reach 0.5; 0.8 s is a jump of 78 cm, 1.2 s one of 1.8 m."""
MIN_TRAVEL_SPEED = 0.3
"""m/s from the first to the last frame, above which a clip counts as travelling."""
BACKWARD_COSINE = -0.7
"""Cosine between direction of travel and facing, weighted by distance. The lowest of DeepMimic's clips is -0.32, in a roll."""
HIGH_SLIDING_RATIO, MAX_SLIDING_RATIO = 0.9, 1.2
"""Ratio of the supporting body's speed along the direction of travel to the root's: warning, error. In a walk it is 0.5, because
ankles roll over toes."""
FULL_TURN = 2.0 * np.pi
"""rad. Larger angles are in degrees, or contain whole turns."""

RATE_REMEDY = "Time is in seconds: give each frame its index over the recording's frames a second"
LENGTH_REMEDY = "Lengths are metres, z is up and the floor is at z = 0"
REPAIR = "Mend or cut the frame"


@dataclass(frozen=True)
class Finding:
    """An impossible (error) or probably unintended (warning) property of a clip.

    Attributes:
        severity: `error` or `warning`.
        field: of the clip: `time`, `root_pos_w`, `root_quat_w` or `joint_pos`.
        frame: index of the worst frame.
        problem: what is wrong there, with numbers and units.
        remedy: how to fix it.
    """

    severity: Literal["error", "warning"]
    field: str
    frame: int
    problem: str
    remedy: str

    @property
    def where(self) -> str:
        """Field, frame and problem."""
        return f"{self.field} of frame {self.frame}: {self.problem}"

    def __str__(self) -> str:
        return f"{self.where}. {self.remedy}"


@dataclass(frozen=True)
class _Motion:
    """The checked motion; arrays as in `check`."""

    time: np.ndarray
    pos: np.ndarray
    quat: np.ndarray
    joint_pos: np.ndarray

    @property
    def steps(self) -> np.ndarray:
        """(T - 1,) time between frames, s."""
        return np.diff(self.time)

    @property
    def mean_velocity(self) -> np.ndarray:
        """(2,) mean horizontal velocity from the first to the last frame, m/s."""
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
    """Find implausible properties of a motion of T frames, errors first. Each kind is reported once, for its worst frame.

    Args:
        time: (T,) s, increasing.
        root_pos_w: (T, 3) m, z up.
        root_quat_w: (T, 4) wxyz, of unit length.
        joint_pos: (T, J) rad.
        joint_names: J names, in the order of `joint_pos`.
        joint_range: (J, 2) rad, the joints' limits.
        leg_length: distance from the root to the lowest point of the standing robot, m; the unit of relative lengths.
        fps: frame rate in the clip's metadata, Hz.
        contact_points: returns (T, B, 3) m, see `contact.contact_points`; called only if there are no other errors. Without it,
            floor and feet are not checked, except for a root below the floor.
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
    """The errors among the findings."""
    return [one for one in findings if one.severity == "error"]


def warnings(findings: Sequence[Finding]) -> list[Finding]:
    """The warnings among the findings."""
    return [one for one in findings if one.severity == "warning"]


def _graded(
    values: np.ndarray, warn: float, fail: float, field: str, problem: str, remedy: str, after: int = 0
) -> Iterator[Finding]:
    """One finding if the largest of the values (T,) exceeds a limit.

    Args:
        problem: a template in which `{worst}` is the largest value.
        after: index of the first value's frame.
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
    if not duration <= MAX_DURATION or median > 1.0 / MIN_RATE:
        problem = f"{frames} frames take {duration:.4g} s, {1.0 / median:.3g} a second (is time in seconds?)"
        yield Finding(
            "error", "time", frames - 1, problem, f"{RATE_REMEDY}; cut recordings of more than {MAX_DURATION:g} s"
        )
        return
    if median > 1.0 / LOW_RATE:
        yield Finding(
            "warning", "time", 0, f"{1.0 / median:.1f} frames a second are few: steps are cut off", RATE_REMEDY
        )
    if median < 1.0 / HIGH_RATE:
        yield Finding("warning", "time", 0, f"{1.0 / median:.4g} frames a second (is time in seconds?)", RATE_REMEDY)
    if duration < MIN_DURATION:
        problem = f"the clip ends after {duration:.3g} s, {frames} frames: an episode in it is over at once"
        yield Finding("warning", "time", frames - 1, problem, f"{RATE_REMEDY}, or take a longer cut")
    if fps is not None and abs(1.0 / median / fps - 1.0) > RATE_TOLERANCE:
        problem = f"there are {1.0 / median:.4g} frames a second, but the clip says fps {fps:g}"
        yield Finding("warning", "time", 0, problem, RATE_REMEDY)
    if steps.max() > GAP_RATIO * median:
        problem = "{worst:.3g} s are missing before it"
        yield from _graded(steps, LONG_GAP, MAX_GAP, "time", problem, "Cut the clip in two there", after=1)


# Root ------------------------------------------------------------------------------------------------------------------


def _root(motion: _Motion, leg: float) -> Iterator[Finding]:
    pos, steps = motion.pos, motion.steps
    far, high = np.abs(pos).max(axis=1), pos[:, 2]
    if not high.max() <= MAX_HEIGHT * leg:
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
    yield from _graded(
        far, MAX_DISTANCE, MAX_DISTANCE, "root_pos_w", "it is {worst:.4g} m from the origin", LENGTH_REMEDY
    )
    if far.max() <= MAX_DISTANCE:
        moved = np.linalg.norm(np.diff(pos, axis=0), axis=1)
        frame = int(np.argmax(moved / steps))
        problem = f"the root jumps {moved[frame]:.3g} m to it, at {{worst:.1f}} m/s"
        remedy = "Cut the clip in two where it jumps; is time in seconds and the length in metres?"
        yield from _graded(moved / steps, HIGH_ROOT_SPEED, MAX_ROOT_SPEED, "root_pos_w", problem, remedy, after=1)
    turned = _angles(motion.quat)
    frame = int(np.argmax(turned / steps))
    problem = f"the root turns by {np.degrees(turned[frame]):.0f} degrees to it, at {{worst:.0f}} rad/s"
    yield from _graded(
        turned / steps, HIGH_ROOT_TURN, MAX_ROOT_TURN, "root_quat_w", problem, f"{REPAIR}; quaternions are wxyz", 1
    )
    upright, otherwise = _up(motion.quat), _up(np.roll(motion.quat, 1, axis=1))
    if np.median(upright) < 0.5 and (otherwise > 0.8).mean() > 0.95:
        problem = "the robot lies or stands on its head; as xyzw it would stand upright in every frame"
        yield Finding("error", "root_quat_w", 0, problem, "Write quaternions as wxyz: np.roll(xyzw, 1, axis=1)")


def _angles(quat: np.ndarray) -> np.ndarray:
    """(T - 1,) angle between consecutive rotations, rad."""
    unit = quat / np.linalg.norm(quat, axis=1, keepdims=True)
    cosine = np.abs((unit[1:] * unit[:-1]).sum(axis=1)).clip(max=1.0)
    return 2.0 * np.arccos(cosine)


def _up(quat: np.ndarray) -> np.ndarray:
    """(T,) z component of the root's z axis: 1 is upright."""
    return 1.0 - 2.0 * (quat[:, 1] ** 2 + quat[:, 2] ** 2)


# Joints ----------------------------------------------------------------------------------------------------------------


def _joints(motion: _Motion, names: Sequence[str], limits: np.ndarray) -> Iterator[Finding]:
    angles = motion.joint_pos
    past = np.maximum(limits[:, 0] - angles, angles - limits[:, 1])
    frame, joint = divmod(int(past.argmax()), len(names))
    largest = float(np.abs(angles).max())
    guess = " (degrees?)" if largest > FULL_TURN else ""
    problem = f"{names[joint]} is at {angles[frame, joint]:.4g} rad, {{worst:.3g}} past its limit{guess}"
    remedy = "Joint angles are radians, in the robot's order: "
    if largest > FULL_TURN:
        remedy += "convert them with np.radians"
    else:
        remedy += "take out whole turns" if largest > np.pi else "`protege sim robots` lists it, with the limits"
    yield from _graded(past.max(axis=1), OVER_LIMIT, FAR_OVER_LIMIT, "joint_pos", problem, remedy)
    if past.max() > FAR_OVER_LIMIT:
        return  # a finding about speed would have the same cause
    speed = np.abs(np.diff(angles, axis=0)) / motion.steps[:, None]
    frame, joint = divmod(int(speed.argmax()), len(names))
    fastest = speed.max(axis=1)
    problem = f"{names[joint]} turns at {{worst:.0f}} rad/s to it"
    before = list(
        _graded(fastest, HIGH_JOINT_SPEED, MAX_JOINT_SPEED, "joint_pos", problem, f"{REPAIR}; is time in seconds?", 1)
    )
    yield from before
    usual = float(np.quantile(fastest, SUSTAINED_SHARE))
    if not before and usual > SUSTAINED_JOINT_SPEED:
        problem = f"in every twentieth frame a joint turns faster than {usual:.0f} rad/s (is the rate too high?)"
        yield Finding("warning", "joint_pos", int(frame) + 1, problem, RATE_REMEDY)


# Floor and feet --------------------------------------------------------------------------------------------------------


def _floor(motion: _Motion, points: np.ndarray, leg: float) -> Iterator[Finding]:
    """Check heights over the floor.

    Args:
        points: from `contact_points`, see `check`.
    """
    height, time = points[..., 2].min(axis=1), motion.time
    problem = "the robot is {worst:.2f} m in the floor"
    yield from _graded(-height, FLOOR_DEPTH, MAX_DEPTH * leg, "root_pos_w", problem, f"{LENGTH_REMEDY}; raise the root")
    remedy = f"{LENGTH_REMEDY}; lower the root until a foot touches it"
    begin, end = _longest(height > MAX_CLEARANCE)
    if end > begin and time[end - 1] - time[begin] > MAX_FLIGHT:
        seconds = time[end - 1] - time[begin]
        problem = (
            f"the robot hangs in the air for {seconds:.1f} s, at least {height[begin:end].min():.2f} m over the floor"
        )
        yield Finding("error", "root_pos_w", begin, problem, remedy)
        return
    begin, end = _longest(height > HIGH_CLEARANCE)
    seconds = time[end - 1] - time[begin] if end > begin else 0.0
    if seconds > LONG_FLIGHT or height.min() > HIGH_CLEARANCE:
        problem = (
            f"the robot hangs in the air for {seconds:.2f} s, at least {height[begin:end].min():.2f} m over the floor"
        )
        yield Finding("warning", "root_pos_w", begin, problem, remedy)


def _longest(mask: np.ndarray) -> tuple[int, int]:
    """Start and end of the longest run of True in a mask (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    if not len(edges):
        return 0, 0
    runs = edges.reshape(-1, 2)
    begin, end = runs[(runs[:, 1] - runs[:, 0]).argmax()]
    return int(begin), int(end)


def _facing(motion: _Motion, points: np.ndarray | None) -> Iterator[Finding]:
    """Check the direction of travel against facing, and sliding feet.

    Args:
        points: from `contact_points`, see `check`.
    """
    speed = float(np.linalg.norm(motion.mean_velocity))
    if not MIN_TRAVEL_SPEED < speed < MAX_ROOT_SPEED:
        return
    way, dragged = motion.mean_velocity / speed, 0.0
    if points is not None:
        bearing = points[..., 2].argmin(axis=1)
        rows, same = np.arange(len(bearing) - 1), bearing[1:] == bearing[:-1]
        moved = (points[rows + 1, bearing[1:], :2] - points[rows, bearing[1:], :2]) @ way
        on_floor = same & (np.maximum(points[1:, :, 2].min(axis=1), points[:-1, :, 2].min(axis=1)) < HIGH_CLEARANCE)
        if on_floor.any():
            dragged = float(moved[on_floor].sum() / motion.steps[on_floor].sum()) / speed
    ahead = travel_against_facing(motion.pos, motion.quat)
    if ahead < BACKWARD_COSINE:
        sliding = dragged > MAX_SLIDING_RATIO
        problem = f"the robot travels backwards at {speed:.2f} m/s" + (", on feet that slide along" if sliding else "")
        remedy = "If quaternions are xyzw, write them as wxyz: np.roll(xyzw, 1, axis=1)"
        yield Finding("error" if sliding else "warning", "root_quat_w", 0, problem, remedy)
    elif dragged > HIGH_SLIDING_RATIO:
        problem = f"the feet slide along at {dragged * speed:.2f} m/s while the root travels at {speed:.2f}"
        yield Finding("warning", "root_pos_w", 0, problem, "Are joints in the robot's order, and lengths in metres?")


def travel_against_facing(root_pos_w: np.ndarray, root_quat_w: np.ndarray) -> float:
    """Mean cosine between the root's direction of travel and its heading, weighted by distance: 1 forwards, -1 backwards.

    Args:
        root_pos_w: (T, 3) m.
        root_quat_w: (T, 4) wxyz.
    """
    w, x, y, z = root_quat_w[:-1].T
    facing = np.stack([1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z)], axis=1)
    moved = np.diff(root_pos_w[:, :2], axis=0)
    ahead = (moved * facing).sum(axis=1) / np.linalg.norm(facing, axis=1).clip(min=1e-9)
    return float(ahead.sum() / max(float(np.linalg.norm(moved, axis=1).sum()), 1e-9))
