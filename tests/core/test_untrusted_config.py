"""Config files with arbitrary contents, and limits of all numbers."""

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
from small_config import PARTS, families

from protege.core.env import env_plugin
from protege.core.errors import UserError
from protege.core.runs.config import RunConfig, checked, compose

BOMB = ", ".join(["&a0 [x]", *(f"&a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 8))])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: {robot: '${env.num_envs}'}", r"run\.robot: \$\{\.\.\.\} is not filled in\. Write the value out"),
        ("run: {experiment_name: '${oc.env:PATH}'}", r"run\.experiment_name: \$\{\.\.\.\} is not filled in"),
        ("env: {task_mix: {'${x}': 1}}", r"env\.task_mix\.\$\{x\}: \$\{\.\.\.\} is not filled in"),
        ("run: {robot: '???'}", r"run\.robot: \?\?\? is no value"),
        ("env: {num_envs: " + "9" * 5000 + "}", r"line 1: a number of 5000 characters"),
        ("env: {num_envs: 99999999999999999999}", r"env\.num_envs is 99999999999999999999\. Take 1000000 or less"),
        ("env: " + "[" * 2000, r"line 1: lists or mappings more than 32 deep"),
        ("run: &a {motion_file: [*a]}", r"line 1: an alias that contains itself"),
        (f"run: {{motion_file: [{BOMB}]}}", r"line 1: aliases make this more than 100,000 values"),
        ("env: {num_envs: 4}\n---\nenv: {num_envs: 5}", r"line 2: but found another document"),
        ("env: {null: 3}", r"line 1: a key that is not a string"),
        ("env: {? [1, 2] : 3}", r"line 1: a key that is not a string"),
        (
            "env.num_envs: 4",
            r"the key env\.num_envs has a dot in a name\. Nest it: \{'env': \{'num_envs': '\.\.\.'\}\}",
        ),
        ("env: {num_envs: .inf}", r"env\.num_envs"),
        ("env: {episode_length_s: .inf}", r"env\.episode_length_s is inf\. Take a finite number"),
        ("env: {task_mix: {track: .nan}}", r"env\.task_mix\.track is nan\. Take a finite number"),
        ("run: {max_time: .inf}", r"run\.max_time is inf\. Take a finite number"),
        ("run: {max_time: '1e999'}", r"run\.max_time is inf\. Take a finite number"),
        (
            "run: {motion_file: [[walk.npy]]}",
            r"run\.motion_file\[0\] is \['walk\.npy'\]\. Give a value of the type str",
        ),
        ("env: {task_mix: {walk: [1]}}", r"env\.task_mix\.walk is \[1\]\. Give a value of the type float"),
        ("env: {task_mix: {track: " + "[" * 9 + "]" * 9 + "}}", r"env\.task_mix\.track"),
        ("run: {robot: !!python/name:os.system x}", r"line 1: the tag tag:yaml\.org,2002:python/name:os\.system"),
    ],
)
def test_files_that_are_not_plain_data_are_one_error_line(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        compose({**PARTS, "env": env_plugin().config_class}, None, files=[path])
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(("data", "reason"), [("env: 1".encode("utf-16"), "UTF-8"), (b"run: {robot: \xe9}", "UTF-8")])
def test_files_in_another_encoding_are_named(tmp_path, data, reason):
    path = tmp_path / "c.yaml"
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"cannot read {path} \(it is not {reason} text\)"):
        compose(PARTS, None, files=[path])


def test_a_date_is_text():
    assert compose(PARTS, None, ["run.robot=2024-99-99"]).run.robot == "2024-99-99"


def changed(part: Any, change: Callable[[Any], Any], key: str) -> Iterator[tuple[str, Any]]:
    """Copies of a dataclass with one number changed, in a list, a mapping or a dataclass below it too, each with its key."""
    for f in fields(part):
        value, full = getattr(part, f.name), f"{key}.{f.name}"
        if is_dataclass(value):
            yield from ((name, replace(part, **{f.name: new})) for name, new in changed(value, change, full))
        elif isinstance(value, dict):
            yield from ((f"{full}.{n}", replace(part, **{f.name: {**value, n: change(x)}})) for n, x in value.items())
        elif isinstance(value, list | tuple) and value and is_dataclass(value[0]):
            for name, new in changed(value[0], change, f"{full}[0]"):
                yield name, replace(part, **{f.name: [new, *value[1:]]})
        elif isinstance(value, list | tuple) and value and isinstance(value[0], int | float):
            yield f"{full}[0]", replace(part, **{f.name: type(value)(map(change, value))})
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield full, replace(part, **{f.name: change(value)})
        elif value is None:
            yield full, replace(part, **{f.name: change(0.0 if "time" in f.name else 0)})


@pytest.mark.parametrize("huge", [10**17, -(10**17)])
@pytest.mark.parametrize("family", sorted(families()))
def test_every_number_has_bounds(family, huge):
    """Any number beyond its limits is refused by its key: no config may contain 1e9 m or 100 000 threads."""
    parts, keys = {"run": RunConfig, "env": env_plugin().config_class, **families()[family].parts}, []
    for name, cls in parts.items():
        for key, part in changed(cls(), lambda x: type(x)(huge), name):
            keys.append(key)
            with pytest.raises(UserError) as error:
                checked(part, name)
            assert str(error.value).startswith(f"{key} is ")
    assert len(keys) > 80
