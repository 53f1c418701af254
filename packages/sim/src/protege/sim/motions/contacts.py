"""When feet stand: told from how low and how slow their heels and balls are, or the points of their soles.

Recordings slide a little, and their floors are not quite level: what counts is the height over the lowest place that either foot
comes to within half a second.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_STAND_HEIGHT, MAX_STAND_SPEED = 0.04, 0.4
"""m over the floor thereabouts, and m/s: what is lower and slower stands. A foot that swings past it moves at a metre a second."""
TRAVEL_SPEED_SHARE = 0.3
"""Of the root's speed: what is slower than that is slow, too. Runners' feet slide in recordings; swinging ones are faster."""
MAX_FLOOR_DIFFERENCE = 0.02
"""m by which the floor under one foot may be higher than under the other."""
FLOOR_WINDOW = 0.5
"""s to either side, in which the floor is looked for."""
MIN_STAND_TIME, MAX_BREAK_TIME = 0.05, 0.15
"""s: shorter stands are none, and shorter breaks of one neither, nor are longer ones, up to MAX_BREAK_TIME, in which the foot stays low."""


@dataclass(frozen=True)
class Stand:
    """Of one foot: whether its heel and its ball are on the ground, (T,)."""

    heel: np.ndarray
    ball: np.ndarray

    @property
    def foot(self) -> np.ndarray:
        """(T,) whether the foot stands, on whatever part of it."""
        return self.heel | self.ball

    @property
    def flat(self) -> np.ndarray:
        """(T,) whether all of the sole is on the ground."""
        return self.heel & self.ball


def stands(
    time: np.ndarray, root: np.ndarray, heels: np.ndarray, balls: np.ndarray, size: float = 1.0
) -> tuple[Stand, Stand]:
    """When the left foot stands, and the right one.

    Args:
        time: (T,) s, even.
        root: (T, 3) m, where the root is.
        heels: (T, 2, 3) m, where the ankles are, the left one's first; z is up.
        balls: (T, 2, 3) m, of the toes' joints; the ankles again if there are none.
        size: of whoever moves, against a grown person.
    """
    heel, ball = (_touch(time, root, [places[:, :1], places[:, 1:]], size) for places in (heels, balls))
    left, right = (Stand(heel[side][:, 0], ball[side][:, 0]) for side in (0, 1))
    return left, right


def soles_stand(
    time: np.ndarray, root: np.ndarray, left: np.ndarray, right: np.ndarray, size: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """(T,) when the left foot stands, and the right one: while any point of its sole does.

    Args:
        time: (T,) s, even.
        root: (T, 3) m, where the root is.
        left: (T, P, 3) m, of the sole's points; z is up.
        right: the same of the other foot.
        size: of whoever moves, against a grown person.
    """
    first, second = (touch.any(axis=1) for touch in _touch(time, root, [left, right], size))
    return first, second


def _touch(time: np.ndarray, root: np.ndarray, feet: Sequence[np.ndarray], size: float) -> list[np.ndarray]:
    """(T, P) of each foot, whether its points are on the ground, which are like points, (T, P, 3) m."""
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
    """(T,) whether a point stands, without short breaks, longer ones in which it stays low, and short stands."""
    touch = touch.copy()
    for begin, end in runs(~touch):
        if end - begin <= longer and begin > 0 and end < len(touch) and low[begin:end].all():
            touch[begin:end] = True
    return _without_short(_without_short(touch, short, False), short, True)


def _without_short(mask: np.ndarray, short: int, value: bool) -> np.ndarray:
    """A mask (T,) whose runs of a value that are no longer than `short` frames, and not at its ends, have the other one."""
    mask = mask.copy()
    for begin, end in runs(mask == value):
        if end - begin <= short and begin > 0 and end < len(mask):
            mask[begin:end] = not value
    return mask


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Beginnings and ends of the runs of True in a mask (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    return [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]
