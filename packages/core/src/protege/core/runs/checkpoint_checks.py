"""Checks of a checkpoint's contents, because an intact archive may still contain anything.

`check_contents` checks each field. `digest` detects changes after saving. `check_layout` compares a training state with the one
that it replaces.
"""

import hashlib
from collections.abc import Buffer, Callable, Mapping
from math import isfinite, prod
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from ..motions.provenance import are_origins
from ..names import NAME_PATTERN
from ..robots.plain import from_plain
from .plain_yaml import MAX_DEPTH, is_plain

MAX_NUMBERS = 10_000_000
"""Upper limit of an observation's size."""
REMEDY = "Delete it and train again, or take another"


def check_contents(path: Any, data: Mapping[str, Any]) -> None:
    """Check each field of a checkpoint.

    Args:
        path: of the checkpoint, for the message.
        data: the fields by name.

    Raises:
        UserError: a field is invalid.
    """
    for name, (fits, wanted) in FIELDS.items():
        if not fits(data[name]):
            raise UserError(f"{path} is damaged: its {name} is not {wanted}", REMEDY)
    if wrong := _wrong_tensor(data["model"]):
        raise UserError(f"{path} is damaged: its tensor {wrong}", REMEDY)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 1000


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_table(value: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(_is_text(name) and fits(x) for name, x in value.items())


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and len(value) < 5 and all(map(_is_count, value)) and 0 < prod(value) <= MAX_NUMBERS


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(map(_is_text, value)) and len(set(value)) == len(value)


def _is_training(value: Any) -> bool:
    ranks = value.get("ranks", [{}]) if isinstance(value, dict) else None
    return (
        isinstance(ranks, list)
        and all(isinstance(rank, dict) for rank in ranks)
        and all(isinstance(name, str) for name in value)
        and _is_table(value.get("sources", {}), _is_text)
        and _is_count(value.get("falls", 0))
        and _is_nested(value)
    )


def _is_robot(value: Any) -> bool:
    """Whether the value is a robot's description, or empty."""
    if value == {}:
        return True
    try:
        from_plain(value)
    except ValueError:
        return False
    return True


def _is_nested(value: Any, depth: int = MAX_DEPTH) -> bool:
    """Whether mappings and lists are nested at most `depth` deep."""
    if isinstance(value, Mapping | list | tuple):
        inner = value.values() if isinstance(value, Mapping) else value
        return depth > 0 and all(_is_nested(x, depth - 1) for x in inner)
    return True


FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "kind": (lambda x: isinstance(x, str) and NAME_PATTERN.fullmatch(x) is not None, "a name"),
    "config": (lambda x: isinstance(x, dict) and is_plain(x), "a config: mappings, lists, text and numbers"),
    "robot": (_is_text, "a name"),
    "joint_names": (_are_names, "a list of different names"),
    "obs_shapes": (lambda x: _is_table(x, _is_shape), "shapes by name"),
    "model": (lambda x: _is_table(x, lambda y: isinstance(y, Tensor)) and len(x) > 0, "tensors by name"),
    "iteration": (_is_count, "a count"),
    "samples": (_is_count, "a count"),
    "seconds": (lambda x: _is_number(x) and 0.0 <= x < 1e12, "a time in s"),
    "finished": (lambda x: isinstance(x, bool), "true or false"),
    "metrics": (lambda x: _is_table(x, _is_number), "numbers by name"),
    "versions": (lambda x: _is_table(x, _is_text), "versions by name"),
    "training": (_is_training, "states by name"),
    "description": (_is_robot, "a robot"),
    "motions": (are_origins, "a list of motions' origins"),
}
"""For each field, a test of its value and a description of valid values."""


def _wrong_tensor(model: Mapping[str, Tensor]) -> str:
    """Name of the first invalid tensor, and the reason; empty if all are valid."""
    for name, x in model.items():
        if not _is_whole(x):
            return f"{name} is not in memory as a whole"
        if x.is_complex() or x.is_quantized:
            return f"{name} is of the type {x.dtype}"
        if x.is_floating_point() and not x.isfinite().all():
            return f"{name} holds numbers that are not finite"
        if name.endswith((".var", ".count")) and (x < 0).any():
            return f"{name} holds a negative number, and is a variance or a count"
    return ""


def _is_whole(x: Tensor) -> bool:
    """Whether a tensor stores all its values: it is not sparse, not on the meta device, and not expanded."""
    if x.layout != torch.strided or x.is_meta:
        return False
    return x.numel() * x.element_size() <= x.untyped_storage().nbytes()


def digest(value: Any) -> str:
    """SHA-256 of nested mappings, lists, tensors and plain values, including their order and types."""
    sha256 = hashlib.sha256()
    _add(sha256.update, value)
    return sha256.hexdigest()


def _add(update: Callable[[Buffer], object], value: Any) -> None:
    if isinstance(value, Mapping):
        update(b"{%d" % len(value))
        for name, x in value.items():
            _add(update, name)
            _add(update, x)
    elif isinstance(value, list | tuple):
        update(b"[%d" % len(value))
        for x in value:
            _add(update, x)
    elif isinstance(value, Tensor) and _is_whole(value):
        update(f"tensor {value.dtype} {tuple(value.shape)} ".encode())
        plain = value.detach().cpu().contiguous().reshape(-1)
        if plain.numel():
            update(memoryview(plain.view(torch.uint8).numpy()))
    elif isinstance(value, str):
        text = value.encode("utf-8", "surrogatepass")
        update(b"text %d " % len(text) + text)
    elif value is None or isinstance(value, int | float):
        update(f"{type(value).__name__} {value!r} ".encode())
    else:
        update(f"{type(value).__name__} ".encode())


def check_layout(state: Any, like: Any, key: str) -> None:
    """Check that a saved state has the same keys, types and shapes as the program's own state `like`.

    A list may have another length.

    Raises:
        ValueError: a key differs.
    """
    if isinstance(like, Tensor):
        if not isinstance(state, Tensor) or (state.shape, state.dtype) != (like.shape, like.dtype):
            raise ValueError(f"{key} is not a tensor of shape {tuple(like.shape)} and type {like.dtype}")
        if not _is_whole(state):
            raise ValueError(f"{key} is not in memory as a whole")
    elif isinstance(like, Mapping):
        if not isinstance(state, Mapping) or state.keys() != like.keys():
            raise ValueError(f"{key} has other parts than {', '.join(map(str, like))}")
        for name, x in like.items():
            check_layout(state[name], x, f"{key}.{name}")
    elif isinstance(like, list | tuple):
        if not isinstance(state, list | tuple):
            raise ValueError(f"{key} is not a list")
    elif _is_number(like):
        if not _is_number(state) or not isfinite(state) or (isinstance(like, int) and not isinstance(state, int)):
            raise ValueError(f"{key} is not a number")
    elif type(state) is not type(like):
        raise ValueError(f"{key} is not a {type(like).__name__}")
