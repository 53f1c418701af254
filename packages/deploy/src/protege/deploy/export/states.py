"""States from closed loops, for calibrating int8 and comparing two models."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, is_zipfile

import numpy as np

from ..commands.measured import MeasuredCommand
from ..commands.motion import MotionCommand
from ..commands.order_kind import RunContext
from ..commands.registry import KINDS
from ..errors import DeployError
from ..geometry import Array, Pose2D
from ..motions.clips import Clip, load_clip
from ..policy.metadata import DTYPES, Accuracy, Metadata, TensorSpec
from ..policy.onnx_policy import OnnxPolicy

if TYPE_CHECKING:
    from ..robots.mujoco import MujocoRobot

EPISODE_S = 6.0
TRACKED_CLIPS = ("walk", "run", "jump")
"""Clips of the robot that policies with poses track, if a package ships them."""
BATCH_SIZE = 256
MAX_DIFFERENCE = {"fp32": 1e-4, "fp16": 0.05, "int8": 0.2}
"""Largest allowed difference of a joint target from that of the policy in fp32, rad, on states of closed loops.

In fp32 the order of sums changes about 1e-6, and `protege-deploy check` allows 1e-5; GPUs compute sines and roots differently.
"""


def record(folder: str | Path, num_states: int, seed: int = 0) -> dict[str, Array]:
    """Run an export's policy in MuJoCo under random commands of each kind that it takes, in turn. A fall starts the next command.

    Args:
        folder: an export; needs the extras cpu and mujoco.
        num_states: number of control steps.
        seed: of the commands.

    Returns:
        the model's inputs of each step by name, (num_states, ...).

    Raises:
        DeployError: the export cannot be run here, or there is no command for it.
    """
    from ..robots.mujoco import MujocoRobot

    policy, robot = OnnxPolicy(folder), MujocoRobot(folder)
    dt, steps = policy.metadata.control_dt, 0
    seen: list[dict[str, Array]] = []
    policy.on_inputs = seen.append
    for command in _commands(policy, robot, np.random.default_rng(seed)):
        policy.reset()
        for step in range(round(EPISODE_S / dt)):
            reading = robot.read()
            robot.write(policy.act(reading, command(step * dt, reading)))
            steps += 1
            if steps == num_states:
                return {name: np.concatenate([feeds[name] for feeds in seen]) for name in seen[0]}
            if robot.has_fallen:
                break
    raise DeployError(f"{folder}: no clip to track is installed", "Record states with `run --record` and give --states")


def load(path: str | Path, specs: Sequence[TensorSpec], num_states: int | None = None) -> dict[str, Array]:
    """States from a file of `run --record`, at most `num_states` of them.

    Raises:
        DeployError: the file does not exist, is not an .npz, or belongs to another policy.
    """
    again = "Record states: protege-deploy run DIR --record states.npz"
    if not Path(path).is_file() or not is_zipfile(path):
        raise DeployError(f"{path} is not an .npz file", again)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name][:num_states] for name in file.files}
    except (BadZipFile, EOFError, KeyError, OSError, ValueError, RuntimeError, zlib.error) as error:
        raise DeployError(f"{path} is damaged ({error})", again) from error
    for spec in specs:
        array = arrays.get(spec.name)
        if array is None or list(array.shape[1:]) != spec.shape or array.dtype != DTYPES[spec.dtype]:
            raise DeployError(
                f"{path}: {spec.name} is missing or not {spec.dtype} (N, {spec.shape})", "Record them again"
            )
    if len({len(arrays[spec.name]) for spec in specs}) != 1 or not len(arrays[specs[0].name]):
        raise DeployError(f"{path}: its arrays hold different numbers of states, or none", "Record them again")
    return {spec.name: arrays[spec.name] for spec in specs}


def run_batches(session: Any, states: Mapping[str, Array], batch: int | None = None) -> list[Array]:
    """All outputs of a session on many states.

    Args:
        session: of ONNX Runtime, or an object with the same `run`.
        states: its inputs by name, (N, ...).
        batch: the model's fixed number of states per call, if any; the last call is then padded with the last state.

    Returns:
        its outputs, (N, ...) each.
    """
    count, size = len(next(iter(states.values()))), batch or BATCH_SIZE
    parts = []
    for begin in range(0, count, size):
        rows = np.arange(begin, begin + size)
        rows = rows.clip(max=count - 1) if batch else rows[rows < count]
        parts.append(session.run(None, {name: values[rows] for name, values in states.items()}))
    return [np.concatenate(outputs)[:count] for outputs in zip(*parts, strict=True)]


def compare(actual: Array, expected: Array) -> Accuracy:
    """Difference of joint targets (N, J), rad; NaN counts as a large difference."""
    difference = np.abs(np.nan_to_num(actual.astype(np.float64), nan=1e9) - expected)
    return Accuracy(
        len(actual), float(difference.mean()), float(np.percentile(difference, 99)), float(difference.max())
    )


def _commands(policy: OnnxPolicy, robot: "MujocoRobot", random: np.random.Generator) -> Iterator[MeasuredCommand]:
    """An endless series of commands, each after a reset of the robot to its start; empty if nothing can be commanded."""
    kinds = [KINDS[name] for name in policy.modes if name in KINDS]
    clips = list(_clips(policy.metadata)) * ("poses" in policy.modalities)
    while kinds or clips:
        for kind in kinds:
            robot.reset(policy.metadata.start)
            yield kind.random(random, RunContext(robot.read().pose_2d, EPISODE_S, policy.metadata.path_times))
        for clip in clips:
            robot.reset(clip.start())
            yield MotionCommand(clip, robot.body_poses, policy.metadata, policy.with_poses)


def _clips(metadata: Metadata) -> Iterator[Clip]:
    """The installed clips of `TRACKED_CLIPS`, placed at the origin."""
    for name in TRACKED_CLIPS:
        with suppress(DeployError):
            yield load_clip(f"{metadata.robot}_humanoid_{name}.npy", metadata).placed(Pose2D(np.zeros(2), 0.0))
