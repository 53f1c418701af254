"""The clock of a path waits for the robot: it slows down while the robot is behind the path's point or beside it.

Otherwise a robot that has lost its path would see points ever further away, which it has not seen in training, and run after them.
"""

from collections.abc import Callable

import numpy as np

from ..geometry import Array

CLOCK_STOP_DISTANCE = 0.6  # m behind or beside the path's point: the clock stops there, nearer it slows down
LOST_DISTANCE = 1.0  # m from the path's point, in any direction, beyond which the robot is off its path
LOST_SECONDS = 2.0  # s off the path, after which the path is given up
DIRECTION_SECONDS = 0.1  # s of the path, over which its direction is measured


def clock_rate(distance: float) -> float:
    """Rate of the path's clock, 1 at distance 0 and 0 from `CLOCK_STOP_DISTANCE` on.

    Args:
        distance: of the robot behind or beside the path's point, m.
    """
    return max(0.0, 1.0 - distance / CLOCK_STOP_DISTANCE)


class PathClock:
    """Time along one path. It starts at 0 with the path.

    A robot that is ahead of the path's point does not slow the clock: waiting for it would only put it further ahead.

    Args:
        position: the path's point at a time, s -> (2,) m.
        duration: of the path, s.

    Attributes:
        now: time of this clock, s.
        lost: why the path was given up; empty if it was not.
    """

    def __init__(self, position: Callable[[float], Array], duration: float) -> None:
        self._position, self._duration = position, duration
        self.now, self.lost = 0.0, ""
        self._time, self._off_since = 0.0, float("inf")
        self._resumes = False

    def resume(self) -> None:
        """Do not count the time until the next advance: the robot fell, and starts again."""
        self._resumes = True

    @property
    def done(self) -> bool:
        """Whether the path has come to its end."""
        return self.now >= self._duration

    def advance(self, time: float, here: Array) -> None:
        """Advance to a time, s since the path began, for a robot at (2,) m."""
        offset = here - self._position(self.now)
        if self._resumes:
            self._resumes, self._time, self._off_since = False, time, float("inf")
        self._watch(time, float(np.linalg.norm(offset)))
        self.now += (time - self._time) * clock_rate(self._behind_or_beside(offset))
        self._time = time

    def _behind_or_beside(self, offset: Array) -> float:
        """Length of an offset from the path's point, (2,) m, without its component ahead along the path, m."""
        way = self._position(self.now + DIRECTION_SECONDS) - self._position(self.now)
        length = float(np.linalg.norm(way))
        if length > 0.0:
            direction = way / length
            offset = offset - max(0.0, float(offset @ direction)) * direction
        return float(np.linalg.norm(offset))

    def _watch(self, time: float, distance: float) -> None:
        self._off_since = min(self._off_since, time) if distance > LOST_DISTANCE else float("inf")
        if time - self._off_since >= LOST_SECONDS - 1e-6 and not self.lost:
            self.lost = f"path given up: {distance:.1f} m off for {LOST_SECONDS:g} s"
