"""The worst clips and episodes of an evaluation, and how to find them again."""

from collections.abc import Mapping
from typing import Any

import numpy as np

NUM_EPISODES = 5
"""How many episodes of each kind are listed for a task."""


def worst_clips(clips: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The names of clips, the lowest success first; where it is equal, the largest error first.

    Args:
        clips: as in evaluation.json. An error that was never measured counts as the largest.
    """

    def goodness(name: str) -> tuple[float, float]:
        error = clips[name]["error"]
        return clips[name]["success"], -float("inf") if error is None else -error

    return sorted(clips, key=goodness)


def worst_episodes(arrays: Mapping[str, np.ndarray], count: int = NUM_EPISODES) -> list[dict[str, Any]]:
    """The `count` episodes that failed soonest, then the `count` largest errors of the others.

    Args:
        arrays: of a task, see `Recording.episodes`.

    Returns:
        for each its number (row of the arrays), env, failed, cause, length_s, error, clip, and clip_start_s, None without a clip;
        nothing for results of versions that did not record this.
    """
    if "length_s" not in arrays:
        return []
    failed, length, error = arrays["failed"], arrays["length_s"], arrays["error"]
    failures = [i for i in np.argsort(length, kind="stable") if failed[i]][:count]
    largest = [i for i in np.argsort(-error, kind="stable") if not failed[i] and not np.isnan(error[i])][:count]
    return [_row(arrays, int(i)) for i in (*failures, *largest)]


def _row(arrays: Mapping[str, np.ndarray], i: int) -> dict[str, Any]:
    """One episode as plain data; NaN becomes None."""
    names = ("env", "failed", "cause", "length_s", "error", "clip", "clip_start_s")
    row = {name: arrays[name][i].item() for name in names}
    return {"episode": i} | {name: None if x != x else x for name, x in row.items()}
