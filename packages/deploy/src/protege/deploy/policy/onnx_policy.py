"""An exported policy on ONNX Runtime. Neither torch nor core is imported."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..errors import DeployError
from ..geometry import Array
from ..interface import MODALITIES, Command, RobotReading, standing_command
from . import metadata as _metadata
from .metadata import DTYPES, Metadata
from .sensor_inputs import in_heading_frame, measured_inputs
from .session import open_session
from .tensors import NEXT_PREFIX, REFERENCE_INPUTS

_POSES, _POSES_H = ("target_body_pos_w", "target_body_quat_w"), ("target_body_pos_h", "target_body_quat_h")


class OnnxPolicy:
    """An exported policy. It stores the history between steps; `reset` begins an episode.

    Args:
        folder: the output of `protege-deploy export`.
        threads: of ONNX Runtime; more than one is rarely faster for a single robot.
        provider: a key of `session.PROVIDERS` that the installed ONNX Runtime has.

    Attributes:
        metadata: the contents of `policy.json`.
        on_inputs: called with the model's inputs of each step, (1, ...) by name, for instance to record them.

    Raises:
        DeployError: files are missing or inconsistent, or the provider is not available.
    """

    def __init__(self, folder: str | Path, threads: int = 1, provider: str = "cpu") -> None:
        self.metadata: Metadata = _metadata.load(folder)
        self._session = open_session(folder, self.metadata, threads, provider, batch=1)
        self._outputs = [spec.name for spec in self.metadata.outputs]
        # Inputs of a modality that is not commanded: zeros, and identity rotations.
        self._blank: dict[str, Array] = {s.name: np.zeros((1, *s.shape), DTYPES[s.dtype]) for s in self.metadata.inputs}
        for name in ("target_body_quat_w", "target_body_quat_h"):
            if name in self._blank:
                self._blank[name][..., 0] = 1.0
        self._poses = [name for name in (*_POSES, *_POSES_H) if name in self._blank]
        self._reads_poses, self._reads_all_poses = bool(self._poses), "pose_mask" not in self._blank
        self._commands = {modality.name: modality.inputs for modality in self.metadata.modalities if modality.inputs}
        self._specs = {spec.name: spec for spec in self.metadata.inputs}
        # Outputs that are inputs of the next step.
        self._memory = {
            name.removeprefix(NEXT_PREFIX): i for i, name in enumerate(self._outputs) if name.startswith(NEXT_PREFIX)
        }
        self._state = {name: self._blank[name] for name in self._memory}
        self._begins = True
        self._stand: Command | None = None
        self.on_inputs: Callable[[dict[str, Array]], None] | None = None

    @property
    def modalities(self) -> list[str]:
        """What the policy can be commanded by: its modalities, and poses."""
        return [*self._commands, *["poses"] * self._reads_poses]

    @property
    def modes(self) -> list[str]:
        """The modes of its orders: modalities that do not need poses too, and motion if it reads poses."""
        return [x for x in self._commands if x not in self.with_poses] + ["motion"] * self._reads_poses

    @property
    def with_poses(self) -> list[str]:
        """The modalities that must be commanded together with poses, since teachers were trained with both."""
        return [x for x in self.modalities if x in (*MODALITIES, "poses")] if self.needs_poses else []

    @property
    def needs_poses(self) -> bool:
        """Whether it cannot act without target poses, as trackers and teachers."""
        return self._reads_poses and self._reads_all_poses

    def reset(self) -> None:
        """Begin an episode: the next step's history is filled with its own observation."""
        self._begins, self._stand = True, None

    def act(self, reading: RobotReading, command: Command) -> Array:
        """Joint targets, (J,) rad float32, in the order of `Metadata.joint_names`. Not checked for NaN: `ControlLoop` does that.

        With an empty command the robot stands where it is, because the behaviour of a policy without a command is undefined.

        Raises:
            DeployError: the command has an input that the policy does not read, lacks one or has another shape; or the robot does
                not measure an input of the policy, or the position that the command needs.
        """
        feeds = dict(self._blank)
        for name, value in measured_inputs(reading, self.metadata).items():
            self._put(feeds, name, value)
        self._put_command(feeds, reading, self._or_stand(reading, command))
        if self._memory:
            feeds |= {**self._state, "reset": np.array([self._begins])}
        if self.on_inputs is not None:
            self.on_inputs(feeds)
        outputs = cast(list[Array], self._session.run(self._outputs, feeds))
        self._state = {name: outputs[index] for name, index in self._memory.items()}
        self._begins = False
        return outputs[0][0]

    def _or_stand(self, reading: RobotReading, command: Command) -> Command:
        """The command or, while it is empty, the command to stand where the robot was when it became empty."""
        if self.needs_poses or not command.empty:
            self._stand = None
            return command
        if self._stand is None:
            self._stand = standing_command(reading, self._commands, len(self.metadata.path_times))
        return self._stand

    def _put_command(self, feeds: dict[str, Array], reading: RobotReading, command: Command) -> None:
        given = command.inputs
        for modality, values in given.items():
            if modality not in self._commands:
                raise DeployError(f"this policy takes no {modality}", f"It takes {', '.join(self.modalities)}")
            names = self._commands[modality]
            inputs = {name: values[name] for name in names if name in values} | self._seen(names, values, reading)
            if len(inputs) < len(names):
                raise DeployError(f"a {modality} command needs {' and '.join(names)}")
            for name, value in inputs.items():
                self._put(feeds, name, value)
        if self._commands:
            feeds["command_mask"] = np.array([[modality.name in given for modality in self.metadata.modalities]])
        self._put_poses(feeds, reading, command)

    def _seen(self, names: Collection[str], values: Mapping[str, Any], reading: RobotReading) -> dict[str, Array]:
        """The inputs in the heading frame that the command gives only in the world frame, by name."""
        world = {name: f"{name.removesuffix('_h')}_w" for name in names if name.endswith("_h") and name not in values}
        return {
            name: in_heading_frame(name, self._specs[name].unit, values[other], reading)
            for name, other in world.items()
            if other in values
        }

    def _put_poses(self, feeds: dict[str, Array], reading: RobotReading, command: Command) -> None:
        given = [name for name in _POSES if getattr(command, name) is not None]
        if given and not self._reads_poses:
            raise DeployError("this policy takes no poses", f"It takes {', '.join(self.modalities)}")
        if len(given) == 1 or (self.needs_poses and not given):
            raise DeployError(f"this policy's command needs {' and '.join(_POSES)}")
        poses = {name: getattr(command, name) for name in given}
        for name, value in (self._seen(self._poses, poses, reading) or poses).items():
            self._put(feeds, name, value)
        if given and "pose_mask" in feeds:
            mask = command.pose_mask
            self._put(feeds, "pose_mask", np.ones_like(feeds["pose_mask"][0]) if mask is None else mask)
        for name in [name for name in REFERENCE_INPUTS if name in feeds]:
            if getattr(command, name) is None:
                raise DeployError(f"this policy's command needs {name}")
            self._put(feeds, name, getattr(command, name))

    def _put(self, feeds: dict[str, Array], name: str, value: Array | float | None) -> None:
        blank = self._blank[name]
        array = np.asarray(value, dtype=blank.dtype)[None]
        if array.shape != blank.shape:
            raise DeployError(f"{name} has shape {array.shape[1:]}, this policy needs {blank.shape[1:]}")
        feeds[name] = array
