"""A path's clock that waits for the robot, as in deployment: a stricter evaluation of path following.

With the fixed clock a path's point moves on with time, whatever the robot does. This clock slows down for a robot off the path.
"""

import torch
from torch import Tensor

from ..references.rows import zero_where

# The same numbers as in `protege.deploy`; a test compares them.
STANDSTILL_DISTANCE = 0.6
"""m: the clock's rate is max(0, 1 - d / this), where d is the distance of the pelvis behind or beside the path's point."""
DIRECTION_LOOKAHEAD = 0.1
"""s, over which the path's direction is measured. A robot that is ahead in this direction does not slow the clock, because that
would put it further ahead."""
ASTRAY_DISTANCE = 1.0
"""m: a robot that is further than this from the path's point is astray."""
ASTRAY_TIME = 2.0
"""s: a robot that is astray for longer than this has lost the path."""
ARRIVAL_DISTANCE = 0.5
"""m: a robot has arrived when it is within this distance of the path's end and the clock has reached the end."""
TIME_LIMIT_FACTOR = 1.5
"""Multiple of the path's duration after which a robot that has not arrived is late."""


def behind_or_beside(offset: Tensor, way: Tensor) -> Tensor:
    """Distances of n robots behind or beside the path's points, (n,) m.

    Args:
        offset: (n, 2) m, from the path's point to the robot.
        way: (n, 2) m, from the path's point to its position a little later; zero at the path's end.
    """
    direction = way / way.norm(dim=1, keepdim=True).clamp_min(1e-9)
    ahead = (offset * direction).sum(dim=1, keepdim=True).clamp_min(0.0)
    return (offset - ahead * direction).norm(dim=1)


def clock_rate(distance: Tensor) -> Tensor:
    """Rate of the clock, 0 to 1, for robots at a distance (n,) m behind or beside the path's point."""
    return (1.0 - distance / STANDSTILL_DISTANCE).clamp_min(0.0)


class PathClock:
    """The clocks of n envs. A plan is a table of frames, so a clock advances by whole frames; the remainder is carried over.

    Args:
        frames: plan frames in a control step at full rate.
        dt: control period, s.

    Attributes:
        fraction: (n,) elapsed share of the next frame.
        elapsed: (n,) control steps since the episode began.
        astray: (n,) number of consecutive control steps in which the robot was astray.
    """

    def __init__(self, n: int, frames: int, dt: float, device: torch.device) -> None:
        self.frames, self.dt = frames, dt
        self.fraction = torch.zeros(n, device=device)
        self.elapsed = torch.zeros(n, dtype=torch.long, device=device)
        self.astray = torch.zeros(n, dtype=torch.long, device=device)

    def reset(self, mask: Tensor) -> None:
        """Start new episodes where mask (n,) is True."""
        for x in self.rows().values():
            zero_where(x, mask)

    def advance(self, offset: Tensor, way: Tensor) -> Tensor:
        """Advance by a control step: (n,) number of frames by which the plan moves on; see `behind_or_beside` for the arguments."""
        self.elapsed += 1
        self.astray.copy_(torch.where(offset.norm(dim=1) > ASTRAY_DISTANCE, self.astray + 1, 0))
        self.fraction += self.frames * clock_rate(behind_or_beside(offset, way))
        whole = self.fraction.floor()
        self.fraction -= whole
        return whole.long()

    def lost(self) -> Tensor:
        """(n,) bool: the robot has been astray for longer than `ASTRAY_TIME`."""
        return self.astray > round(ASTRAY_TIME / self.dt)

    def late(self, last_step: Tensor) -> Tensor:
        """(n,) bool: `TIME_LIMIT_FACTOR` times the path's duration, (n,) control steps, is over."""
        return self.elapsed >= TIME_LIMIT_FACTOR * last_step

    def rows(self) -> dict[str, Tensor]:
        """The tensors in a checkpoint."""
        return {"fraction": self.fraction, "elapsed": self.elapsed, "astray": self.astray}
