"""Quaternions against hand values, identities of rotation groups and rotation matrices."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from protege.core.robots import rotation as R

S = math.sqrt(0.5)
ABOUT_X, ABOUT_Y, ABOUT_Z = ([S, S, 0.0, 0.0], [S, 0.0, S, 0.0], [S, 0.0, 0.0, S])
"""Quarter turns."""

angles = st.floats(-10.0, 10.0)
vectors = st.tuples(*[st.floats(-3.0, 3.0)] * 3).map(lambda v: torch.tensor(v, dtype=torch.float64))
quats = (
    st.tuples(*[st.floats(-1.0, 1.0)] * 4)
    .filter(lambda q: sum(x * x for x in q) > 1e-2)
    .map(lambda q: R.normalize(torch.tensor(q, dtype=torch.float64)))
)


def double(values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def same(a: Tensor, b: Tensor, tolerance: float = 1e-12) -> bool:
    return torch.allclose(a, b, rtol=0.0, atol=tolerance)


def same_rotation(a: Tensor, b: Tensor, tolerance: float = 1e-12) -> bool:
    return same(a, b, tolerance) or same(a, -b, tolerance)


def matrix(q: Tensor) -> Tensor:
    """(4,) -> (3, 3), written out from its definition: the columns are the images of the axes."""
    w, x, y, z = q.tolist()
    return double(
        [
            [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
        ]
    )


@pytest.mark.parametrize(
    ("quat", "vector", "turned"),
    [
        (ABOUT_X, [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]),
        (ABOUT_Y, [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]),
        (ABOUT_Z, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]),
        (ABOUT_Z, [0.0, 0.0, 2.0], [0.0, 0.0, 2.0]),
    ],
)
def test_quarter_turns(quat, vector, turned):
    assert same(R.rotate(double(quat), double(vector)), double(turned))
    assert same(R.rotate_inverse(double(quat), double(turned)), double(vector))


def test_the_product_of_quarter_turns_by_hand():
    # (1 + i)/√2 · (1 + k)/√2 = (1 + i - j + k)/2, since ik = -j
    assert same(R.multiply(double(ABOUT_X), double(ABOUT_Z)), double([0.5, 0.5, -0.5, 0.5]))
    # (1 + k)/√2 · (1 + i)/√2 = (1 + i + j + k)/2, since ki = j
    assert same(R.multiply(double(ABOUT_Z), double(ABOUT_X)), double([0.5, 0.5, 0.5, 0.5]))


def test_cross_by_hand():
    assert R.cross(double([1, 2, 3]), double([4, 5, 6])).tolist() == [-3.0, 6.0, -3.0]


def test_axis_angle_and_rotation_vector_by_hand():
    assert same(R.from_axis_angle(double([0, 0, 1]), double(math.pi / 2)), double(ABOUT_Z))
    assert same(R.from_rotation_vector(double([0, -math.pi / 2, 0])), double([S, 0, -S, 0]))
    assert same(R.to_rotation_vector(double(ABOUT_X)), double([math.pi / 2, 0, 0]))
    # 270 degrees one way are 90 degrees the other way.
    assert same(R.to_rotation_vector(-double(ABOUT_X)), double([math.pi / 2, 0, 0]))


@pytest.mark.parametrize("size", [0.0, 1e-12, 1e-6, 0.99e-4, 1.01e-4, 1e-3])
def test_tiny_rotation_vectors_are_precise(size):
    v = double([0.6, 0.0, 0.8]) * size
    q = R.from_rotation_vector(v)
    assert same(q[1:], double([0.6, 0.0, 0.8]) * math.sin(size / 2), tolerance=1e-15 + 1e-13 * size)
    assert same(R.to_rotation_vector(q), v, tolerance=1e-15 + 1e-9 * size)


def test_the_rotation_vector_has_a_gradient_at_rest():
    v = torch.zeros(3, requires_grad=True)
    R.from_rotation_vector(v)[1:].sum().backward()
    assert v.grad is not None and v.grad.tolist() == [0.5, 0.5, 0.5]


def test_slerp_by_hand():
    start, end = double([1, 0, 0, 0]), double(ABOUT_Z)
    for share in (0.0, 0.25, 0.5, 1.0):
        half = share * math.pi / 4
        expected = double([math.cos(half), 0, 0, math.sin(half)])
        assert same(R.slerp(start, end, double([share])), expected)
        # The short way round: -q is the same rotation.
        assert same_rotation(R.slerp(start, -end, double([share])), expected)


@given(quats, quats, st.floats(0.0, 1.0))
def test_slerp_has_constant_speed(a, b, t):
    whole, part = R.angle_between(a, b), R.angle_between(a, R.slerp(a, b, double([t])))
    assert abs(part - t * whole) < 1e-6


def test_yaw_by_hand():
    # Turned left by 90 degrees, then pitched: the nose's heading stays.
    pitched = R.multiply(double(ABOUT_Z), R.from_axis_angle(double([0, 1, 0]), double(0.3)))
    assert R.yaw(pitched).item() == pytest.approx(math.pi / 2)
    assert same(R.heading(pitched), double(ABOUT_Z))


def test_to_6d_by_hand():
    assert same(R.to_6d(double(ABOUT_Z)), double([0, 1, 0, -1, 0, 0]))


def test_wrap_angle_by_hand():
    angles = double([0.5, 3.5, -3.5, 2 * math.pi + 0.25])
    assert same(R.wrap_angle(angles), double([0.5, 3.5 - 2 * math.pi, 2 * math.pi - 3.5, 0.25]))


@given(quats, quats, vectors)
def test_rotations_are_a_group_acting_on_vectors(a, b, v):
    assert same(R.rotate(R.multiply(a, b), v), R.rotate(a, R.rotate(b, v)), 1e-11)
    assert same(R.multiply(a, R.conjugate(a)), double([1, 0, 0, 0]))
    assert same(R.rotate_inverse(a, R.rotate(a, v)), v, 1e-11)


@given(quats, vectors)
def test_rotation_agrees_with_its_matrix(q, v):
    assert same(R.rotate(q, v), matrix(q) @ v, 1e-11)
    assert same(R.to_6d(q), matrix(q)[:, :2].T.flatten(), 1e-11)


@given(quats)
def test_exponential_and_logarithm_undo_each_other(q):
    v = R.to_rotation_vector(q)
    assert v.norm() <= math.pi + 1e-12
    assert same_rotation(R.from_rotation_vector(v), q, 1e-9)


@pytest.mark.parametrize("angle", [0.0, 1e-6, 1e-4, 0.3, 3.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_angle_between_is_exact_in_single_precision(angle, sign):
    turn = R.from_axis_angle(double([0.6, 0.0, 0.8]), double(angle))
    a = R.normalize(double([0.3, -0.5, 0.7, 0.2]))
    found = R.angle_between(a.float(), sign * R.multiply(a, turn).float())
    assert found.item() == pytest.approx(angle, abs=2e-7 if angle < 1.0 else 1e-6)


@given(quats, quats)
def test_the_angle_between_is_symmetric_and_at_most_half_a_turn(a, b):
    angle = R.angle_between(a, b).item()
    assert 0.0 <= angle <= math.pi + 1e-9
    assert angle == pytest.approx(R.angle_between(b, a).item(), abs=1e-9)
    # |<a, b>| is the cosine of half the angle.
    assert math.cos(angle / 2) == pytest.approx(abs((a @ b).item()), abs=1e-9)


@given(angles, quats)
def test_turning_about_the_vertical_adds_to_the_yaw(angle, q):
    nose = R.rotate(q, double([1, 0, 0]))
    if nose[:2].norm() < 1e-3:  # upright nose: no heading
        return
    turned = R.multiply(R.from_yaw(double(angle)), q)
    assert same(R.wrap_angle(R.yaw(turned) - R.yaw(q) - angle), double(0.0), 1e-6)
    assert same(R.wrap_angle(R.yaw(q) - torch.atan2(nose[1], nose[0])), double(0.0), 1e-6)


@given(quats, quats, vectors)
def test_components_may_lie_along_another_dimension(a, b, v):
    first = torch.stack([a, b], dim=1)  # (4, 2)
    vectors_first = torch.stack([v, 2.0 * v], dim=1)
    swapped = first.flip(1)
    assert same(R.multiply(first, swapped, dim=0), R.multiply(first.T, swapped.T).T)
    assert same(R.rotate(first, vectors_first, dim=0), R.rotate(first.T, vectors_first.T).T)


def test_normalize_survives_zero():
    assert R.normalize(torch.zeros(4)).tolist() == [0.0] * 4
    assert same(R.normalize(double([0, 3, 0, 4])), double([0, 0.6, 0, 0.8]))
