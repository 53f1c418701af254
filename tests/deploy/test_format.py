"""The format is what its page and its schema say: a runtime written from the page acts like ours."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnxruntime
import pytest
from students import ROBOT

from protege.core.tasks import modalities
from protege.deploy.commands.goal import GoalCommand
from protege.deploy.commands.path import PathCommand
from protege.deploy.commands.steering import SteeringCommand
from protege.deploy.export.export import Variant, export
from protege.deploy.export.urdf import urdf
from protege.deploy.interface import MEASURED_FIELDS, RANGE_UNITS, Command
from protege.deploy.policy import metadata, tensors
from protege.deploy.policy.metadata import (
    OPTIONAL_KEYS,
    Accuracy,
    Camera,
    ClosedLoop,
    CommandRange,
    Fall,
    Imu,
    Metadata,
    Modality,
    Source,
    StartState,
    TensorSpec,
)
from protege.deploy.policy.policy_schema import SCHEMA_FILE
from protege.deploy.policy.properties import properties
from protege.deploy.policy.sensor_inputs import measured_inputs
from protege.deploy.robots.mujoco import MujocoRobot
from protege.deploy.runtime import OnnxPolicy
from protege.sim.tasks.steering import SteeringParams

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "policy_format.md"
TINY_RUNTIME = ROOT / "packages/deploy/examples/tiny_runtime.py"
SCHEMA = json.loads(SCHEMA_FILE.read_text())


def tiny_runtime() -> Any:
    """The class of the example that the page names, which sees nothing of Protégé."""
    assert str(TINY_RUNTIME.relative_to(ROOT)) in PAGE.read_text()
    source = TINY_RUNTIME.read_text()
    assert "protege" not in source
    scope: dict[str, Any] = {}
    exec(source, scope)
    return scope["TinyRuntime"]


@pytest.mark.parametrize("kind", ["path", "goal", "steering", "poses"])
def test_the_runtime_in_the_docs_acts_like_ours(kind: str, exported: Path) -> None:
    ours, tiny, robot = OnnxPolicy(exported), tiny_runtime()(str(exported)), MujocoRobot(exported)
    here, times = robot.read(), ours.metadata.path_times
    source = {
        "path": PathCommand.random(here.pose_2d, 3, 2.0, times),
        "goal": GoalCommand.ahead(here.pose_2d, (2.0, -1.0)),
        "steering": SteeringCommand(here.pose_2d.direction(40.0), 1.2),
    }.get(kind)
    for step in range(12):
        if step == 8:  # an episode begins anew, and another task with it
            ours.reset()
            tiny.begins = True
        reading = robot.read()
        command = source(step / 30.0, reading) if source else poses(ours.metadata, step)
        inputs = {name: x for name, x in vars(command).items() if x is not None and name != "raw"}
        if "steering_speed" in inputs and "steering_facing_w" in tiny.blank:
            inputs["steering_facing_w"] = inputs["steering_direction_w"]
        target = tiny.step({name: getattr(reading, name) for name in MEASURED_FIELDS}, inputs)
        np.testing.assert_array_equal(target, ours.act(reading, command))
        robot.write(target)


@pytest.mark.parametrize("kind", ["path", "steering"])
def test_the_runtime_in_the_docs_runs_onboard_policies(kind: str, each_onboard: tuple[Path, Path]) -> None:
    folder = each_onboard[1]
    ours, tiny, robot = OnnxPolicy(folder), tiny_runtime()(str(folder)), MujocoRobot(folder)
    path = np.linspace([0.5, 0.0], [5.0, 1.0], 10)
    inputs = {
        "path": {"path_h": path},
        "steering": {"steering_direction_h": np.array([0.0, 1.0]), "steering_speed": 0.7},
    }[kind]
    for step in range(6):
        if step == 4:
            ours.reset()
            tiny.begins = True
        reading = robot.read()
        target = tiny.step(measured_inputs(reading, ours.metadata), inputs)
        np.testing.assert_array_equal(target, ours.act(reading, Command(raw={kind: inputs})))
        robot.write(target)


def poses(described: Metadata, step: int) -> Command:
    """Some poses near the robot, as a command."""
    shape = next(spec.shape for spec in described.inputs if spec.name == "target_body_pos_w")
    draw = np.random.default_rng(step)
    quat = draw.normal(size=(*shape[:2], 4))
    return Command(
        target_body_pos_w=draw.normal(size=shape),
        target_body_quat_w=quat / np.linalg.norm(quat, axis=-1, keepdims=True),
    )


def test_the_docs_list_every_key_and_every_input(exported: Path) -> None:
    page = PAGE.read_text()
    assert [key for key in json.loads((exported / "policy.json").read_text()) if f"`{key}`" not in page] == []
    steering = modalities()["steering"].inputs((5,))
    known = [*tensors._BODY, *tensors._ONBOARD, *steering, *tensors._POSES, *tensors._RECURRENT, *tensors._OUTPUTS]
    known += [spec for modality in modalities().values() for spec in modality.inputs(modality.shape(SteeringParams()))]
    known += [tensors.in_heading(spec) for spec in known if spec not in (*tensors._BODY, *tensors._ONBOARD)]
    assert [spec.name for spec in known if f"`{spec.name}`" not in page] == []


# The schema --------------------------------------------------------------------------------------------------------------


def test_the_schema_matches_the_dataclasses() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    parts = {"tensor": TensorSpec, "start": StartState, "accuracy": Accuracy, "closed_loop": ClosedLoop,
             "modality": Modality, "range": CommandRange, "fall": Fall, "camera": Camera, "imu": Imu}  # fmt: skip
    for definition, kind in [(SCHEMA, Metadata), *((SCHEMA["$defs"][name], kind) for name, kind in parts.items())]:
        optional = OPTIONAL_KEYS if kind is Metadata else set()
        assert definition["required"] == [key for key in definition["properties"] if key not in optional]
        assert set(definition["properties"]) == {f.name for f in fields(kind)}
        assert definition["additionalProperties"] is False
    ranges = SCHEMA["properties"]["command_ranges"]
    assert list(ranges["properties"]) == list(RANGE_UNITS)
    assert ranges["additionalProperties"] == {"$ref": "#/$defs/range"}  # other tasks have others
    assert set(SCHEMA["properties"]["source"]["required"]) == {f.name for f in fields(Source)}
    assert SCHEMA["properties"]["schema_version"]["enum"] == list(metadata.SCHEMA_VERSIONS.values())
    assert SCHEMA["properties"]["sensors"]["enum"] == list(metadata.SCHEMA_VERSIONS)
    assert tuple(SCHEMA["properties"]["precision"]["enum"]) == metadata.PRECISIONS


def test_an_export_fits_the_schema(exported: Path) -> None:
    jsonschema.validate(json.loads((exported / "policy.json").read_text()), SCHEMA)


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.update(colour="red"),
        lambda d: d.pop("control_dt"),
        lambda d: d.update(schema_version=4),
        lambda d: d.update(control_dt=0.0),
        lambda d: d.update(precision="fp8"),
        lambda d: d.update(batch=0),
        lambda d: d.update(stiffness=["stiff"] * 69),
        lambda d: d.update(model_sha256="abc"),
        lambda d: d.update(joint_names=["a"] * 69),
        lambda d: d["inputs"][0].update(dtype="int8"),
        lambda d: d["inputs"][0].pop("unit"),
        lambda d: d["joint_range"][0].append(1.0),
        lambda d: d.update(closed_loop=[{"task": "path"}]),
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(damage: Any, exported: Path, tmp_path: Path) -> None:
    data = json.loads((exported / "policy.json").read_text())
    damage(data)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, SCHEMA)
    (tmp_path / "policy.json").write_text(json.dumps(data))
    (tmp_path / "policy.onnx").write_bytes((exported / "policy.onnx").read_bytes())
    with pytest.raises(metadata.DeployError):
        metadata.load(tmp_path)


# Properties --------------------------------------------------------------------------------------------------------------


def read_properties(folder: Path) -> dict[str, str]:
    session = onnxruntime.InferenceSession(folder / "policy.onnx", providers=["CPUExecutionProvider"])
    return session.get_modelmeta().custom_metadata_map


def test_properties_are_what_mjlab_and_beyondmimic_split_at_commas(exported: Path) -> None:
    model_properties, described = read_properties(exported), metadata.load(exported)
    numbers = {"joint_stiffness": described.stiffness, "joint_damping": described.damping,
               "default_joint_pos": described.default_joint_pos, "action_scale": [1.0] * 69}  # fmt: skip
    for key, values in numbers.items():
        assert [float(word) for word in model_properties[key].split(",")] == values, key
    assert model_properties["joint_names"].split(",") == described.joint_names
    assert model_properties["body_names"].split(",") == described.body_names
    assert model_properties["anchor_body_name"] == described.body_names[0] == "Pelvis"
    assert model_properties["command_names"] == "path,goal,steering,poses"
    assert model_properties["observation_names"].split(",") == [spec.name for spec in described.inputs]
    # The four that mjlab's own exporter writes, an entry an observation.
    count = len(described.inputs)
    assert model_properties["observation_terms_scale"] == ",".join(["1.0"] * count)
    assert model_properties["observation_terms_clip"] == ",".join(["-inf;inf"] * count)
    assert model_properties["observation_terms_history_length"] == ",".join(["0"] * count)
    assert model_properties["observation_terms_flatten_history_dim"] == ",".join(["True"] * count)
    assert [float(model_properties[key]) for key in ("control_dt", "physics_dt")] == [
        described.control_dt,
        described.physics_dt,
    ]
    assert model_properties["run_path"]
    assert (
        json.loads(model_properties["kp"]) == described.stiffness
        and json.loads(model_properties["kd"]) == described.damping
    )


def test_json_properties_are_what_holosoma_reads(student: Path, tmp_path: Path) -> None:
    folder = export(student, tmp_path / "json", Variant(style="json"))
    model_properties = {
        key: json.loads(value) for key, value in read_properties(folder).items()
    }  # as holosoma does, all of them
    described = metadata.load(folder)
    assert model_properties["kp"] == described.stiffness and model_properties["kd"] == described.damping
    assert model_properties["robot_urdf"] == urdf(ROBOT)
    assert model_properties["joint_names"] == model_properties["dof_names"] == described.joint_names
    assert (
        model_properties["command_ranges"]["path_speed"] == [0.5, 1.5]
        and model_properties["observation_terms_clip"][0] is None
    )
    assert model_properties.keys() == properties(described).keys()
    OnnxPolicy(folder)  # our runtime finds the order in either style
