"""Checks that a run may be resumed: its config and the files that it learns from must be unchanged."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from ..motions.clip import clip_files
from ..robots.plain import first_difference
from ..robots.robot import Robot
from ..tasks import tasks
from .checkpoint import Checkpoint
from .config_layers import leaves
from .plain_yaml import as_yaml

MAY_CHANGE = {
    *(
        f"run.{x}"
        for x in ("max_iterations", "max_samples", "max_time", "checkpoint_interval", "num_threads", "device")
    ),
    *(f"run.{x}" for x in ("resume", "results_dir", "experiment_name", "mixed_precision", "compile")),
    "run.robot",  # the file may have moved; `check_robot` compares the robots themselves
    *("agent.evaluation_interval", "agent.evaluation_episodes"),
    *(f"env.{x}.{y}" for x in ("mjwarp", "isaaclab") for y in ("contacts", "constraints")),
    *(f"env.mismatch.{x}" for x in ("physics_rate", "control_rate", "delay", "effort", "leg_collision")),
}
"""Keys that may change when a run is resumed, besides `Task.evaluation_only`.

The values of all other keys are already part of the state of the optimizer, the envs or the log.
"""

PATH_KEYS = ("motion_file", "checkpoint", "expert_model_path", "world_model_path")
"""Last parts of the keys that contain one or several paths. Different spellings of the same path are equal."""


def check_config(last: Path, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Compare the config of a checkpoint with the config of the run that resumes from it.

    Raises:
        UserError: a key differs that may not.
    """
    if changed := _first_difference(was, now):
        key, before, after = changed
        raise UserError(
            f"{last} was trained with {key}={before}, not {after}",
            "Leave that as it was, or begin anew: --no-resume, or another --experiment-name",
        )


def check_sources(last: Path, was: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Compare the digests of the files that a checkpoint's run learned from with the current ones.

    Args:
        was, now: SHA-256 by file name. A checkpoint of an earlier version has none. The same file under another name, for example
            in another installation, is not a difference.

    Raises:
        UserError: a file has changed, is new, or is missing.
    """
    if not was:
        return
    old = {Path(name).resolve(): digest for name, digest in was.items()}
    for name, digest in now.items():
        if old.get(Path(name).resolve(), digest) != digest:
            raise _another_source(f"{name} has changed since {last} was trained with it", last)
        if digest not in was.values():
            raise _another_source(f"{name} is new: {last} was trained without it", last)
    for name, digest in was.items():
        if digest not in now.values():
            raise _another_source(f"{name} is gone: {last} was trained with it", last)


def check_robot(path: str | Path, saved: Checkpoint, robot: Robot, *also: str) -> None:
    """Compare the robot that a policy was trained with, if its checkpoint describes it, with the robot that it will control.

    Args:
        path: of the policy, for the message.
        saved: the policy.
        robot: the robot that the policy will control.
        also: further fields of the robot that must be equal, besides those that every policy depends on.

    Raises:
        UserError: the robots differ.
    """
    if saved.robot != robot.name:
        raise UserError(f"{path} drives the robot {saved.robot}, not {robot.name}", f"Take --robot {saved.robot}")
    if saved.joint_names != list(robot.joint_names):
        raise UserError(f"{path} drives other joints than {robot.name} has now", "Train it again")
    was = saved.described_robot()
    if was is not None and (difference := first_difference(was, robot, *also)):
        raise UserError(
            f"{path} drives another {robot.name} than there is now: {difference}",
            "Train it again, or put the robot's files back as they were",
        )


def _another_source(problem: str, last: Path) -> UserError:
    return UserError(
        problem,
        f"Put the old one back, or begin anew: another --experiment-name, with --checkpoint {last} for its weights",
    )


def clip_digests(motion_files: Sequence[str]) -> dict[str, str]:
    """SHA-256 of each clip's file, by path; see `clip_files`.

    Raises:
        UserError: a clip is missing or cannot be read.
    """
    digests = {}
    for path in clip_files(motion_files):
        try:
            with path.open("rb") as file:
                digests[str(path)] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise UserError(f"cannot read {path} ({error.strerror})", "Is it a clip?") from error
    return digests


def weights_digest(model: Mapping[str, Tensor], *, shapes: bool = True) -> str:
    """SHA-256 of a policy's tensors and their names. Files with the same weights have the same digest.

    An action scale of 1 is ignored, because the first checkpoints have none.

    Args:
        model: tensors by name.
        shapes: include types and shapes, as runs do for the policies that they learn from. Exports record the digest without them,
            so that exports of all versions can be compared with their checkpoints.
    """
    digest = hashlib.sha256()
    for name in sorted(model):
        if name == "action_scale" and bool((model[name] == 1).all()):
            continue
        tensor = model[name].detach().cpu().contiguous()
        digest.update((f"{name} {tensor.dtype} {tuple(tensor.shape)}\n" if shapes else name).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _first_difference(was: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """The first key that differs although it may not change, in the new config's order, with both values."""
    may_change = MAY_CHANGE | {f"env.{task.config_key}.{x}" for task in tasks().values() for x in task.evaluation_only}
    old, new = ({".".join(names): value for names, value in leaves(config)} for config in (was, now))
    for key in [*new, *old]:
        if key not in may_change and _resolved(key, old.get(key)) != _resolved(key, new.get(key)):
            before, after = (as_yaml(data[key]) if key in data else "nothing" for data in (old, new))
            return key, before, after
    return None


def _resolved(key: str, value: Any) -> Any:
    """The value of a key, with absolute paths."""
    if isinstance(value, list):
        return [_resolved(key, item) for item in value]
    return Path(value).resolve() if value and key.split(".")[-1] in PATH_KEYS else value
