"""A whole runtime of exported policies with numpy and ONNX Runtime alone: a model for any language.

A call: `TinyRuntime(folder).step({"root_pos_w": ..., "joint_vel": ...}, {"steering_direction_w": [1, 0], "steering_speed": 1.0})`.
docs/policy_format.md describes the files that it reads.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnxruntime

TYPES = {"float32": np.float32, "bool": np.bool_}
MODALITIES = [
    {"name": x, "inputs": [y]} for x, y in {"path": "path_w", "goal": "goal_w", "steering": "steering_speed"}.items()
]


class TinyRuntime:
    """A policy for one robot."""

    def __init__(self, folder: str) -> None:
        self.facts = json.loads(Path(folder, "policy.json").read_text(encoding="utf-8"))
        model = Path(folder, "policy.onnx").read_bytes()
        if (
            self.facts["schema_version"] not in (2, 3)
            or hashlib.sha256(model).hexdigest() != self.facts["model_sha256"]
        ):
            raise SystemExit(f"{folder}: another version, or another model")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        if self.facts["batch"] is None:  # the free dimension is called N
            options.add_free_dimension_override_by_name("N", 1)
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.blank: dict[str, np.ndarray] = {
            x["name"]: np.zeros((1, *x["shape"]), TYPES[x["dtype"]]) for x in self.facts["inputs"]
        }
        states = [x["name"] for x in self.facts["outputs"] if x["name"].startswith("next_")]
        self.memory, self.begins = {name: self.blank[name.removeprefix("next_")] for name in states}, True

    def step(self, measured: dict, command: dict) -> np.ndarray:
        """One control step: inputs by name, without the batch. Returns the targets of the J servos, rad."""
        feeds = dict(self.blank)
        for name, value in (measured | command).items():
            feeds[name] = np.asarray(value, self.blank[name].dtype).reshape(self.blank[name].shape)
        if "command_mask" in feeds:
            columns = [x["inputs"] for x in self.facts.get("modalities", MODALITIES)]
            feeds["command_mask"] = np.array([[bool(x) and x[0] in command for x in columns]])
        if "pose_mask" in feeds and any("target_body" in x for x in command) and "pose_mask" not in command:
            feeds["pose_mask"] = np.ones_like(feeds["pose_mask"])
        if self.memory:
            feeds |= {name.removeprefix("next_"): x for name, x in self.memory.items()}
            feeds["reset"] = np.array([self.begins])
        values = map(np.asarray, self.session.run(None, feeds))
        outputs = dict(zip((x["name"] for x in self.facts["outputs"]), values, strict=True))
        self.memory, self.begins = {name: outputs[name] for name in self.memory}, False
        if not np.isfinite(outputs["joint_target"]).all():
            raise ArithmeticError("a target is not finite: damp the joints")
        return outputs["joint_target"][0]
