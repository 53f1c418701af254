"""Students side by side on the viewer's page: the same orders and pushes, each robot with its own physics."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from equipment import launch
from playwright.sync_api import sync_playwright
from waiting import PATIENCE, seen, until

from protege.deploy.cli.main import main
from protege.deploy.errors import DeployError
from protege.deploy.interface import Command, RobotReading
from protege.deploy.viewer.conditions import Conditions
from protege.deploy.viewer.group import LANE, Group
from protege.deploy.viewer.scene import STUDENT_COLORS
from protege.deploy.viewer.serve import Viewer


@contextmanager
def running(students: dict[str, Path]) -> Iterator[Group]:
    made = Group(students, together=True)
    made.start()
    until(lambda: all(x.frame is not None for x in made.simulations), "no frames")
    yield made
    made.close()
    made.check()


@pytest.fixture
def group(walker: Path, exported: Path) -> Iterator[Group]:
    """A student that walks and one that falls."""
    with running({"walker": walker, "tiny": exported}) as made:
        yield made


@pytest.fixture
def walkers(walker: Path) -> Iterator[Group]:
    """Two students that walk: a robot that lies is not pushed."""
    with running({"walker": walker, "again": walker}) as made:
        yield made


def test_orders_pushes_and_conditions_reach_all(walkers: Group) -> None:
    group = walkers
    assert group.names == ["walker", "again"]
    forces = {x.student: list[float]() for x in group.simulations}
    for simulation in group.simulations:
        push = simulation._robot.push

        def note(force_w: np.ndarray, name: str = simulation.student, push: Callable = push) -> None:
            forces[name].append(round(float(np.linalg.norm(force_w)), 6))  # the heading rounds it
            push(force_w)

        simulation._robot.push = note
    group.order({"steering": {"speed": 0.5}})
    group.push(100.0, 90.0)
    group.set_conditions(Conditions(friction=0.5))
    until(lambda: all(0.0 in x and 100.0 in x for x in forces.values()), "no push")
    until(lambda: all(x[-1] == 0.0 for x in forces.values()), "the push does not end")
    for simulation in group.simulations:
        assert seen(simulation).command.steering_speed == 0.5
        assert simulation._robot.conditions == Conditions(friction=0.5)
        assert forces[simulation.student].count(100.0) == round(0.2 / simulation.metadata.control_dt)


def test_a_push_is_relative_to_each_robots_heading(walker: Path, exported: Path) -> None:
    group = Group({"walker": walker, "tiny": exported}, together=True)
    headings = (0.3, -1.2)
    for simulation, heading in zip(group.simulations, headings, strict=True):
        quat = np.array([[np.cos(heading / 2.0), 0.0, 0.0, np.sin(heading / 2.0)]])
        simulation.frame = SimpleNamespace(body_quat_w=quat)  # pyright: ignore[reportAttributeAccessIssue]
    group.push(50.0, 90.0)
    for simulation, heading in zip(group.simulations, headings, strict=True):
        force, _ = simulation._pushes[-1]
        np.testing.assert_allclose(force, [-50.0 * np.sin(heading), 50.0 * np.cos(heading), 0.0], atol=1e-9)


def test_they_keep_the_same_simulated_time(group: Group) -> None:
    """Also when one takes five times as long for a step."""
    slow = group.simulations[1]
    act, dt = slow._policy.act, slow.metadata.control_dt

    def slowly(reading: RobotReading, command: Command) -> np.ndarray:
        threading.Event().wait(5.0 * dt)
        return act(reading, command)

    slow._policy.act = slowly
    at = seen(slow).index
    until(lambda: seen(slow).index > at + 10, "no steps")
    for _ in range(20):
        first, second = (seen(x).time for x in group.simulations)
        assert abs(first - second) < 2.5 * dt
        threading.Event().wait(dt)


def test_a_fallen_robot_lies_until_all_have_fallen(group: Group) -> None:
    walker, tiny = group.simulations
    until(lambda: tiny.lying_seconds > 2.5, "an untrained student falls")
    group.check()
    assert seen(tiny).fallen and not seen(walker).fallen
    at = seen(walker).index
    until(lambda: walker.push(1000.0, 90.0) or seen(walker).fallen, "the push did nothing")
    until(lambda: group.check() or (not seen(tiny).fallen and seen(tiny).time < 1.0), "they are not set up")
    assert seen(walker).index > at


def test_an_order_that_one_does_not_take_names_it(group: Group) -> None:
    with pytest.raises(DeployError, match=r"^unknown mode"):
        group.order({"fly": {}})
    refuses = group.simulations[1]

    def refuse(order: object) -> None:
        raise DeployError("this policy takes no goal", "It takes motion")

    refuses.order = refuse
    with pytest.raises(DeployError, match=r"^tiny: this policy takes no goal\. It takes motion"):
        group.order({"goal": {"point": (1.0, 0.0)}})
    until(lambda: seen(group.lead).modes == ("goal",), "the other does not follow it")


def test_one_export_is_not_together(exported: Path) -> None:
    done = CliRunner().invoke(main, ["view", str(exported), "--together", "--port", "0"])
    assert done.exit_code == 2 and "--together shows several exports, and there is one" in done.output


def test_both_are_on_the_page(need: Callable[[str], None], walker: Path, exported: Path, tmp_path: Path) -> None:
    """Each in its colour, with its name in the text; no list to switch between them."""
    import imageio.v3 as iio

    need("browser")
    students = {"walker": walker, "tiny": exported}
    with Viewer(students, port=0, together=True) as viewer, sync_playwright() as playwright:
        threading.Thread(target=viewer.run, daemon=True).start()
        chromium = launch(playwright)
        tab = chromium.new_page(viewport={"width": 900, "height": 640})
        tab.set_default_timeout(1e3 * PATIENCE)
        tab.goto(viewer.url)
        tab.get_by_text("control step, ms").wait_for()
        assert tab.get_by_role("combobox", name="student").count() == 0
        tab.get_by_text("walker: ").first.wait_for()
        tab.get_by_text("tiny: fallen").first.wait_for()
        names = [actor._name.text for actor in viewer._scene._actors if actor._name is not None]
        assert names == ["walker", "tiny (fallen)"]
        assert [simulation.lane for simulation in viewer.group.simulations] == [0.0, -LANE]

        def pixels() -> list[int]:
            tab.screenshot(path=tmp_path / "page.png", timeout=1e3 * PATIENCE)
            red, green, blue = np.moveaxis(
                np.asarray(iio.imread(tmp_path / "page.png"))[:, :560, :3].astype(int), -1, 0
            )
            return [int(((red - blue > 60) & (red > green)).sum()), int(((green - red > 40) & (green > blue)).sum())]

        assert STUDENT_COLORS[:2] == ((230, 140, 60), (60, 160, 110))  # orange and green
        until(lambda: min(pixels()) > 200, "one of the robots is not drawn")
        chromium.close()
