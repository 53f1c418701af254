"""What ground the robots walk on: plain data, read by commands without importing NumPy."""

from dataclasses import dataclass

from protege.core import checks
from protege.core.errors import UserError

KINDS = ("flat", "gentle")
LEAST_CELL = 0.2
"""m. MuJoCo Warp 3.12 pushes feet sideways, or further down, that have sunk into smaller cells."""


@dataclass
class TerrainParams:
    """The ground that the robots walk on. Lengths in m.

    Attributes:
        kind: `flat`, or `gentle`: slopes, bumps and steps added up.
        seed: of the terrain, which is the same for all envs. An episode begins anywhere in its middle half.
        size: length of its sides. Beyond, the ground is flat.
        cell: distance between two of its points, over which a step rises: 5 cm in 20 cm.
        slope: the slopes' largest gradient, height over distance; 0 for none.
        bump_height: from the lowest hollow to the highest bump; 0 for none.
        step_height: the highest step; 0 for none.
    """

    kind: str = "flat"
    seed: int = 0
    size: float = 40.0
    cell: float = 0.2
    slope: float = 0.1
    bump_height: float = 0.03
    step_height: float = 0.05

    def check(self, key: str) -> None:
        if self.kind not in KINDS:
            raise UserError(f"{key}.kind is {self.kind!r}", f"Take {' or '.join(KINDS)}")
        checks.within(0, 2**31 - 1, self, key, "seed")
        checks.within(10, 100, self, key, "size")
        checks.within(LEAST_CELL, 1, self, key, "cell")
        checks.within(0, 0.5, self, key, "slope")
        checks.within(0, 0.3, self, key, "bump_height", "step_height")
