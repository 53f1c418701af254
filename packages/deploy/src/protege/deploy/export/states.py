"""States as they occur in closed loops: int8 is calibrated on them, and two models are compared on them."""

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
"""Clips of the robot that policies with poses track, as far as a package ships them."""
BATCH_SIZE = 256
MAX_DIFFERENCE = {"fp32": 1e-4, "fp16": 0.05, "int8": 0.2}
"""Largest difference of a joint target from that of the policy in fp32, rad, on states of closed loops: more is an error.

In fp32 sums in another order differ by 1e-6 or so, and `protege-deploy check` allows 1e-5; GPUs take other sines and roots.
"""


def record(folder: str | Path, num_states: int, seed: int = 0) -> dict[str, Array]:
    """Let an export's policy walk in MuJoCo under random commands of all that it takes, in turn; a fall begins the next.

    Args:
        folder: an export; needs the extras cpu and mujoco.
        num_states: how many control steps.
        seed: of the commands.

    Returns:
        the model's inputs of each step by name, (num_states, ...).

    Raises:
        DeployError: an export that cannot be run here, or nothing that it could be told.
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
    """States from a file of `run --record`, as many as asked for at most.

    Raises:
        DeployError: not there, not an .npz, or of another policy.
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
        session: ONNX Runtime's, or what runs like it.
        states: its inputs by name, (N, ...).
        batch: what the model takes a call, if that is fixed; the last call is then filled up with the last state.

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
    """Of joint targets (N, J), rad; NaN counts as far away."""
    difference = np.abs(np.nan_to_num(actual.astype(np.float64), nan=1e9) - expected)
    return Accuracy(
        len(actual), float(difference.mean()), float(np.percentile(difference, 99)), float(difference.max())
    )


def _commands(policy: OnnxPolicy, robot: "MujocoRobot", random: np.random.Generator) -> Iterator[MeasuredCommand]:
    """Commands without end, each for a robot that has just been put where it begins; none if nothing can be commanded."""
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
    """Those of `TRACKED_CLIPS` that are installed, placed at the origin."""
    for name in TRACKED_CLIPS:
        with suppress(DeployError):
            yield load_clip(f"{metadata.robot}_humanoid_{name}.npy", metadata).placed(Pose2D(np.zeros(2), 0.0))
