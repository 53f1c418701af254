"""Gaits warped along plans: the references of envs that follow walking commands."""

import torch
from torch import Tensor

from protege.core.robots import rotation as R
from protege.core.robots.state import RobotState

from .gait_set import GaitSet
from .plans import Plans

CHUNK_FRAMES = 1 << 15  # frames computed at a time; bounds the memory of forward kinematics
STANDING_AMPLITUDE = 0.05  # strides below this share count as standing


def warped_walks(
    gaits: GaitSet, plans: Plans, phase: Tensor, frames: int, dt: float, later: float = 0.0, substeps: int = 1
) -> RobotState:
    """The first `frames` control steps of each of Q plans, walked or run. Little memory is needed besides the result.

    Args:
        gaits: chosen by the plans' speeds.
        plans: on the gaits' device.
        phase: (Q,) s, start time of each plan in the walk's clip.
        frames: at most two fewer than the steps of the plans.
        dt: control period, s.
        later: share of a control step by which the first frame of each step is later than the step.
        substeps: frames per control step, evenly spaced.

    Returns:
        (Q · frames · substeps, ...) states, plan after plan; velocities are central differences over two control steps.
    """
    count, per_chunk = len(plans.pos), max(1, CHUNK_FRAMES // frames)
    table = RobotState.empty((count, frames, substeps), gaits.robot.num_joints, gaits.robot.num_bodies, phase.device)
    for start in range(0, count, per_chunk):
        rows = slice(start, start + per_chunk)
        for k in range(substeps):
            walks = _walks(gaits, plans[rows], phase[rows], frames, dt, later + k / substeps)
            for name, x in vars(walks).items():
                getattr(table, name)[rows, :, k] = x
    return RobotState(**{name: x.flatten(0, 2) for name, x in vars(table).items()})


def _walks(gaits: GaitSet, plans: Plans, phase: Tensor, frames: int, dt: float, later: float) -> RobotState:
    """Like `warped_walks`, for all plans at once and one frame per control step: (Q, frames, ...)."""
    count = len(plans.pos)
    # One step before the first and one after the last, for central differences.
    steps = torch.arange(-1, frames + 1, device=phase.device)
    # Before its first step a plan is extended backwards at constant velocity.
    before = (steps + later).clamp_max(0.0) * dt
    low, high = steps.clamp(0, plans.steps - 1), (steps + 1).clamp(0, plans.steps - 1)

    def at(x: Tensor) -> Tensor:
        return torch.lerp(x[:, low], x[:, high], later)

    speed, turn_rate = at(plans.speed), at(plans.turn_rate)
    heading = at(plans.heading) + before * turn_rate
    cadence, amplitude, rank = gaits.rhythm(plans.speed)
    # Turning on the spot still needs steps.
    amplitude = torch.maximum(amplitude, 0.5 * plans.turn_rate.abs().clamp_max(1.0))
    clip_time = at(_clip_time(phase, gaits.walk.start, cadence, amplitude, dt)) + before * at(cadence)
    joint_pos, tilt, sway, height = gaits.pose(clip_time.flatten(), at(amplitude).flatten(), at(rank).flatten())
    yaw = heading.flatten()
    forward = torch.stack([yaw.cos(), yaw.sin()], dim=1)
    left = torch.stack([-yaw.sin(), yaw.cos()], dim=1)
    xy = at(plans.pos).flatten(0, 1) + (before * speed).flatten()[:, None] * forward
    xy = xy + sway[:, :1] * forward + sway[:, 1:] * left
    root_pos = torch.cat([xy, height[:, None]], dim=1)
    root_quat = R.multiply(R.from_yaw(yaw), R.from_rotation_vector(tilt))
    pos, quat = gaits.walk.kinematics(root_pos, root_quat, joint_pos)
    joint_pos, pos, quat = (x.unflatten(0, (count, len(steps))) for x in (joint_pos, pos, quat))
    turn = R.to_rotation_vector(R.multiply(quat[:, 2:], R.conjugate(quat[:, :-2])))
    return RobotState(
        joint_pos=joint_pos[:, 1:-1],
        joint_vel=(joint_pos[:, 2:] - joint_pos[:, :-2]) / (2.0 * dt),
        body_pos_w=pos[:, 1:-1],
        body_quat_w=quat[:, 1:-1],
        body_lin_vel_w=(pos[:, 2:] - pos[:, :-2]) / (2.0 * dt),
        body_ang_vel_w=turn / (2.0 * dt),
    )


def _clip_time(phase: Tensor, start: float, cadence: Tensor, amplitude: Tensor, dt: float) -> Tensor:
    """Time in the walk's clip of each step of Q plans that begin at `phase` (Q,) s; cadence and amplitude (Q, T) -> (Q, T) s.

    After standing, the gait continues at `start`, always with the same foot. A policy that observes a command but no poses could
    not infer which foot the reference moves next, because standing looks the same at every phase.
    """
    run = (cadence * dt).cumsum(dim=1) - cadence[:, :1] * dt
    step = torch.arange(cadence.shape[1], device=cadence.device)
    # Index of the last standing step, -1 for none.
    stood = torch.where(amplitude < STANDING_AMPLITUDE, step, -1).cummax(dim=1).values
    since = run - run.gather(1, stood.clamp_min(0))
    return torch.where(stood < 0, phase[:, None] + run, start + since)
