"""When feet stand: told from how low and how slow their heels and balls are, or the points of their soles.

Recordings slide a little, and their floors are not quite level: what counts is the height over the lowest place that either foot
comes to within half a second.
"""

from dataclasses import dataclass

import numpy as np

LOW, SLOW = 0.04, 0.4
"""m over the floor thereabouts, and m/s: what is lower and slower stands. A foot that swings past it moves at a metre a second."""
NEARBY = 0.5
"""s to either side, in which the floor is looked for."""
SHORTEST = 0.05
"""s: shorter stands are none, and shorter breaks of one neither."""


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


def stands(time: np.ndarray, heels: np.ndarray, balls: np.ndarray, size: float = 1.0) -> tuple[Stand, Stand]:
    """When the left foot stands, and the right one.

    Args:
        time: (T,) s, even.
        heels: (T, 2, 3) m, where the ankles are, the left one's first; z is up.
        balls: (T, 2, 3) m, of the toes' joints; the ankles again if there are none.
        size: of whoever moves, against a grown person.
    """
    heel, ball = (_touch(time, places, size) for places in (heels, balls))
    left, right = (Stand(heel[:, side], ball[:, side]) for side in (0, 1))
    return left, right


def soles_stand(
    time: np.ndarray, left: np.ndarray, right: np.ndarray, size: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """(T,) when the left foot stands, and the right one: while any point of its sole does.

    Args:
        time: (T,) s, even.
        left: (T, P, 3) m, of the sole's points; z is up.
        right: the same of the other foot.
        size: of whoever moves, against a grown person.
    """
    touch = _touch(time, np.concatenate([left, right], axis=1), size)
    count = left.shape[1]
    return touch[:, :count].any(axis=1), touch[:, count:].any(axis=1)


def _touch(time: np.ndarray, places: np.ndarray, size: float) -> np.ndarray:
    """(T, P) whether each of like points is on the ground; places (T, P, 3) m."""
    step = float(np.median(np.diff(time)))
    speed = np.linalg.norm(np.gradient(places, time, axis=0), axis=-1)
    reach = max(1, round(NEARBY / step))
    lowest = np.pad(places[..., 2].min(axis=1), reach, mode="edge")
    floor = np.lib.stride_tricks.sliding_window_view(lowest, 2 * reach + 1).min(axis=1)
    touch = (places[..., 2] - floor[:, None] < LOW * size) & (speed < SLOW * size)
    short = max(1, round(SHORTEST / step))
    return np.stack([_without_short(_without_short(side, short, False), short, True) for side in touch.T], axis=1)


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
