"""Layers of a config: values from a preset, a file or an argument, prepared for merging into the schema."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, get_origin

from omegaconf import DictConfig, ListConfig, OmegaConf

from ..errors import UserError
from .plain_yaml import is_plain

log = logging.getLogger(__name__)

FORMER_NAME = "formerly"
"""Metadata key of a renamed config field: its former name, which released configs and users' commands still contain."""


def prepared(origin: str, layer: Mapping[str, Any], schema: DictConfig) -> dict[str, Any]:
    """Prepare a layer: only plain values, with lists where the schema has lists.

    For a `list[...]` field, a single value becomes a list of one, and an empty string an empty list.

    Args:
        origin: of the layer, for errors.

    Raises:
        UserError: the layer is not plain data, or contains OmegaConf's interpolations or missing values.
    """
    if not is_plain(layer):
        raise UserError(f"{origin} is not plain data", "Give mappings, lists, text and numbers")
    for key, text in _texts(layer):
        if "${" in text:
            raise UserError(f"{origin}: {key}: ${{...}} is not filled in", "Write the value out")
        if text == "???":
            raise UserError(f"{origin}: {key}: ??? is no value", "Write the value out")
    return {name: _listed(value, schema._get_node(name) if name in schema else None) for name, value in layer.items()}


def former_keys(schema: DictConfig, prefix: str = "") -> dict[str, str]:
    """Former full keys of renamed fields (see `FORMER_NAME`), with their current ones."""
    found, cls = {}, OmegaConf.get_type(schema)
    for field in fields(cls) if is_dataclass(cls) else ():
        if FORMER_NAME in field.metadata:
            found[prefix + field.metadata[FORMER_NAME]] = prefix + field.name
    for name in schema:
        node = schema._get_node(str(name))
        if isinstance(node, DictConfig) and not node._is_none():
            found |= former_keys(node, f"{prefix}{name}.")
    return found


def current_key(key: str, former: Mapping[str, str], *, log_renames: bool) -> str:
    """The current name of a full key. log_renames: log it if the key was renamed."""
    now = former.get(key, key)
    if now != key and log_renames:
        log.warning("%s is now called %s", key, now)
    return now


def renamed(layer: Mapping[str, Any], former: Mapping[str, str], *, log_renames: bool) -> dict[str, Any]:
    """Replace former keys in a layer by current ones.

    Args:
        former: see `former_keys`.
        log_renames: log the current name of each former key.

    Raises:
        UserError: a key is given by both of its names.
    """

    def at(data: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        result = {}
        for name, value in data.items():
            key = f"{prefix}{name}"
            now = current_key(key, former, log_renames=log_renames)
            short = name if now == key else now.rpartition(".")[2]
            if short in result or (now != key and short in data):
                raise UserError(f"{now} is given twice, also by its former name {key}", f"Remove {key}")
            result[short] = at(value, f"{key}.") if isinstance(value, Mapping) else value
        return result

    return at(layer, "") if former else dict(layer)


def nested(key: str, value: Any) -> dict[str, Any]:
    """A dotted key and its value as nested dicts."""
    for name in reversed(key.split(".")):
        value = {name: value}
    return value


def leaves(layer: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All values that are not mappings with entries, each with its key as a tuple of names."""
    for name, value in layer.items():
        if isinstance(value, Mapping) and value:
            yield from (((name, *rest), inner) for rest, inner in leaves(value))
        else:
            yield (name,), value


def _listed(value: Any, node: Any) -> Any:
    if isinstance(node, DictConfig) and isinstance(value, Mapping):
        return {name: _listed(x, node._get_node(name) if name in node else None) for name, x in value.items()}
    if isinstance(node, ListConfig) and get_origin(node._metadata.ref_type) is list:
        return value if isinstance(value, list | tuple) or value is None else [value] if value != "" else []
    return value


def each_text(data: Any, change: Callable[[str], str]) -> Any:
    """Apply a function to all strings in plain data, except for keys."""
    if isinstance(data, Mapping):
        return {key: each_text(item, change) for key, item in data.items()}
    if isinstance(data, list):
        return [each_text(item, change) for item in data]
    return change(data) if isinstance(data, str) else data


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """All strings in a layer, including names, each with its key."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, x in value.items():
            inner = f"{key}.{name}" if key else name
            yield inner, name
            yield from _texts(x, inner)
    elif isinstance(value, list | tuple):
        for i, x in enumerate(value):
            yield from _texts(x, f"{key}[{i}]")
