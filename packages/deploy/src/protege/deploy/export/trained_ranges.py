"""The commands that a policy was trained on, from the config of its checkpoint: `command_ranges` of `policy.json`."""

from collections.abc import Collection, Mapping
from typing import Any

from ..policy.metadata import RANGE_UNITS, CommandRange

INPUTS = {"path": "path_w", "goal": "goal_w", "steering": "steering_speed"}
"""The model input that each modality of commands cannot do without."""


def trained_ranges(env: Mapping[str, Any], inputs: Collection[str]) -> dict[str, CommandRange]:
    """The ranges that the training drew its commands from, for the commands that a model takes.

    Args:
        env: the environment's part of a checkpoint's config.
        inputs: names of the model's inputs.

    Returns:
        by a key of `RANGE_UNITS`; a range that the config does not state is left out.
    """
    path, goal, steering = (env.get(key, {}) for key in ("path_follower_params", "goal_params", "steering_params"))
    stated = {
        "path_speed": path.get("speed"),
        "path_turn_rate": _both_ways(path.get("max_turn_rate")),
        "goal_distance": goal.get("distance"),
        "goal_approach_speed": _one(goal.get("approach_speed")),
        "steering_speed": steering.get("speed"),
    }
    return {
        key: CommandRange(float(limits[0]), float(limits[1]), RANGE_UNITS[key])
        for key, limits in stated.items()
        if limits is not None and INPUTS[key.partition("_")[0]] in inputs
    }


def _both_ways(limit: float | None) -> tuple[float, float] | None:
    return None if limit is None else (-limit, limit)


def _one(value: float | None) -> tuple[float, float] | None:
    return None if value is None else (value, value)
