"""The metadata properties of the ONNX file, strings by name, which other runtimes read.

Two families of runtimes read the robot's data there. One file cannot serve both:

- BeyondMimic's controller and those of mjlab split each value at its commas.
- holosoma-inference parses each value as JSON, and stops at the first that is not JSON. It reads the gains from `kp` and `kd`.

mjlab 1.6 writes four properties `observation_terms_*` beside `observation_names`. Here they state that observations are unscaled,
unclipped and without a history of the runtime.
"""

import json
from collections.abc import Mapping
from typing import Any

from .metadata import Metadata

PROPERTY_STYLES = ("csv", "json")
NO_CLIP = {"csv": [float("-inf"), float("inf")], "json": None}
"""The bounds of an observation that is not clipped. JSON has no infinity."""


def properties(metadata: Metadata, style: str = "csv", run: str = "", urdf: str = "") -> dict[str, str]:
    """All properties of a model; numbers in their shortest exact form.

    Args:
        metadata: the contents of `policy.json`.
        style: `csv` joins lists with commas and pairs within them with semicolons; `json` writes everything as JSON. The properties
            that only holosoma reads (`kp`, `kd`, `dof_names`, `command_ranges`, `robot_urdf`) are JSON in both styles.
        run: name of the training run.
        urdf: the robot as URDF.
    """
    names = [spec.name for spec in metadata.inputs]
    commands = [modality.name for modality in metadata.modalities if modality.inputs]
    commands += ["poses"] * any(name in names for name in ("target_body_pos_w", "target_body_pos_h"))
    facts: dict[str, Any] = {
        "run_path": run,
        "joint_names": metadata.joint_names,
        **_numbers(metadata),
        "command_names": commands,
        "observation_names": names,
        "observation_terms_scale": [1.0] * len(names),
        "observation_terms_flatten_history_dim": [True] * len(names),
        "observation_terms_history_length": [0] * len(names),
        "observation_terms_clip": [NO_CLIP[style]] * len(names),
        "body_names": metadata.body_names,
        "anchor_body_name": metadata.body_names[0],
        "schema_version": metadata.schema_version,
    }
    write = json.dumps if style == "json" else _csv
    holosoma = {
        "kp": metadata.stiffness,
        "kd": metadata.damping,
        "dof_names": metadata.joint_names,
        "command_ranges": {key: [limits.low, limits.high] for key, limits in metadata.command_ranges.items()},
        "robot_urdf": urdf,
    }
    return {key: write(value) for key, value in facts.items()} | {key: json.dumps(x) for key, x in holosoma.items()}


def contradiction(model_properties: Mapping[str, str], metadata: Metadata) -> str:
    """Description of the first contradiction between a model's properties, in either style, and `policy.json`; empty if none.

    Names are required, because they determine the order of the tensors' values. Numbers are compared if the model has them.
    """
    for key in ("joint_names", "body_names"):
        if _names(model_properties.get(key, "")) != getattr(metadata, key):
            return f"the model has other {key}, or in another order"
    for key, numbers in _numbers(metadata).items():
        if key in model_properties and _floats(model_properties[key]) != numbers:
            return f"the model has another {key}"
    return ""


def _numbers(metadata: Metadata) -> dict[str, list[float]]:
    """The numeric properties, exactly as in `policy.json`."""
    return {
        "joint_stiffness": metadata.stiffness,
        "joint_damping": metadata.damping,
        "default_joint_pos": metadata.default_joint_pos,
        "action_scale": metadata.action_scale,
        "control_dt": [metadata.control_dt],
        "physics_dt": [metadata.physics_dt],
    }


def _names(value: str) -> list[str] | None:
    if not value.startswith("["):
        return value.split(",")
    try:
        return json.loads(value)
    except ValueError:
        return None


def _floats(value: str) -> list[float] | None:
    try:
        return [float(word) for word in value.strip("[]").split(",")]
    except ValueError:
        return None


def _csv(value: Any) -> str:
    """As in mjlab: commas between entries, semicolons within a pair."""
    if not isinstance(value, list):
        return str(value)
    return ",".join(";".join(map(str, x)) if isinstance(x, list) else str(x) for x in value)
