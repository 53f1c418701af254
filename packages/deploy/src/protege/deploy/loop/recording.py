"""A run as a file: what was measured, commanded, said, written and when, one row a step. No pickles.

`.npz` needs NumPy alone, `.safetensors` the package of that name. The columns are the model's inputs by their names, and those of
`OWN`; beside them are facts about the run, as JSON.
"""

import json
import logging
import os
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..cli.output import replace_whole, write_whole
from ..errors import DeployError, needs
from ..interface import MEASURED, Array
from ..policy.metadata import DTYPES, Metadata
from .loop import STAGES, Step

logger = logging.getLogger("protege.deploy")

FORMAT = 1
ENDINGS = (".npz", ".safetensors")
FACTS = "about"
BUFFER = 1 << 20  # bytes, written to the disk at once
IN_MEMORY = 1 << 30  # bytes of a recording that are kept where the disk has no room for a second copy
FEWER = 0.9  # of the rows, that the next attempt tries to write
STAGED = STAGES[:-1]


def own_columns(num_joints: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """Columns besides the model's inputs: name, type, shape.

    `time` is the commands' clock, s; `clock` the wall's since the run's start; `joint_target` what the policy said, NaN if it was
    not asked; `written_target` and `mode` what the robot was told; `spent` s by stage.
    """
    return [
        ("time", "<f8", ()), ("clock", "<f8", ()), ("joint_target", "<f4", (num_joints,)),
        ("written_target", "<f4", (num_joints,)), ("mode", "<u1", ()), ("spent", "<f4", (len(STAGED),)),
    ]  # fmt: skip


class Recorder:
    """Writes each step to the disk as it comes, so that memory does not grow, and the file when the run is over.

    Use it in a `with` block: what was recorded until an error is kept. Give `feed` to `OnnxPolicy.on_inputs` and call the recorder
    with each step. A disk that is full ends the recording, not the run: of the rows as many are kept as find room, and `problem`
    says so. Nothing is raised at the end, so that the run's own report is not lost.

    Args:
        path: of the file, by its ending an .npz or a .safetensors.
        metadata: of the policy.

    Attributes:
        facts: about the run, for the file; what is found out during the run can be added.
        problem: after the block, why the file does not hold the whole run; None if it does.

    Raises:
        DeployError: another ending, or a folder that cannot be written.
    """

    def __init__(self, path: Path, metadata: Metadata) -> None:
        if path.suffix not in ENDINGS:
            raise DeployError(f"{path} is no recording", f"End it with {' or '.join(ENDINGS)}")
        if path.suffix == ".safetensors":
            _safetensors()
        self.path, self.facts = path, _facts(metadata)
        inputs = [(spec.name, DTYPES[spec.dtype].str, tuple(spec.shape)) for spec in metadata.inputs]
        self._row = np.zeros((), [*inputs, *own_columns(metadata.num_joints)])
        self._inputs: Mapping[str, Array] = {}
        self._start, self._steps, self._full = time.perf_counter(), 0, ""
        self.problem: DeployError | None = None
        self._spool_path = path.with_name(f".{path.name}.spool")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._spool: BinaryIO = self._spool_path.open("wb", buffering=BUFFER)
        except OSError as error:
            raise DeployError(f"cannot write {path} ({error.strerror})", "Choose another path") from error

    def feed(self, inputs: Mapping[str, Array]) -> None:
        """The model's inputs of the step to come, (1, ...) by name."""
        self._inputs = inputs

    def __call__(self, step: Step) -> None:
        """Record a step."""
        row = self._row
        row[...] = np.zeros((), row.dtype)
        for name, value in self._inputs.items():
            row[name] = value[0]
        for name in MEASURED:
            row[name] = getattr(step.reading, name)
        row["time"], row["clock"], row["mode"] = step.time, time.perf_counter() - self._start, step.mode
        row["joint_target"] = np.nan if step.wanted is None else step.wanted
        row["written_target"] = step.target
        row["spent"] = [step.spent.get(stage, 0.0) for stage in STAGED]
        self._inputs, self._steps = {}, self._steps + 1
        if not self._full:
            try:
                self._spool.write(row.tobytes())
            except OSError as error:
                self._cut_short(error)

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._spool.close()
        except OSError as error:  # its last rows found no room; those before are there
            self._cut_short(error)
        try:
            kept = self._finish()
        except OSError as error:
            self._cut_short(error)
            kept = 0
        finally:
            self._spool_path.unlink(missing_ok=True)
        if kept < self._steps:
            self.problem = DeployError(
                f"{self.path} holds {kept} of {self._steps} steps ({self._full})" if kept
                else f"cannot write {self.path} ({self._full})",
                "Make room and run again, or record to another disk",
            )  # fmt: skip

    def _cut_short(self, error: OSError) -> None:
        """No room from here on. The first time it is said at once: a long run can be stopped."""
        if not self._full:
            self._full = str(error.strerror)
            logger.warning("recording to %s ends here: %s", self.path, self._full)

    def _finish(self) -> int:
        """Make the file of what the spool holds; how many rows found room."""
        rows = os.path.getsize(self._spool_path) // self._row.dtype.itemsize
        if not rows:
            return 0
        try:
            self._save(np.memmap(self._spool_path, self._row.dtype, "r", shape=(rows,)))
            return rows
        except OSError as error:
            self._cut_short(error)
        # The disk does not hold the spool and the file at once: the file has the spool's room.
        table = np.fromfile(self._spool_path, self._row.dtype, min(rows, IN_MEMORY // self._row.dtype.itemsize))
        self._spool_path.unlink()
        rows = len(table)
        while rows:
            try:
                self._save(table[:rows])
                return rows
            except OSError:
                rows = int(FEWER * rows)
        return 0

    def _save(self, table: Array) -> None:
        cut = {"cut_short": self._full} if len(table) < self._steps else {}
        columns = {name: table[name] for name in table.dtype.names or ()}
        replace_whole(self.path, _writer(self.path, columns, {**self.facts, **cut}))


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
    def asked(self) -> int:
        """Steps until the policy was no longer asked: from there on the robot damped."""
        given = np.isfinite(self.columns["joint_target"]).all(axis=1)
        return self.steps if given.all() else int(np.argmin(given))


def _facts(metadata: Metadata) -> dict[str, Any]:
    """What is known before the run."""
    return {
        "format": FORMAT,
        "robot": metadata.robot,
        "joint_names": metadata.joint_names,
        "control_dt": metadata.control_dt,
        "model_sha256": metadata.model_sha256,
        "versions": metadata.versions,
        "stages": list(STAGED),
    }


def save(path: Path, columns: Mapping[str, Array], facts: Mapping[str, Any]) -> None:
    """Write a recording, whole or not at all; by the path's ending an .npz or a .safetensors.

    Raises:
        DeployError: it cannot be written.
    """
    write_whole(path, _writer(path, columns, facts))


def _writer(path: Path, columns: Mapping[str, Array], facts: Mapping[str, Any]) -> Callable[[BinaryIO], object]:
    """What writes a recording into an open file, in the format of the path's ending."""
    text = json.dumps(facts)
    if path.suffix == ".safetensors":
        library = _safetensors()
        data = {name: np.ascontiguousarray(column) for name, column in columns.items()}
        return lambda file: file.write(library.save(data, {FACTS: text}))
    about = np.frombuffer(text.encode(), np.uint8)
    return lambda file: np.savez(file, **{FACTS: about}, **columns)  # pyright: ignore[reportArgumentType]


def load(path: Path) -> Recording:
    """Read a recording and check it.

    Raises:
        DeployError: missing, damaged, something else, or of a newer format.
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
    """Why these are no recording, empty if they are."""
    if facts["format"] != FORMAT:
        return f"its format is {facts['format']}, this is {FORMAT}"
    joints = len(facts["joint_names"])
    wanted = {name: shape for name, _, shape in own_columns(joints)}
    wanted |= {"root_pos_w": (3,), "root_quat_w": (4,), "joint_pos": (joints,), "joint_vel": (joints,)}
    steps = len(columns["time"])
    for name, shape in wanted.items():
        if columns[name].shape != (steps, *shape):
            return f"{name} has shape {columns[name].shape}, not {(steps, *shape)}"
    uneven = [name for name, column in columns.items() if len(column) != steps]
    return f"{uneven[0]} has another length than time" if uneven else "" if steps else "it holds no step"


def _read_npz(path: Path) -> tuple[dict[str, Array], str]:
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        columns = {name: file[name] for name in file.files}
    return columns, columns.pop(FACTS).tobytes().decode()


def _read_safetensors(path: Path) -> tuple[dict[str, Array], str]:
    _safetensors()
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()[FACTS]  # noqa: SIM118 (no mapping)
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _safetensors() -> Any:
    """The module `safetensors.numpy`."""
    with needs("safetensors"):
        import safetensors.numpy
    return safetensors.numpy
