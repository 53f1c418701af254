"""By how much a foot is to be moved in each frame so that it stands where it stands.

While a foot stands, the way that its lowest points slide is taken back, and they are put on the ground. While it swings, the change
goes over from one stand's to the next one's, and the foot is lifted clearance of the ground.
"""

from itertools import pairwise

import numpy as np

from .contacts import runs
from .ground import SNAP_SMOOTHING, averaged, frames, largest

SOLE_DEPTH = 0.005
"""m: points that are so much higher than the lowest have a weight of 1/e in where a foot stands."""
MAX_FOOT_MOVE = 0.12
"""m that a foot is moved at most: what slides on and on, as on skates, is meant to."""
SWING_CLEARANCE = 0.015
"""m that a foot which swings is lifted to, at least, from RISE_TIME s after it has stood until as long before it stands again."""
RISE_TIME = 0.065
LIFT_SMOOTHING = 2.0
"""Frames of 60 Hz, standard deviation of how its lift changes."""
MAX_SWAY = 0.15
"""m: of a swing, its duration times the speed with which the change of a foot begins and ends; more would sway by centimetres."""


def foot_moves(xy: np.ndarray, height: np.ndarray, standing: np.ndarray, step: float) -> np.ndarray:
    """(T, 3) m, by how much a foot is to be moved in each frame.

    Args:
        xy: (T, P, 2) m, of its points.
        height: (T, P) m over the ground.
        standing: (T,).
        step: s.
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
    clearance = SWING_CLEARANCE if stands else 0.0  # nothing tells of a foot that never stands how high it is to be
    lift = np.where(standing, 0.0, (clearance - lowest - move[:, 2]).clip(0.0))
    move[:, 2] += averaged(largest(lift, soft), soft) * risen(standing, step)
    return move


def risen(standing: np.ndarray, step: float) -> np.ndarray:
    """(T,) from 0 while a foot stands to 1, smoothly, from `RISE_TIME` s before and after it."""
    share = np.minimum(_away(standing) * step / RISE_TIME, 1.0)
    return share**2 * (3.0 - 2.0 * share)


def _longer(stands: list[tuple[int, int]], low: np.ndarray, most: int) -> list[tuple[int, int]]:
    """Stands that begin earlier and end later, while the foot is low (T,): until it is clearance of the ground it goes nowhere."""
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
    """Moves (T, C) that are known in some runs; between, they go from one to the next without a jump of speed (cubic Hermite)."""
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
    """(C,) m of a slope, m a frame, over so many frames, shortened to `MAX_SWAY`."""
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
