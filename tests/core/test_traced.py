"""What an exported graph is made of against what the environment calls: the same numbers from fewer operations."""

import pytest
import torch
from torch import Tensor

from protege.core import observations
from protege.core.learning.networks import TokenTransformer
from protege.core.robots import rotation, traced
from protege.core.robots import rotation as R
from protege.core.robots.kinematics import Kinematics
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState, Snapshot

N, K = 5, 3


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(N, *shape, generator=torch.Generator().manual_seed(seed))


def quaternions(*shape: int, seed: int = 0) -> Tensor:
    return R.normalize(draws(*shape, 4, seed=seed))


def state_of(robot: Robot) -> RobotState:
    b, j = robot.num_bodies, robot.num_joints
    return Snapshot(draws(j), draws(j), draws(b, 3), quaternions(b), draws(b, 3, seed=1), draws(b, 3, seed=2))


@pytest.fixture
def exporting(monkeypatch):
    """As while a graph is exported, from when it is called."""

    def begin() -> None:
        for module in (observations, rotation):
            monkeypatch.setattr(module, "traced", lambda: True)

    return begin


def test_entries_of_rotation_matrices_by_hand():
    quarter = torch.tensor([[0.5**0.5, 0.0, 0.0, 0.5**0.5]])  # x turns to y, y to -x
    expected = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
    torch.testing.assert_close(traced.matrix(quarter), expected, atol=1e-6, rtol=0.0)
    torch.testing.assert_close(traced.entries(quarter, traced.COLUMNS), R.to_6d(quarter), atol=1e-6, rtol=0.0)


def test_rotations_are_the_same(exporting):
    q, v = quaternions(4), draws(4, 3)
    q[0, 0] *= 1.01  # of no unit length, as an input may be
    functions = (R.to_6d, R.yaw_cos_sin)
    before = [function(q) for function in functions] + [R.rotate_inverse(quaternions(), v[:, 0])]
    exporting()
    after = [function(q) for function in functions] + [R.rotate_inverse(quaternions(), v[:, 0])]
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_observations_are_the_same(robot, exporting):
    b, j = robot.num_bodies, robot.num_joints
    targets = draws(K, b, 3, seed=3), quaternions(K, b, seed=4)
    felt = (quaternions(), draws(3), draws(j), draws(j), robot.default_pose(), draws(j))

    def all_of_them() -> list[Tensor]:
        state = state_of(robot)
        level = [observations.to_heading(state, draws(*shape)) for shape in ((2,), (10, 2), (3,), (4, 3))]
        poses = observations.poses(state, *targets), observations.onboard_poses(state, *targets)
        return [*level, *poses, observations.proprioception(state), observations.onboard(*felt)]

    before = all_of_them()
    exporting()
    for one, other in zip(before, all_of_them(), strict=True):
        torch.testing.assert_close(one, other, atol=2e-6, rtol=1e-5)


def test_bodies_are_in_the_same_places(robot):
    kinematics, given = Kinematics(robot), (draws(3), quaternions(), draws(robot.num_joints))
    places = traced.body_positions(kinematics._constants, *given)
    torch.testing.assert_close(places, kinematics(*given)[0], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_a_transformer_reads_out_the_same(num_layers, monkeypatch):
    sizes = {"body": (1, 5), "frames": (3, 4), "command": (1, 2)}
    torch.manual_seed(0)
    net = TokenTransformer(sizes, latent_dim=16, ff_size=32, num_layers=num_layers, num_heads=2)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.4)
    present = torch.tensor([[True, False, True], [False] * 3, [True] * 3, [False, True, True], [True, True, False]])
    sets = {"body": (draws(1, 5), None), "frames": (draws(3, 4), present), "command": (draws(1, 2), present[:, :1])}
    whole = {name: (x, None) for name, (x, _) in sets.items()}
    before = net(sets), net(whole)
    monkeypatch.setattr("protege.core.learning.networks.traced", lambda: True)
    for one, other in zip(before, (net(sets), net(whole)), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)
