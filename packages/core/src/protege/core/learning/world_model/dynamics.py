"""The world model: a network that predicts the simulator's control step of N robots from their states and servo targets.

It predicts the difference from motion at constant velocity (`coordinates.drift`) as the sum of a linear map, fitted to the first
data by regression, and a network that is initially zero. After SuperTrack (Fussell et al. 2021) and SuperMimic (arXiv 2610.28480).
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ...robots.kinematics import Kinematics
from ...robots.robot import Robot
from ...robots.state import RobotState
from ..accelerate import mixed_precision
from ..networks import PaddedLinear
from . import coordinates

INPUT_LIMIT, OUTPUT_LIMIT = 20.0, 30.0
"""Limits of inputs and predictions, in standard deviations, so that errors do not grow without bound in a rollout."""
RIDGE = 1e-3
"""Ridge regularisation of the linear part, in units of its inputs' variance."""


class WorldModel(nn.Module):
    """Predicts one control step of a robot.

    Args:
        robot: gives the kinematics.
        units: hidden layers of the network.
        factors: F, number of factors by which bodies differ between envs; may be 0.
    """

    mean: Tensor
    std: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor
    feet: Tensor

    def __init__(self, robot: Robot, units: Sequence[int], factors: int = 0) -> None:
        super().__init__()
        bodies, joints = robot.num_bodies, robot.num_joints
        self.dt, self.kinematics = robot.control_dt, Kinematics(robot)
        self.register_buffer("feet", torch.tensor(robot.body_ids(robot.feet)), persistent=False)
        floors = _input_floors(bodies, joints, len(robot.feet), factors), _output_floors(joints)
        self.register_buffer("std", floors[0])
        self.register_buffer("scale", floors[1])
        inputs, outputs = len(self.std), len(self.scale)
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("weight", torch.zeros(outputs, inputs))
        self.register_buffer("bias", torch.zeros(outputs))
        self.net = _network([inputs, *units, outputs])
        self.gains = Gains(factors, inputs, outputs) if factors else None

    def forward(self, x: Tensor, poses: tuple[Tensor, Tensor], target: Tensor, factors: Tensor | None = None) -> Tensor:
        """Predict the states one control step later, (N, 13 + 2 J).

        Args:
            x: see `coordinates`.
            poses: of all bodies, (N, B, 3) m and (N, B, 4), from `Kinematics.forward` for x.
            target: of the servos, (N, J) rad.
            factors: (N, F), see `ImaginableEnv.rows`; None if F is 0.
        """
        features = ((self._features(x, poses, target, factors) - self.mean) / self.std).clamp(-INPUT_LIMIT, INPUT_LIMIT)
        entering, leaving = (None, None) if self.gains is None else self.gains(factors)
        features = features if entering is None else features * entering
        with mixed_precision(self):
            residual = self.net(features).to(x.dtype)
        residual = residual + torch.addmm(self.bias, features, self.weight.T)
        residual = residual if leaving is None else residual * leaving
        bounded = OUTPUT_LIMIT * torch.tanh(residual / OUTPUT_LIMIT)
        return coordinates.add(x, coordinates.drift(x, self.dt) + bounded * self.scale)

    def move(
        self, x: Tensor, state: RobotState, target: Tensor, factors: Tensor | None = None
    ) -> tuple[Tensor, RobotState]:
        """Predict the states one control step later, as vectors (N, 13 + 2 J) and full states; `state` is the full state of x."""
        following = self(x, (state.body_pos_w, state.body_quat_w), target, factors)
        return following, coordinates.full_state(self.kinematics, following)

    def poses(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Poses of all bodies: (N, B, 3) m, (N, B, 4)."""
        pos, quat, _, _, joint_pos, _ = coordinates.unpack(x)
        return self.kinematics(pos, quat, joint_pos)

    def rollout_loss(
        self,
        x: Tensor,
        target: Tensor,
        alive: Tensor,
        factors: Tensor | None = None,
        step_error: Callable[..., tuple[Tensor, Tensor]] | None = None,
    ) -> Tensor:
        """Mean absolute error of open-loop predictions, in standard deviations of a step's residual, ().

        Args:
            x: (W + 1, M, S) true states of M windows.
            target: (W, M, J) rad.
            alive: (W, M) 1 while the window is within one episode.
            factors: (M, F), see `forward`.
            step_error: `self.step_error`, possibly compiled.
        """
        step_error = step_error or self.step_error
        predicted = x[0].detach().requires_grad_()  # as after each step, to avoid a second compilation
        errors: list[Tensor] = []
        for step_target, truth in zip(target, x[1:], strict=True):
            predicted, error = step_error(predicted, step_target, truth, factors)
            errors.append(error)
        return torch.where(alive > 0, torch.stack(errors), 0.0).sum() / alive.sum().clamp_min(1.0)

    def step_error(self, x: Tensor, target: Tensor, truth: Tensor, factors: Tensor | None) -> tuple[Tensor, Tensor]:
        """Predicted states one control step later, and their mean absolute error (N,) in standard deviations."""
        following = self(x, self.poses(x), target, factors)
        error = coordinates.difference(following, truth) / self.scale
        return following, error.clamp(-OUTPUT_LIMIT, OUTPUT_LIMIT).abs().mean(-1)

    @torch.no_grad()
    def fit(self, x: Tensor, target: Tensor, following: Tensor, factors: Tensor | None = None) -> float:
        """Set normalisers and the linear part from transitions (M, ...), by ridge regression.

        Returns:
            share of the residual's variance explained by the linear part.
        """
        features = self._features(x, self.poses(x), target, factors)
        residual = coordinates.difference(x, following) - coordinates.drift(x, self.dt)
        self.mean.copy_(features.mean(0))
        self.std.copy_(torch.maximum(features.std(0), self.std))
        # Clipped at the 99.5th percentile: otherwise a few hard contacts would determine the scale.
        size = residual.abs()
        self.scale.copy_(torch.maximum(torch.minimum(size, _quantile(size, 0.995)).square().mean(0).sqrt(), self.scale))
        inputs = ((features - self.mean) / self.std).clamp(-INPUT_LIMIT, INPUT_LIMIT).double()
        outputs = (residual / self.scale).clamp(-OUTPUT_LIMIT, OUTPUT_LIMIT).double()
        ones = torch.cat([inputs, inputs.new_ones(len(inputs), 1)], dim=1)
        ridge = RIDGE * len(inputs) * torch.eye(ones.shape[1], dtype=ones.dtype, device=ones.device)
        solution = torch.linalg.solve(ones.T @ ones + ridge, ones.T @ outputs)
        self.weight.copy_(solution[:-1].T)
        self.bias.copy_(solution[-1])
        return 1.0 - ((ones @ solution - outputs).square().mean() / outputs.square().mean()).item()

    @torch.no_grad()
    def open_loop_error(
        self, x: Tensor, target: Tensor, alive: Tensor, factors: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Mean position error of bodies at the end of windows, m, and that of constant velocities; see `rollout_loss`."""
        predicted = constant = x[0]
        for step_target in target:
            predicted = self(predicted, self.poses(predicted), step_target, factors)
            constant = coordinates.add(constant, coordinates.drift(constant, self.dt))
        truth, counts = self.poses(x[-1])[0], alive[-1]
        errors = {"model/open_loop_error": predicted, "model/constant_velocity_error": constant}
        distances = {name: (self.poses(end)[0] - truth).norm(dim=-1).mean(-1) for name, end in errors.items()}
        return {name: torch.where(counts > 0, d, 0.0).sum() / counts.sum() for name, d in distances.items()}

    def _features(self, x: Tensor, poses: tuple[Tensor, Tensor], target: Tensor, factors: Tensor | None) -> Tensor:
        """Height, tilt, velocities, joints, heights of all bodies, tilts of the feet, targets relative to joint angles, factors."""
        pos, quat, lin, ang, joint_pos, joint_vel = coordinates.unpack(x)
        heights, feet = poses[0][..., 2], poses[1].index_select(1, self.feet)
        moving = [lin, ang, joint_pos, joint_vel]
        parts = [pos[:, 2:], _up(quat), *moving, heights, _up(feet).flatten(1), target - joint_pos]
        return torch.cat(parts if factors is None else [*parts, factors], dim=1)


class Gains(nn.Module):
    """Multiplicative effects of factors: twice the servo stiffness doubles the response to a target, twice the mass halves it.

    A network with factors only as additional inputs learns such products slowly: `tests/sim/test_factors.py`.

    Args:
        factors: F.
        inputs, outputs: I and O, numbers of the model's inputs and outputs.
    """

    def __init__(self, factors: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.entering = nn.Linear(factors, inputs, bias=False)
        self.leaving = nn.Linear(factors, outputs, bias=False)
        for part in (self.entering, self.leaving):
            nn.init.zeros_(part.weight)

    def forward(self, factors: Tensor) -> tuple[Tensor, Tensor]:
        """Gains of inputs and outputs, (N, F) -> (N, I), (N, O); initially 1."""
        return 1.0 + self.entering(factors), 1.0 + self.leaving(factors)


def _up(quat: Tensor) -> Tensor:
    """World z axis in the rotated frames, (..., 4) -> (..., 3)."""
    w, x, y, z = quat.split(1, dim=-1)
    return 2.0 * torch.cat([x * z - w * y, y * z + w * x, 0.5 - (x * x + y * y)], dim=-1)


def _input_floors(bodies: int, joints: int, feet: int, factors: int) -> Tensor:
    """Lower limits of the features' standard deviations. A joint that hardly moves in the first data may move later."""
    return _repeated(
        (1, 0.02),
        (3, 0.02),
        (3, 0.1),
        (3, 0.1),
        (joints, 0.05),
        (joints, 0.5),
        (bodies, 0.02),
        (3 * feet, 0.05),
        (joints, 0.1),
        (factors, 0.2),
    )


def _output_floors(joints: int) -> Tensor:
    """Lower limits of the residuals' scale. A joint that hardly moves in the first data must not dominate the loss."""
    return _repeated((3, 0.002), (3, 0.005), (3, 0.05), (3, 0.1), (joints, 0.01), (joints, 0.3))


def _repeated(*parts: tuple[int, float]) -> Tensor:
    return torch.cat([torch.full((count,), value) for count, value in parts])


def _quantile(x: Tensor, share: float) -> Tensor:
    """Quantile of each column, (M, F) -> (F,); `torch.quantile` does not accept large inputs."""
    return x.kthvalue(max(1, round(share * len(x))), dim=0).values


def _network(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers, all but the last followed by layer normalisation and SiLU; the last is initialised to zero."""
    layers: list[nn.Module] = []
    for size_in, size_out in pairwise(sizes[:-1]):
        layers += [PaddedLinear(size_in, size_out), nn.LayerNorm(size_out), nn.SiLU()]
    last = PaddedLinear(sizes[-2], sizes[-1])
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)
