"""Finds all errors in a config file, while `compose` stops at the first one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from .config import Config, _build, _file, _merged, _schema, _unknown
from .config_layers import leaves


def read_leniently(parts: Mapping[str, type], path: Path) -> tuple[Config, list[UserError]]:
    """Read the parts of a YAML file, None for parts with an error, and all errors.

    Args:
        parts: dataclass of each part.
        path: the file.
    """
    try:
        origin, data = _file(path)
    except UserError as error:
        return Config(dict.fromkeys(parts)), [error]
    errors = [_unknown(f"{origin}: unknown key {name}", name, set(parts)) for name in data if name not in parts]
    found = dict[str, Any]()
    for name, cls in parts.items():
        layer = {name: data[name]} if name in data else {}
        try:
            found[name] = getattr(_build(_schema({name: cls}), [(origin, layer)], log_renames=False), name)
        except UserError as error:
            found[name] = None
            errors += _errors({name: cls}, origin, layer, error)
    return Config(found), errors


def _errors(parts: Mapping[str, type], origin: str, layer: Mapping[str, Any], first: UserError) -> list[UserError]:
    """All errors of one part, each once: those of keys and types, or else, one after the other, those of values."""
    try:
        found = {str(error): error for error in [first, *_merged(_schema(parts), [(origin, layer)], log_renames=False)]}
    except UserError:  # the layer cannot be merged at all
        return [first]
    given, error = [".".join(names) for names, _ in leaves(layer)], first
    while (key := error.problem.split()[0].partition("[")[0]) in given:
        given.remove(key)
        layer = _without(layer, key)
        try:
            _build(_schema(parts), [(origin, layer)], log_renames=False)
            break
        except UserError as another:
            error = another
            if "has no value" in error.problem:  # it had one, which was wrong
                break
            found[str(error)] = error
    return list(found.values())


def _without(layer: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Nested mappings without one value."""
    name, _, inner = key.partition(".")
    rest = {x: y for x, y in layer.items() if x != name}
    return rest | {name: _without(layer[name], inner)} if inner else rest
