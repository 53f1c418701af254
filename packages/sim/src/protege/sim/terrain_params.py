"""Parameters of the ground: plain data, which commands read without importing NumPy."""

from dataclasses import dataclass

from protege.core import checks
from protege.core.errors import UserError

TERRAIN_KINDS = ("flat", "gentle")
MIN_CELL = 0.2
"""m. In smaller cells, MuJoCo Warp 3.12 pushes feet that have sunk in sideways or further down."""


@dataclass
class TerrainParams:
    """The ground that the robots walk on. Lengths in m.

    Attributes:
        kind: `flat`, or `gentle`: the sum of slopes, bumps and steps.
        seed: seed of the terrain, which all envs share. Episodes start anywhere in its middle half.
        size: length of its sides. Beyond it, the ground is flat.
        cell: distance between neighbouring points, over which a step rises: 5 cm in 20 cm.
        slope: largest gradient of the slopes, height over distance; 0 for none.
        bump_height: height from the lowest hollow to the highest bump; 0 for none.
        step_height: height of the highest step; 0 for none.
        in_evaluation: evaluations have this ground, too. Otherwise their floor is flat.
    """

    kind: str = "flat"
    seed: int = 0
    size: float = 40.0
    cell: float = 0.2
    slope: float = 0.1
    bump_height: float = 0.03
    step_height: float = 0.05
    in_evaluation: bool = True

    def check(self, key: str) -> None:
        if self.kind not in TERRAIN_KINDS:
            raise UserError(f"{key}.kind is {self.kind!r}", f"Take {' or '.join(TERRAIN_KINDS)}")
        checks.within(0, 2**31 - 1, self, key, "seed")
        checks.within(10, 100, self, key, "size")
        checks.within(MIN_CELL, 1, self, key, "cell")
        checks.within(0, 0.5, self, key, "slope")
        checks.within(0, 0.3, self, key, "bump_height", "step_height")

    def when(self, evaluation: bool) -> "TerrainParams":
        """The parameters that apply in training, or in an evaluation."""
        return self if self.in_evaluation or not evaluation else TerrainParams()
