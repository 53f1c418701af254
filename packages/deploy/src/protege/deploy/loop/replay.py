"""A recorded run as a robot and a commander: a policy is asked again what it was asked then."""

from dataclasses import fields

import numpy as np

from ..errors import DeployError
from ..interface import MEASURED, MODALITIES, Array, Command, Mode, RobotReading
from .recording import Recording


class ReplayRobot:
    """Implements `RobotInterface`: measures what was measured then, and moves no more than a film does.

    Args:
        recording: a run.
        num_joints: of the policy.

    Attributes:
        written: (T, J) rad, what it was told; NaN before.

    Raises:
        DeployError: the run is of a robot with another number of joints.
    """

    def __init__(self, recording: Recording, num_joints: int) -> None:
        joints = recording.columns["joint_pos"].shape[1]
        if joints != num_joints:
            raise DeployError(f"{recording.path} is of a robot with {joints} joints, the policy drives {num_joints}")
        self._columns, self._step = recording.columns, 0
        self.written = np.full((recording.steps, joints), np.nan, np.float32)

    def read(self) -> RobotReading:
        return RobotReading(**{name: self._columns[name][self._step] for name in MEASURED}, stamp=self._step)

    def write(self, joint_target: Array, mode: Mode = Mode.CONTROL) -> None:
        self.written[self._step] = joint_target
        self._step += 1

    def close(self) -> None:
        """Nothing to give back."""


class RecordedCommand:
    """A `CommandSource` that says what was said then.

    Args:
        recording: a run.
    """

    def __init__(self, recording: Recording) -> None:
        self._columns, self._step = recording.columns, 0

    def __call__(self, time: float, reading: RobotReading) -> Command:
        said = {f.name: self._columns[f.name][self._step] for f in fields(Command) if f.name in self._columns}
        # What a mask leaves out was not commanded: the columns hold blanks there.
        if "command_mask" in self._columns:
            mask = dict(zip(MODALITIES, self._columns["command_mask"][self._step], strict=True))
            for modality in (name for name, shown in mask.items() if not shown):
                said = {name: value for name, value in said.items() if not name.startswith(modality)}
        if "pose_mask" in said and not said["pose_mask"].any():
            said = {name: value for name, value in said.items() if not name.startswith(("target_body", "pose"))}
        self._step += 1
        return Command(**said)
