"""Gaits ordered by speed and blended: a walk, from backwards to its fastest speed, and faster gaits.

A walk is slowed down and sped up by its cadence and strides (see `Gait`). Backwards it is the same walk reversed in time, which is
close to human backward walking (Winter et al. 1989). A gait with a flight phase is not slowed down, because with small strides it
would hop: lower speeds blend it with the next slower gait, at the same phase of the stride; higher speeds raise the cadence.
"""

import logging
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from protege.core.errors import UserError
from protege.core.motions import Clip
from protege.core.motions.contact import contact_points
from protege.core.motions.plausibility import travel_against_facing
from protege.core.robots import rotation as R
from protege.core.robots.robot import Robot

from .gait import FASTEST_CADENCE, SLOWEST_CADENCE, Gait, Pose

WALKING_SPEED = 1.2
"""m/s; the clip whose speed is nearest is the walk."""
MIN_DURATION = 0.5
"""s; two steps never take less."""
MIN_SPEED = 0.3
"""m/s; slower clips do not travel."""
MAX_NET_TURN, MAX_HEADING_SWING = 0.17, 1.2
"""rad, between the first and the last heading, and between any two; the walk and the run swing by 0.35. The warp removes the clip's
travel but not its turns, which would be added to those of the path."""
MIN_FORWARD_COSINE = 0.7
"""Least mean cosine between travel and facing; the walk's is 0.99, a jump's 0.87."""
MIN_STEP, MAX_FLIGHT = 0.1, 0.03
"""m: least distance by which the feet pass each other, and largest height of a walk's lower sole above the ground."""
MIN_SPEED_RATIO, MAX_SPEED_RATIO = 1.1, 3.0
"""Least and largest ratio of a gait's speed to that of the next slower one. Gaits that differ more cannot be blended."""
REVERSAL_SPEED = 0.15
"""m/s: backward walking below this speed counts as standing, or as a reversal of the stride."""
NOT_CYCLIC, NOT_TRAVELLING = "does not repeat", "does not travel"
NOT_STEPPING = "does not step: its feet do not pass each other"
HAS_FLIGHT = "runs: at times neither foot is on the ground, so that it cannot be slowed down to standing"
GAIT_REMEDY = "--motion-file data/motions/{}_humanoid_{}.npy"
"""A format string for the robot's name and the gait's."""


def unfit(clip: Clip) -> str:
    """Why a clip cannot be warped along any line, as a phrase that follows its name; empty if it can."""
    if len(clip.time) < 3 or clip.duration < MIN_DURATION:
        return f"lasts {clip.duration:.2f} s, {len(clip.time)} frames"
    if not clip.is_cyclic:
        return NOT_CYCLIC
    if clip.mean_speed <= MIN_SPEED:
        return NOT_TRAVELLING
    yaw = np.unwrap(R.yaw(torch.from_numpy(clip.root_quat_w)).numpy())
    if abs(yaw[-1] - yaw[0]) > MAX_NET_TURN or np.ptp(yaw) > MAX_HEADING_SWING:
        return f"turns by {np.degrees(max(abs(yaw[-1] - yaw[0]), np.ptp(yaw))):.0f} degrees"
    ahead = travel_against_facing(clip.root_pos_w, clip.root_quat_w)
    if ahead < MIN_FORWARD_COSINE:
        return "goes backwards" if ahead < -MIN_FORWARD_COSINE else "goes sideways"
    return ""


class GaitSet:
    """The gaits found among the clips: a walk, and faster ones.

    Attributes:
        walk: the slowest gait.
        faster: the others, in order of speed.
        speeds: least and largest speed that the set covers, m/s; negative is backwards.
        left_out: the reason why each rejected clip is not a gait, by name.

    Raises:
        UserError: no clip is a walk; it names the reason for each.
    """

    def __init__(self, clips: list[Clip], robot: Robot, device: torch.device) -> None:
        reasons = [(clip, unfit(clip)) for clip in clips]
        self.left_out = {clip.name: reason for clip, reason in reasons if reason}
        fit = sorted((clip for clip, reason in reasons if not reason), key=lambda clip: clip.mean_speed)
        by_nearness = sorted(fit, key=lambda clip: abs(clip.mean_speed - WALKING_SPEED))
        walk = next(self._gaits(by_nearness, robot, device, grounded=True), None)
        if walk is None:
            raise UserError(
                "commands to walk need a clip that walks straight ahead and repeats. It cannot be "
                + ", ".join(f"{name}, which {reason}" for name, reason in self.left_out.items()),
                "Add one: " + GAIT_REMEDY.format(robot.name, "walk"),
            )
        self.robot, self.walk, self.faster = robot, walk, list[Gait]()
        self.top = FASTEST_CADENCE**2 * walk.speed
        self.top_cadence = float(walk.cadence_and_amplitude(torch.tensor(self.top))[0])
        slower = self.top
        for gait in self._gaits([clip for clip in fit if clip.mean_speed > MIN_SPEED_RATIO * self.top], robot, device):
            if gait.speed > MAX_SPEED_RATIO * slower:
                self.left_out[gait.name] = f"is too fast to be blended with what does {slower:.1f} m/s"
            elif gait.speed > MIN_SPEED_RATIO * slower:
                self.faster.append(gait)
                slower = gait.speed
        self.speeds = (-walk.speed, FASTEST_CADENCE * slower if self.faster else self.top)
        self.lifts: list[float] = []
        for slower in range(len(self.faster)):
            self.lifts.append(self._lift(slower))

    def _gaits(
        self, clips: list[Clip], robot: Robot, device: torch.device, *, grounded: bool = False
    ) -> Iterator[Gait]:
        """The gaits among the clips, one after the other; with `grounded`, only those that always have a foot on the ground."""
        for clip in clips:
            gait = Gait(clip, robot, device)
            if gait.step < MIN_STEP:
                self.left_out[clip.name] = NOT_STEPPING
            elif grounded and gait.airborne > MAX_FLIGHT:
                self.left_out[clip.name] = HAS_FLIGHT
            else:
                yield gait

    @property
    def notes(self) -> list[tuple[int, str]]:
        """Messages to log, with levels of `logging`: the gaits, and clips that travel and repeat but were left out."""
        gaits = ", ".join(f"{gait.name} {gait.speed:.1f} m/s" for gait in (self.walk, *self.faster))
        lines = [(logging.INFO, f"gaits: {gaits}; together {self.speeds[0]:.1f} to {self.speeds[1]:.1f} m/s")]
        uninteresting = (NOT_CYCLIC, NOT_TRAVELLING, NOT_STEPPING)
        left = [f"{name} ({reason})" for name, reason in self.left_out.items() if reason not in uninteresting]
        if left:
            lines.append((logging.WARNING, f"left out as a gait: {', '.join(left)}"))
        return lines

    def require(self, speeds: tuple[float, float], key: str) -> None:
        """Reject speeds, m/s, that the set does not cover; `key` is the config key to name.

        Raises:
            UserError: it names the range that the set covers.
        """
        low, high = self.speeds
        if speeds[0] >= low and speeds[1] <= high:
            return
        names = " and ".join(gait.name for gait in (self.walk, *self.faster))
        run = GAIT_REMEDY.format(self.robot.name, "run")
        faster = "" if speeds[1] <= high or self.faster else f", or add a faster gait: {run}"
        raise UserError(
            f"{key} is {list(speeds)} m/s, and {names} can do {low:.2f} to {high:.2f}", f"Take less{faster}"
        )

    def rhythm(self, speed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gait parameters for some speeds (...) m/s.

        Returns:
            phase rate, in seconds of the walk's clip per second, negative backwards; amplitude of the walk's strides; and the rank:
            0 for the walk, k for the k-th faster gait, and values in between for blends.
        """
        cadence, amplitude = self.walk.cadence_and_amplitude(speed.abs().clamp_max(self.top))
        # At low backward speeds the strides are short, and the phase reverses.
        turned = SLOWEST_CADENCE * (1.0 + 2.0 * speed / REVERSAL_SPEED)
        cadence = torch.where(speed < 0.0, torch.where(speed < -REVERSAL_SPEED, -cadence, turned), cadence)
        rank, slower = torch.zeros_like(speed), self.top
        stride = torch.full_like(speed, self.top / self.top_cadence * self.walk.period)
        for gait in self.faster:
            share = ((speed - slower) / (gait.speed - slower)).clamp(0.0, 1.0)
            rank, slower = rank + share, gait.speed
            stride = torch.lerp(stride, torch.full_like(stride, gait.speed * gait.period), share)
        return torch.where(speed > self.top, speed / stride * self.walk.period, cadence), amplitude, rank

    def pose(self, phase: Tensor, amplitude: Tensor, rank: Tensor) -> Pose:
        """The pose at a phase (n,) s of the walk's clip, amplitude (n,) and rank (n,)."""
        pose = self.walk.pose(phase, amplitude)
        for slower, gait in enumerate(self.faster):
            share = (rank - slower).clamp(0.0, 1.0)
            if share.any():
                joint_pos, tilt, sway, height = self._blend(pose, gait, phase, share)
                pose = joint_pos, tilt, sway, height + 4.0 * share * (1.0 - share) * self.lifts[slower]
        return pose

    def _blend(self, pose: Pose, gait: Gait, phase: Tensor, share: Tensor) -> Pose:
        """A pose blended with that of another gait at the same phase of the stride, by shares (n,)."""
        there = gait.lead + (phase - self.walk.lead) * (gait.period / self.walk.period)
        other = gait.pose(there, torch.ones_like(phase))
        joint_pos, tilt, sway = (torch.lerp(a, b, share[:, None]) for a, b in zip(pose[:3], other[:3], strict=True))
        return joint_pos, tilt, sway, torch.lerp(pose[3], other[3], share)

    def _lift(self, slower: int) -> float:
        """How far a foot is below the ground, m, in the middle of a blend between a straight and a bent leg."""
        frames = len(self.walk.joint_pos)
        phase = torch.arange(frames, device=self.walk.joint_pos.device) * (self.walk.duration / frames)
        _, amplitude, rank = self.rhythm(torch.full_like(phase, self.faster[slower - 1].speed if slower else self.top))
        half = self._blend(self.pose(phase, amplitude, rank), self.faster[slower], phase, torch.full_like(phase, 0.5))
        joint_pos, tilt, sway, height = (x.cpu().double() for x in half)
        root = torch.cat([sway, height[:, None]], dim=1).numpy()
        points = contact_points(self.robot, root, R.from_rotation_vector(tilt).numpy(), joint_pos.numpy())
        return max(0.0, -float(points[..., 2].min()))
