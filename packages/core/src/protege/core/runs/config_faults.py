"""All that is wrong with a file of a config, where `compose` stops at the first."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from .config import Config, _build, _file, _merged, _schema, _unknown


def read_leniently(parts: Mapping[str, type], path: Path) -> tuple[Config, list[UserError]]:
    """The parts of a YAML file, and what is wrong with it.

    Args:
        parts: dataclass of each part.
        path: the file.

    Returns:
        the config, in which a part with an error is None, and the errors. Of values that are refused for their size, the first of
        each part is among them.
    """
    try:
        origin, data = _file(path)
    except UserError as error:
        return Config(dict.fromkeys(parts)), [error]
    errors = [_unknown(f"{origin}: unknown key {name}", name, set(parts)) for name in data if name not in parts]
    found = dict[str, Any]()
    for name, cls in parts.items():
        layers = [(origin, {name: data[name]} if name in data else {})]
        try:
            found[name] = getattr(_build({name: cls}, layers, say=False), name)
        except UserError as error:
            found[name] = None
            errors += _errors({name: cls}, layers, error)
    return Config(found), errors


def _errors(
    parts: Mapping[str, type], layers: Sequence[tuple[str, Mapping[str, Any]]], first: UserError
) -> list[UserError]:
    """Those of one part, each once."""
    try:
        errors = {str(error): error for error in [first, *_merged(_schema(parts), layers, say=False)]}
    except UserError:  # it cannot be merged at all
        return [first]
    return list(errors.values())
