"""An exported policy on ONNX Runtime. Neither torch nor core is imported."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np

from ..errors import DeployError
from ..geometry import Array
from ..interface import MEASURED, MODALITIES, Command, RobotReading, standing
from . import metadata as _metadata
from .metadata import DTYPES, Metadata
from .session import open_session
from .tensors import REFERENCE

_POSES = ("target_body_pos_w", "target_body_quat_w")


class OnnxPolicy:
    """An exported policy. It keeps the history between steps; `reset` begins an episode.

    Args:
        folder: what `protege-deploy export` wrote.
        threads: of ONNX Runtime; more than one rarely helps a single robot.
        provider: a key of `session.PROVIDERS`, as far as the installed ONNX Runtime has it.

    Attributes:
        metadata: what `policy.json` says.
        on_inputs: called with the model's inputs of each step, (1, ...) by name, for instance to record them.

    Raises:
        DeployError: missing or inconsistent files, or a provider that is not there.
    """

    def __init__(self, folder: str | Path, threads: int = 1, provider: str = "cpu") -> None:
        self.metadata: Metadata = _metadata.load(folder)
        self._session = open_session(folder, self.metadata, threads, provider, batch=1)
        self._outputs = [spec.name for spec in self.metadata.outputs]
        # What a modality holds when it is not commanded: zeros, and rotations that are none.
        self._blank: dict[str, Array] = {s.name: np.zeros((1, *s.shape), DTYPES[s.dtype]) for s in self.metadata.inputs}
        if "target_body_quat_w" in self._blank:
            self._blank["target_body_quat_w"][..., 0] = 1.0
        self._reads_poses, self._reads_all_poses = _POSES[0] in self._blank, "pose_mask" not in self._blank
        self._commands = {modality.name: modality.inputs for modality in self.metadata.modalities if modality.inputs}
        self._history = self._blank.get("history")
        self._begins = True
        self._stand: Command | None = None
        self.on_inputs: Callable[[dict[str, Array]], None] | None = None

    @property
    def modalities(self) -> list[str]:
        """What can be commanded: its modalities, and poses."""
        return [*self._commands, *["poses"] * self._reads_poses]

    @property
    def modes(self) -> list[str]:
        """What it can be ordered: its modalities, but those of a motion where it needs poses too, and motion, if it reads poses."""
        return [x for x in self._commands if x not in self.with_poses] + ["motion"] * self._reads_poses

    @property
    def with_poses(self) -> list[str]:
        """What has to be commanded together with poses: teachers were trained with both."""
        return [x for x in self.modalities if x in (*MODALITIES, "poses")] if self.needs_poses else []

    @property
    def needs_poses(self) -> bool:
        """Whether it cannot act without target poses: trackers and teachers."""
        return self._reads_poses and self._reads_all_poses

    def reset(self) -> None:
        """Begin an episode: the next step's history is filled with what it sees."""
        self._begins, self._stand = True, None

    def act(self, reading: RobotReading, command: Command) -> Array:
        """Joint targets, (J,) rad float32, in the order of `Metadata.joint_names`. Not checked for NaN: `ControlLoop` does that.

        A command that commands nothing is to stand where the robot is: a policy that is told nothing does as it likes.

        Raises:
            DeployError: the command holds what this policy does not read, or lacks what it needs, or has another shape.
        """
        feeds = dict(self._blank)
        for name in MEASURED:
            self._put(feeds, name, getattr(reading, name))
        self._put_command(feeds, self._or_stand(reading, command))
        if self._history is not None:
            feeds["history"], feeds["reset"] = self._history, np.array([self._begins])
        if self.on_inputs is not None:
            self.on_inputs(feeds)
        outputs = cast(list[Array], self._session.run(self._outputs, feeds))
        if self._history is not None:
            self._history = outputs[1]
        self._begins = False
        return outputs[0][0]

    def _or_stand(self, reading: RobotReading, command: Command) -> Command:
        """The command, or, while it commands nothing, to stand where the robot was as that began."""
        if self.needs_poses or not command.empty:
            self._stand = None
            return command
        if self._stand is None:
            self._stand = standing(reading, self._commands, len(self.metadata.path_times))
        return self._stand

    def _put_command(self, feeds: dict[str, Array], command: Command) -> None:
        given = command.inputs
        for modality, values in given.items():
            if modality not in self._commands:
                raise DeployError(f"this policy takes no {modality}", f"It takes {', '.join(self.modalities)}")
            names = self._commands[modality]
            if not set(names) <= set(values):
                raise DeployError(f"a {modality} command needs {' and '.join(names)}")
            for name in names:
                self._put(feeds, name, values[name])
        if self._commands:
            feeds["command_mask"] = np.array([[modality.name in given for modality in self.metadata.modalities]])
        self._put_poses(feeds, command)

    def _put_poses(self, feeds: dict[str, Array], command: Command) -> None:
        given = [name for name in _POSES if getattr(command, name) is not None]
        if given and not self._reads_poses:
            raise DeployError("this policy takes no poses", f"It takes {', '.join(self.modalities)}")
        if len(given) == 1 or (self.needs_poses and not given):
            raise DeployError(f"this policy's command needs {' and '.join(_POSES)}")
        for name in given:
            self._put(feeds, name, getattr(command, name))
        if given and "pose_mask" in feeds:
            mask = command.pose_mask
            self._put(feeds, "pose_mask", np.ones_like(feeds["pose_mask"][0]) if mask is None else mask)
        for name in [name for name in REFERENCE if name in feeds]:
            if getattr(command, name) is None:
                raise DeployError(f"this policy's command needs {name}")
            self._put(feeds, name, getattr(command, name))

    def _put(self, feeds: dict[str, Array], name: str, value: Array | float | None) -> None:
        blank = self._blank[name]
        array = np.asarray(value, dtype=blank.dtype)[None]
        if array.shape != blank.shape:
            raise DeployError(f"{name} has shape {array.shape[1:]}, this policy needs {blank.shape[1:]}")
        feeds[name] = array
