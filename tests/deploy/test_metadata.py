"""policy.json: exact, and strict about what it reads."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protege.deploy import metadata
from protege.deploy.errors import DeployError


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
def test_every_float_survives(exported: Path, tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    folder = tmp_path_factory.mktemp("floats")
    changed = replace(metadata.load(exported), default_joint_pos=values)
    shutil.copy(exported / "policy.onnx", folder)
    changed.save(folder)
    assert list(map(repr, metadata.load(folder).default_joint_pos)) == list(map(repr, values))


@pytest.mark.parametrize("name", ["policy.json", "policy.onnx"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(DeployError, match=rf"{name} does not exist.*protege-deploy export"):
        metadata.load(folder)


def test_another_schema_another_model_and_no_json_are_refused(folder: Path) -> None:
    edit(folder, schema_version=3)
    with pytest.raises(DeployError, match="schema version 3, this is 2"):
        metadata.load(folder)
    edit(folder, schema_version=2)
    with (folder / "policy.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(DeployError, match=r"policy\.onnx is not the model"):
        metadata.load(folder)
    (folder / "policy.json").write_text("{")
    with pytest.raises(DeployError, match="is not JSON"):
        metadata.load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"damping": [1.0] * 68}, r"damping must be finite numbers of shape \(69,\), not \(68,\)"),
        ({"stiffness": ["stiff"] * 69}, "could not convert string"),
        ({"effort_limit": [float("inf")] * 69}, "effort_limit must be finite"),
        ({"control_dt": 0.0}, "control_dt must be a positive number"),
        ({"colour": "red"}, r"\['colour'\] are missing or unknown"),
        ({"joint_names": ["a"] * 69}, "joint_names holds a name twice"),
        ({"source": {"kind": "student"}}, "missing"),
        ({"outputs": [{"name": "x", "dtype": "int8", "shape": [], "unit": "", "frame": "", "meaning": ""}]}, "int8"),
    ],
)
def test_inconsistent_metadata_are_named(folder: Path, changes: dict, message: str) -> None:
    edit(folder, **changes)
    with pytest.raises(DeployError, match=message):
        metadata.load(folder)


def test_nan_is_not_written(folder: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        replace(metadata.load(folder), control_dt=float("nan")).save(folder)
