"""Runs a locomotion policy of holosoma in this control loop: its observation, gait clock and scales, from its ONNX metadata.

Its input is `actor_obs`, one row of terms sorted by name. Its output, times `ACTION_SCALE`, is an offset of the targets from the
default pose. It is commanded by velocities; modalities are converted to velocities by `OrderKind.velocity_of`.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..commands.registry import KINDS
from ..errors import DeployError
from ..geometry import Array, rotated_back
from ..interface import Command, RobotReading
from ..policy.metadata import Metadata, Modality
from ..policy.session import open_file

INPUT, OUTPUT = "actor_obs", "action"
ACTION_SCALE = 0.25  # rad per unit, `policy_action_scale` of its locomotion task
TERM_SCALES = {"base_ang_vel": 0.25, "dof_vel": 0.05}  # of its observation terms; the others have 1
STRIDE_PERIOD = 1.0  # s of a stride
STANDING_SPEED = 0.01  # m/s and rad/s, below which the robot stands: both feet have the same phase
MAX_ACTION = 100.0  # of the network's output
COMMAND_AXES = ("lin_vel_x", "lin_vel_y", "ang_vel_yaw")
"""Entries of `command_ranges`, m/s and rad/s."""


class HolosomaPolicy:
    """Implements `Policy`.

    Args:
        path: the ONNX file.
        robot: metadata of an export for the same robot: joints, ranges, default pose.
        threads: of ONNX Runtime.

    Attributes:
        metadata: of the robot, with the gains and the modalities of this policy.

    Raises:
        DeployError: the file does not exist, is not such a policy, or is for a robot with other joints.
    """

    needs_poses = False
    with_poses = ()

    def __init__(self, path: str | Path, robot: Metadata, threads: int = 1) -> None:
        self._session = open_file(path, threads)
        given, answers = ([x.name for x in nodes()] for nodes in (self._session.get_inputs, self._session.get_outputs))
        if given != [INPUT] or answers[:1] != [OUTPUT]:
            known = f"Its locomotion policies have the input {INPUT} and the output {OUTPUT}"
            raise DeployError(f"{path} has the inputs {', '.join(given)} and the outputs {', '.join(answers)}", known)
        model_properties = _properties(self._session.get_modelmeta().custom_metadata_map, path)
        names = model_properties["dof_names"]
        if sorted(names) != sorted(robot.joint_names):
            problem = f"{path} moves other joints than the export for {robot.robot}"
            raise DeployError(problem, "Take an export of its robot")
        # Its joints as indices of the export's.
        self._order = np.array([robot.joint_names.index(name) for name in names])
        self._default = np.array(robot.default_joint_pos)[self._order]
        modalities = [Modality(name, []) for name, kind in KINDS.items() if kind.velocity_of is not None]
        back = np.argsort(self._order)
        gains = {
            key: np.array(model_properties[name])[back].tolist()
            for key, name in (("stiffness", "kp"), ("damping", "kd"))
        }
        self.metadata = replace(robot, modalities=modalities, command_ranges={}, sensors="onboard", imu=None, **gains)
        ranges = model_properties.get("command_ranges") or {}
        self._ranges = np.array([ranges.get(axis, [-np.inf, np.inf]) for axis in COMMAND_AXES])
        self._turn = 2.0 * np.pi * robot.control_dt / STRIDE_PERIOD
        self.reset()
        size = self._session.get_inputs()[0].shape[-1]
        terms = sum(len(term) for term in self._terms(np.zeros(3), None).values())
        if size != terms:
            raise DeployError(f"{path} reads {size} numbers, but the locomotion task has {terms}", "Take such a policy")

    @property
    def modes(self) -> list[str]:
        """The modes of its orders."""
        return [modality.name for modality in self.metadata.modalities]

    @property
    def modalities(self) -> list[str]:
        return self.modes

    def reset(self) -> None:
        """Begin an episode: the left foot's phase is 0, the right foot's is half a stride later."""
        self._phase, self._stands = np.array([0.0, np.pi]), False
        self._action = np.zeros(len(self._order), np.float32)

    def act(self, reading: RobotReading, command: Command) -> Array:
        """Joint targets, (J,) rad float32, in the order of `Metadata.joint_names`."""
        velocity = self._velocity(reading, command)
        self._advance(velocity)
        row = np.concatenate([x for _, x in sorted(self._terms(velocity, reading).items())])
        answer = self._session.run([OUTPUT], {INPUT: row.astype(np.float32)[None]})[0][0]
        self._action = np.clip(answer, -MAX_ACTION, MAX_ACTION)
        target = np.empty(len(self._order), np.float32)
        target[self._order] = ACTION_SCALE * self._action + self._default
        return target

    def _velocity(self, reading: RobotReading, command: Command) -> Array:
        """Of the first modality that is commanded, within what the policy was trained on; to stand without one."""
        for kind in KINDS.values():
            velocity = None if kind.velocity_of is None else kind.velocity_of(command, reading)
            if velocity is not None:
                return np.clip(velocity, *self._ranges.T)
        return np.zeros(3)

    def _advance(self, velocity: Array) -> None:
        """Turn the gait's phases by one step; a robot that stands has both at half a stride, and begins anew after it."""
        if np.linalg.norm(velocity[:2]) < STANDING_SPEED and abs(velocity[2]) < STANDING_SPEED:
            self._phase, self._stands = np.array([np.pi, np.pi]), True
        elif self._stands:
            self._phase, self._stands = np.array([0.0, np.pi]), False
        else:
            self._phase = np.fmod(self._phase + self._turn + np.pi, 2.0 * np.pi) - np.pi

    def _terms(self, velocity: Array, reading: RobotReading | None) -> dict[str, Array]:
        """The observation's terms by name, scaled; sizes alone without a reading."""
        terms = {
            "actions": self._action,
            "command_ang_vel": velocity[2:],
            "command_lin_vel": velocity[:2],
            "cos_phase": np.cos(self._phase),
            "sin_phase": np.sin(self._phase),
            "dof_pos": self._default,
            "dof_vel": self._default,
            "base_ang_vel": np.zeros(3),
            "projected_gravity": np.zeros(3),
        }
        if reading is not None:
            quat = reading.root_quat_w
            terms |= {
                "dof_pos": reading.joint_pos[self._order] - self._default,
                "dof_vel": reading.joint_vel[self._order],
                "base_ang_vel": rotated_back(quat, reading.root_ang_vel_w),
                "projected_gravity": rotated_back(quat, np.array([0.0, 0.0, -1.0])),
            }
        return {name: TERM_SCALES.get(name, 1.0) * value for name, value in terms.items()}


def _properties(texts: Mapping[str, str], path: str | Path) -> dict[str, Any]:
    """Parse the file's metadata as holosoma does.

    Raises:
        DeployError: it lacks joints or gains, or is not JSON.
    """
    try:
        found = {key: json.loads(texts[key]) for key in ("dof_names", "kp", "kd", "command_ranges") if key in texts}
    except ValueError as error:
        raise DeployError(f"{path}: its metadata is not JSON ({error})", "Take a policy of holosoma") from error
    for key in ("dof_names", "kp", "kd"):
        if not isinstance(found.get(key), list) or len(found[key]) != len(found["dof_names"]):
            raise DeployError(f"{path}: its metadata lacks {key}", "Take a policy of holosoma")
    return found
