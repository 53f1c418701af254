"""Height of the ground under N robots on a terrain: look-ups of fixed shape, on the device."""

from typing import Self

import torch
from torch import Tensor

from .terrain import Terrain


class Floor:
    """The ground of n envs. Each env has its own place on the terrain, which is moved under the robot: robots start at the origin.

    Args:
        terrain: shared by all envs.
        n: number of envs.

    Attributes:
        origin: (n, 2) m, the point of the terrain that lies at the origin of each env's world frame.
    """

    def __init__(self, terrain: Terrain, n: int, device: torch.device | str) -> None:
        self.cell, self.half_size, self.points = terrain.cell, terrain.half_size, len(terrain.height)
        self._surface, self._level = (torch.from_numpy(x).to(device).flatten() for x in (terrain.height, terrain.level))
        self.origin = torch.zeros(n, 2, device=device)

    def __getitem__(self, rows: slice) -> Self:
        """The ground of some of the envs, a view."""
        part = object.__new__(type(self))
        vars(part).update(vars(self), origin=self.origin[rows])
        return part

    def move(self, mask: Tensor, generator: torch.Generator) -> None:
        """Draw new places, in the middle half of the terrain, for the envs where mask (n,) is True."""
        draws = torch.rand(self.origin.shape, generator=generator, device=self.origin.device)
        self.origin.copy_(torch.where(mask.unsqueeze(1), (draws - 0.5) * self.half_size, self.origin))

    def height(self, xy: Tensor) -> Tensor:
        """Height of the surface that feet touch, (n, ...) m, at points (n, ..., 2) m in the world frame."""
        return self._look_up(self._surface, xy)

    def level(self, xy: Tensor) -> Tensor:
        """Height of the ground around a point, see `Terrain.level`, (n, ...) m; xy: (n, ..., 2) m in the world frame.

        A robot with both feet on uneven ground stands about this high. It changes little between control steps, even at an edge.
        """
        return self._look_up(self._level, xy)

    def above(self, body_pos_w: Tensor) -> Tensor:
        """Positions of bodies (n, ..., B, 3) m, their heights measured from the level ground under the root, the first body."""
        return self._shifted(body_pos_w, -1.0)

    def raised(self, body_pos_w: Tensor) -> Tensor:
        """Positions of bodies (n, ..., B, 3) m of a motion over flat ground at height 0, raised to the level ground."""
        return self._shifted(body_pos_w, 1.0)

    def obstacle(self, body_pos_w: Tensor, feet: Tensor) -> Tensor:
        """How far robots that stand on the level ground must be lifted so that no foot is below the ground, (n,) m.

        Args:
            body_pos_w: (n, B, 3) m, as `raised` returns them.
            feet: (F,) indices of the feet.
        """
        ground = self.height(body_pos_w[:, feet, :2]) - self.level(body_pos_w[:, :1, :2])
        return ground.amax(dim=1).clamp_min(0.0)

    def _shifted(self, body_pos_w: Tensor, sign: float) -> Tensor:
        lift = torch.zeros_like(body_pos_w[..., :1, :])
        lift[..., 0, 2] = sign * self.level(body_pos_w[..., 0, :2])
        return body_pos_w + lift

    def _look_up(self, grid: Tensor, xy: Tensor) -> Tensor:
        """Interpolated as MuJoCo does: it divides each cell of a height field into two triangles, from (0, 0) to (1, 1)."""
        origin = self.origin.view(-1, *[1] * (xy.ndim - 2), 2)
        place = ((xy + origin + self.half_size) / self.cell).clamp(0.0, self.points - 1)
        low = place.long().clamp(0, self.points - 2)  # inside the grid, also for NaN
        x, y = (place - low).unbind(-1)
        corner = low[..., 1] * self.points + low[..., 0]
        first, last = grid[corner], grid[corner + self.points + 1]
        side = grid[corner + torch.where(x > y, 1, self.points)]
        inner, outer = torch.minimum(x, y), torch.maximum(x, y)
        return first + inner * (last - first) + (outer - inner) * (side - first)
