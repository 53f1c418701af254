"""A layer of a config: what a preset, a file or an argument says, made ready to be merged into the schema."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, get_origin

from omegaconf import DictConfig, ListConfig, OmegaConf

from ..errors import UserError
from .plain_yaml import is_plain

log = logging.getLogger(__name__)

FORMERLY = "formerly"
"""Metadata of a config's field that was renamed: its old name, which released configs and users' commands still hold."""


def prepared(origin: str, layer: Mapping[str, Any], schema: DictConfig) -> dict[str, Any]:
    """A layer that holds values only, one for each of its keys.

    A value where a `list[...]` belongs is a list of one, and nothing, the empty string, an empty list.

    Args:
        origin: who says it, for errors.

    Raises:
        UserError: it refers to other values or leaves one open, which OmegaConf would take up, or it is not plain data.
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
    """The full keys that fields had before they were renamed (see `FORMERLY`), and the ones that they have now."""
    found, cls = {}, OmegaConf.get_type(schema)
    for field in fields(cls) if is_dataclass(cls) else ():
        if FORMERLY in field.metadata:
            found[prefix + field.metadata[FORMERLY]] = prefix + field.name
    for name in schema:
        node = schema._get_node(str(name))
        if isinstance(node, DictConfig) and not node._is_none():
            found |= former_keys(node, f"{prefix}{name}.")
    return found


def present_key(key: str, former: Mapping[str, str], *, say: bool) -> str:
    """The present name of a full key. say: log it, if the key was renamed."""
    now = former.get(key, key)
    if now != key and say:
        log.warning("%s is now called %s", key, now)
    return now


def renamed(layer: Mapping[str, Any], former: Mapping[str, str], *, say: bool) -> dict[str, Any]:
    """A layer with the present name of each key.

    Args:
        former: see `former_keys`.
        say: log the present name of each former key.

    Raises:
        UserError: a key is given by both of its names.
    """

    def at(data: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        result = {}
        for name, value in data.items():
            key = f"{prefix}{name}"
            now = present_key(key, former, say=say)
            short = name if now == key else now.rpartition(".")[2]
            if short in result or (now != key and short in data):
                raise UserError(f"{now} is given twice, also by its former name {key}", f"Remove {key}")
            result[short] = at(value, f"{key}.") if isinstance(value, Mapping) else value
        return result

    return at(layer, "") if former else dict(layer)


def nested(key: str, value: Any) -> dict[str, Any]:
    """A dotted key and its value as dicts in dicts."""
    for name in reversed(key.split(".")):
        value = {name: value}
    return value


def leaves(layer: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All values that are not mappings with entries, each after its key, name by name."""
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
    """Plain data with its texts changed; names of keys stay."""
    if isinstance(data, Mapping):
        return {key: each_text(item, change) for key, item in data.items()}
    if isinstance(data, list):
        return [each_text(item, change) for item in data]
    return change(data) if isinstance(data, str) else data


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """All text in a layer, names too, each with the key where it is."""
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
