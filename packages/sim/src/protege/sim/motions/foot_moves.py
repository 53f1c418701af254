"""How far a foot has to be moved in each frame so that it stands still while it stands.

While a foot stands, the sliding of its lowest points is undone, and they are put on the ground. While it swings, the change passes
from one stand's to the next one's, and the foot is lifted clear of the ground.
"""

from itertools import pairwise

import numpy as np

from .contacts import runs
from .ground import SNAP_SMOOTHING, averaged, frames, largest

SOLE_DEPTH = 0.005
"""m: points that are higher than the lowest by this have a weight of 1/e in the position of a standing foot."""
MAX_FOOT_MOVE = 0.12
"""m, largest move of a foot: continuous sliding, as on skates, is intended."""
SWING_CLEARANCE = 0.015
"""m, least height of a swinging foot, from RISE_TIME s after it stood until RISE_TIME s before it stands again."""
RISE_TIME = 0.065
LIFT_SMOOTHING = 2.0
"""Frames of 60 Hz, standard deviation with which its lift is smoothed."""
MAX_SWAY = 0.15
"""m: largest product of a swing's duration and the speed of the foot's change at its ends; more would add visible sway."""


def foot_moves(xy: np.ndarray, height: np.ndarray, standing: np.ndarray, step: float) -> np.ndarray:
    """(T, 3) m, how far a foot has to be moved in each frame.

    Args:
        xy: (T, P, 2) m, of its points.
        height: (T, P) m over the ground.
        standing: (T,) when it stands.
        step: frame time, s.
    """
    lowest = height.min(axis=1)
    between = np.minimum(height[1:], height[:-1])
    weight = np.exp(-(between - between.min(axis=1, keepdims=True)) / SOLE_DEPTH)
    slid = (np.diff(xy, axis=0) * (weight / weight.sum(axis=1, keepdims=True))[..., None]).sum(axis=1)
    stands, move = runs(standing), np.zeros((len(xy), 3))
    if stands:
        stays = _longer(stands, lowest < 2.0 * SWING_CLEARANCE, round(RISE_TIME / step))
        for (begin, end), (first, last) in zip(stands, stays, strict=True):
            way = -np.concatenate([np.zeros((1, 2)), slid[first : last - 1].cumsum(axis=0)])
            way -= way[begin - first : end - first].mean(axis=0)
            far = np.linalg.norm(way, axis=1).max()
            move[first:last, :2] = way * min(1.0, MAX_FOOT_MOVE / max(far, MAX_FOOT_MOVE))
            move[begin:end, 2] = -lowest[begin:end]
        move[:, :2] = _bridged(move[:, :2], stays)
        move[:, 2:] = _bridged(move[:, 2:], stands)
    move[:, 2] = averaged(move[:, 2], frames(SNAP_SMOOTHING, step))
    soft = frames(LIFT_SMOOTHING, step)
    clearance = SWING_CLEARANCE if stands else 0.0  # the height of a foot that never stands is unknown
    lift = np.where(standing, 0.0, (clearance - lowest - move[:, 2]).clip(0.0))
    move[:, 2] += averaged(largest(lift, soft), soft) * risen(standing, step)
    return move


def risen(standing: np.ndarray, step: float) -> np.ndarray:
    """(T,) a smooth factor: 0 while a foot stands, 1 from `RISE_TIME` s before and after."""
    share = np.minimum(_away(standing) * step / RISE_TIME, 1.0)
    return share**2 * (3.0 - 2.0 * share)


def _longer(stands: list[tuple[int, int]], low: np.ndarray, most: int) -> list[tuple[int, int]]:
    """Stands that are extended while the foot is low (T,): it does not move until it is clear of the ground."""
    found = []
    for index, (begin, end) in enumerate(stands):
        before = begin - (stands[index - 1][1] if index else 0)
        after = (stands[index + 1][0] if index + 1 < len(stands) else len(low)) - end
        first, last = begin, end
        while begin - first < min(most, before // 4) and low[first - 1]:
            first -= 1
        while last - end < min(most, after // 4) and low[last]:
            last += 1
        found.append((first, last))
    return found


def _bridged(move: np.ndarray, known: list[tuple[int, int]]) -> np.ndarray:
    """Moves (T, C) that are known in some runs, interpolated in between without jumps of speed (cubic Hermite)."""
    move = move.copy()
    move[: known[0][0]] = move[known[0][0]]
    move[known[-1][1] :] = move[known[-1][1] - 1]
    for (before, end), (begin, after) in pairwise(known):
        last, count = end - 1, begin - end + 1
        slopes = [
            _held(move[last] - move[max(last - 1, before)], count),
            _held(move[min(begin + 1, after - 1)] - move[begin], count),
        ]
        share = (np.arange(1, count) / count)[:, None]
        rest = 1.0 - share
        move[end:begin] = (
            rest**2 * (1.0 + 2.0 * share) * move[last]
            + share**2 * (1.0 + 2.0 * rest) * move[begin]
            + share * rest * (rest * slopes[0] - share * slopes[1])
        )
    return move


def _held(slope: np.ndarray, count: int) -> np.ndarray:
    """(C,) m, a slope in m per frame over `count` frames, shortened to `MAX_SWAY`."""
    way = slope * count
    return way * min(1.0, MAX_SWAY / max(float(np.linalg.norm(way)), MAX_SWAY))


def _away(standing: np.ndarray) -> np.ndarray:
    """(T,) frames to the nearest one in which a foot stands; many if it never does."""
    known = np.flatnonzero(standing)
    if not len(known):
        return np.full(len(standing), len(standing))
    time = np.arange(len(standing))
    after = known[np.searchsorted(known, time).clip(0, len(known) - 1)]
    before = known[(np.searchsorted(known, time, side="right") - 1).clip(0)]
    return np.minimum(np.abs(after - time), np.abs(time - before))
