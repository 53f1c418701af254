"""A layer of a config: what a preset, a file or an argument says, made ready to be merged into the schema."""

from collections.abc import Iterator, Mapping
from typing import Any, get_origin

from omegaconf import DictConfig, ListConfig

from ..errors import UserError
from .plain_yaml import is_plain


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
