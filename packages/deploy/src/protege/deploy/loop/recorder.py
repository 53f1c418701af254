"""Records a run on the disk as it happens, one row per step."""

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DeployError
from ..files import writing
from ..geometry import Array
from ..interface import MEASURED_FIELDS, ROOT_SIZES
from ..policy.metadata import DTYPES, Metadata
from .loop import Step
from .recording import FORMAT_VERSION, RECORDED_STAGES, SUFFIXES, own_columns, safetensors_numpy, save
from .spool import Spool

logger = logging.getLogger("protege.deploy")

MAX_IN_MEMORY_BYTES = 1 << 30  # of a recording, if the disk has no space for a second copy
RETRY_SHARE = 0.9  # of the rows, for the next attempt to write


class Recorder:
    """Writes each step to the disk, from a thread of its own, so that memory does not grow, and the file after the run.

    Use it in a `with` block; after an error the steps so far are saved. Assign `feed` to `OnnxPolicy.on_inputs` and call the
    recorder with each step. A full disk ends the recording, not the run: the file then holds as many rows as fit, and `problem`
    says so. Nothing is raised at the end, so that the run's own report is not lost.

    Args:
        path: of the file, an .npz or .safetensors by its suffix.
        metadata: of the policy.

    Attributes:
        facts: about the run, stored in the file; may be extended during the run.
        problem: after the block, why the file does not hold the whole run; None if it does.

    Raises:
        DeployError: the suffix is another one, or the folder cannot be written.
    """

    def __init__(self, path: Path, metadata: Metadata) -> None:
        if path.suffix not in SUFFIXES:
            raise DeployError(f"{path} is no recording", f"End it with {' or '.join(SUFFIXES)}")
        if path.suffix == ".safetensors":
            safetensors_numpy()
        self.path = path
        self.facts: dict[str, Any] = {
            "format": FORMAT_VERSION,
            "robot": metadata.robot,
            "joint_names": metadata.joint_names,
            "control_dt": metadata.control_dt,
            "model_sha256": metadata.model_sha256,
            "versions": metadata.versions,
            "stages": list(RECORDED_STAGES),
            "sensors": metadata.sensors,
            "modalities": {modality.name: modality.inputs for modality in metadata.modalities},
        }
        inputs = [(spec.name, DTYPES[spec.dtype].str, tuple(spec.shape)) for spec in metadata.inputs]
        read = {name for name, *_ in inputs}
        inputs += [(name, "<f4", (size,)) for name, size in ROOT_SIZES.items() if name not in read]
        self._row = np.zeros((), [*inputs, *own_columns(metadata.num_joints)])
        self._inputs: Mapping[str, Array] = {}
        self._start, self._steps, self._full = time.perf_counter(), 0, ""
        self.problem: DeployError | None = None
        self._spool_path = path.with_name(f".{path.name}.spool")
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._spool = Spool(self._spool_path, self._cut_short)

    def feed(self, inputs: Mapping[str, Array]) -> None:
        """Take the model's inputs of the next step, (1, ...) by name."""
        self._inputs = inputs

    def __call__(self, step: Step) -> None:
        """Record a step."""
        row = self._row
        row[...] = np.zeros((), row.dtype)
        for name, value in self._inputs.items():
            row[name] = value[0]
        for name in MEASURED_FIELDS:
            value = getattr(step.reading, name)
            row[name] = np.nan if value is None else value
        row["time"], row["clock"], row["mode"] = step.time, time.perf_counter() - self._start, step.mode
        row["joint_target"] = np.nan if step.wanted is None else step.wanted
        row["written_target"] = step.target
        row["spent"] = [step.spent.get(stage, 0.0) for stage in RECORDED_STAGES]
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
        except OSError as error:  # its last rows did not fit; the rows before are there
            self._cut_short(error)
        try:
            saved = self._finish()
        except OSError as error:
            self._cut_short(error)
            saved = 0
        finally:
            self._spool_path.unlink(missing_ok=True)
        if saved < self._steps:
            self.problem = DeployError(
                f"{self.path} holds {saved} of {self._steps} steps ({self._full})" if saved
                else f"cannot write {self.path} ({self._full})",
                "Make room and run again, or record to another disk",
            )  # fmt: skip

    def _cut_short(self, error: OSError) -> None:
        """Stop recording, because the disk is full or too slow. The first time it is logged, so that a long run can be stopped."""
        if not self._full:
            self._full = str(error.strerror)
            logger.warning("recording to %s ends here: %s", self.path, self._full)

    def _finish(self) -> int:
        """Write the file from the spool; returns the number of rows that fit."""
        rows = os.path.getsize(self._spool_path) // self._row.dtype.itemsize
        if not rows:
            return 0
        try:
            self._save(np.memmap(self._spool_path, self._row.dtype, "r", shape=(rows,)))
            return rows
        except OSError as error:
            self._cut_short(error)
        # The disk has no space for both: the file takes the spool's.
        table = np.fromfile(
            self._spool_path, self._row.dtype, min(rows, MAX_IN_MEMORY_BYTES // self._row.dtype.itemsize)
        )
        self._spool_path.unlink()
        rows = len(table)
        while rows:
            try:
                self._save(table[:rows])
                return rows
            except OSError:
                rows = int(RETRY_SHARE * rows)
        return 0

    def _save(self, table: Array) -> None:
        cut = {"cut_short": self._full} if len(table) < self._steps else {}
        columns = {name: table[name] for name in table.dtype.names or ()}
        save(self.path, columns, {**self.facts, **cut})
