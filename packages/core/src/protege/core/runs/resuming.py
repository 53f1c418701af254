"""What must be the same for a run to go on: its config, and the files that it learns from."""

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
    "run.robot",  # a robot's file may have moved: `check_robot` compares the robots themselves
    *("agent.evaluation_interval", "agent.evaluation_episodes"),
    *(f"env.{x}.{y}" for x in ("mjwarp", "isaaclab") for y in ("contacts", "constraints")),
    *(f"env.mismatch.{x}" for x in ("physics_rate", "control_rate", "delay", "effort", "leg_collision")),
}
"""Keys that may change when a run goes on, besides `Task.evaluation_only`.

Of all others the optimiser, the envs or the log already hold the old value.
"""

PATHS = ("motion_file", "checkpoint", "expert_model_path", "world_model_path")
"""Last parts of the keys that hold a path or several. The same file in another spelling is no difference."""


def check_config(last: Path, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Compare the config of a checkpoint with the one that is to go on from it.

    Raises:
        UserError: naming the first key that differs and may not.
    """
    if changed := _first_difference(was, now):
        key, before, after = changed
        raise UserError(
            f"{last} was trained with {key}={before}, not {after}",
            "Leave that as it was, or begin anew: --no-resume, or another --experiment-name",
        )


def check_sources(last: Path, was: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Compare the digests of the files that a checkpoint's run learned from with those of today.

    Args:
        was, now: SHA-256 by the file's name. A checkpoint of an earlier version has none. A file that is the same under another
            name, as in another installation, is no difference.

    Raises:
        UserError: naming the first file that has changed, is new, or is gone.
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
    """Compare the robot that a policy was trained with, as far as its file tells, with the one that it is to drive.

    Args:
        path: of the policy, for the message.
        saved: the policy.
        robot: that is to be driven, as it is today.
        also: fields of the robot that must be the same, besides those that every policy depends on.

    Raises:
        UserError: naming the first difference.
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
    """SHA-256 of each clip's file, by its path; see `clip_files`.

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
    """SHA-256 of a policy's tensors and their names; two files of the same weights have the same.

    A scale of actions that is 1 does not count: the first checkpoints have none.

    Args:
        model: tensors by name.
        shapes: types and shapes are in it, as in what runs record of the policies that they learn from. Exports record the digest
            without them: those of all versions can so be compared with their checkpoints.
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
    """The first key, in the new config's order, that may not change and whose value another config does not share."""
    may_change = MAY_CHANGE | {f"env.{task.config_key}.{x}" for task in tasks().values() for x in task.evaluation_only}
    old, new = ({".".join(names): value for names, value in leaves(config)} for config in (was, now))
    for key in [*new, *old]:
        if key not in may_change and _resolved(key, old.get(key)) != _resolved(key, new.get(key)):
            before, after = (as_yaml(data[key]) if key in data else "nothing" for data in (old, new))
            return key, before, after
    return None


def _resolved(key: str, value: Any) -> Any:
    """The value of a key, paths in full."""
    if isinstance(value, list):
        return [_resolved(key, item) for item in value]
    return Path(value).resolve() if value and key.split(".")[-1] in PATHS else value
