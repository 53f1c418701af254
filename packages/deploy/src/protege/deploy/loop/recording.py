"""A run as a file: readings, commands, targets and times, one row per step. No pickles.

`.npz` needs only NumPy, `.safetensors` the package of that name. The columns are the model's inputs by their names, and those of
`own_columns`. The file also holds facts about the run, as JSON.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DeployError, needs
from ..files import write_whole
from ..geometry import Array
from .loop import STAGES

FORMAT_VERSION = 1
SUFFIXES = (".npz", ".safetensors")
FACTS_KEY = "about"
RECORDED_STAGES = STAGES[:-1]


def own_columns(num_joints: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """Columns besides the model's inputs: name, type, shape.

    `time` is the commands' clock, s; `clock` the wall time since the run's start, s; `joint_target` the policy's output, rad, NaN
    if the policy did not run; `written_target`, rad, and `mode` are what was written to the robot; `spent` is the duration of each
    stage, s.
    """
    return [
        ("time", "<f8", ()), ("clock", "<f8", ()), ("joint_target", "<f4", (num_joints,)),
        ("written_target", "<f4", (num_joints,)), ("mode", "<u1", ()), ("spent", "<f4", (len(RECORDED_STAGES),)),
    ]  # fmt: skip


@dataclass(frozen=True)
class Recording:
    """A run of T steps.

    Attributes:
        path: its file.
        facts: robot, joint_names, control_dt, model_sha256, event, ...
        columns: (T, ...) by name, see `own_columns`.
    """

    path: Path
    facts: dict[str, Any]
    columns: dict[str, Array]

    @property
    def steps(self) -> int:
        """T."""
        return len(self.columns["time"])

    @property
    def policy_steps(self) -> int:
        """Number of steps in which the policy ran; in all later steps the robot damped."""
        given = np.isfinite(self.columns["joint_target"]).all(axis=1)
        return self.steps if given.all() else int(np.argmin(given))


def save(path: Path, columns: Mapping[str, Array], facts: Mapping[str, Any]) -> None:
    """Write a recording atomically, as an .npz or .safetensors by the path's suffix.

    Raises:
        OSError: it cannot be written.
    """
    text = json.dumps(facts)
    if path.suffix == ".safetensors":
        data = {name: np.ascontiguousarray(column) for name, column in columns.items()}
        write_whole(path, lambda file: file.write(safetensors_numpy().save(data, {FACTS_KEY: text})))
    else:
        about = np.frombuffer(text.encode(), np.uint8)
        write_whole(path, lambda file: np.savez(file, **{FACTS_KEY: about}, **columns))  # pyright: ignore[reportArgumentType]


def load(path: Path) -> Recording:
    """Read a recording and check it.

    Raises:
        DeployError: the file is missing, damaged, no recording, or of a newer format.
    """
    if not path.is_file():
        raise DeployError(f"{path} does not exist", "Record a run: protege-deploy run DIR --record run.npz")
    try:
        columns, text = _read_safetensors(path) if path.suffix == ".safetensors" else _read_npz(path)
        facts = json.loads(text)
        problem = _problem(facts, columns)
    except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise DeployError(f"{path} is not a whole recording ({error})", "Record it again") from error
    if problem:
        raise DeployError(f"{path}: {problem}", "Record it again, or update protege-deploy")
    return Recording(path, facts, columns)


def _problem(facts: Mapping[str, Any], columns: Mapping[str, Array]) -> str:
    """Why these are not a recording; empty if they are."""
    if facts["format"] != FORMAT_VERSION:
        return f"its format is {facts['format']}, this is {FORMAT_VERSION}"
    joints = len(facts["joint_names"])
    wanted = {name: shape for name, _, shape in own_columns(joints)}
    wanted |= {"root_pos_w": (3,), "root_quat_w": (4,), "joint_pos": (joints,), "joint_vel": (joints,)}
    steps = len(columns["time"])
    for name, shape in wanted.items():
        if columns[name].shape != (steps, *shape):
            return f"{name} has shape {columns[name].shape}, not {(steps, *shape)}"
    modalities = dict(facts.get("modalities", {}))
    if missing := [name for inputs in modalities.values() for name in inputs if name not in columns]:
        return f"it has no {missing[0]}, which is commanded"
    if modalities and columns["command_mask"].shape != (steps, len(modalities)):
        return f"command_mask has shape {columns['command_mask'].shape}, not {(steps, len(modalities))}"
    uneven = [name for name, column in columns.items() if len(column) != steps]
    return f"{uneven[0]} has another length than time" if uneven else "" if steps else "it holds no step"


def _read_npz(path: Path) -> tuple[dict[str, Array], str]:
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        columns = {name: file[name] for name in file.files}
    return columns, columns.pop(FACTS_KEY).tobytes().decode()


def _read_safetensors(path: Path) -> tuple[dict[str, Array], str]:
    safetensors_numpy()
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()[FACTS_KEY]  # noqa: SIM118 (no mapping)
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def safetensors_numpy() -> Any:
    """The module `safetensors.numpy`."""
    with needs("safetensors"):
        import safetensors.numpy
    return safetensors.numpy
