"""A path's clock that waits for the robot, as in deployment: the stricter way to evaluate path following.

With the fixed clock a path's point moves on whatever the robot does. Here it slows down for a robot that is off it.
"""

import torch
from torch import Tensor

from ..references.reference import clear

# The same numbers as in `protege.deploy`; a test compares them.
STANDSTILL = 0.6
"""m: the clock goes at the rate max(0, 1 - d / STANDSTILL), where d is how far the pelvis is behind or beside the path's point."""
AHEAD = 0.1
"""s, over which the path's direction is taken. A robot that is ahead along it does not slow the clock: that would put it further
ahead."""
ASTRAY = 1.0
"""m: further from the path's point than this, a robot is astray."""
ASTRAY_TIME = 2.0
"""s: a robot that is astray for longer has lost the path."""
ARRIVED = 0.5
"""m: largest distance from the path's end, once the clock is there, at which a robot has arrived."""
TIME_LIMIT = 1.5
"""Multiple of the path's duration after which a robot that has not arrived is late."""


def behind_or_beside(offset: Tensor, way: Tensor) -> Tensor:
    """How far n robots are behind or beside the path's points, (n,) m.

    Args:
        offset: (n, 2) m, from the path's point to the robot.
        way: (n, 2) m, from the path's point to where it is a little later; zero at the path's end.
    """
    direction = way / way.norm(dim=1, keepdim=True).clamp_min(1e-9)
    ahead = (offset * direction).sum(dim=1, keepdim=True).clamp_min(0.0)
    return (offset - ahead * direction).norm(dim=1)


def clock_rate(distance: Tensor) -> Tensor:
    """How fast the clock goes, 0 to 1, for robots that are so far (n,) m behind or beside the path's point."""
    return (1.0 - distance / STANDSTILL).clamp_min(0.0)


class PathClock:
    """The clocks of n envs. A plan is a table of frames, so that a clock is exact to one frame; what is less is carried over.

    Args:
        frames: of the plan in a control step at full rate.
        dt: control period, s.

    Attributes:
        fraction: (n,) share of the next frame that is over.
        elapsed: (n,) control steps since the episode began.
        astray: (n,) control steps in a row in which the robot was astray.
    """

    def __init__(self, n: int, frames: int, dt: float, device: torch.device) -> None:
        self.frames, self.dt = frames, dt
        self.fraction = torch.zeros(n, device=device)
        self.elapsed = torch.zeros(n, dtype=torch.long, device=device)
        self.astray = torch.zeros(n, dtype=torch.long, device=device)

    def reset(self, mask: Tensor) -> None:
        """Start new episodes where mask (n,) is True."""
        for x in self.rows().values():
            clear(x, mask)

    def advance(self, offset: Tensor, way: Tensor) -> Tensor:
        """A control step later: (n,) how many frames the plan goes on; see `behind_or_beside` for the arguments."""
        self.elapsed += 1
        self.astray.copy_(torch.where(offset.norm(dim=1) > ASTRAY, self.astray + 1, 0))
        self.fraction += self.frames * clock_rate(behind_or_beside(offset, way))
        whole = self.fraction.floor()
        self.fraction -= whole
        return whole.long()

    def lost(self) -> Tensor:
        """(n,) bool: first seen astray `ASTRAY_TIME` ago, and ever since."""
        return self.astray > round(ASTRAY_TIME / self.dt)

    def late(self, last_step: Tensor) -> Tensor:
        """(n,) bool: `TIME_LIMIT` times the path's duration, (n,) control steps, is over."""
        return self.elapsed >= TIME_LIMIT * last_step

    def rows(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return {"fraction": self.fraction, "elapsed": self.elapsed, "astray": self.astray}
