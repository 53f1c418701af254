"""All keys of the config as Markdown tables from the dataclasses: `python scripts/config_reference.py` prints them.

The site's page of all keys is generated from these tables (`scripts/docs_site.py`).
"""

import dataclasses
import inspect
import re
from typing import Any, get_args, get_type_hints

import click

from protege.core.learning.masked_mimic import MaskedMimicConfig
from protege.core.learning.policy import ModelConfig
from protege.core.learning.ppo import PPOConfig
from protege.core.learning.world_model.config import WorldModelConfig
from protege.core.learning.world_model.masked_mimic import ImaginedMimicConfig
from protege.core.runs.config import RunConfig
from protege.core.runs.plain_yaml import as_yaml
from protege.distill.config import DistillConfig
from protege.sim.env_config import EnvConfig

PARTS = [
    ("`run`: robot, simulator, motions, budget", "run", RunConfig),
    ("`env`: the envs", "env", EnvConfig),
    ("`agent` of the tracker and the teachers: PPO", "agent", PPOConfig),
    ("`agent` of the tracker and the teachers through a world model", "agent", WorldModelConfig),
    ("`agent` of MaskedMimic", "agent", MaskedMimicConfig),
    ("`agent` of MaskedMimic through a world model: what differs from both", "agent", ImaginedMimicConfig),
    ("`agent` of the student: distillation", "agent", DistillConfig),
    ("`model` of the tracker, the teachers and the student", "model", ModelConfig),
]

DIFFERENCES = (ImaginedMimicConfig,)
"""Tables of these classes list only the keys in their own docstrings; the other keys are those of their base classes."""


def described(*classes: type) -> dict[str, str]:
    """Texts under `Attributes:` in docstrings, by attribute; later classes take precedence; `a, b: text` applies to both."""
    sections = [inspect.cleandoc(one.__doc__ or "").partition("Attributes:\n")[2] for one in classes]
    text = {}
    for entry in (line for section in sections for line in re.split(r"\n(?=    \S)", section.split("\n\n")[0])):
        names, _, meaning = entry.strip().partition(": ")
        text |= {name.strip(): " ".join(meaning.split()) for name in names.split(",")}
    return text


def default(field: dataclasses.Field) -> Any:
    """A field's default value; every field of a config has one."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def rows(prefix: str, cls: type) -> list[tuple[str, str, str]]:
    """Key, default and meaning of every key of a dataclass; nested keys have their dotted path."""
    meaning, hints, table = described(*reversed(cls.__mro__)), get_type_hints(cls), []
    for field in dataclasses.fields(cls):
        value, key, about = default(field), f"{prefix}.{field.name}", meaning.get(field.name, "")
        items = [item for item in get_args(hints[field.name]) if dataclasses.is_dataclass(item)]
        if dataclasses.is_dataclass(hints[field.name]):
            table += rows(key, type(value))
        elif items:
            table.append((key, f"{len(value)} entries", f"{about} An entry has the keys below."))
            table += rows(f"{key}[i]", items[0])
        elif isinstance(value, dict) and value:
            table += [(f"{key}.{name}", as_yaml(weight), about) for name, weight in value.items()]
        else:
            table.append((key, as_yaml(value), about))
    return table


def tables() -> str:
    """All tables in Markdown."""
    parts = []
    for heading, prefix, cls in PARTS:
        lines = [f"## {heading}", "", "| key | default | meaning |", "| --- | --- | --- |"]
        own = {f"{prefix}.{name}" for name in described(cls)}
        for row in (row for row in rows(prefix, cls) if cls not in DIFFERENCES or row[0] in own):
            key, shown, meaning = (cell.replace("|", "\\|") for cell in row)
            lines.append(f"| `{key}` | `{shown}` | {meaning} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


if __name__ == "__main__":
    click.echo(tables())
