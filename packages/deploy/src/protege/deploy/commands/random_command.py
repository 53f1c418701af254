"""Random commands, within what policies are trained on."""

import numpy as np

from ..geometry import Pose2D
from ..policy.metadata import Metadata
from .goal import GoalCommand
from .measured import MeasuredCommand
from .path import PathCommand
from .steering import SteeringCommand


def random_command(
    kind: str, start: Pose2D, seconds: float, metadata: Metadata, generator: np.random.Generator
) -> MeasuredCommand:
    """A random command of a modality, a key of `MODALITIES`, for a robot at `start` and for so many seconds."""
    if kind == "path":
        return PathCommand.random(start, int(generator.integers(2**31)), seconds, metadata.path_times)
    if kind == "goal":
        return GoalCommand.ahead(start, (float(generator.uniform(0.5, 4.0)), float(generator.uniform(-2.0, 2.0))))
    direction = start.direction(float(np.degrees(generator.uniform(-np.pi, np.pi))))
    return SteeringCommand(direction, float(generator.uniform(0.5, 1.5)))
