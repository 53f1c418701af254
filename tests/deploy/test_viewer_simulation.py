"""The viewer's simulation: orders, pushes, resets and students, without a page."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from waiting import seen, until

from protege.deploy.errors import DeployError
from protege.deploy.viewer.simulation import Simulation


@pytest.fixture
def simulation(walker: Path, exported: Path) -> Iterator[Simulation]:
    made = Simulation({"walker": walker, "tiny": exported})
    made.start()
    until(lambda: made.frame is not None, "no frame")
    yield made
    made.close()
    assert made.error is None


def test_orders_pushes_and_resets(simulation: Simulation) -> None:
    until(lambda: seen(simulation).modes == ("steering",), "it is to stand")
    simulation.order({"goal": {"point": (1.0, 2.0), "frame": "world"}})
    until(lambda: seen(simulation).modes == ("goal",), "the goal was not taken")
    np.testing.assert_allclose(seen(simulation).command.goal_w, [1.0, 2.0])
    with pytest.raises(DeployError, match="unknown mode"):
        simulation.order({"fly": {}})
    before, at = seen(simulation).body_pos_w[0], seen(simulation).index
    simulation.push(400.0, 90.0)
    until(lambda: seen(simulation).body_pos_w[0, 1] > before[1] + 0.1, "the push did nothing")
    simulation.reset()
    until(lambda: seen(simulation).time < 0.3 and seen(simulation).index > at, "no reset")
    assert np.linalg.norm(seen(simulation).body_pos_w[0, :2]) < 0.3


def test_another_student_takes_over_and_a_fallen_robot_is_reset(simulation: Simulation) -> None:
    with pytest.raises(DeployError, match=r"no student nobody\. There are walker, tiny"):
        simulation.switch("nobody")
    simulation.switch("tiny")
    until(lambda: simulation.student == "tiny", "no switch")
    until(lambda: seen(simulation).fallen, "an untrained student falls")
    until(lambda: not seen(simulation).fallen and seen(simulation).time < 1.0, "it was not reset")


def test_the_note_of_a_path_that_is_given_up_stays_until_the_next_order(simulation: Simulation) -> None:
    until(lambda: seen(simulation).modes == ("steering",), "it is to stand")
    assert seen(simulation).note == ""
    given_up = "path given up: 1.2 m off for 2 s"  # as if it were
    simulation.order({"path": {"points": [(3.0, 0.0)], "frame": "world"}})
    until(lambda: seen(simulation).modes == ("path",), "no path")
    simulation._commander._sources["path"]._clock.lost = given_up  # pyright: ignore[reportAttributeAccessIssue]
    until(lambda: seen(simulation).note == given_up, "no note")
    assert seen(simulation).modes == ("steering",) and seen(simulation).command.steering_speed == 0.0
    simulation.order({})
    until(lambda: seen(simulation).note == "", "the note is still there")


def test_a_student_that_cannot_run_is_refused_and_the_present_one_continues(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    simulation = Simulation({"tiny": exported, "broken": tmp_path / "broken"})
    simulation.start()
    until(lambda: simulation.frame is not None, "no frame")
    with pytest.raises(DeployError, match=r"policy\.json does not exist"):
        simulation.switch("broken")
    at = seen(simulation).index
    until(lambda: seen(simulation).index > at + 3, "it does not go on")
    assert simulation.student == "tiny" and simulation.error is None
    simulation.close()


def test_a_push_during_a_step_acts_in_the_next_one(exported: Path) -> None:
    """A page's thread may push at any time, here while the simulation's thread applies the force of the step before."""
    simulation, forces = Simulation({"tiny": exported}), list[np.ndarray]()

    def apply(force_w: np.ndarray) -> None:
        forces.append(force_w)
        if len(forces) == 1:
            simulation.push(100.0, 0.0)

    simulation._robot.push = apply
    simulation.start()
    until(lambda: len(forces) > 10, "no steps")
    simulation.close()
    steps = round(0.2 / simulation.metadata.control_dt)
    np.testing.assert_allclose(forces[1 : steps + 1], [[100.0, 0.0, 0.0]] * steps, atol=1e-9)
    np.testing.assert_allclose(forces[steps + 1], 0.0)


def test_only_the_simulation_thread_changes_the_tracking_error(exported: Path) -> None:
    """An order comes from another thread. It must not empty the tracking's past while the simulation's thread reads it."""
    simulation, threads = Simulation({"tiny": exported}), set[str]()
    forget = simulation._tracking.forget

    def noted() -> None:
        threads.add(threading.current_thread().name)
        forget()

    simulation._tracking.forget = noted
    simulation.start()
    until(lambda: simulation.frame is not None, "no frame")
    simulation.order({"goal": {"point": (1.0, 2.0), "frame": "world"}})
    until(lambda: seen(simulation).modes == ("goal",), "the goal was not taken")
    simulation.close()
    assert threads == {"simulation"}
