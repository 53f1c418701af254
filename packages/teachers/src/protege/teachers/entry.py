"""An entry of a zoo's index: one trained policy."""

import re
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

INDEX = "index.yaml"
CARD = "card.md"
WEIGHTS = "model.safetensors"
FILES = (WEIGHTS, "config.yaml", CARD)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", re.ASCII)
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """One trained policy.

    Attributes:
        name: its folder.
        kind: tracker, masked_mimic, the kind of a task (`protege.core.tasks.Task`) or student.
        recipe: the command that trained it.
        metrics: its evaluations, by `simulator/task/quantity`; see `cards.read_metrics`.
        notes: such as the machine and known failures.
        sha256: of each of its files.
        weights: whether the zoo contains its weights; if not, the recipe trains similar ones.
    """

    name: str
    kind: str
    recipe: str
    metrics: dict[str, float] = field(default_factory=dict)
    notes: str = ""
    sha256: dict[str, str] = field(default_factory=dict)
    weights: bool = True

    @property
    def files(self) -> tuple[str, ...]:
        """Its files in the zoo."""
        return FILES if self.weights else tuple(file for file in FILES if file != WEIGHTS)


def is_plain(name: object) -> bool:
    """Whether a name cannot lead out of the zoo and is not that of the index."""
    return isinstance(name, str) and NAME.fullmatch(name) is not None and name != INDEX


def problem(entry: Entry) -> str:
    """Description of an error in an entry; empty if it is valid."""
    if not is_plain(entry.name):
        return f"{entry.name!r} cannot be the name of an entry"
    if not (is_plain(entry.kind) and isinstance(entry.recipe, str)):
        return f"{entry.name} has no kind or no recipe"
    if not isinstance(entry.notes, str):
        return f"the notes of {entry.name} are not a string"
    if not (isinstance(entry.metrics, dict) and all(map(is_number, entry.metrics.values()))):
        return f"the metrics of {entry.name} are not numbers by name"
    if not isinstance(entry.weights, bool):
        return f"the key weights of {entry.name} is not true or false"
    sums: Any = entry.sha256
    if not isinstance(sums, dict) or set(sums) != set(FILES):
        odd = [repr(file) for file in (sums if isinstance(sums, dict) else []) if file not in FILES]
        return f"{entry.name} lists {', '.join(odd) or 'too few files'}; its files must be {', '.join(FILES)}"
    if not all(isinstance(x, str) and SHA256.fullmatch(x) for x in sums.values()):
        return f"{entry.name} has checksums that are none"
    return ""


def is_number(value: object) -> bool:
    """Whether a value is a finite number and not a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
