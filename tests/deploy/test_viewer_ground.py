"""Uneven ground in the viewer: its heights, and robots that stand on it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mujoco
import numpy as np
import pytest
import torch
from waiting import seen, until

from protege.deploy.errors import DeployError
from protege.deploy.robots.mujoco import MujocoRobot
from protege.deploy.viewer.conditions import ConditionedRobot
from protege.deploy.viewer.ground import FLAT, NAME, Ground, kinds
from protege.deploy.viewer.push_handle import PushHandle, arrow
from protege.deploy.viewer.simulation import Simulation
from protege.sim.floor import Floor
from protege.sim.terrain import CLEARANCE, gentle

PLACES = np.random.default_rng(0).uniform(-19.0, 19.0, (200, 2))


def test_the_grounds_are_flat_or_what_policies_are_trained_on() -> None:
    assert kinds() == ["flat", "bumps", "gentle", "slopes", "steps"]
    assert not Ground().height(PLACES).any() and not Ground().level(PLACES).any()
    with pytest.raises(DeployError, match=r"there is no ground 'moon'\. There are flat, bumps"):
        Ground("moon")


@pytest.mark.parametrize("kind", kinds()[1:])
def test_heights_are_those_of_training(kind: str) -> None:
    """At the grid's points exactly; between them training interpolates in triangles, here in squares."""
    ground = Ground(kind)
    assert ground.terrain is not None
    floor = Floor(ground.terrain, 1, "cpu")
    corners = 0.2 * np.round(PLACES / 0.2)
    for points, off in ((corners, 1e-5), (PLACES, 0.025)):
        xy = torch.from_numpy(points[None]).float()
        np.testing.assert_allclose(ground.height(points), floor.height(xy)[0], atol=off)
    np.testing.assert_allclose(ground.level(PLACES), floor.level(torch.from_numpy(PLACES[None]).float())[0], atol=5e-3)
    assert ground.height(PLACES[np.abs(PLACES).max(axis=1) < 17.9]).min() >= CLEARANCE - 1e-6
    assert ground.height(np.array([30.0, 0.0])) == 0.0


@pytest.mark.parametrize("shift", [0.0, -1.2])
def test_mujoco_and_the_page_have_these_heights(exported: Path, shift: float) -> None:
    ground = Ground("gentle", shift)
    robot = ConditionedRobot(exported, ground)
    mesh = ground.surface()
    mesh.apply_translation([0.0, -shift, 0.0])
    up, found = np.zeros(3), np.zeros(1, np.int32)
    for x, y in 0.2 * np.round(PLACES[:20] / 0.2) + np.array([0.0, -shift]):
        start, down = np.array([x + 1e-4, y + 1e-4, 5.0]), np.array([0.0, 0.0, -1.0])
        far = mujoco.mj_ray(robot.model, robot.data, start, down, None, 1, -1, found, up)
        assert robot.model.geom(int(found[0])).name == NAME
        assert 5.0 - far == pytest.approx(float(ground.height(np.array([x, y]))), abs=1e-3)
        nearest = np.linalg.norm(mesh.vertices[:, :2] - (x, y), axis=1).argmin()
        np.testing.assert_allclose(mesh.vertices[nearest], [x, y, ground.height(np.array([x, y]))], atol=1e-5)


def test_the_level_by_hand() -> None:
    terrain = gentle()
    assert terrain is not None
    assert terrain.level[50, 70] == pytest.approx(terrain.height[49:52, 69:72].mean(), abs=1e-6)
    assert terrain.level[0, 0] == pytest.approx(terrain.height[:2, :2].mean(), abs=1e-6)


@pytest.mark.parametrize("kind", ["gentle", "steps"])
def test_a_robot_stands_on_the_ground_and_measures_from_its_level(each_exported: Path, kind: str) -> None:
    flat, robot = MujocoRobot(each_exported, standing=True), ConditionedRobot(each_exported, Ground(kind))
    robot.reset()
    contacts, terrain = robot.data.contact[: robot.data.ncon], robot.model.geom(NAME).id
    assert all(contact.dist > -1e-6 for contact in contacts if terrain in contact.geom)
    height, level = robot.data.qpos[2], float(robot.ground.level(np.zeros(2)))
    measured = robot.read().measured_root_pos_w
    assert measured[2] == pytest.approx(height - level) and level > CLEARANCE
    assert flat.data.qpos[2] - 1e-6 <= measured[2] < flat.data.qpos[2] + 0.06  # lifted out of a step at most
    assert not robot.has_fallen
    for _ in range(5):
        robot.write(robot.data.qpos[robot._qpos].copy())
    _, forces = robot.contact_forces()
    assert forces[:, 2].sum() > 0.0
    robot.data.qpos[2] = 0.3 * flat.data.qpos[2] + level
    assert robot.has_fallen


def test_a_change_of_the_ground_starts_the_robot_again(exported: Path) -> None:
    simulation = Simulation({"tiny": exported}, lane=-1.2)
    simulation.start()
    until(lambda: simulation.frame is not None and seen(simulation).ground.kind == FLAT, "no frame")
    simulation.set_ground("steps")
    until(lambda: seen(simulation).ground.kind == "steps", "no other ground")
    frame = seen(simulation)
    assert frame.time < 1.0 and frame.ground.shift == -1.2
    assert (
        frame.body_pos_w[0, 2] > simulation._robot.read().measured_root_pos_w[2] + 0.05
    )  # in the world, not from the level
    with pytest.raises(DeployError, match="no ground"):
        simulation.set_ground("moon")
    simulation.set_ground(FLAT)
    until(lambda: seen(simulation).ground.terrain is None, "not flat again")
    simulation.close()
    assert simulation.error is None


# The handle that pushes ---------------------------------------------------------------------------------------------------


def test_an_arrow_by_hand() -> None:
    expected = [[[0, 0, 0], [2, 0, 0]], [[2, 0, 0], [1.7, 0.3, 0]], [[2, 0, 0], [1.7, -0.3, 0]]]
    np.testing.assert_allclose(arrow(np.array([2.0, 0.0])), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("place", "pushed"),
    [
        ((0.5, 0.0, 0.0), [(300.0, 0.0)]),
        ((0.0, -0.25, 0.0), [(150.0, -90.0)]),
        ((-3.0, 0.0, 0.0), [(600.0, 180.0)]),  # the largest
        ((0.01, 0.01, 0.0), []),  # a click
    ],
)
def test_the_handle_pushes_when_it_is_released(place: tuple[float, ...], pushed: list[tuple[float, float]]) -> None:
    scene, aimed, given = Gizmos(), list[float](), list[tuple[float, float]]()
    PushHandle(scene, 600.0, aimed.append, lambda *push: given.append(push))  # pyright: ignore[reportArgumentType]
    scene.drag("start", (0.0, 0.0, 0.0))
    scene.drag("update", place)
    assert not given and scene.arrow.visible == bool(pushed)
    if pushed:
        np.testing.assert_allclose(np.linalg.norm(scene.arrow.points[0, 1]), pushed[0][0] / 600.0, rtol=1e-6)
    scene.drag("end", place)
    assert given == [pytest.approx(push) for push in pushed] and not scene.arrow.visible
    assert not np.any(scene.handle.position) and aimed == pytest.approx(2 * [force for force, _ in pushed])


class Gizmos:
    """Stands in for a page's scene: the handle, its events, and the arrow."""

    def add_transform_controls(self, *_: Any, **__: Any) -> Any:
        self.handle = SimpleNamespace(position=np.zeros(3), on_update=self.remember)
        return self.handle

    def remember(self, act: Any) -> None:
        self.act = act

    def add_line_segments(self, *_: Any, visible: bool, **__: Any) -> Any:
        self.arrow = SimpleNamespace(visible=visible, points=None)
        return self.arrow

    def drag(self, phase: str, place: tuple[float, ...]) -> None:
        self.handle.position = np.array(place)
        with pytest.raises(StopIteration):  # it does not wait
            self.act(SimpleNamespace(phase=phase)).send(None)
