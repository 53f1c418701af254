"""Rotations as angles of a chain of hinges."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from smpl_clips import ROBOT

from protege.core.robots import rotation as R
from protege.sim.motions.hinges import hinge_angles

WIDE = torch.tensor([[-30.0, 30.0]] * 3)
HIP = ROBOT.joint_range()[[ROBOT.joint_names.index(f"L_Hip_{axis}") for axis in "xyz"]]
angles = st.floats(-3.1, 3.1)
chains = st.lists(st.tuples(angles, angles, angles), min_size=1, max_size=6)


def compose(chain: torch.Tensor) -> torch.Tensor:
    """The rotation of a body by its x, y and z hinge (T, 3) rad, the first outermost."""
    x, y, z = (
        R.from_axis_angle(axis.expand(len(chain), 3), chain[:, i]) for i, axis in enumerate(torch.eye(3).double())
    )
    return R.multiply(R.multiply(x, y), z)


@given(chains)
def test_hinge_angles_turn_the_body_by_the_rotation(rows):
    q = compose(torch.tensor(rows, dtype=torch.float64))
    assert R.angle_between(compose(hinge_angles(q, WIDE)), q).max() < 1e-6


@given(chains)
def test_hinge_angles_are_within_the_limits(rows):
    limits = torch.tensor([[-0.5, 1.0], [-0.1, 2.0], [-0.3, 0.3]])
    found = hinge_angles(compose(torch.tensor(rows, dtype=torch.float64)), limits).float()
    assert (found >= limits[:, 0]).all() and (found <= limits[:, 1]).all()


@given(st.tuples(angles, st.floats(-1.2, 1.2), angles), st.lists(st.tuples(*[st.floats(-0.1, 0.1)] * 3), max_size=40))
def test_slow_turns_give_slow_hinges(first, steps):
    """Away from the gimbal lock at 90 degrees, hinges do not jump by whole turns where the angle passes 180 degrees."""
    chain = torch.tensor([first, *steps], dtype=torch.float64).cumsum(0)
    chain[:, 1] = chain[:, 1].clamp(-1.3, 1.3)
    found = hinge_angles(compose(chain), WIDE)
    assert found.diff(dim=0).abs().max() < 0.11 if len(steps) else True


@settings(max_examples=20)
@given(st.tuples(*[st.floats(-2.2, 2.2)] * 3))
def test_nothing_within_a_hips_limits_is_nearer(row):
    """What a hip cannot reach it comes as near to as the best of a grid."""
    q = compose(torch.tensor([row] * 3, dtype=torch.float64))
    grid = compose(torch.cartesian_prod(*[torch.linspace(low, high, 25).double() for low, high in HIP.tolist()]))
    found = R.angle_between(compose(hinge_angles(q, HIP)), q)
    assert (found < R.angle_between(grid, q[:1]).min() + 0.01).all()


def test_a_cycle_that_leaves_the_limits_ends_where_it_began():
    """By one frame's motion. Searched for from one end to the other, this one would end 3.8 rad away from its beginning."""
    t = torch.linspace(0.0, 2.0 * torch.pi, 61, dtype=torch.float64)
    q = compose(torch.stack([2.0 * t.sin(), 1.0 + 2.0 * t.cos(), 2.0 * (2.0 * t).sin()], dim=-1))
    found = hinge_angles(q, HIP, wraps=True)
    assert found.shape == (61, 3)
    assert (found[-1] - found[0]).abs().max() < 0.15


def test_a_leg_that_is_drawn_up_for_a_fifth_of_a_second_is_drawn_up():
    """From rest through what no hip can reach, and back; keeping to one branch of solutions would leave it 36 degrees off."""
    rest, up = compose(torch.tensor([[0.0, 0.0, 0.0], [-0.5, -2.2, -0.5]], dtype=torch.float64))
    there = torch.linspace(0.0, 1.0, 15)
    share = torch.cat([torch.zeros(40), there, torch.ones(12), there.flip(0), torch.zeros(40)])[:, None].double()
    q = R.slerp(rest.expand(len(share), 4), up.expand(len(share), 4), share)
    found = hinge_angles(q, HIP)
    assert R.angle_between(compose(found), q)[57:65].max() < 0.02
    assert found.diff(dim=0).abs().max() * 60.0 < 12.0


def test_beyond_the_limits_the_nearest_rotation_is_taken():
    """A quarter turn about x, of which half is allowed; y and z cannot help."""
    q = compose(torch.tensor([[1.4, 0.0, 0.0]] * 20, dtype=torch.float64))
    found = hinge_angles(q, torch.tensor([[-0.7, 0.7]] * 3))
    torch.testing.assert_close(found, torch.tensor([[0.7, 0.0, 0.0]] * 20, dtype=torch.float64), atol=1e-6, rtol=0.0)


def test_a_clip_that_starts_a_turn_away_is_brought_into_range():
    chain = torch.tensor([[3.0, 0.0, 0.0], [3.3, 0.0, 0.0], [3.6, 0.0, 0.0]], dtype=torch.float64)
    found = hinge_angles(compose(chain), torch.tensor([[-6.0, 0.0], [-1.0, 1.0], [-1.0, 1.0]]))
    torch.testing.assert_close(found[:, 0], chain[:, 0] - 2.0 * torch.pi)
