"""When feet stand: determined from the height and speed of heels and balls, or of the points of the soles.

In recordings feet slide a little, and floors are not quite level. Heights are therefore measured from the lowest point that either
foot reaches within half a second.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_STAND_HEIGHT, MAX_STAND_SPEED = 0.04, 0.4
"""m above the local floor, and m/s: a foot that is lower and slower stands. A swinging foot passes at about a metre per second."""
TRAVEL_SPEED_SHARE = 0.3
"""Share of the root's speed below which a foot is slow, too. Runners' feet slide in recordings; swinging feet are faster."""
MAX_FLOOR_DIFFERENCE = 0.02
"""m, largest height difference of the floor under the two feet."""
FLOOR_WINDOW = 0.5
"""s to either side, window in which the floor is determined."""
MIN_STAND_TIME, MAX_BREAK_TIME = 0.05, 0.15
"""s: shorter stands are ignored, as are shorter breaks of a stand, and breaks up to MAX_BREAK_TIME in which the foot stays low."""


@dataclass(frozen=True)
class Stand:
    """For one foot: whether its heel and its ball are on the ground, (T,)."""

    heel: np.ndarray
    ball: np.ndarray

    @property
    def foot(self) -> np.ndarray:
        """(T,) whether the foot stands, on any part of it."""
        return self.heel | self.ball

    @property
    def flat(self) -> np.ndarray:
        """(T,) whether the whole sole is on the ground."""
        return self.heel & self.ball


def stands(
    time: np.ndarray, root: np.ndarray, heels: np.ndarray, balls: np.ndarray, size: float = 1.0
) -> tuple[Stand, Stand]:
    """When the left and the right foot stand.

    Args:
        time: (T,) s, evenly spaced.
        root: (T, 3) m, positions of the root.
        heels: (T, 2, 3) m, positions of the ankles, left first; z is up.
        balls: (T, 2, 3) m, positions of the toe joints; the ankles if there are none.
        size: of the person or robot, relative to an adult.
    """
    heel, ball = (_touch(time, root, [places[:, :1], places[:, 1:]], size) for places in (heels, balls))
    left, right = (Stand(heel[side][:, 0], ball[side][:, 0]) for side in (0, 1))
    return left, right


def soles_stand(
    time: np.ndarray, root: np.ndarray, left: np.ndarray, right: np.ndarray, size: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """(T,) when the left and the right foot stand: while any point of the sole does.

    Args:
        time: (T,) s, evenly spaced.
        root: (T, 3) m, positions of the root.
        left: (T, P, 3) m, points of the sole; z is up.
        right: the same for the other foot.
        size: of the person or robot, relative to an adult.
    """
    first, second = (touch.any(axis=1) for touch in _touch(time, root, [left, right], size))
    return first, second


def _touch(time: np.ndarray, root: np.ndarray, feet: Sequence[np.ndarray], size: float) -> list[np.ndarray]:
    """(T, P) for each foot, whether its points (T, P, 3) m are on the ground."""
    step = float(np.median(np.diff(time)))
    reach, short = max(1, round(FLOOR_WINDOW / step)), max(1, round(MIN_STAND_TIME / step))
    travel = np.linalg.norm(np.gradient(root[:, :2], time, axis=0), axis=-1)
    slow = np.maximum(MAX_STAND_SPEED * size, TRAVEL_SPEED_SHARE * travel)[:, None]
    lows = [np.pad(points[..., 2].min(axis=1), reach, mode="edge") for points in feet]
    lows = [np.lib.stride_tricks.sliding_window_view(low, 2 * reach + 1).min(axis=1) for low in lows]
    floor, found = np.minimum(*lows), []
    for points, low in zip(feet, lows, strict=True):
        height = points[..., 2] - np.minimum(low, floor + MAX_FLOOR_DIFFERENCE * size)[:, None]
        speed = np.linalg.norm(np.gradient(points, time, axis=0), axis=-1)
        low = height < MAX_STAND_HEIGHT * size
        touch = low & (speed < slow)
        columns = [
            _whole(one, near, short, round(MAX_BREAK_TIME / step)) for one, near in zip(touch.T, low.T, strict=True)
        ]
        found.append(np.stack(columns, axis=1))
    return found


def _whole(touch: np.ndarray, low: np.ndarray, short: int, longer: int) -> np.ndarray:
    """(T,) whether a point stands, without short breaks, longer breaks in which it stays low, and short stands."""
    touch = touch.copy()
    for begin, end in runs(~touch):
        if end - begin <= longer and begin > 0 and end < len(touch) and low[begin:end].all():
            touch[begin:end] = True
    return _without_short(_without_short(touch, short, False), short, True)


def _without_short(mask: np.ndarray, short: int, value: bool) -> np.ndarray:
    """A mask (T,) in which runs of `value` of at most `short` frames, except at its ends, are inverted."""
    mask = mask.copy()
    for begin, end in runs(mask == value):
        if end - begin <= short and begin > 0 and end < len(mask):
            mask[begin:end] = not value
    return mask


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Starts and ends of the runs of True in a mask (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    return [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]
