"""Validates JSON by the part of JSON Schema (2020-12) that `policy.schema.json` uses, so that a robot needs no package for it.

Supported are types, bounds, lengths, patterns, enumerations, objects, lists, `$ref` and `anyOf` with null. Two rules are stricter
than JSON Schema's: a number is finite, and an integer has no decimal point.
"""

import json
import math
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

SCHEMA_FILE = Path(__file__).with_name("policy.schema.json")
"""JSON schema of `policy.json`: the only definition of its keys, for this program and for others."""
TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "string": ("a text", lambda x: isinstance(x, str)),
    "integer": ("an integer", lambda x: type(x) is int),
    "number": ("a finite number", lambda x: type(x) in (int, float) and _is_finite(x)),
    "array": ("a list", lambda x: isinstance(x, list)),
    "object": ("an object", lambda x: isinstance(x, dict)),
    "null": ("null", lambda x: x is None),
}
Schema = Mapping[str, Any]


def read_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is not JSON, holds a key twice, or is nested too deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def problem(data: Any) -> str | None:
    """Description, with the key, of the first violation of `policy.schema.json`; None if the data is valid."""
    return next(_problems(data, _schema(), ""), None)


@cache
def _schema() -> Schema:
    return json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))


def _problems(value: Any, schema: Schema, at: str) -> Iterator[str]:
    """Descriptions of what is wrong with a value. at: its location, such as `inputs[0].dtype`."""
    if "$ref" in schema:
        schema = _schema()["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    if "anyOf" in schema:  # something, or null
        if value is not None:
            yield from _problems(value, next(x for x in schema["anyOf"] if x.get("type") != "null"), at)
        return
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(TYPES[kind][1](value) for kind in kinds):
        yield f"{at or 'the file'} must be {' or '.join(TYPES[kind][0] for kind in kinds)}, not {short(value)}"
        return
    yield from _wrong_value(value, schema, at)
    if isinstance(value, dict) and "additionalProperties" in schema:
        yield from _wrong_keys(value, schema, at)
        parts = schema.get("properties", {})
        for key, item in value.items():
            yield from _problems(item, parts.get(key, schema["additionalProperties"]), f"{at}.{key}".lstrip("."))
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from _problems(item, schema["items"], f"{at}[{index}]")


def _wrong_keys(value: dict, schema: Schema, at: str) -> Iterator[str]:
    required, known = set(schema.get("required", [])), set(schema.get("properties", {}))
    unknown = set(value) - known if schema["additionalProperties"] is False else set()
    odd = (required - set(value)) | unknown
    if odd:
        yield f"the keys {sorted(odd)}{f' of {at}' * bool(at)} are missing or unknown"


def _wrong_value(value: Any, schema: Schema, at: str) -> Iterator[str]:
    if "const" in schema and value != schema["const"]:
        yield f"{at} must be {schema['const']}, not {short(value)}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at} must be one of {', '.join(map(str, schema['enum']))}, not {short(value)}"
    if isinstance(value, str):
        if len(value) < schema.get("minLength", 0):
            yield f"{at} is empty"
        if not re.search(schema.get("pattern", ""), value):
            yield f"{at} must match {schema['pattern']}, not {short(value)}"
    if isinstance(value, list):
        least, most = schema.get("minItems", 0), schema.get("maxItems", len(value))
        if not least <= len(value) <= most:
            yield f"{at} has {len(value)} entries, not {least if len(value) < least else most}"
        names = [item for item in value if isinstance(item, str)]
        if schema.get("uniqueItems") and len(set(names)) != len(names):
            yield f"{at} holds a name twice"
    if type(value) in (int, float):
        if value <= schema.get("exclusiveMinimum", -math.inf):
            yield f"{at} must be a positive number, not {short(value)}"  # the only exclusive bound of the schema is 0
        if not schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf):
            bounds = [
                f"{word} {schema[key]:g}"
                for key, word in (("minimum", "at least"), ("maximum", "at most"))
                if key in schema
            ]
            yield f"{at} must be {' and '.join(bounds)}, not {short(value)}"


def short(value: Any) -> str:
    """A value in at most 40 characters."""
    text = reprlib.repr(value)  # bounded in depth and length
    return text if len(text) <= 40 else f"{text[:37]}..."


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {short(key)} is there twice")
        found[key] = value
    return found


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float can hold
        return False
