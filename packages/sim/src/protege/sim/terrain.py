"""Uneven ground as a height field, determined by the config and its seed alone."""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from .terrain_params import TerrainParams

CLEARANCE = 0.1
"""m, height of the terrain's lowest point above the surrounding plane: more than feet sink in."""
EDGE_WIDTH = 2.0
"""m, width of the border over which the terrain descends to that plane."""
SLOPE_LENGTH, BUMP_LENGTH = (6.0, 12.0), (0.8, 2.0)
"""m, shortest and longest distance between crests."""
BLOCK_SIZE = 1.5
"""m, side of the level blocks; their heights differ by steps."""
WAVE_COUNT = 12
LEVEL_WINDOW = 0.5
"""m, side of the square over which `Terrain.level` averages: about the length of a step."""
BASE = 1.0
"""m, thickness of the solid ground under a height field. Feet that sank half as deep would be pushed out below."""


@dataclass(frozen=True)
class Terrain:
    """A square height field about the origin, on a plane at height 0.

    Attributes:
        height: (R, R) m, float32, 0 at the border and positive elsewhere; rows along y, columns along x.
        cell: m, distance between neighbouring points.
    """

    height: np.ndarray
    cell: float

    @property
    def half_size(self) -> float:
        """m, from the origin to the border."""
        return 0.5 * self.cell * (len(self.height) - 1)

    @cached_property
    def level(self) -> np.ndarray:
        """(R, R) m, float32, the height averaged over `LEVEL_WINDOW`, at the border over what is inside."""
        reach = round(0.5 * LEVEL_WINDOW / self.cell)
        padded = np.pad(self.height.astype(float), reach, constant_values=np.nan)
        around = np.lib.stride_tricks.sliding_window_view(padded, (2 * reach + 1, 2 * reach + 1))
        return np.nanmean(around, axis=(2, 3)).astype(np.float32)

    def add_to(self, spec: Any, name: str) -> None:
        """Add the height field to a MuJoCo `MjSpec`. MuJoCo scales its heights to 0 ... 1 and multiplies them by the third size."""
        top, points = float(self.height.max()), len(self.height)
        heights = (self.height.astype(float) / top).flatten()
        size = [self.half_size, self.half_size, top, BASE]
        spec.add_hfield(name=name, nrow=points, ncol=points, size=size, userdata=heights)


def make_terrain(params: TerrainParams) -> Terrain | None:
    """The terrain of a config; None for the flat floor at height 0."""
    if params.kind == "flat":
        return None
    random = np.random.default_rng(params.seed)
    count = round(params.size / params.cell) + 1
    along = params.cell * (np.arange(count) - 0.5 * (count - 1))
    x, y = np.meshgrid(along, along)
    slopes, bumps = _waves(SLOPE_LENGTH, x, y, random), _waves(BUMP_LENGTH, x, y, random)
    block = ((along - along[0]) // BLOCK_SIZE).astype(int)
    steps = random.uniform(size=(block[-1] + 1, block[-1] + 1))[np.ix_(block, block)]
    height = params.slope * slopes / np.hypot(*np.gradient(slopes, params.cell)).max()
    height += params.bump_height * bumps / np.ptp(bumps) + params.step_height * steps
    height += CLEARANCE - height.min()
    inside = (0.5 * params.size - np.maximum(np.abs(x), np.abs(y))) / EDGE_WIDTH
    return Terrain((height * inside.clip(0.0, 1.0)).astype(np.float32), params.cell)


gentle = partial(make_terrain, TerrainParams("gentle"))
slopes = partial(make_terrain, TerrainParams("gentle", bump_height=0.0, step_height=0.0))
bumps = partial(make_terrain, TerrainParams("gentle", slope=0.0, step_height=0.0))
steps = partial(make_terrain, TerrainParams("gentle", slope=0.0, bump_height=0.0))
"""What the viewer offers: the ground that policies are trained on, and each part of it."""


def _waves(length: tuple[float, float], x: np.ndarray, y: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A sum of plane waves of random lengths (m) and directions, all equally steep."""
    total = np.zeros_like(x)
    for _ in range(WAVE_COUNT):
        wave, angle, phase = random.uniform(*length), *random.uniform(0.0, 2.0 * np.pi, 2)
        total += wave * np.cos(2.0 * np.pi / wave * (x * np.cos(angle) + y * np.sin(angle)) + phase)
    return total
