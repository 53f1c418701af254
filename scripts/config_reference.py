"""Writes the tables of docs/configuration.md from the config dataclasses: `python scripts/config_reference.py`."""

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

from protege.core.masked_mimic import MaskedMimicConfig
from protege.core.policy import ModelConfig
from protege.core.ppo import PPOConfig
from protege.sim.env_config import EnvConfig

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"
BEGIN, END = "<!-- keys: written by scripts/config_reference.py -->", "<!-- keys: end -->"
PARTS = [
    ("`env`: the worlds", "env", EnvConfig),
    ("`agent` of the tracker and the teachers: PPO", "agent", PPOConfig),
    ("`agent` of MaskedMimic", "agent", MaskedMimicConfig),
    ("`model` of the tracker, the teachers and the student", "model", ModelConfig),
]


def described(cls: type) -> dict[str, str]:
    """What a dataclass's docstring says under `Attributes:`, by attribute; `a, b: text` speaks of both."""
    section = (inspect.getdoc(cls) or "").partition("Attributes:\n")[2]
    text = {}
    for entry in re.split(r"\n(?=    \S)", section.split("\n\n")[0]):
        names, _, meaning = entry.strip().partition(": ")
        text |= {name.strip(): " ".join(meaning.split()) for name in names.split(",")}
    return text


def default(field: dataclasses.Field) -> Any:
    """A field's default value, None if it has to be given."""
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else None


def rows(prefix: str, cls: type) -> list[tuple[str, str, str]]:
    """(key, default, meaning) of every key under a dataclass, nested ones by their dotted path."""
    meaning, table = described(cls), []
    for field in dataclasses.fields(cls):
        value, key = default(field), f"{prefix}.{field.name}"
        if dataclasses.is_dataclass(value):
            table += rows(key, type(value))
        elif isinstance(value, dict) and value and all(isinstance(v, (int, float)) for v in value.values()):
            about = meaning.get(field.name, "")
            table += [(f"{key}.{name}", repr(weight), about) for name, weight in value.items()]
        else:
            shown = "required" if value is None and field.type is str else repr(value)
            table.append((key, shown, meaning.get(field.name, "")))
    return table


def tables() -> str:
    """All tables in Markdown."""
    parts = []
    for heading, prefix, cls in PARTS:
        lines = [f"### {heading}", "", "| key | default | meaning |", "| --- | --- | --- |"]
        lines += [f"| `{key}` | `{shown}` | {meaning} |" for key, shown, meaning in rows(prefix, cls)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def updated(page: str) -> str:
    """The page with its tables written anew."""
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text()))
