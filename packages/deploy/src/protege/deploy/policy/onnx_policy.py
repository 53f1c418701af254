"""An exported policy on ONNX Runtime. Neither torch nor core is imported."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import cast

import numpy as np

from ..errors import DeployError
from ..geometry import Array
from ..interface import MEASURED, MODALITIES, Command, RobotReading
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
        self._commands = [name for name in MODALITIES if MODALITIES[name][0] in self._blank]
        self._history = self._blank.get("history")
        self._begins = True
        self._stand: Command | None = None
        self.on_inputs: Callable[[dict[str, Array]], None] | None = None

    @property
    def modalities(self) -> list[str]:
        """What can be commanded: of path, goal, steering and poses."""
        return [*self._commands, *["poses"] * self._reads_poses]

    @property
    def modes(self) -> list[str]:
        """What it can be told: of path, goal and steering, unless it needs poses too, and motion, if it reads poses."""
        return [*self._commands] * (not self.needs_poses) + ["motion"] * self._reads_poses

    @property
    def with_poses(self) -> list[str]:
        """What has to be commanded together with poses: teachers were trained with both."""
        return self.modalities if self.needs_poses else []

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
            path = self._blank.get("path_w")
            self._stand = standing(reading, self._commands, 0 if path is None else path.shape[1])
        return self._stand

    def _put_command(self, feeds: dict[str, Array], command: Command) -> None:
        try:
            shown = dict(zip(MODALITIES, command.shown(), strict=True))
        except ValueError as error:
            raise DeployError(str(error)) from error
        for modality in (name for name, on in shown.items() if on):
            if modality not in self._commands:
                raise DeployError(f"this policy takes no {modality}", f"It takes {', '.join(self.modalities)}")
            for name in MODALITIES[modality]:
                self._put(feeds, name, getattr(command, name))
        if shown["steering"] and "steering_facing_w" in feeds:
            facing = command.steering_facing_w
            self._put(feeds, "steering_facing_w", command.steering_direction_w if facing is None else facing)
        if self._commands:
            feeds["command_mask"] = np.array([list(shown.values())])
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


def standing(reading: RobotReading, modalities: Collection[str], path_points: int) -> Command:
    """To stand where a robot is and to look where it looks, by the first of steering, goal and path that its policy takes.

    Args:
        reading: of the robot as it is told to stand.
        modalities: what the policy takes.
        path_points: how many points a path has.
    """
    here = reading.pose_2d
    if "steering" in modalities:
        return Command(steering_direction_w=here.direction(0.0), steering_speed=0.0)
    if "goal" in modalities:
        return Command(goal_w=here.point, goal_time_left=0.0)
    return Command(path_w=np.tile(here.point, (path_points, 1))) if "path" in modalities else Command()
