"""A walking clip that can be played at any speed and along any line.

The clip is split into steady travel and the pose about it. Speed then scales both how fast its phase runs and how large its
strides are; at speed zero the strides vanish and what is left is the clip's mean pose, set upright: standing.
"""

import logging

import numpy as np
import torch
from torch import Tensor

from protege.core.errors import UserError
from protege.core.motions import Clip, MotionLibrary
from protege.core.motions.plausibility import travel_against_facing
from protege.core.robots import rotation as R
from protege.core.robots.kinematics import Kinematics
from protege.core.robots.robot import Robot

AMPLITUDES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
SLOWEST_CADENCE, FASTEST_CADENCE = 0.75, 1.3
WALKING_SPEED = 1.2
ROUNDS = 8
"""Of levelling feet and leaning, which undo each other a little."""
SHORTEST = 0.5
"""s; no two steps take less."""
SLOWEST = 0.3
"""m/s; slower ones go nowhere."""
TURNS, SWINGS = 0.17, 1.2
"""rad between the first and the last heading, and between any two: the walk and the run swing by 0.35. The warp takes out
travel, not turns: those of the clip would be added to the path's."""
AHEAD = 0.7
"""Mean cosine between travel and facing; the walk's is 0.99, a jump's 0.87."""
ENDS, STANDS = "does not repeat", "does not travel"


def choose_clip(clips: list[Clip]) -> Clip:
    """The cyclic clip that walks straight ahead, and whose speed is nearest to a walk. `notes` says what was chosen.

    Raises:
        UserError: if no clip is fit, with each one's reason.
    """
    reasons = [(clip, unfit(clip)) for clip in clips]
    fit = [clip for clip, reason in reasons if not reason]
    if not fit:
        raise UserError(
            "path, goal and steering need a clip that walks straight ahead and repeats. It cannot be "
            + ", ".join(f"{clip.name}, which {reason}" for clip, reason in reasons),
            "Add one: --motion-file data/motions/smpl_humanoid_walk.npy",
        )
    return min(fit, key=lambda clip: abs(clip.mean_speed - WALKING_SPEED))


def notes(clips: list[Clip], chosen: Clip) -> list[tuple[int, str]]:
    """What is to be logged of a choice, with levels of `logging`: the clip, and those that travel and repeat but were left out."""
    reasons = [(clip.name, unfit(clip)) for clip in clips]
    left = [f"{name} ({reason})" for name, reason in reasons if reason not in ("", STANDS, ENDS)]
    lines = [(logging.INFO, f"gait: {chosen.name}, {chosen.mean_speed:.1f} m/s")]
    if left:
        lines.append((logging.WARNING, f"left out as a gait of path, goal and steering: {', '.join(left)}"))
    return lines


def unfit(clip: Clip) -> str:
    """Why a clip cannot be warped along any line, in words that follow its name; empty if it can."""
    if len(clip.time) < 3 or clip.duration < SHORTEST:
        return f"lasts {clip.duration:.2f} s, {len(clip.time)} frames"
    if not clip.is_cyclic:
        return ENDS
    if clip.mean_speed <= SLOWEST:
        return STANDS
    yaw = np.unwrap(R.yaw(torch.from_numpy(clip.root_quat_w)).numpy())
    if abs(yaw[-1] - yaw[0]) > TURNS or np.ptp(yaw) > SWINGS:
        return f"turns by {np.degrees(max(abs(yaw[-1] - yaw[0]), np.ptp(yaw))):.0f} degrees"
    ahead = travel_against_facing(clip.root_pos_w, clip.root_quat_w)
    if ahead < AHEAD:
        return "goes backwards" if ahead < -AHEAD else "goes sideways"
    return ""


class Gait:
    """Poses of one cyclic clip as a function of phase and amplitude.

    Attributes:
        speed: the clip's own mean speed, m/s.
        duration: of the whole clip (one or several cycles), s.
        start: when in the clip the robot's first foot is furthest ahead of its last, s: how a standing walker sets out.
        standing_joint_pos: (J,) rad, and standing_tilt (3,), the root's rotation vector, rad, facing x: the pose at amplitude 0.
    """

    def __init__(self, clip: Clip, robot: Robot, device: torch.device, rate: float = 60.0) -> None:
        self.kinematics = Kinematics(robot).to(device)
        self.duration, self.num_bodies = clip.duration, robot.num_bodies
        count = max(2, round(clip.duration * rate))
        # The clip's last frame is its first one over again: `count` frames cover [0, duration).
        time = torch.arange(count, device=device) * (clip.duration / count)
        library = MotionLibrary([clip], robot, device)
        frames = library.frames(torch.zeros(count, dtype=torch.long, device=device), time)
        first, last = torch.from_numpy(clip.root_pos_w[[0, -1]]).float().to(device)
        travel = (last - first)[:2] / clip.duration
        self.speed = float(travel.norm())
        inverse = R.from_yaw(-torch.atan2(travel[1], travel[0]))
        root = R.rotate(inverse, frames.root_pos_w - first)
        self.joint_pos = frames.joint_pos
        self.tilt = R.to_rotation_vector(R.multiply(inverse, frames.root_quat_w))
        self.sway = root[:, :2] - time[:, None] * torch.tensor([self.speed, 0.0], device=device)
        self.sway -= self.sway.mean(dim=0)
        mean = self.joint_pos.mean(dim=0), self.tilt.mean(dim=0)
        self.standing_joint_pos, self.standing_tilt = balanced(*mean, robot, self.kinematics)
        forward = R.rotate(inverse, frames.body_pos_w)[:, robot.body_ids((robot.feet[0], robot.feet[-1])), 0]
        self.start = float(time[(forward[:, 0] - forward[:, 1]).argmax()])
        self.height = self._heights(frames.root_pos_w[:, 2], frames.body_pos_w[..., 2], robot)

    def cadence_and_amplitude(self, speed: Tensor) -> tuple[Tensor, Tensor]:
        """How fast the phase runs (clip seconds a second) and how large the strides are, for a speed in m/s.

        Walkers change cadence and stride in equal parts; below the slowest cadence strides alone shrink.
        """
        ratio = speed / self.speed
        cadence = ratio.clamp_min(1e-6).sqrt().clamp(SLOWEST_CADENCE, FASTEST_CADENCE)
        return cadence, (ratio / cadence).clamp(0.0, AMPLITUDES[-1])

    def pose(self, phase: Tensor, amplitude: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The pose at a phase (n,) s and amplitude (n,), travelling along x.

        Returns:
            joint_pos (n, J) rad, root rotation (n, 4), horizontal sway (n, 2) m, root height (n,) m.
        """
        position = (phase / self.duration).remainder(1.0) * len(self.joint_pos)
        low = position.long() % len(self.joint_pos)
        high = (low + 1) % len(self.joint_pos)
        t, a = (position - position.floor()).unsqueeze(1), amplitude.unsqueeze(1)
        joint_pos = torch.lerp(self.joint_pos[low], self.joint_pos[high], t)
        tilt = torch.lerp(self.tilt[low], self.tilt[high], t)
        sway = torch.lerp(self.sway[low], self.sway[high], t)
        step = AMPLITUDES[1] - AMPLITUDES[0]
        size = (amplitude / step).clamp(0.0, len(AMPLITUDES) - 1.001)
        small = size.long()
        height = torch.lerp(
            torch.lerp(self.height[small, low], self.height[small, high], t.squeeze(1)),
            torch.lerp(self.height[small + 1, low], self.height[small + 1, high], t.squeeze(1)),
            size - small,
        )
        return (
            torch.lerp(self.standing_joint_pos, joint_pos, a),
            R.from_rotation_vector(torch.lerp(self.standing_tilt, tilt, a)),
            sway * a,
            height,
        )

    def _heights(self, clip_height: Tensor, clip_body_z: Tensor, robot: Robot) -> Tensor:
        """Root heights (A, F) that keep the lowest foot on the ground at every amplitude and phase.

        What counts as ground for a foot body is the least height that it has in the clip. The clip's own flight, its
        height above that, is kept in proportion to the amplitude.
        """
        feet = robot.body_ids(robot.feet)
        ground = clip_body_z[:, feet].min(dim=0).values
        self.height = clip_height.expand(len(AMPLITUDES), -1)
        phase = torch.arange(len(clip_height), device=clip_height.device) * (self.duration / len(clip_height))
        rows = []
        for amplitude in AMPLITUDES:
            joint_pos, quat, _, _ = self.pose(phase, torch.full_like(phase, amplitude))
            pos, _ = self.kinematics(torch.zeros_like(clip_body_z[:, :1]).expand(-1, 3), quat, joint_pos)
            rows.append((ground - pos[:, feet, 2]).max(dim=1).values)
        grounded = torch.stack(rows)
        flight = clip_height - grounded[AMPLITUDES.index(1.0)]
        return grounded + torch.tensor(AMPLITUDES, device=flight.device)[:, None] * flight


def balanced(joint_pos: Tensor, tilt: Tensor, robot: Robot, kinematics: Kinematics) -> tuple[Tensor, Tensor]:
    """A pose with level feet, leaned until the centre of mass is above their middle.

    On average a walker is ahead of the feet, heels up: whoever stands like that falls forward.

    Args:
        joint_pos: (J,) rad.
        tilt: (3,) the root's rotation vector, rad; the robot faces x.

    Returns:
        the same of the balanced pose.
    """
    feet, origin = robot.body_ids(robot.feet), torch.zeros_like(tilt)[None]
    joint_pos, root = joint_pos.clone(), R.from_rotation_vector(tilt)
    level = [(foot, i) for foot in feet for i, joint in enumerate(robot.joints) if joint.body == robot.body_names[foot]]
    for _ in range(ROUNDS):
        for foot, i in level:  # ankles come before their toes
            _, quat = kinematics(origin, root[None], joint_pos[None])
            leaning = _lean(R.rotate(quat[0, foot], tilt.new_tensor([0.0, 0.0, 1.0])))
            joint_pos[i] -= leaning @ tilt.new_tensor(robot.joints[i].axis)
        pos, quat = kinematics(origin, root[None], joint_pos[None])
        leaning = _lean(center_of_mass(pos, quat, robot)[0] - pos[0, feet].mean(dim=0))
        root = R.multiply(R.from_rotation_vector(-leaning), root)
    return joint_pos, R.to_rotation_vector(root)


def _lean(up: Tensor) -> Tensor:
    """By how much what should point up (3,) has turned about x and y, (3,) rad, for small angles."""
    return torch.stack([-up[1], up[0], torch.zeros_like(up[2])]) / up[2]


def center_of_mass(body_pos_w: Tensor, body_quat_w: Tensor, robot: Robot) -> Tensor:
    """Of all bodies, (N, B, 3) m, (N, B, 4) -> (N, 3) m."""
    geoms = [(i, geom) for i, body in enumerate(robot.bodies) for geom in body.geoms]
    body = [i for i, _ in geoms]
    offset, mass = (body_pos_w.new_tensor([getattr(geom, name) for _, geom in geoms]) for name in ("pos", "mass"))
    centers = body_pos_w[:, body] + R.rotate(body_quat_w[:, body], offset.expand(len(body_pos_w), -1, -1))
    return (centers * mass[:, None]).sum(dim=1) / mass.sum()
