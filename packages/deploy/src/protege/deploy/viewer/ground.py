"""The ground under the viewer's robots: flat, or a height field that a package offers (entry points `protege.terrains`)."""

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np

from ..errors import DeployError
from ..geometry import Array

if TYPE_CHECKING:
    from trimesh import Trimesh

FLAT = "flat"
NAME = "terrain"
LOW_COLOR, HIGH_COLOR = (38, 48, 58), (180, 184, 188)
"""Linear RGB of the vertices, 0 to 255."""
LOW_PERCENTILE = 20.0
"""Of the heights, which has the darkest colour: the border, which descends to the plane, is lower."""


class Ground:
    """The ground of one robot. Heights are in m above the plane of the exported model; beyond a height field they are 0.

    Args:
        kind: `FLAT`, or the name of a terrain.
        shift: m, y of the terrain's point that is the origin of the robot's world frame: robots side by side walk on one terrain.

    Raises:
        DeployError: no package offers this terrain.
    """

    def __init__(self, kind: str = FLAT, shift: float = 0.0) -> None:
        self.kind, self.shift, self.terrain = kind, shift, None if kind == FLAT else _load(kind)

    def height(self, xy: Array) -> Array:
        """Height of the surface at points (..., 2) m in the robot's world frame."""
        return self._at("height", xy)

    def level(self, xy: Array) -> Array:
        """Height of the ground around a point, averaged as in training; a policy's heights are measured from there."""
        return self._at("level", xy)

    def surface(self) -> "Trimesh":
        """The height field in the terrain's own frame, m; the higher, the lighter."""
        from trimesh import Trimesh  # takes seconds

        assert self.terrain is not None
        count, half = len(self.terrain.height), self.terrain.half_size
        x, y = np.meshgrid(*2 * [np.linspace(-half, half, count)])
        vertices = np.stack([x, y, self.terrain.height], axis=2).reshape(-1, 3).astype(np.float32)
        corner = (count * np.arange(count - 1)[:, None] + np.arange(count - 1)).ravel()
        # The two triangles of each cell, as MuJoCo divides it: from (0, 0) to (1, 1).
        lower, upper = (0, 1, count + 1), (0, count + 1, count)
        faces = np.concatenate([corner[:, None] + lower, corner[:, None] + upper])
        lowest = np.percentile(vertices[:, 2], LOW_PERCENTILE)
        share = ((vertices[:, 2:] - lowest) / (vertices[:, 2].max() - lowest)).clip(0.0, 1.0)
        colors = (np.array(LOW_COLOR) + share * np.subtract(HIGH_COLOR, LOW_COLOR)).astype(np.uint8)
        return Trimesh(vertices, faces, vertex_colors=colors, process=False)

    def compile(self, path: str) -> mujoco.MjModel:
        """The model of an MJCF file, with the height field on its plane.

        Raises:
            ValueError: MuJoCo cannot read it.
        """
        if self.terrain is None:
            return mujoco.MjModel.from_xml_path(path)
        spec = mujoco.MjSpec.from_file(path)
        self.terrain.add_to(spec, NAME)
        plane = next(geom for geom in spec.worldbody.geoms if geom.type == mujoco.mjtGeom.mjGEOM_PLANE)
        same = {
            key: getattr(plane, key) for key in ("contype", "conaffinity", "condim", "friction", "solref", "solimp")
        }
        place = [0.0, -self.shift, 0.0]
        spec.worldbody.add_geom(name=NAME, type=mujoco.mjtGeom.mjGEOM_HFIELD, hfieldname=NAME, pos=place, **same)
        return spec.compile()

    def _at(self, which: str, xy: Array) -> Array:
        """Interpolated between the four nearest points."""
        points = np.asarray(xy, dtype=np.float64)
        if self.terrain is None:
            return np.zeros(points.shape[:-1])
        grid = getattr(self.terrain, which)
        place = (points + np.array([0.0, self.shift]) + self.terrain.half_size) / self.terrain.cell
        place = place.clip(0.0, len(grid) - 1)
        low = np.minimum(place.astype(int), len(grid) - 2)
        (x, y), (column, row) = np.moveaxis(place - low, -1, 0), np.moveaxis(low, -1, 0)
        near, far = ((1.0 - x) * grid[r, column] + x * grid[r, column + 1] for r in (row, row + 1))
        return (1.0 - y) * near + y * far


def kinds() -> list[str]:
    """The names of all grounds, the flat one first."""
    return [FLAT, *sorted(entry_points(group="protege.terrains").names)]


def _load(kind: str) -> Any:
    """The terrain that a package offers by this name."""
    found = list(entry_points(group="protege.terrains", name=kind))
    if not found:
        raise DeployError(f"there is no ground {kind!r}", f"There are {', '.join(kinds())}")
    return found[0].load()()
