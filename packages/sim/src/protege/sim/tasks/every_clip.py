"""Evaluation that plays each clip once, whole and from its first frame, and decides by two rules whether it was tracked."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from protege.core.motions import SlotLibrary
from protege.core.motions.frames import Frames
from protege.core.robots import rotation as R
from protege.core.robots.robot import Robot

from .masks import MaskSampler
from .motion_command import MotionCommand
from .task import TaskContext, TaskTerms
from .terms import Metric, Scene, Term

MAX_HEIGHT_ERROR, MAX_TILT_ERROR = 0.25, 0.8
"""m and rad: by the second rule a clip is lost when the root's height, or the direction of its vertical axis, is further off."""
UNLIMITED_STEPS = 2**31


class EveryClipCommand(MotionCommand):
    """Each env plays the clip of one slot from its first frame to its last.

    Attributes:
        assigned: (n,) the slot of each env.
    """

    def __init__(self, context: TaskContext, masks: MaskSampler | None) -> None:
        super().__init__(context, masks, start_within=0.0)
        self.max_steps = UNLIMITED_STEPS
        self.assigned = torch.zeros(context.n, dtype=torch.long, device=context.device)
        self.beginning = torch.zeros(context.n, device=context.device)

    def draw(self, n: int) -> tuple[Tensor, Tensor]:
        return self.assigned, self.beginning


class FailureRecorder:
    """Records in which envs a clip has been lost since its first frame, by each of two rules. A clip ends when both say so.

    Attributes:
        lost: (n,) bool, lost by the task's own failure rule.
        toppled: (n,) bool, lost by height and tilt.
    """

    def __init__(self, n: int, lost: Term, device: torch.device) -> None:
        self.rule = lost
        self.lost, self.toppled = (torch.zeros(n, dtype=torch.bool, device=device) for _ in range(2))

    def __call__(self, scene: Scene) -> Tensor:
        continues = scene.command.step > 1
        self.lost.copy_(self.lost & continues | self.rule(scene))
        self.toppled.copy_(self.toppled & continues | toppled(scene))
        return self.lost & self.toppled

    def metric(self, name: str) -> Metric:
        """`lost` or `toppled` as a metric: 1 from the step of the loss on."""

        def metric(scene: Scene) -> tuple[Tensor, Tensor]:
            value = getattr(self, name).float()
            return value, torch.ones_like(value)

        return metric

    def until_lost(self, error: Metric) -> Metric:
        """A metric that counts only the steps before the clip is lost by the task's own rule."""

        def metric(scene: Scene) -> tuple[Tensor, Tensor]:
            value, weight = error(scene)
            return value, torch.where(self.lost, 0.0, weight)

        return metric


def toppled(scene: Scene) -> Tensor:
    """Whether the height of the root, or the direction of its vertical axis, is too far from the reference's, (n,)."""
    root, reference = scene.state, scene.reference
    up = torch.zeros_like(root.root_pos_w)
    up[:, 2] = 1.0
    cosine = (R.rotate(root.root_quat_w, up) * R.rotate(reference.root_quat_w, up)).sum(-1)
    height = (root.root_pos_w - reference.root_pos_w)[:, 2].abs()
    return (height > MAX_HEIGHT_ERROR) | (torch.acos(cosine.clamp(-1.0, 1.0)) > MAX_TILT_ERROR)


def position_error(scene: Scene) -> tuple[Tensor, Tensor]:
    """MPJPE: mean distance of the bodies from the reference in the world frame, m."""
    error = scene.deviation.mean_distance
    return error, torch.ones_like(error)


def relative_error(scene: Scene) -> tuple[Tensor, Tensor]:
    """Root-relative MPJPE: the same after both roots are moved to one point, m; neither is rotated."""
    off = scene.state.body_pos_w - scene.reference.body_pos_w
    error = (off - off[:, :1]).norm(dim=-1).mean(-1)
    return error, torch.ones_like(error)


class Differences:
    """Errors of the bodies' velocity and acceleration, as differences from one control step to the next (Luo et al. 2023, PHC).

    Each step calls `velocity`, then `acceleration`.
    """

    def __init__(self, n: int, bodies: int, device: torch.device) -> None:
        self.before, self.earlier = (torch.zeros(n, bodies, 3, device=device) for _ in range(2))

    def velocity(self, scene: Scene) -> tuple[Tensor, Tensor]:
        """Metres per control step."""
        # An episode starts in the reference's own pose, without an error.
        self.before.masked_fill_((scene.command.step == 1)[:, None, None], 0.0)
        error = (_off(scene) - self.before).norm(dim=-1).mean(-1)
        return error, torch.ones_like(error)

    def acceleration(self, scene: Scene) -> tuple[Tensor, Tensor]:
        """Metres per control step squared, from the second step on."""
        off = _off(scene)
        error = (off - 2.0 * self.before + self.earlier).norm(dim=-1).mean(-1)
        self.earlier.copy_(self.before)
        self.before.copy_(off)
        return error, (scene.command.step > 1).float()


def _off(scene: Scene) -> Tensor:
    return scene.state.body_pos_w - scene.reference.body_pos_w


def build(context: TaskContext, masks: MaskSampler | None, lost: Term) -> TaskTerms:
    """The task terms of envs that play every clip. lost: the failure rule of tracking."""
    recorder = FailureRecorder(context.n, lost, context.device)
    differences = Differences(context.n, context.robot.num_bodies, context.device)
    errors: dict[str, Metric] = {
        "cartesian_err": position_error,
        "root_relative_err": relative_error,
        "velocity_err": differences.velocity,
        "acceleration_err": differences.acceleration,
    }
    metrics = {name: recorder.until_lost(error) for name, error in errors.items()}
    return TaskTerms(
        command=EveryClipCommand(context, masks),
        rewards={},
        terminations={},
        failures={"both_rules": recorder},
        metrics=metrics | {name: recorder.metric(name) for name in ("lost", "toppled")},
    )


def every_clip_library(frames: Frames, robot: Robot, device: torch.device, most: int, num_envs: int) -> SlotLibrary:
    """A library with room for as many clips as there are envs, and for `most` frames, or at least the longest clip."""
    longest = np.sort(frames.counts)[::-1]
    room = max(int(longest[0]), min(int(longest[:num_envs].sum()), most))
    return SlotLibrary(frames, robot, device, 1, room, num_envs)


def rounds(library: SlotLibrary, command: MotionCommand) -> Iterator[list[int]]:
    """Load all clips onto the device in turns, longest first, one for each env. Reset the envs after each round.

    Yields:
        the clips' indices, one for each of the first envs; the remaining envs repeat some of these clips.
    """
    assert isinstance(command, EveryClipCommand), "the envs do not play every clip"
    counts = library.source.counts
    left = np.argsort(-counts, kind="stable").tolist()
    while left:
        fit = int((counts[left[: library.block_slots]].cumsum() <= library.block_frames).sum())
        now, left = left[:fit], left[fit:]
        library.put(0, now, [1.0] * len(now))
        library.draw_from([0])
        command.refresh_clips()
        command.assigned.copy_(torch.arange(len(command.assigned)) % len(now))
        yield now
