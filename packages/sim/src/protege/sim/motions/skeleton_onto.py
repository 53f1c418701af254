"""Any skeleton's motion onto any robot, by the roles of its bodies and inverse kinematics."""

from dataclasses import replace

import numpy as np

from protege.core.motions import Clip
from protege.core.robots.robot import Robot

from . import cycles
from .anatomy import Roles, roles_of
from .ground import put_on_ground, rounded, smooth, within_limits
from .grounding import CYCLE_PADDING, Fitted, grounded
from .inverse_kinematics import SETTLED_STEP, Aims, aims, solve
from .readers.options import Ground
from .soles import level_soles, standing
from .source import SkeletonMotion
from .surface import trace
from .world_poses import of_clip, of_motion, robot_poses


def clip_onto(clip: Clip, source: Robot, robot: Robot) -> Clip:
    """Another robot's cycle at 60 Hz as this robot would perform it: smooth, within its limits and on the ground.

    Args:
        source: the robot of the clip; its bodies' names determine their roles.

    Raises:
        UserError: the robot has no map to other skeletons.
    """
    wanted = aims(of_clip(clip, source), _own_roles(source), robot)
    wraps, clearance = clip.is_cyclic, wanted.scale * trace(clip, source).height.min(axis=1)
    moved = _clip(clip.name, clip.time, solve(robot, wanted, wraps=wraps))
    moved = smooth(moved, wraps=wraps)  # an arm that avoids a leg may jump
    grounded = put_on_ground(within_limits(moved, robot), robot, clearance, wraps=wraps)
    facts = {"robot": robot.name, "joint_names": robot.joint_names, "fps": clip.fps, "source": clip.source}
    return replace(rounded(grounded), **facts, licence=clip.licence, warnings=clip.warnings)


def clip_onto_feet(clip: Clip, source: Robot, robot: Robot, ground: Ground = "feet", *, wraps: bool = False) -> Fitted:
    """Another robot's clip at 60 Hz, processed as in `skeleton_onto`.

    Args:
        wraps: the last frame repeats the first pose, and stays so.
    """
    extra, roles = round(CYCLE_PADDING * (len(clip.time) - 1) / clip.duration) if wraps else 0, _own_roles(source)
    whole = cycles.padded(clip, extra) if wraps else clip
    own = slice(extra, extra + len(clip.time))
    stands = [one.foot[own] for one in standing(whole.time, of_clip(whole, source), roles)]
    wanted = aims(of_clip(clip, source), roles, robot)
    fitted = _follow(clip.name, clip.time, wanted, robot, ground, stands, wraps=wraps)
    return replace(fitted, clip=replace(fitted.clip, fps=clip.fps, warnings=clip.warnings))


def skeleton_onto(motion: SkeletonMotion, roles: Roles, robot: Robot, ground: Ground = "feet") -> Fitted:
    """A skeleton's motion at 60 Hz as the robot would perform it: smooth, within its limits, its feet on the ground.

    Raises:
        UserError: the robot has no map to other skeletons.
    """
    poses = of_motion(motion)
    stands, wanted = standing(motion.time, poses, roles), aims(poses, roles, robot)
    if not poses.aligned:
        wanted = level_soles(wanted, stands)
    fitted = _follow(motion.name, motion.time, wanted, robot, ground, [one.foot for one in stands], wraps=False)
    return replace(fitted, clip=replace(fitted.clip, fps=motion.fps))


def _follow(
    name: str, time: np.ndarray, wanted: Aims, robot: Robot, ground: Ground, stands: list[np.ndarray], *, wraps: bool
) -> Fitted:
    qpos = solve(robot, wanted, wraps=wraps, step=time[-1] / (len(time) - 1), settled=SETTLED_STEP)
    moved = _clip(name, time, qpos)
    moved = within_limits(smooth(cycles.close(moved, cycles.SEAM) if wraps else moved, wraps=wraps), robot)
    fitted = grounded(moved, robot, ground, stands, wraps=wraps)
    far = 100 * off(fitted.clip, robot, wanted)
    note = f"key points are {far:.1f} cm off the source's, scaled by {wanted.scale:.2f}, on average"
    return replace(fitted, notes=(note, *fitted.notes))


def off(clip: Clip, robot: Robot, wanted: Aims) -> float:
    """m, mean distance of bodies from their target positions, relative to the root."""
    pos, _ = robot_poses(robot, clip.root_pos_w, clip.root_quat_w, clip.joint_pos)
    root = wanted.positions[robot.body_names[0]]
    bodies = [target.body for target in wanted.targets if target.position and target.after]
    there = [wanted.positions[body] - root for body in bodies]
    here = [pos[:, robot.body_names.index(body)] - pos[:, 0] for body in bodies]
    return float(np.linalg.norm(np.array(here) - np.array(there), axis=-1).mean())


def _own_roles(source: Robot) -> Roles:
    roles = roles_of(source.body_names)
    assert roles, f"{source.name}'s bodies are called as a skeleton's with a map"
    return roles


def _clip(name: str, time: np.ndarray, qpos: np.ndarray) -> Clip:
    return Clip(name, time, qpos[:, :3], qpos[:, 3:7], qpos[:, 7:])
