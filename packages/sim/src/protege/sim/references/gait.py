"""A cyclic clip that can be played at other speeds than its own.

The clip is divided into steady travel and the pose relative to it. Speed scales both the rate of its phase and the length of its
strides. At speed zero the strides vanish, and the clip's mean pose, set upright, is the standing pose.
"""

import numpy as np
import torch
from torch import Tensor

from protege.core.motions import Clip, MotionLibrary
from protege.core.motions.contact import contact_points
from protege.core.robots import rotation as R
from protege.core.robots.kinematics import Kinematics
from protege.core.robots.robot import Robot

AMPLITUDES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
SLOWEST_CADENCE, FASTEST_CADENCE = 0.75, 1.3
BALANCE_ROUNDS = 8
"""Iterations of levelling the feet and leaning, since each slightly undoes the other."""

Pose = tuple[Tensor, Tensor, Tensor, Tensor]
"""A pose travelling along x: joint_pos (n, J) rad, the root's rotation vector (n, 3) rad, its sway (n, 2) m and height (n,) m."""


class Gait:
    """Poses of one cyclic clip as a function of phase and amplitude.

    Attributes:
        speed: mean speed of the clip, m/s.
        duration: of the whole clip (one or several strides), s.
        period: of a stride, s: period of the strongest frequency in the left foot's lead over the right one.
        step: amplitude of that lead, m.
        lead: time in the clip at which that frequency has the left foot furthest ahead, s.
        flight: largest height of the lower foot's origin above the ground, m. Raised heels count.
        airborne: largest height of the lower sole above the ground, m.
        start: time in the clip at which the left foot is furthest ahead of the right one, s: where a standing walker sets off.
        standing_joint_pos: (J,) rad, and standing_tilt (3,), the root's rotation vector when facing x, rad: the pose at amplitude
        0.
    """

    def __init__(self, clip: Clip, robot: Robot, device: torch.device) -> None:
        self.kinematics = Kinematics(robot).to(device)
        self.name, self.duration = clip.name, clip.duration
        library = MotionLibrary([clip], robot, device)
        count = max(2, round(clip.duration * library.rate))
        # The clip's last frame repeats its first one: `count` frames cover [0, duration).
        time = torch.arange(count, device=device) * (clip.duration / count)
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
        # The left ankle and the tip of the right foot; any pair of a left and a right body would do.
        ends = robot.groups.left_foot[0], robot.groups.right_foot[-1]
        forward = R.rotate(inverse, frames.body_pos_w)[:, robot.body_ids(ends), 0]
        ahead = forward[:, 0] - forward[:, 1]
        self.start = float(time[ahead.argmax()])
        waves = torch.fft.rfft((ahead - ahead.mean()).cpu())
        strides = int(waves.abs().argmax())
        self.period, self.step = clip.duration / max(strides, 1), float(waves[strides].abs()) * 2.0 / count
        self.lead = -float(waves[strides].angle()) / (2.0 * torch.pi) * self.period
        self.feet = robot.body_ids(robot.feet)
        self.ground = frames.body_pos_w[:, self.feet, 2].min(dim=0).values
        self.height = self._heights(frames.root_pos_w[:, 2])
        soles = contact_points(robot, clip.root_pos_w, clip.root_quat_w, clip.joint_pos)
        self.airborne = float(np.ptp(soles[:, [robot.body_names.index(foot) for foot in robot.feet], 2].min(axis=1)))

    def cadence_and_amplitude(self, speed: Tensor) -> tuple[Tensor, Tensor]:
        """Rate of the phase (clip seconds per second) and amplitude of the strides, for a speed in m/s.

        Walkers change cadence and stride equally; below the slowest cadence only strides become shorter.
        """
        ratio = speed / self.speed
        cadence = ratio.clamp_min(1e-6).sqrt().clamp(SLOWEST_CADENCE, FASTEST_CADENCE)
        return cadence, (ratio / cadence).clamp(0.0, AMPLITUDES[-1])

    def pose(self, phase: Tensor, amplitude: Tensor) -> Pose:
        """The pose at a phase (n,) s and amplitude (n,)."""
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
            torch.lerp(self.standing_tilt, tilt, a),
            sway * a,
            height,
        )

    def grounded(self, joint_pos: Tensor, tilt: Tensor) -> Tensor:
        """Root heights (n,) m that put the lowest foot on the ground.

        The ground level of a foot's body is its least height in the clip.
        """
        pos, _ = self.kinematics(torch.zeros_like(tilt), R.from_rotation_vector(tilt), joint_pos)
        return (self.ground - pos[:, self.feet, 2]).max(dim=1).values

    def _heights(self, clip_height: Tensor) -> Tensor:
        """Root heights (A, F) that put the lowest foot on the ground at every amplitude and phase.

        The clip's own flight, its height above that, is scaled by the amplitude.
        """
        self.height = clip_height.expand(len(AMPLITUDES), -1)
        phase = torch.arange(len(clip_height), device=clip_height.device) * (self.duration / len(clip_height))
        rows = []
        for amplitude in AMPLITUDES:
            joint_pos, tilt, _, _ = self.pose(phase, torch.full_like(phase, amplitude))
            rows.append(self.grounded(joint_pos, tilt))
        grounded = torch.stack(rows)
        flight = clip_height - grounded[AMPLITUDES.index(1.0)]
        self.flight = float(flight.max())
        return grounded + torch.tensor(AMPLITUDES, device=flight.device)[:, None] * flight


def balanced(joint_pos: Tensor, tilt: Tensor, robot: Robot, kinematics: Kinematics) -> tuple[Tensor, Tensor]:
    """A pose with level feet, leaned until the centre of mass is above the middle of the feet.

    On average a walker is ahead of the feet, with raised heels: a robot that stood in the mean pose would fall forward.

    Args:
        joint_pos: (J,) rad.
        tilt: (3,) the root's rotation vector, rad; the robot faces x.

    Returns:
        the same for the balanced pose.
    """
    feet, origin = robot.body_ids(robot.feet), torch.zeros_like(tilt)[None]
    joint_pos, root = joint_pos.clone(), R.from_rotation_vector(tilt)
    level = [(foot, i) for foot in feet for i in _ankle(robot, foot)]
    for _ in range(BALANCE_ROUNDS):
        for foot, i in level:  # ankles come before their toes
            _, quat = kinematics(origin, root[None], joint_pos[None])
            leaning = _lean(R.rotate(quat[0, foot], tilt.new_tensor([0.0, 0.0, 1.0])))
            joint_pos[i] -= leaning @ tilt.new_tensor(robot.joints[i].axis)
        pos, quat = kinematics(origin, root[None], joint_pos[None])
        leaning = _lean(center_of_mass(pos, quat, robot)[0] - pos[0, feet].mean(dim=0))
        root = R.multiply(R.from_rotation_vector(-leaning), root)
    return joint_pos, R.to_rotation_vector(root)


def _ankle(robot: Robot, foot: int) -> list[int]:
    """The hinges that level a foot: its own or, if it has fewer than two, also those above it."""
    hinges, body = list[int](), foot
    while body > 0 and len(hinges) < 2:
        hinges = [i for i, joint in enumerate(robot.joints) if joint.body == robot.body_names[body]] + hinges
        body = robot.parents[body]
    return hinges


def _lean(up: Tensor) -> Tensor:
    """Rotation about x and y that has tilted an upward vector (3,), (3,) rad, for small angles."""
    return torch.stack([-up[1], up[0], torch.zeros_like(up[2])]) / up[2]


def center_of_mass(body_pos_w: Tensor, body_quat_w: Tensor, robot: Robot) -> Tensor:
    """Centre of mass of all bodies, (N, B, 3) m, (N, B, 4) -> (N, 3) m."""
    offset, mass = (
        body_pos_w.new_tensor([getattr(body.inertia, x) for body in robot.bodies]) for x in ("center", "mass")
    )
    centers = body_pos_w + R.rotate(body_quat_w, offset.expand_as(body_pos_w))
    return (centers * mass[:, None]).sum(dim=1) / mass.sum()
