"""The viewer's world: orders, pushes, resets and students, without a page."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from waiting import seen, until

from protege.deploy.errors import DeployError
from protege.deploy.viewer.world import World


@pytest.fixture
def world(walker: Path, exported: Path) -> Iterator[World]:
    made = World({"walker": walker, "tiny": exported})
    made.start()
    until(lambda: made.frame is not None, "no frame")
    yield made
    made.close()
    assert made.error is None


def test_orders_pushes_and_resets(world: World) -> None:
    until(lambda: seen(world).modes == ("steering",), "it is to stand")
    world.order({"goal": {"point": (1.0, 2.0), "frame": "world"}})
    until(lambda: seen(world).modes == ("goal",), "the goal was not taken")
    np.testing.assert_allclose(seen(world).command.goal_w, [1.0, 2.0])
    with pytest.raises(DeployError, match="unknown mode"):
        world.order({"fly": {}})
    before, at = seen(world).body_pos_w[0], seen(world).index
    world.push(400.0, 90.0)
    until(lambda: seen(world).body_pos_w[0, 1] > before[1] + 0.1, "the push did nothing")
    world.reset()
    until(lambda: seen(world).time < 0.3 and seen(world).index > at, "no reset")
    assert np.linalg.norm(seen(world).body_pos_w[0, :2]) < 0.3


def test_another_student_takes_over_and_a_fallen_robot_is_reset(world: World) -> None:
    with pytest.raises(DeployError, match=r"no student nobody\. There are walker, tiny"):
        world.switch("nobody")
    world.switch("tiny")
    until(lambda: world.student == "tiny", "no switch")
    until(lambda: seen(world).fallen, "an untrained student falls")
    until(lambda: not seen(world).fallen and seen(world).time < 1.0, "it was not reset")


def test_the_note_of_a_path_that_is_given_up_stays_until_the_next_order(world: World) -> None:
    until(lambda: seen(world).modes == ("steering",), "it is to stand")
    assert seen(world).note == ""
    given_up = "path given up: 1.2 m off for 2 s"  # as if it were
    world.order({"path": {"points": [(3.0, 0.0)], "frame": "world"}})
    until(lambda: seen(world).modes == ("path",), "no path")
    world._commander._sources["path"]._clock.lost = given_up  # pyright: ignore[reportAttributeAccessIssue]
    until(lambda: seen(world).note == given_up, "no note")
    assert seen(world).modes == ("steering",) and seen(world).command.steering_speed == 0.0
    world.order({})
    until(lambda: seen(world).note == "", "the note is still there")


def test_a_student_that_cannot_be_run_is_refused_and_the_other_goes_on(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    world = World({"tiny": exported, "broken": tmp_path / "broken"})
    world.start()
    until(lambda: world.frame is not None, "no frame")
    with pytest.raises(DeployError, match=r"policy\.json does not exist"):
        world.switch("broken")
    at = seen(world).index
    until(lambda: seen(world).index > at + 3, "it does not go on")
    assert world.student == "tiny" and world.error is None
    world.close()


def test_a_push_during_a_step_is_made_in_the_next_one(exported: Path) -> None:
    """A page's thread may push at any time, here while the world's thread applies the force of the step before."""
    world, forces = World({"tiny": exported}), list[np.ndarray]()

    def apply(force_w: np.ndarray) -> None:
        forces.append(force_w)
        if len(forces) == 1:
            world.push(100.0, 0.0)

    world._robot.push = apply
    world.start()
    until(lambda: len(forces) > 10, "no steps")
    world.close()
    steps = round(0.2 / world.metadata.control_dt)
    np.testing.assert_allclose(forces[1 : steps + 1], [[100.0, 0.0, 0.0]] * steps, atol=1e-9)
    np.testing.assert_allclose(forces[steps + 1], 0.0)


def test_only_the_worlds_thread_touches_the_tracking(exported: Path) -> None:
    """An order comes from another thread. It must not empty the tracking's past while the world's thread reads it."""
    world, threads = World({"tiny": exported}), set[str]()
    forget = world._tracking.forget

    def noted() -> None:
        threads.add(threading.current_thread().name)
        forget()

    world._tracking.forget = noted
    world.start()
    until(lambda: world.frame is not None, "no frame")
    world.order({"goal": {"point": (1.0, 2.0), "frame": "world"}})
    until(lambda: seen(world).modes == ("goal",), "the goal was not taken")
    world.close()
    assert threads == {"world"}
