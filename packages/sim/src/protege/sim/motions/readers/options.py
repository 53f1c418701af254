"""What the user may specify about a file that the file does not contain."""

from dataclasses import dataclass
from typing import Literal

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254}
"""Size of each unit in metres."""

Ground = Literal["auto", "feet", "shift", "none"]
"""How a clip is put on the ground, see `sim/motions/grounding.py`."""


@dataclass(frozen=True)
class Options:
    """Optional settings: None means the file's own value, or the format's convention.

    Attributes:
        format: name of the reader; by default it is detected from the contents.
        fps: frames per second.
        quat: order of a quaternion's numbers.
        up: the axis that points up.
        unit: unit of lengths.
        scale: factor on lengths, in addition to the unit.
        map: path of a file with the roles of a skeleton's bodies.
        source: source to cite, instead of the file's own.
        licence: licence of the motions, instead of the file's own.
        ground: how the clip is put on the ground.
    """

    format: str | None = None
    fps: float | None = None
    quat: Literal["wxyz", "xyzw"] | None = None
    up: Literal["y", "z"] | None = None
    unit: str | None = None
    scale: float = 1.0
    map: str | None = None
    source: str = ""
    licence: str = ""
    ground: Ground = "auto"

    @property
    def words(self) -> str:
        """The given options about the file, as on a command line; empty if there are none."""
        stated = {"fps": self.fps, "quat": self.quat, "up": self.up, "unit": self.unit, "map": self.map}
        stated |= {"scale": self.scale} if self.scale != 1.0 else {}
        return " ".join(
            f"--{name} {value if isinstance(value, str) else f'{value:g}'}"
            for name, value in stated.items()
            if value is not None
        )

    @property
    def metres(self) -> float:
        """Factor that converts the file's lengths to metres."""
        return UNITS[self.unit or "m"] * self.scale


NO_OPTIONS = Options()
"""The options of a file about which the user specifies nothing."""
