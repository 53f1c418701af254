"""What the user may say about a file that the file does not say itself."""

from dataclasses import dataclass
from typing import Literal

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254}
"""Metres."""

Ground = Literal["auto", "feet", "shift", "none"]
"""How a clip gets onto the ground, see `sim/motions/grounding.py`."""


@dataclass(frozen=True)
class Options:
    """All optional: None where the file's own word counts, or the format's convention.

    Attributes:
        format: name of the reader; found by the contents otherwise.
        fps: frames a second.
        quat: order of a quaternion's numbers.
        up: the axis that points up.
        unit: of lengths.
        scale: lengths are multiplied by it, besides the unit.
        map: path of a file that says the roles of a skeleton's bodies.
        source: whom to cite, instead of what the file says.
        licence: under which the motions may be used, instead of what the file says.
        ground: how the clip gets onto the ground.
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
        """What is stated about the file, as it stands on a command line; empty if nothing is."""
        stated = {"fps": self.fps, "quat": self.quat, "up": self.up, "unit": self.unit, "map": self.map}
        stated |= {"scale": self.scale} if self.scale != 1.0 else {}
        return " ".join(
            f"--{name} {value if isinstance(value, str) else f'{value:g}'}"
            for name, value in stated.items()
            if value is not None
        )

    @property
    def metres(self) -> float:
        """What the file's lengths are multiplied by; metres if nothing is stated."""
        return UNITS[self.unit or "m"] * self.scale


NO_OPTIONS = Options()
"""What is stated of a file about which nothing is stated."""
