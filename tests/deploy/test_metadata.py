"""policy.json: exact, and strict about what it reads."""

import copy
import json
import random
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from protege.deploy.errors import DeployError
from protege.deploy.policy import metadata
from protege.deploy.policy.policy_schema import SCHEMA_FILE, problem
from protege.deploy.safety.limits import Limits

SCHEMA = json.loads(SCHEMA_FILE.read_text())


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(exported, tmp_path / "copy"))


def edit(folder: Path, **changes) -> None:
    path = folder / "policy.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_round_trip_is_exact(folder: Path) -> None:
    first = metadata.load(folder)
    (folder / "policy.json").unlink()
    first.save(folder)
    assert metadata.load(folder) == first


@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=69, max_size=69))
def test_every_float_is_restored_exactly(
    exported: Path, tmp_path_factory: pytest.TempPathFactory, values: list[float]
) -> None:
    folder = tmp_path_factory.mktemp("floats")
    described = metadata.load(exported)
    assert described.start is not None
    changed = replace(described, start=replace(described.start, joint_vel=values))
    shutil.copy(exported / "policy.onnx", folder)
    changed.save(folder)
    again = metadata.load(folder).start
    assert again is not None and list(map(repr, again.joint_vel)) == list(map(repr, values))


@pytest.mark.parametrize("name", ["policy.json", "policy.onnx"])
def test_a_missing_file_is_reported(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(DeployError, match=rf"{name} does not exist.*protege-deploy export"):
        metadata.load(folder)


def test_another_schema_another_model_and_no_json_are_refused(folder: Path) -> None:
    edit(folder, schema_version=4)
    with pytest.raises(DeployError, match="schema version 4, this is 3"):
        metadata.load(folder)
    edit(folder, schema_version=2)
    with (folder / "policy.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(DeployError, match=r"policy\.onnx is not the model"):
        metadata.load(folder)
    (folder / "policy.json").write_text("{")
    with pytest.raises(DeployError, match="is not JSON"):
        metadata.load(folder)


ROW = [1.0] * 69


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"damping": [1.0] * 68}, "damping has 68 entries for 69 joints"),
        ({"stiffness": ["stiff"] * 69}, "stiffness[0] must be a finite number, not 'stiff'"),
        ({"stiffness": [*ROW[1:], -1.0]}, "stiffness[68] must be a positive number, not -1.0"),
        ({"damping": [0.0, *ROW[1:]]}, "damping[0] must be a positive number, not 0.0"),
        ({"effort_limit": [-5.0] * 69}, "effort_limit[0] must be a positive number, not -5.0"),
        ({"effort_limit": [float("inf")] * 69}, "effort_limit[0] must be a finite number, not inf"),
        ({"effort_limit": [float("nan")] * 69}, "effort_limit[0] must be a finite number, not nan"),
        ({"effort_limit": [10**400] * 69}, "effort_limit[0] must be a finite number, not 1"),
        ({"stiffness": [True] * 69}, "stiffness[0] must be a finite number, not True"),
        ({"control_dt": 0.0}, "control_dt must be a positive number, not 0.0"),
        ({"control_dt": 1e308}, "control_dt must be at most 1, not 1e+308"),
        ({"physics_dt": 1e-320}, "control_dt must be 1 to 10000 times physics_dt, a whole number"),
        ({"control_dt": 0.03}, "a whole number, not 0.03 s over 0.00833333 s"),
        ({"joint_range": [[1.0, -1.0]] * 69}, "joint_range of L_Hip_x is from 1 to -1 rad, which does not rise"),
        ({"joint_range": [[0.5, 1.0]] * 69}, "default_joint_pos of L_Hip_x is 0 rad, beyond its range of 0.5 to 1"),
        ({"joint_range": [[-1.0]] * 69}, "joint_range[0] has 1 entries, not 2"),
        ({"path_times": [5.0 - 0.5 * k for k in range(10)]}, "path_times must rise, not be [5.0, 4.5, 4.0, 3.5"),
        ({"path_times": [0.5, 1.0]}, "path_times has 2 entries, and path_w takes 10"),
        ({"path_times": [-0.5, 1.0]}, "path_times[0] must be a positive number, not -0.5"),
        ({"future_frames": [1, 2, 2, 8]}, "future_frames must rise, not be [1, 2, 2, 8]"),
        ({"future_frames": [1.5, 2, 4, 8]}, "future_frames[0] must be an integer, not 1.5"),
        ({"future_frames": [1]}, "future_frames has 1 entries, and target_body_pos_w takes 4"),
        ({"command_ranges": {"path_speed": {"low": 2, "high": 1, "unit": "m/s"}}}, "path_speed must rise and be in m/s"),
        ({"command_ranges": {"path_speed": {"low": 0, "high": 1, "unit": "m"}}}, "path_speed must rise and be in m/s"),
        ({"command_ranges": {"hop": {}}}, "the keys ['high', 'low', 'unit'] of command_ranges.hop are missing"),
        ({"modalities": []}, "modalities must name the columns of command_mask, each once, not []"),
        ({"modalities": [{"name": "path", "inputs": []}] * 3}, "modalities must name the columns of command_mask, each once"),
        ({"modalities": [{"name": x, "inputs": ["hop_w"]} for x in "abc"]}, "a is made of 'hop_w', which is no input"),
        ({"colour": "red"}, "the keys ['colour'] are missing or unknown"),
        ({"joint_names": ["a"] * 69}, "joint_names holds a name twice"),
        ({"source": {"kind": "student"}}, "the keys ['iteration', 'samples', 'weights_sha256'] of source are missing"),
        ({"outputs": [{"name": "x", "dtype": "int8", "shape": [], "unit": "", "frame": "", "meaning": ""}]},
         "outputs[0].dtype must be one of float32, bool, not 'int8'"),
        ({"inputs": "all"}, "inputs must be a list, not 'all'"),
        ({"model_sha256": "abc"}, "model_sha256 must match ^[0-9a-f]{64}$, not 'abc'"),
        ({"start": {}}, "of start are missing or unknown"),
        ({"safety": {"tork": 1.0}}, "the keys ['tork'] of safety are missing or unknown"),
        ({"safety": {"torque": -1.0}}, "safety.torque must be at least 0 and at most 1e+06, not -1.0"),
        ({"safety": {"clipped_steps": 15}}, "the keys ['clipped_steps'] of safety are missing or unknown"),
        ({"fall": {"root": 0.6, "head": 0.7, "head_body": "Nose"}}, "fall.head_body is 'Nose', which is none of body_names"),
        ({"camera": {"distance": 0, "height": 1}}, "camera.distance must be a positive number, not 0"),
        ({"batch": 0}, "batch must be at least 1, not 0"),
        ({"robot": None}, "robot must be a text, not None"),
        ({"schema_version": True}, "has schema version True, this is 3"),
    ],
)  # fmt: skip
def test_inconsistent_metadata_is_reported(folder: Path, changes: dict, message: str) -> None:
    edit(folder, **changes)
    with pytest.raises(DeployError, match=re.escape(message)):
        metadata.load(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"robot": "a", "robot": "b"}', "is not JSON (the key 'robot' is there twice)"),
        ("[" * 200_000, "is not JSON (it is nested too deeply)"),
        ('{"schema_version": ' + "9" * 5000 + "}", "is not JSON (Exceeds the limit"),
        ("[]", "has schema version None, this is 3"),
        ("\ufeff{}", "is not JSON (Unexpected UTF-8 BOM"),
    ],
)
def test_odd_json_is_a_one_line_error(folder: Path, text: str, message: str) -> None:
    (folder / "policy.json").write_text(text)
    with pytest.raises(DeployError, match=re.escape(message)):
        metadata.load(folder)


def test_a_deeply_nested_value_is_reported(folder: Path) -> None:
    path = folder / "policy.json"
    path.write_text(path.read_text().replace('"smpl"', "[" * 900 + "]" * 900, 1))
    with pytest.raises(DeployError, match=r"robot must be a text, not \[\[\[\[\[\["):
        metadata.load(folder)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) within some JSON."""
    if not isinstance(value, dict | list):
        return []
    items = list(value.items() if isinstance(value, dict) else enumerate(value))
    return [(value, key) for key, _ in items] + [place for _, item in items for place in places(item)]


ODD = [None, True, 0, -1, 0.5, 1234.5, -1e-320, 10**30, "", "x", [], {}, [[0.0]], [None], {"low": 1}]


def test_mutated_files_are_refused_as_the_schema_says_or_load(exported: Path, tmp_path: Path) -> None:
    """The package reads the schema itself: on each of these its verdict is that of a full implementation."""
    shutil.copy(exported / "policy.onnx", tmp_path)
    text, draw, validator = (exported / "policy.json").read_text(), random.Random(19), Draft202012Validator(SCHEMA)
    outcomes = Counter[str]()
    for _ in range(200):
        data = json.loads(text)
        container, key = draw.choice(places(data) if draw.random() < 0.5 else places(data)[: len(data)])
        if draw.random() < 0.2:
            del container[key]
        else:
            container[key] = copy.deepcopy(draw.choice(ODD))
        (tmp_path / "policy.json").write_text(json.dumps(data))
        assert (problem(data) is None) == validator.is_valid(data), (key, container)
        try:
            metadata.load(tmp_path)
            outcomes["loads"] += 1
        except DeployError as error:
            outcomes["refused"] += "\n" not in error.message
    assert outcomes.total() == 200 and outcomes["refused"] > 100 and outcomes["loads"] > 10, outcomes


def test_an_early_export_without_some_keys_still_loads(folder: Path) -> None:
    data = json.loads((folder / "policy.json").read_text())
    for key in ("command_ranges", "safety", "fall", "camera"):
        del data[key]
    (folder / "policy.json").write_text(json.dumps(data))
    described = metadata.load(folder)
    assert described.command_ranges == {} and Limits.of(described) == Limits()
    assert (described.fall, described.camera) == (metadata.Fall(0.6, 0.7, ""), metadata.Camera(2.9, 0.85))


def test_nan_is_not_written(folder: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        replace(metadata.load(folder), control_dt=float("nan")).save(folder)
