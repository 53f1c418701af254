"""The demands of a clip on a robot's motors: the torques of its motion, by inverse dynamics, and its speeds.

The ground's forces are unknown. They are estimated as the smallest forces at the touching points of the feet that support the root;
they may also pull. In flight there are none. No motor can provide the remaining force on the root.
"""

from dataclasses import dataclass

import numpy as np

from protege.core.motions import Clip
from protege.core.robots.robot import Robot

from ..engine import mujoco
from ..robots.mjcf import build_spec
from .ground import averaged
from .surface import trace

LOAD_HEIGHT = 0.01
"""m: points of the feet below this height carry weight."""
SMOOTHING_TIME = 1.0 / 60.0
"""s, standard deviation over which accelerations are averaged, because finite differences amplify rounding."""
FOOT_FORCE_COST = 0.05
"""N·m that a newton at a foot costs: it prevents neighbouring points from supporting the root by opposite forces."""
MAX_LISTED = 3


@dataclass(frozen=True)
class Demand:
    """The largest torque that one joint needs.

    Attributes:
        joint: name of the joint.
        torque: N·m.
        limit: effort limit of the joint, N·m.
        time: s since the clip's start.
        share: share of the frames in which the limit is exceeded.
    """

    joint: str
    torque: float
    limit: float
    time: float
    share: float


@dataclass(frozen=True)
class Demands:
    """The demands of a clip.

    Attributes:
        beyond: joints that need more than their limit, the worst first.
        speed: of the fastest joint, rad/s; `fastest` is its name, `time` the time, s.
    """

    beyond: tuple[Demand, ...]
    speed: float
    fastest: str
    time: float


def demands(clip: Clip, robot: Robot) -> Demands:
    """The demands of a clip with evenly spaced frames on a robot."""
    time = clip.time - clip.time[0]
    torque, speed = torques(clip, robot)
    limit = np.array([joint.effort_limit for joint in robot.joints])
    over = np.abs(torque) / limit
    found = []
    for joint in np.flatnonzero(over.max(axis=0) > 1.0):
        at = int(over[:, joint].argmax())
        share = float((over[:, joint] > 1.0).mean())
        found.append(
            Demand(robot.joint_names[joint], float(abs(torque[at, joint])), float(limit[joint]), float(time[at]), share)
        )
    found.sort(key=lambda one: -one.torque / one.limit)
    at, joint = np.unravel_index(np.abs(speed).argmax(), speed.shape)
    return Demands(tuple(found), float(np.abs(speed).max()), robot.joint_names[joint], float(time[at]))


def torques(clip: Clip, robot: Robot) -> tuple[np.ndarray, np.ndarray]:
    """Torques (T, J) N·m that move a robot as in a clip, and its joints' speeds (T, J) rad/s."""
    spec = build_spec(robot)
    spec.option.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_CONSTRAINT)
    model = spec.compile()
    data, surface = mujoco.MjData(model), trace(clip, robot)
    qpos = np.concatenate([clip.root_pos_w, clip.root_quat_w, clip.joint_pos], axis=1)
    step = clip.duration / (len(clip.time) - 1)
    between = np.empty((len(qpos) - 1, model.nv))
    for frame in range(len(between)):
        mujoco.mj_differentiatePos(model, between[frame], step, qpos[frame], qpos[frame + 1])
    velocity = 0.5 * (np.concatenate([between[:1], between]) + np.concatenate([between, between[-1:]]))
    velocity = averaged(velocity, SMOOTHING_TIME / step)
    acceleration = averaged(np.gradient(velocity, step, axis=0), SMOOTHING_TIME / step)
    feet = np.flatnonzero(np.isin(surface.body, robot.body_ids(robot.feet)))
    ids = [model.body(name).id for name in robot.body_names]
    found = np.empty((len(qpos), robot.num_joints))
    for frame in range(len(qpos)):
        data.qpos[:], data.qvel[:], data.qacc[:] = qpos[frame], velocity[frame], acceleration[frame]
        mujoco.mj_inverse(model, data)
        low = feet[surface.height[frame, feet] < LOAD_HEIGHT]
        jacobian = np.zeros((3 * len(low), model.nv))
        for row, point in enumerate(low):
            place = surface.points[frame, point] - [0.0, 0.0, surface.radius[point]]
            mujoco.mj_jac(model, data, jacobian[3 * row : 3 * row + 3], None, place, ids[surface.body[point]])
        holds = jacobian[:, :6]
        force = holds @ np.linalg.solve(holds.T @ holds + FOOT_FORCE_COST**2 * np.eye(6), data.qfrc_inverse[:6])
        found[frame] = (data.qfrc_inverse - jacobian.T @ force)[6:]
    return found, between[np.minimum(np.arange(len(qpos)), len(between) - 1)][:, 6:]


def summary(found: Demands) -> str:
    """The demands in words."""
    speed = f"fastest joint {found.speed:.1f} rad/s ({found.fastest} at {found.time:.2f} s)"
    if not found.beyond:
        return f"demands            torques within the joints' limits; {speed}"
    worst = ", ".join(
        f"{one.joint} {one.torque:.0f} of {one.limit:.0f} N·m at {one.time:.2f} s ({one.share:.0%} of the frames)"
        for one in found.beyond[:MAX_LISTED]
    )
    more = f" and {len(found.beyond) - MAX_LISTED} more joints" if len(found.beyond) > MAX_LISTED else ""
    return f"demands            beyond the limits: {worst}{more}; {speed}"
