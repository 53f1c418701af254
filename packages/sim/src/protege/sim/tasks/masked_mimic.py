"""Track clips of which only some bodies are shown at some times (MaskedMimic, arXiv 2409.14393)."""

from dataclasses import replace

from protege.core.tasks import Variant

from . import track
from .masks import MaskParams, MaskSampler
from .task import TaskContext, TaskTerms

PATTERNS = {
    "head_hands": "head and hands",
    "root": "the pelvis",
    "hands": "the hands",
    "feet": "the feet",
    "inbetween": "the furthest pose",
}
"""Patterns of `MaskParams` that are evaluated separately, with all future frames visible."""


def build(context: TaskContext) -> TaskTerms:
    """The masked tracking task for some envs."""
    return track.build(context, MaskSampler.of(context))


TASK = replace(
    track.TASK,
    name="masked_mimic",
    title="Track a partly hidden clip",
    kind="masked_mimic",
    option="patterns",
    config_class=MaskParams,
    config_key="masked_mimic_params",
    build=build,
    unified=False,
    variants={
        name: Variant(f"Track a clip by {shown}", MaskParams(patterns={name: 1.0}, frame_keep=1.0))
        for name, shown in PATTERNS.items()
    },
    reward_weights=lambda params: {},  # those of tracking
)
