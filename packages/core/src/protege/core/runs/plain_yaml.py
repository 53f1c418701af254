"""Reads untrusted YAML as plain data: mappings with string keys, lists, strings, numbers, true, false and null.

YAML allows more: tags that name types, lists as keys, aliases that contain themselves. These are not needed here and can cause
tracebacks or hangs. `read` rejects them with the line number, within limits of size, depth and time.
"""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

MAX_CHARACTERS = 200_000
"""About 3000 paths. PyYAML takes four seconds if every other character is a value."""
MAX_DEPTH = 32
"""Largest nesting depth; the deepest config has six levels."""
MAX_VALUES = 100_000
"""Largest total number of values, including those repeated by aliases."""
MAX_NUMBER = 40
"""Largest number of characters of a number; Python itself rejects integers of more than 4300 digits."""


class NotPlainError(ValueError):
    """The text is not plain data; the message contains the line number."""


def read_file(path: str | Path) -> Any:
    """Read the plain data in a YAML file; see `read`.

    Raises:
        OSError: the file cannot be read.
        NotPlainError: see `read`.
    """
    with open(path, "rb") as file:
        return read(file.read(MAX_CHARACTERS * 4 + 1))  # UTF-8 has at most four bytes per character


def read(text: str | bytes) -> Any:
    """Parse a YAML text to plain data; None for an empty text.

    Args:
        text: bytes must be UTF-8.

    Raises:
        NotPlainError: the text is too long, not YAML, or not plain data.
    """
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        if len(text) > MAX_CHARACTERS:
            raise NotPlainError(f"it has more than {MAX_CHARACTERS:,} characters")
        return yaml.load(text, _PlainLoader)
    except UnicodeDecodeError as error:
        raise NotPlainError("it is not UTF-8 text") from error
    except yaml.YAMLError as error:
        raise NotPlainError(_in_one_line(error)) from error


def write(data: Any) -> str:
    """Write plain data as YAML text for `read`, with the order of keys and without aliases."""
    return yaml.dump(data, Dumper=_PlainDumper, sort_keys=False)


def as_yaml(value: Any) -> str:
    """A value in YAML's one-line notation, for `key.path=value`."""
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True, width=10**6).removesuffix("\n").removesuffix("\n...")


def _in_one_line(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    where = f"line {mark.line + 1}: " if mark else ""
    return f"{where}{problem or 'it is not YAML'}"


def _refused(problem: str, mark: yaml.Mark | None) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


class _PlainLoader(yaml.SafeLoader):
    """PyYAML's safe loader, restricted to plain data."""

    depth = 0

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        self.left = MAX_VALUES
        if node:
            self.measure(node, MAX_DEPTH)
        return node

    def measure(self, node: yaml.Node, depth: int) -> None:
        """Count all values below a node, following aliases; raise if there are too many or they are nested too deep."""
        self.left -= 1
        if self.left < 0:
            raise _refused(f"aliases make this more than {MAX_VALUES:,} values", node.start_mark)
        if not depth:
            raise _refused("an alias that contains itself", node.start_mark)
        for item in node.value if isinstance(node, yaml.CollectionNode) else []:
            for child in item if isinstance(item, tuple) else (item,):
                self.measure(child, depth - 1)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if getattr(event, "tag", None) not in (None, "!"):
            raise _refused(f"the tag {event.tag}; leave it out", event.start_mark)
        if self.depth >= MAX_DEPTH:
            raise _refused(f"lists or mappings more than {MAX_DEPTH} deep", event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in keys:
                raise _refused(f"the key {key.value} twice", key.start_mark)
            keys.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        self.flatten_mapping(node)  # `<<: *a` merges the keys of another mapping
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                raise _refused("a key that is not a string; put it in quotes", key.start_mark)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        text = self.construct_scalar(node)
        if len(text) > MAX_NUMBER:
            raise _refused(f"a number of {len(text)} characters", node.start_mark)
        try:
            is_int = node.tag == "tag:yaml.org,2002:int"
            return self.construct_yaml_int(node) if is_int else self.construct_yaml_float(node)
        except (ValueError, OverflowError) as error:
            raise _refused(f"{text} is not a number", node.start_mark) from error


for _kind in ("int", "float"):
    _PlainLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _PlainLoader.construct_number)
# Dates and `=` are plain strings.
_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if tag.split(":")[-1] in ("bool", "int", "float", "merge", "null")]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _PlainDumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def is_plain(value: Any, depth: int = MAX_DEPTH) -> bool:
    """Whether a value is plain data, as returned by `read`, of which configs from any source must consist."""
    if isinstance(value, Mapping):
        return depth > 0 and all(isinstance(key, str) and is_plain(x, depth - 1) for key, x in value.items())
    if isinstance(value, list | tuple):
        return depth > 0 and all(is_plain(x, depth - 1) for x in value)
    if isinstance(value, int):
        return abs(value) < 10**MAX_NUMBER
    return value is None or isinstance(value, str | float)
