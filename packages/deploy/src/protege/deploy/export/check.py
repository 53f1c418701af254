"""Compares an ONNX model with its policy in torch, on recorded or random states. Needs torch and core."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from protege.core.robots import rotation as R
from protege.core.robots.robot import Robot

from ..errors import DeployError
from ..policy import metadata
from ..policy.session import open_session
from . import states as _states
from .export import load_graph, weights_sha256
from .graph import StudentGraph
from .states import MAX_DIFFERENCE, run_batches

MAX_CPU_DIFFERENCE = {**MAX_DIFFERENCE, "fp32": 1e-5}
"""Largest allowed difference of joint targets on a CPU, rad, by precision. In float32 the order of sums changes about 1e-6."""
RANDOM_STATES, RECORDED_STATES = "random", "recorded"
"""Sources of states, other than a file."""


@dataclass(frozen=True)
class CheckResult:
    """The largest differences between ONNX and torch.

    Attributes:
        num_states: number of compared states.
        joint_target: rad.
        next_history: in units of the observations; None for a policy without history.
    """

    num_states: int
    joint_target: float
    next_history: float | None


def check(
    folder: str | Path,
    checkpoint: str | Path,
    num_states: int = 1000,
    states: str | Path | None = None,
    seed: int = 0,
    provider: str = "cpu",
) -> CheckResult:
    """Compare an export with its checkpoint.

    Args:
        folder: the export.
        checkpoint: run folder, checkpoint or release.
        num_states: number of states; of a file at most this many.
        states: `random`, `recorded` (from closed loops, now) or an .npz with the model's inputs by name (`protege-deploy run
            --record`); None for random ones in fp32 and recorded ones in other precisions, which are accurate only for such states.
        seed: of the random numbers.
        provider: runs the model, see `open_session`.

    Returns:
        the largest differences.

    Raises:
        DeployError: the checkpoint is another one, the states do not fit, or a difference is too large.
    """
    described = metadata.load(folder)
    loaded, graph, robot = load_graph(checkpoint)
    if weights_sha256(loaded) != described.source.weights_sha256:
        raise DeployError(f"{folder} was exported from another checkpoint than {checkpoint}", "Export it again")
    wanted = str(states or (RANDOM_STATES if described.precision == "fp32" else RECORDED_STATES))
    if wanted == RANDOM_STATES:
        inputs = random_inputs(graph, robot, num_states, torch.Generator().manual_seed(seed))
    elif wanted == RECORDED_STATES:
        inputs = _tensors(_states.record(folder, num_states, seed))
    else:
        inputs = _tensors(_states.load(wanted, graph.specs, num_states))
    result = compare(Path(folder), graph, inputs, provider)
    # GPUs compute sines and roots differently than torch does on a CPU.
    bound = (MAX_CPU_DIFFERENCE if provider == "cpu" else MAX_DIFFERENCE)[described.precision]
    if not result.joint_target <= bound:
        raise DeployError(
            f"{folder}: ONNX and torch differ by {result.joint_target:.1e} rad, more than {bound:.0e}",
            "Export it again with these versions of torch and ONNX Runtime, or take --provider cpu",
        )
    return result


def compare(folder: Path, graph: StudentGraph, inputs: dict[str, Tensor], provider: str = "cpu") -> CheckResult:
    """Largest differences between model and graph on a batch of inputs (N, ...)."""
    described = metadata.load(folder)
    session = open_session(folder, described, provider=provider)
    actual = run_batches(session, {name: tensor.numpy() for name, tensor in inputs.items()}, described.batch)
    with torch.no_grad():
        expected = graph(*(inputs[spec.name] for spec in graph.specs))
    worst = [float(np.abs(a - e.numpy()).max()) for a, e in zip(actual, expected, strict=True)]
    return CheckResult(len(actual[0]), worst[0], worst[-1] if described.input("history") else None)


def random_inputs(graph: StudentGraph, robot: Robot, n: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Random plausible states and commands: any position, joint angles within limits, any combination of commands.

    Returns:
        the graph's inputs by name, (n, ...).
    """

    def normal(*shape: int) -> Tensor:
        return torch.randn(n, *shape, generator=generator)

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(n, *shape, generator=generator)

    low, high = robot.joint_range().unbind(1)
    joint_pos = low + (high - low) * uniform(robot.num_joints)
    yaw = R.from_yaw(uniform(low=-torch.pi, high=torch.pi))
    root_quat = R.multiply(yaw, R.from_rotation_vector(0.3 * normal(3)))
    root_pos = torch.cat([5.0 * normal(2), uniform(1, low=0.3, high=1.2)], dim=1)
    if graph.onboard:  # commands are in the heading frame
        root_pos[:, :2] = 0.0
    values = {
        "root_pos_w": root_pos,
        "root_quat_w": root_quat,
        "root_lin_vel_w": normal(3),
        "root_ang_vel_w": (ang_vel := 2.0 * normal(3)),
        "imu_quat": root_quat,
        "imu_ang_vel": ang_vel,
        "joint_pos": joint_pos,
        "joint_vel": 3.0 * normal(robot.num_joints),
        "reference_joint_pos": joint_pos + 0.1 * normal(robot.num_joints),
        "reference_joint_vel": normal(robot.num_joints),
    }
    for spec in graph.specs:
        shape, placed = spec.shape, spec.frame in ("world", "heading")
        if spec.name in values:
            continue
        if spec.dtype == "bool":
            values[spec.name] = uniform(*shape) < 0.5
        elif placed and spec.unit == "m" and shape[-1:] == [2]:  # points on the ground
            values[spec.name] = root_pos[:, :2].reshape(n, *[1] * (len(shape) - 1), 2) + 2.0 * normal(*shape)
        elif placed and spec.unit == "1" and shape == [2]:  # directions
            angle = uniform(low=-torch.pi, high=torch.pi)
            values[spec.name] = torch.stack([angle.cos(), angle.sin()], dim=1)
        elif spec.name in ("target_body_pos_w", "target_body_pos_h"):
            bodies = graph.kinematics(root_pos, root_quat, joint_pos)[0].unsqueeze(1)
            values[spec.name] = bodies + 0.2 * normal(*shape)
        elif spec.name in ("target_body_quat_w", "target_body_quat_h"):
            bodies = graph.kinematics(root_pos, root_quat, joint_pos)[1].unsqueeze(1)
            values[spec.name] = R.multiply(bodies, R.from_rotation_vector(0.3 * normal(*shape[:-1], 3)))
        elif spec.name == "history":
            # The history of each row holds the proprioception of its neighbours in the batch.
            proprioception = graph.proprioception(
                {**values, "reset": values["joint_pos"].new_zeros(n, dtype=torch.bool)}, graph.state(values)
            )
            values[spec.name] = torch.stack([proprioception.roll(k + 1, dims=0) for k in range(shape[0])], dim=1)
        elif spec.name == "last_action":
            values[spec.name] = normal(*shape)
        else:
            values[spec.name] = uniform(*shape, high={"s": 7.0, "m/s": 1.5}.get(spec.unit, 1.0))
    return {spec.name: values[spec.name] for spec in graph.specs}


def _tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
