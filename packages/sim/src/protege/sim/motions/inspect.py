"""Measures of a clip's quality: sliding feet, bodies in the ground, joints past their limits, jumps.

Each measure is a pure function of arrays; `inspect` gathers them.
"""

from dataclasses import dataclass

import numpy as np
import torch

from protege.core.motions import Clip
from protege.core.robots import rotation as R
from protege.core.robots.robot import Robot

from .demands import Demands, demands
from .demands import summary as demand_words
from .surface import trace

CONTACT_HEIGHT = 0.01  # m; a sole is in contact while its lowest point is lower
MIN_PENETRATION = 1e-4  # m; less is rounding
NEAR_LIMIT = 0.05  # rad; closer to a limit counts as close


@dataclass(frozen=True)
class Slide:
    """Horizontal speed of the soles' lowest points while in contact, m/s.

    Attributes:
        contact: share of the frames in which a foot is in contact.
        time: of the fastest, s since the clip's start.
    """

    mean: float
    max: float
    contact: float
    time: float


@dataclass(frozen=True)
class Penetration:
    """How deep the lowest point of the body is in the ground, m. `mean` is over the `share` of frames where it is."""

    max: float
    mean: float
    share: float
    body: str
    time: float


@dataclass(frozen=True)
class Limits:
    """Joint angles against the joints' limits.

    Attributes:
        violations: how many angles, over all frames and joints, are past a limit.
        worst: furthest past a limit, rad; negative if none is: the closest that one comes.
        joint: whose that is.
        close: share of the frames in which some angle is within 0.05 rad of a limit, or past it.
    """

    violations: int
    worst: float
    joint: str
    close: float


@dataclass(frozen=True)
class Jump:
    """The largest change of a velocity between consecutive frames: m/s, or rad/s for angular velocities."""

    change: float
    time: float
    joint: str = ""


@dataclass(frozen=True)
class Report:
    """Measures of a clip; times in s, lengths in m, angles in rad."""

    contact_height: float
    slide: Slide
    penetration: Penetration
    limits: Limits
    joint_jump: Jump
    root_jump: Jump
    root_turn_jump: Jump
    demands: Demands


def inspect(clip: Clip, robot: Robot) -> Report:
    """Measure a clip."""
    time = clip.time - clip.time[0]
    surface = trace(clip, robot)
    owners = [robot.body_names[body] for body in surface.body]
    joints = robot.joint_names
    return Report(
        contact_height=CONTACT_HEIGHT,
        slide=sliding(clip, robot),
        penetration=floor_penetration(time, surface.height, owners),
        limits=joint_limits(clip.joint_pos, robot.joint_range().double().numpy(), joints),
        joint_jump=velocity_jump(time, np.diff(clip.joint_pos, axis=0), joints),
        root_jump=root_jump(time, np.diff(clip.root_pos_w, axis=0)),
        root_turn_jump=root_jump(time, turns(clip.root_quat_w)),
        demands=demands(clip, robot),
    )


def sliding(clip: Clip, robot: Robot) -> Slide:
    """Sliding of the feet."""
    surface = trace(clip, robot)
    feet = np.isin(surface.body, robot.body_ids(robot.feet))
    points = surface.points[:, feet, :2]
    return foot_slide(clip.time - clip.time[0], points, surface.height[:, feet], surface.body[feet])


def foot_slide(time: np.ndarray, xy: np.ndarray, height: np.ndarray, body: np.ndarray) -> Slide:
    """Speed of feet over the ground while they stand on it.

    For each foot body, the point that is lowest between two frames is measured, so a foot that rolls from heel to ball does not
    slide. The point is in contact if it is below `CONTACT_HEIGHT` in both frames.

    Args:
        time: (T,) s.
        xy: (T, P, 2) m, positions of the feet's points.
        height: (T, P) m, of the points above the ground.
        body: (P,) index of each point's foot body.
    """
    speed = np.linalg.norm(np.diff(xy, axis=0), axis=2) / np.diff(time)[:, None]
    higher = np.maximum(height[1:], height[:-1])
    rows = np.arange(len(speed))
    speeds, contacts = [], []
    for foot in np.unique(body):
        points = np.flatnonzero(body == foot)
        lowest = points[(height[1:, points] + height[:-1, points]).argmin(axis=1)]
        speeds.append(speed[rows, lowest])
        contacts.append(higher[rows, lowest] < CONTACT_HEIGHT)
    slid, touch = np.array(speeds), np.array(contacts)
    if not touch.any():
        return Slide(0.0, 0.0, 0.0, 0.0)
    at = int(np.where(touch, slid, 0.0).max(axis=0).argmax())
    return Slide(float(slid[touch].mean()), float(slid[touch].max()), float(touch.any(axis=0).mean()), float(time[at]))


def floor_penetration(time: np.ndarray, height: np.ndarray, owners: list[str]) -> Penetration:
    """How deep points with heights (T, P) m are below the ground; `owners` (P) are the names of their bodies."""
    depth = -height.min(axis=1)
    under = depth > MIN_PENETRATION
    if not under.any():
        return Penetration(0.0, 0.0, 0.0, "", 0.0)
    at = int(depth.argmax())
    body = owners[int(height[at].argmin())]
    return Penetration(float(depth[at]), float(depth[under].mean()), float(under.mean()), body, float(time[at]))


def joint_limits(joint_pos: np.ndarray, limits: np.ndarray, names: tuple[str, ...]) -> Limits:
    """Angles (T, J) rad compared with limits (J, 2) rad. Rounding, 1e-6 rad, is not a violation."""
    past = np.maximum(limits[:, 0] - joint_pos, joint_pos - limits[:, 1])
    joint = int(past.max(axis=0).argmax())
    close = (past > -NEAR_LIMIT).any(axis=1).mean()
    return Limits(int((past > 1e-6).sum()), float(past.max()), names[joint], float(close))


def velocity_jump(time: np.ndarray, steps: np.ndarray, names: tuple[str, ...]) -> Jump:
    """The largest change of a component of a velocity.

    Args:
        time: (T,) s.
        steps: (T - 1, C), change of each component between frames.
        names: of the components.
    """
    change = np.abs(np.diff(steps / np.diff(time)[:, None], axis=0))
    if not change.size:
        return Jump(0.0, 0.0)
    at, component = np.unravel_index(change.argmax(), change.shape)
    return Jump(float(change.max()), float(time[at + 1]), names[component])


def root_jump(time: np.ndarray, steps: np.ndarray) -> Jump:
    """The largest change of the root's velocity as a vector; steps: (T - 1, 3) between frames."""
    change = np.linalg.norm(np.diff(steps / np.diff(time)[:, None], axis=0), axis=1)
    if not change.size:
        return Jump(0.0, 0.0)
    return Jump(float(change.max()), float(time[change.argmax() + 1]))


def turns(quat_w: np.ndarray) -> np.ndarray:
    """Rotation vectors (T - 1, 3) rad, world frame, from each of the rotations (T, 4) to the next."""
    quat = torch.from_numpy(quat_w)
    return R.to_rotation_vector(R.multiply(quat[1:], R.conjugate(quat[:-1]))).numpy()


def summary(report: Report) -> str:
    """A report in words, one measure per line."""
    slide, pen, limits, jump = report.slide, report.penetration, report.limits, report.joint_jump
    root, turn = report.root_jump, report.root_turn_jump
    past = f"{abs(limits.worst):.3f} rad {'past' if limits.violations else 'within'}"
    where = f", {pen.body} at {pen.time:.2f} s" if pen.body else ""
    return "\n".join(
        [
            f"foot sliding       mean {slide.mean:.2f}, max {slide.max:.2f} m/s (at {slide.time:.2f} s) in contact: "
            f"lowest point below {100 * report.contact_height:g} cm, {slide.contact:.0%} of the frames",
            f"floor penetration  max {100 * pen.max:.1f} cm{where}; "
            f"mean {100 * pen.mean:.1f} cm in {pen.share:.0%} of the frames",
            f"joint limits       {limits.violations} violations; {limits.joint} comes to {past} its limit; "
            f"something within {NEAR_LIMIT:g} rad in {limits.close:.0%} of the frames",
            f"velocity jumps     joints {jump.change:.1f} rad/s ({jump.joint} at {jump.time:.2f} s); "
            f"root {root.change:.2f} m/s (at {root.time:.2f} s), {turn.change:.2f} rad/s (at {turn.time:.2f} s)",
            demand_words(report.demands),
        ]
    )
