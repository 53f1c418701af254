"""What other runtimes read inside the ONNX file: its metadata properties, names with strings as values.

Two families of runtimes take the robot's facts from there, and they cannot be served by one file:

- BeyondMimic's controller and those of mjlab split each value at its commas.
- holosoma-inference reads each value as JSON, and stops at the first that is none. It takes the gains from `kp` and `kd`.
"""

import json
from collections.abc import Mapping
from typing import Any

from .interface import MODALITIES
from .metadata import Metadata

STYLES = ("csv", "json")


def properties(metadata: Metadata, style: str = "csv", run: str = "") -> dict[str, str]:
    """All properties of a model; numbers in their shortest exact form.

    Args:
        metadata: what `policy.json` says.
        style: `csv` joins lists with commas, but for `kp` and `kd`, which are JSON lists in both styles; `json` writes all as JSON.
        run: name of the training run.
    """
    names = [spec.name for spec in metadata.inputs]
    commands = [modality for modality, (first, *_) in MODALITIES.items() if first in names]
    commands += ["poses"] * ("target_body_pos_w" in names)
    facts: dict[str, Any] = {
        "run_path": run,
        "joint_names": metadata.joint_names,
        "joint_stiffness": metadata.stiffness,
        "joint_damping": metadata.damping,
        "default_joint_pos": metadata.default_joint_pos,
        "action_scale": [metadata.action_scale] * metadata.num_joints,
        "command_names": commands,
        "observation_names": names,
        "body_names": metadata.body_names,
        "anchor_body_name": metadata.body_names[0],
        "schema_version": metadata.schema_version,
    }
    write = json.dumps if style == "json" else _csv
    gains = {"kp": metadata.stiffness, "kd": metadata.damping}
    return {key: write(value) for key, value in facts.items()} | {key: json.dumps(x) for key, x in gains.items()}


def order_inside(said: Mapping[str, str]) -> dict[str, list[str] | None]:
    """The order of the tensors' numbers that a model's properties state, in either style: joint_names and body_names."""
    return {key: _names(said[key]) if key in said else None for key in ("joint_names", "body_names")}


def _names(value: str) -> list[str] | None:
    if not value.startswith("["):
        return value.split(",")
    try:
        return json.loads(value)
    except ValueError:
        return None


def _csv(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
