"""The limit on the turn of a commanded direction."""

from dataclasses import replace

import numpy as np
import pytest
from fakes import DT, STANDING, FakePolicy, FakeRobot

from protege.deploy.commands.steering import TurnLimit
from protege.deploy.interface import Command
from protege.deploy.loop.loop import ControlLoop, Step


def angle(vector: np.ndarray | None) -> float:
    assert vector is not None
    return float(np.arctan2(vector[1], vector[0]))


def towards(degrees: float, facing: float | None = None) -> Command:
    ways = [None if x is None else np.array([np.cos(np.radians(x)), np.sin(np.radians(x))]) for x in (degrees, facing)]
    return Command(steering_direction_w=ways[0], steering_speed=1.0, steering_facing_w=ways[1])


def test_the_direction_turns_at_the_rate_and_the_shorter_way_round() -> None:
    limit, heading = TurnLimit(1.5, 0.1), np.radians(170.0)
    here = replace(STANDING, root_quat_w=np.array([np.cos(heading / 2.0), 0.0, 0.0, np.sin(heading / 2.0)]))
    turned = [angle(limit(towards(-150.0), here).steering_direction_w) for _ in range(6)]
    # 40° to the left are 0.698 rad: four steps of 0.15 rad and the rest.
    wanted = heading + np.array([0.15, 0.3, 0.45, 0.6, np.radians(40.0), np.radians(40.0)])
    np.testing.assert_allclose(np.unwrap(turned), wanted, atol=1e-9)
    back = angle(limit(towards(170.0), here).steering_direction_w)
    assert np.degrees(back) == pytest.approx(-150.0 - np.degrees(0.15))


def test_the_facing_is_limited_too_and_the_rest_is_not() -> None:
    limited = TurnLimit(1.0, 0.1)(towards(90.0, -90.0), STANDING)
    assert angle(limited.steering_direction_w) == pytest.approx(0.1)
    assert angle(limited.steering_facing_w) == pytest.approx(-0.1) and limited.steering_speed == 1.0
    goal = Command(goal_w=np.ones(2), goal_time_left=1.0)
    assert TurnLimit(1.0, 0.1)(goal, STANDING) is goal


def test_it_begins_again_at_the_heading_after_other_commands() -> None:
    limit = TurnLimit(1.0, 0.1)
    for _ in range(5):
        limit(towards(90.0), STANDING)
    limit(Command(goal_w=np.ones(2), goal_time_left=1.0), STANDING)
    assert angle(limit(towards(90.0), STANDING).steering_direction_w) == pytest.approx(0.1)


def test_the_loop_applies_it_and_resets_it_with_each_run() -> None:
    shown = list[Step]()
    loop = ControlLoop(
        FakePolicy(),
        FakeRobot(),
        lambda time, reading: towards(90.0),
        DT,
        realtime=False,
        turn_limit=TurnLimit(2.0, DT),
    )
    loop.on_step = shown.append
    for _ in range(2):
        shown.clear()
        loop.run(3)
        turned = [angle(step.command.steering_direction_w) for step in shown if step.command is not None]
        np.testing.assert_allclose(turned, [2.0 * DT, 4.0 * DT, 6.0 * DT])
