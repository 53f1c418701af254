"""Observations: by hand, and invariant to moving and turning robot and command together."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from protege.core import observations
from protege.core.robots import rotation as R
from protege.core.robots.state import RobotState, Snapshot
from protege.core.tasks import modalities

N, B, J, K, P = 3, 4, 5, 2, 6


def path(state: RobotState, points_w: Tensor) -> Tensor:
    return modalities()["path"].observe(state, {"path_w": points_w})


def goal(state: RobotState, point_w: Tensor, time_left: Tensor) -> Tensor:
    return modalities()["goal"].observe(state, {"goal_w": point_w, "goal_time_left": time_left})


def steering(state: RobotState, direction_w: Tensor, speed: Tensor, facing_w: Tensor | None = None) -> Tensor:
    inputs = {"steering_direction_w": direction_w, "steering_speed": speed}
    facing = {} if facing_w is None else {"steering_facing_w": facing_w}
    return modalities()["steering"].observe(state, inputs | facing)


ROOT = torch.tensor([[1.0, 2.0, 0.9]])
LEFT = torch.tensor([[math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5)]])
"""Turned left by 90 degrees: forward is world y, left is world -x."""


def random_state(g: torch.Generator) -> RobotState:
    def draw(*shape: int) -> Tensor:
        return torch.randn(N, *shape, generator=g, dtype=torch.float64)

    return RobotState(draw(J), draw(J), draw(B, 3), R.normalize(draw(B, 4)), draw(B, 3), draw(B, 3))


def one_body(pos: Tensor = ROOT, quat: Tensor = LEFT) -> RobotState:
    """A robot of one body at rest, with one joint."""
    still = torch.zeros(1, 1, 3)
    return RobotState(torch.zeros(1, 1), torch.zeros(1, 1), pos.unsqueeze(1), quat.unsqueeze(1), still, still)


class Move:
    """A motion of the whole scene by `shift` over the ground and a rotation by `angle` about the vertical axis."""

    def __init__(self, angle: float, shift: tuple[float, float]) -> None:
        self.turn = R.from_yaw(torch.tensor(angle, dtype=torch.float64))
        self.shift = torch.tensor([*shift, 0.0], dtype=torch.float64)

    def vectors(self, v: Tensor) -> Tensor:
        """Directions and velocities, (..., 3), or (..., 2) over the ground."""
        flat = v.shape[-1] == 2
        v = torch.nn.functional.pad(v, (0, 1)) if flat else v
        return R.rotate(self.turn.expand(*v.shape[:-1], 4), v)[..., : 2 if flat else 3]

    def points(self, p: Tensor) -> Tensor:
        return self.vectors(p) + self.shift[: p.shape[-1]]

    def rotations(self, q: Tensor) -> Tensor:
        return R.multiply(self.turn.expand_as(q), q)

    def state(self, s: RobotState) -> RobotState:
        return RobotState(
            s.joint_pos,
            s.joint_vel,
            self.points(s.body_pos_w),
            self.rotations(s.body_quat_w),
            self.vectors(s.body_lin_vel_w),
            self.vectors(s.body_ang_vel_w),
        )


shifts = st.tuples(st.floats(-50.0, 50.0), st.floats(-50.0, 50.0))
moves = st.builds(Move, st.floats(-7.0, 7.0), shifts)


@settings(max_examples=50)
@given(moves, st.integers(0, 10_000))
def test_observations_are_invariant_to_moving_robot_and_command_together(move, seed):
    g = torch.Generator().manual_seed(seed)
    state = random_state(g)

    def draw(*shape: int) -> Tensor:
        return torch.randn(N, *shape, generator=g, dtype=torch.float64)

    target_pos, target_quat = draw(K, B, 3), R.normalize(draw(K, B, 4))
    points, point, time_left, direction, facing, speed = draw(P, 2), draw(2), draw(), draw(2), draw(2), draw()
    moved = move.state(state)
    pairs = [
        (observations.proprioception(state), observations.proprioception(moved)),
        (
            observations.poses(state, target_pos, target_quat),
            observations.poses(moved, move.points(target_pos), move.rotations(target_quat)),
        ),
        (path(state, points), path(moved, move.points(points))),
        (goal(state, point, time_left), goal(moved, move.points(point), time_left)),
        (
            steering(state, direction, speed, facing),
            steering(moved, move.vectors(direction), speed, move.vectors(facing)),
        ),
    ]
    for here, there in pairs:
        assert torch.allclose(here, there, rtol=0.0, atol=1e-7)


@pytest.mark.parametrize("what", ["height", "tilt", "joint", "velocity"])
def test_proprioception_depends_on_every_part_of_the_state(what):
    state = random_state(torch.Generator().manual_seed(0))
    changed = state.clone()
    if what == "height":
        changed.body_pos_w[..., 2] += 0.1
    elif what == "tilt":
        tilt = R.from_axis_angle(torch.tensor([1.0, 0.0, 0.0]).double(), torch.tensor(0.1).double())
        changed.body_quat_w = R.multiply(changed.body_quat_w, tilt.expand_as(changed.body_quat_w))
    elif what == "joint":
        changed.joint_pos[:, 0] += 0.1
    else:
        changed.body_lin_vel_w[:, 0] += 0.1
    difference = observations.proprioception(changed) - observations.proprioception(state)
    assert (difference.abs().amax(dim=1) > 1e-3).all()


def test_proprioception_by_hand():
    state = RobotState(
        joint_pos=torch.tensor([[0.1, 0.2]]),
        joint_vel=torch.tensor([[0.3, 0.4]]),
        body_pos_w=torch.stack([ROOT, ROOT + torch.tensor([[0.0, 0.5, 0.1]])], dim=1),
        body_quat_w=LEFT.unsqueeze(1).expand(1, 2, 4),
        body_lin_vel_w=torch.tensor([[[0.0, 3.0, 0.0], [9.0, 9.0, 9.0]]]),
        body_ang_vel_w=torch.tensor([[[1.0, 0.0, 2.0], [9.0, 9.0, 9.0]]]),
    )
    seen = observations.proprioception(state)
    expected = [
        *[0.9],
        *[1.0, 0.0, 0.0, 0.0, 1.0, 0.0],  # only yawed: level in h
        *[3.0, 0.0, 0.0],  # world y is forward
        *[0.0, -1.0, 2.0],  # world x is right
        *[0.1, 0.2, 0.3, 0.4],
        *[0.5, 0.0, 0.1],
    ]
    assert seen[0].tolist() == pytest.approx(expected, abs=1e-6)
    assert seen.shape[1] == observations.proprioception_size(num_bodies=2, num_joints=2)


def test_joint_errors_by_hand():
    state = random_state(torch.Generator().manual_seed(0))
    ahead, velocity = state.joint_pos + 0.3, state.joint_vel - torch.arange(J)
    errors = observations.joint_errors(observations.proprioception(state), ahead, velocity)
    expected = torch.cat([torch.full((J,), 0.3), -torch.arange(J).float()]).double().expand(N, 2 * J)
    torch.testing.assert_close(errors, expected)


def test_poses_by_hand():
    state = RobotState(
        torch.zeros(1, 0),
        torch.zeros(1, 0),
        body_pos_w=torch.stack([ROOT, ROOT + torch.tensor([[0.0, 0.5, 0.0]])], dim=1),
        body_quat_w=LEFT.unsqueeze(1).expand(1, 2, 4),
        body_lin_vel_w=torch.zeros(1, 2, 3),
        body_ang_vel_w=torch.zeros(1, 2, 3),
    )
    # One frame: the root 1 m further along world y, the other body 2 m along world x; both facing world x.
    target_pos = torch.stack([ROOT + torch.tensor([[0.0, 1.0, 0.0]]), ROOT + torch.tensor([[2.0, 0.5, 0.2]])], dim=1)
    target_quat = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(1, 1, 2, 4)
    seen = observations.poses(state, target_pos.unsqueeze(1), target_quat)
    assert seen.shape == (1, 1, 2, observations.POSE_FEATURES)
    facing_right = [0.0, -1.0, 0.0, 1.0, 0.0, 0.0]  # x axis points to -y, y axis to x
    root = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, *facing_right]
    other = [0.5, -2.0, 0.2, 0.0, -2.0, 0.2, *facing_right]
    assert seen[0, 0, 0].tolist() == pytest.approx(root, abs=1e-6)
    assert seen[0, 0, 1].tolist() == pytest.approx(other, abs=1e-6)


def test_path_by_hand():
    # Ahead (world +y), to the left (world -x), and where the robot stands.
    points = torch.tensor([[[1.0, 5.0], [-1.0, 2.0], [1.0, 2.0]]])
    expected = torch.tensor([[[3.0, 0.0], [0.0, 2.0], [0.0, 0.0]]])
    assert torch.allclose(path(one_body(), points), expected, atol=1e-6)


def test_goal_by_hand():
    seen = goal(one_body(), torch.tensor([[2.0, 2.0]]), torch.tensor([4.5]))
    assert seen[0].tolist() == pytest.approx([0.0, -1.0, 4.5], abs=1e-6)


def test_steering_by_hand():
    direction, speed = torch.tensor([[0.0, 1.0]]), torch.tensor([1.5])
    assert steering(one_body(), direction, speed)[0].tolist() == pytest.approx([1.0, 0.0, 1.5], abs=1e-6)
    seen = steering(one_body(), direction, speed, torch.tensor([[1.0, 0.0]]))
    assert seen[0].tolist() == pytest.approx([1.0, 0.0, 1.5, 0.0, -1.0], abs=1e-6)


def test_commands_of_a_pitched_robot_stay_level():
    pitched = R.multiply(LEFT, R.from_axis_angle(torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([0.7])))
    ahead = torch.tensor([[[1.0, 5.0]]])
    assert torch.allclose(path(one_body(quat=pitched), ahead), torch.tensor([[[3.0, 0.0]]]), atol=1e-5)


def test_a_snapshot_gives_equal_observations_and_computes_its_heading_once(monkeypatch):
    state, calls = random_state(torch.Generator().manual_seed(0)), []
    goal_w, time_left = torch.ones(N, 2, dtype=torch.float64), torch.ones(N, dtype=torch.float64)
    want = observations.proprioception(state), goal(state, goal_w, time_left)
    heading = R.yaw_cos_sin
    monkeypatch.setattr(R, "yaw_cos_sin", lambda q: calls.append(q) or heading(q))
    snapshot = Snapshot.of(state)
    seen = observations.proprioception(snapshot), goal(snapshot, goal_w, time_left)
    assert len(calls) == 1
    assert all(torch.equal(x, y) for x, y in zip(seen, want, strict=True))
    observations.proprioception(snapshot[:1])
    assert len(calls) == 2, "other robots"
