"""The random commands and the lines that follow them."""

import math

import pytest
import torch

from protege.core.robots.rotation import wrap_angle
from protege.sim.references.plans import Plans
from protege.sim.tasks.goal import GoalParams, plan_goals
from protege.sim.tasks.path import PathParams, plan_paths
from protege.sim.tasks.steering import SteeringParams, plan_steering

DT = 1.0 / 30.0


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def velocity(plans: Plans) -> torch.Tensor:
    return plans.speed[..., None] * torch.stack([plans.heading.cos(), plans.heading.sin()], dim=-1)


def test_paths_stay_within_their_speed_and_turn_rate(generator):
    plans = plan_paths(256, 452, 300, DT, PathParams(), generator)
    assert plans.speed.min() >= 0.5 and plans.speed.max() <= 1.5
    assert plans.turn_rate.abs().max() <= 0.8
    assert (plans.last_step == 300).all()


def test_positions_are_the_integral_of_the_velocity(generator):
    plans = plan_paths(64, 452, 300, DT, PathParams(), generator)
    assert torch.equal(plans.pos[:, 0], torch.zeros(64, 2))
    torch.testing.assert_close(plans.pos.diff(dim=1), velocity(plans)[:, 1:] * DT, atol=2e-6, rtol=0.0)
    torch.testing.assert_close(plans.heading.diff(dim=1), plans.turn_rate[:, 1:] * DT, atol=2e-6, rtol=0.0)


def test_every_goal_plan_arrives_and_stands_by_its_deadline(generator):
    plans = plan_goals(512, 222, DT, GoalParams(), generator)
    distance = plans.end.norm(dim=1)
    assert distance.min() >= 1.0 and distance.max() <= 4.0
    assert torch.equal(plans.last_step, ((2.0 + distance / 0.8) / DT).ceil().long())
    arrived = plans.pos[torch.arange(512), plans.last_step]
    assert (arrived - plans.end).norm(dim=1).max() < 0.1
    assert plans.speed[torch.arange(512), plans.last_step].max() < 0.05
    bearing = torch.atan2(plans.end[:, 1], plans.end[:, 0])
    assert bearing.min() < -3.0 and bearing.max() > 3.0  # any direction, also behind


def test_steering_plans_obey_two_seconds_after_a_change(generator):
    params = SteeringParams()
    plans = plan_steering(512, 310, 300, DT, params, generator)
    error = wrap_angle(plans.direction - plans.heading).abs()
    assert error[plans.settled].max() < params.max_heading_error / 4
    commanded = plans.commanded_speed[..., None] * torch.stack([plans.direction.cos(), plans.direction.sin()], dim=-1)
    assert (velocity(plans) - commanded).norm(dim=-1)[plans.settled].mean() < 0.01


def test_steering_commands_are_zero_or_at_least_the_slowest_walk(generator):
    speed = plan_steering(512, 310, 300, DT, SteeringParams(), generator).commanded_speed
    assert ((speed == 0.0) | (speed >= 0.15)).all()
    assert 0.05 < (speed == 0.0).float().mean() < 0.15


def test_in_training_a_share_of_the_commands_may_be_slow(generator):
    params = SteeringParams(slow_share=0.4)
    first = plan_steering(4096, 310, 300, DT, params.when(evaluation=False), generator).commanded_speed[:, 0]
    slow = 0.4 + 0.6 * 0.2  # of the others a fifth is, too
    assert (first <= 0.3).float().mean() == pytest.approx(slow, abs=0.03)
    assert (first == 0.0).float().mean() == pytest.approx(slow / 2, abs=0.03)
    assert params.when(evaluation=True) == SteeringParams()


def test_steering_commands_change_every_three_to_six_seconds(generator):
    plans = plan_steering(512, 310, 300, DT, SteeringParams(), generator)
    changes = plans.direction.diff(dim=1) != 0.0
    counts = changes.sum(dim=1)
    assert counts.min() >= 1 and counts.max() <= 3
    for row in changes[counts >= 2][:50]:
        gaps = row.nonzero().squeeze(1).diff() * DT
        assert gaps.min() >= 3.0 - DT and gaps.max() <= 6.0 + DT


def test_settled_is_false_for_two_seconds_after_each_change(generator):
    plans = plan_steering(8, 310, 300, DT, SteeringParams(), generator)
    change = int((plans.direction[0].diff() != 0.0).nonzero()[0]) + 1
    settle = math.ceil(2.0 / DT)
    assert not plans.settled[0, change : change + settle - 1].any()
    assert plans.settled[0, change + settle]


@pytest.mark.parametrize("plan", [plan_goals, plan_steering])
def test_plans_accelerate_and_turn_within_limits(plan, generator):
    plans = (
        plan_goals(64, 222, DT, GoalParams(), generator)
        if plan is plan_goals
        else plan_steering(64, 310, 300, DT, SteeringParams(), generator)
    )
    assert (plans.speed.diff(dim=1) / DT).abs().max() <= 1.5 + 1e-3
    assert (plans.turn_rate.diff(dim=1) / DT).abs().max() <= 8.0 + 1e-3
    assert plans.turn_rate.abs().max() <= 2.0 + 1e-5


# From backwards to a run -------------------------------------------------------------------------------------------------

WIDE = (-0.5, 3.5)


def test_steering_may_be_backwards_but_not_slower_than_the_slowest_walk(generator):
    plans = plan_steering(512, 310, 300, DT, SteeringParams(speed=WIDE), generator)
    speed = plans.commanded_speed
    assert ((speed == 0.0) | (speed.abs() >= 0.15)).all()
    assert speed.min() < -0.45 and speed.max() > 3.45
    assert (speed == 0.0).float().mean() == pytest.approx(0.3 / 4.0, abs=0.02)
    assert plans.speed.min() < -0.45, "backward commands are followed, facing the direction"
    back = plans.settled & (speed < 0.0)
    assert wrap_angle(plans.direction - plans.heading).abs()[back].max() < 0.2


@pytest.mark.parametrize("kind", ["path", "steering"])
def test_fast_plans_turn_widely_and_accelerate_slowly(kind, generator):
    plans = (
        plan_paths(256, 452, 300, DT, PathParams(speed=WIDE, max_turn_rate=2.0), generator)
        if kind == "path"
        else plan_steering(256, 310, 300, DT, SteeringParams(speed=WIDE), generator)
    )
    assert (plans.speed * plans.turn_rate).abs().max() < 3.0 + 0.2  # the speed is a step later than the turn
    assert (plans.speed.diff(dim=1) / DT).abs().max() < (4.0 / (4.0 / 1.5) if kind == "path" else 1.5) + 1e-3
    assert plans.turn_rate.abs().max() > 1.9, "slow plans turn as before"


def test_fast_plans_have_a_longer_settling_time(generator):
    """Two seconds, and by the time longer that it takes to get faster than 1.5 m/s, before the change or after it."""
    params = SteeringParams(speed=WIDE, change_time=(4.0, 7.0))
    plans = plan_steering(512, 310, 300, DT, params, generator)
    longest = 0
    for row in range(100):
        change = int((plans.direction[row].diff() != 0.0).nonzero()[0]) + 1
        fastest = float(plans.commanded_speed[row, [change - 1, change]].abs().max())
        settle = math.ceil((2.0 + max(0.0, fastest - 1.5) / 1.5) / DT)
        if change + settle < 310:
            assert not plans.settled[row, change : change + settle - 1].any()
            assert plans.settled[row, change + settle]
            longest = max(longest, settle)
    assert longest > 3.2 / DT
    commanded = plans.commanded_speed[..., None] * torch.stack([plans.direction.cos(), plans.direction.sin()], dim=-1)
    assert (velocity(plans) - commanded).norm(dim=-1)[plans.settled].mean() < 0.01


def test_slow_gaits_walk_slowly_to_a_goal(generator):
    plans = plan_goals(64, 222, DT, GoalParams(), generator, fastest=0.9)
    assert plans.speed.max() <= 0.9
