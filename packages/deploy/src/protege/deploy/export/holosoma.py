"""Exports a policy for holosoma-inference: one input, `actor_obs`, as its locomotion task builds it. Needs torch and core.

Its runtime gives the last steps of each term, oldest first, with the terms sorted by name and zeros before the first step. It
scales the action and adds the default pose itself. It measures neither position nor velocity, so only policies with onboard sensors
can be exported.
"""

import tempfile
import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from ..commands.registry import KINDS
from ..errors import DeployError
from ..peers.holosoma import ACTION_SCALE, INPUT, OUTPUT, TERM_SCALES
from ..policy.metadata import load
from ..policy.properties import properties
from .export import OPSET, example, load_graph
from .graph import StudentGraph
from .urdf import urdf

HOLOSOMA_FILE = "holosoma.onnx"


class HolosomaGraph(nn.Module):
    """`actor_obs` (1, T) -> `action` (1, J).

    Args:
        graph: of the policy.

    Attributes:
        terms: size of each term, in their order.
        frames: steps of each.

    Raises:
        DeployError: the policy has other sensors, or no such modality.
    """

    default_joint_pos: Tensor
    action_scale: Tensor

    def __init__(self, graph: StudentGraph) -> None:
        super().__init__()
        velocity_kinds = {name: kind for name, kind in KINDS.items() if kind.of_velocity and graph.modalities.get(name)}
        if not graph.onboard:
            raise DeployError(
                "holosoma-inference knows neither place nor velocity, which this policy reads",
                "Train one with onboard sensors: model.sensors=onboard",
            )
        if not velocity_kinds:
            able = ", ".join(name for name, kind in KINDS.items() if kind.of_velocity)
            raise DeployError("this policy takes no velocity", f"Train it with a modality that does: {able}")
        self.graph, self._modality = graph, next(iter(velocity_kinds))
        self._of_velocity = velocity_kinds[self._modality].of_velocity
        joints = len(graph.default_joint_pos)
        sizes = {
            "base_ang_vel": 3, "projected_gravity": 3, "command_lin_vel": 2, "command_ang_vel": 1, "dof_pos": joints,
            "dof_vel": joints, "actions": joints, "sin_phase": 2, "cos_phase": 2,
        }  # fmt: skip
        self.terms = dict(sorted(sizes.items()))
        history = next((spec.shape[0] for spec in graph.specs if spec.name == "history"), 0)
        self.frames = history + 1
        for name in ("default_joint_pos", "action_scale"):
            self.register_buffer(name, getattr(graph, name))

    @property
    def size(self) -> int:
        """Number of values of the input."""
        return self.frames * sum(self.terms.values())

    def forward(self, actor_obs: Tensor) -> Tensor:
        seen = self._split(actor_obs)
        last = seen["actions"] * ACTION_SCALE / self.action_scale
        frames = torch.cat(
            [seen["projected_gravity"], seen["base_ang_vel"], seen["dof_pos"], seen["dof_vel"], last], dim=-1
        )
        given = {spec.name: example(spec, 1) for spec in self.graph.specs}
        given |= {
            "imu_quat": _upright(seen["projected_gravity"][:, -1]),
            "imu_ang_vel": seen["base_ang_vel"][:, -1],
            "joint_pos": self.default_joint_pos + seen["dof_pos"][:, -1],
            "joint_vel": seen["dof_vel"][:, -1],
            "last_action": last[:, -1],
        }
        velocity = torch.cat([seen["command_lin_vel"], seen["command_ang_vel"]], dim=-1)[:, -1]
        assert self._of_velocity is not None
        given |= {name: value for name, value in self._of_velocity(velocity, torch).items() if name in given}
        given["command_mask"] = torch.tensor([[name == self._modality for name in self.graph.modalities]])
        if "history" in given:
            given["history"] = self._history(frames)
        target = self.graph(*(given[spec.name] for spec in self.graph.specs))[0]
        return (target - self.default_joint_pos) / ACTION_SCALE

    def _split(self, actor_obs: Tensor) -> dict[str, Tensor]:
        """Each term without its scale, (1, frames, size), oldest first."""
        sizes = [self.frames * size for size in self.terms.values()]
        parts = zip(self.terms, actor_obs.split(sizes, dim=1), strict=True)
        return {name: part.reshape(1, self.frames, -1) / TERM_SCALES.get(name, 1.0) for name, part in parts}

    def _history(self, frames: Tensor) -> Tensor:
        """The earlier frames, newest first. Missing ones are filled with the first frame, as after a reset."""
        newer, history = frames[:, -1], []
        for index in range(self.frames - 2, -1, -1):
            frame = frames[:, index]
            was_there = (frame[:, :3] * frame[:, :3]).sum(dim=1, keepdim=True) > 0.25  # gravity has length one
            newer = torch.where(was_there, frame, newer)
            history.append(newer)
        return torch.stack(history, dim=1)


def write_holosoma(checkpoint: str | Path, folder: str | Path) -> tuple[Path, int]:
    """Write `holosoma.onnx` beside the export of a checkpoint.

    Returns:
        the file, and the number of steps in its observations: `history_length_dict["actor_obs"]` of the task's config.

    Raises:
        DeployError: the policy cannot be exported, see `HolosomaGraph`.
    """
    _, inner, robot = load_graph(checkpoint)
    graph, path = HolosomaGraph(inner).eval(), Path(folder) / HOLOSOMA_FILE
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in `export.trace`
        traced = Path(temporary) / HOLOSOMA_FILE
        torch.onnx.export(
            graph, (torch.zeros(1, graph.size),), str(traced), dynamo=False, opset_version=OPSET, input_names=[INPUT],
            output_names=[OUTPUT],
        )  # fmt: skip
        model = onnx.load(traced)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, properties(load(folder), "json", urdf=urdf(robot)))
    onnx.save(model, path)
    return path, graph.frames


def _upright(gravity: Tensor) -> Tensor:
    """A rotation (N, 4) that has gravity (N, 3) in its frame's axes: the shortest one, since the heading is unknown."""
    x, y, z = (-gravity).unbind(dim=-1)
    quat = torch.stack([1.0 + z, y, -x, torch.zeros_like(x)], dim=-1)
    return quat / quat.norm(dim=-1, keepdim=True).clamp(min=1e-6)
