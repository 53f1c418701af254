"""Track clips with the whole body."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from protege.core import checks
from protege.core.runs.config_layers import FORMER_NAME
from protege.core.tasks import Task

from . import every_clip, terms
from .masks import MaskSampler
from .motion_command import MotionCommand
from .task import TaskContext, TaskTerms
from .terms import Scene

EVALUATION_START_SHARE = 0.1
"""Evaluation episodes start within this first share of a clip."""
LOST_MEAN_DISTANCE = 0.5
"""m: an evaluation episode fails when the mean distance of the bodies from the reference exceeds this."""


@dataclass
class MotionParams:
    """Tracking of clips.

    Attributes:
        termination_distance: training ends an episode when any body is further than this from the reference, m.
        adaptive_sampling: share of training's episodes that start by recent failure rate, see `AdaptiveSampler`; the others start
            uniformly.
        adaptive_sampling_limit: largest factor by which a second of a clip is drawn more often than with `adaptive_sampling` 0.
        start_noise: size of the noise on the start states of training's episodes: 1 is 0.03 rad, 0.5 rad/s on joints, and
            0.15 m/s, 0.3 rad/s on the root; every episode draws a share of it.
        device_frames: number of frames of clips that the device holds. A library with more is streamed: clips are exchanged in
            blocks during training, see `StreamedLibrary`. A frame of 24 bodies takes 1.8 kB.
        exchange_interval_s: time between two exchanges of clips, s of simulation; at least `episode_length_s`.
        every_clip: evaluations play each clip once, whole and from its first frame; `distill evaluate --every-clip` sets it.
        rewards: weight of each reward term.
    """

    termination_distance: float = 0.5
    adaptive_sampling: float = field(default=0.5, metadata={FORMER_NAME: "hard_sampling"})
    adaptive_sampling_limit: float = field(default=5.0, metadata={FORMER_NAME: "hard_sampling_limit"})
    start_noise: float = 0.0
    device_frames: int = 1_000_000
    exchange_interval_s: float = 20.0
    every_clip: bool = False
    rewards: dict[str, float] = field(default_factory=lambda: dict(terms.TRACKING_WEIGHTS))

    def check(self, key: str) -> None:
        checks.above_zero(self, key, "termination_distance")
        checks.shares(self, key, "adaptive_sampling")
        checks.at_least(1, self, key, "adaptive_sampling_limit")
        checks.within(0, 10, self, key, "start_noise")
        checks.within(100, 1e9, self, key, "device_frames")
        checks.above_zero(self, key, "exchange_interval_s")
        terms.check_rewards(self, key, terms.TRACKING)


def build(context: TaskContext, masks: MaskSampler | None = None) -> TaskTerms:
    """The tracking task for some envs. masks: hides some of the target poses; None shows them all."""
    params: MotionParams = context.config.track
    if context.evaluation and params.every_clip:
        return every_clip.build(context, masks, terms.mean_body_off(LOST_MEAN_DISTANCE))
    start_within = EVALUATION_START_SHARE if context.evaluation else 1.0
    return TaskTerms(
        command=MotionCommand(context, masks, start_within=start_within),
        rewards=terms.weighted(params.rewards, terms.TRACKING),
        terminations={"body_off": terms.any_body_off(params.termination_distance)},
        failures={"mean_body_off": terms.mean_body_off(LOST_MEAN_DISTANCE)},
        metrics={"cartesian_err": cartesian_err},
    )


def cartesian_err(scene: Scene) -> tuple[Tensor, Tensor]:
    """Mean body position error in the world frame, m."""
    error = scene.deviation.mean_distance
    return error, torch.ones_like(error)


def failure_rule(params: object) -> str:
    """The failure rule in words."""
    return f"the mean body position error exceeds {LOST_MEAN_DISTANCE:g} m"


TASK = Task(
    name="track",
    title="Track a clip",
    kind="tracker",
    teacher="masked_mimic",  # a tracker's checkpoint can be used as well
    option="motion_tracking",
    config_class=MotionParams,
    config_key="track",
    build=build,
    metric="cartesian_err",
    unit="m",
    failure_rule=failure_rule,
    strict_limit=0.25,
)
