"""Plain data, as JSON and YAML hold it: mappings, lists, strings and numbers."""

from typing import Any


def listed(value: Any) -> Any:
    """Nested dicts, lists and tuples, with lists in place of tuples."""
    if isinstance(value, dict):
        return {name: listed(x) for name, x in value.items()}
    return [listed(x) for x in value] if isinstance(value, list | tuple) else value
