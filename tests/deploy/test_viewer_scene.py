"""The viewer's scene: the robot's surfaces, the camera, and clicks on the ground."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mujoco
import numpy as np
import pytest

from protege.deploy.policy import metadata
from protege.deploy.robots.mujoco import MujocoRobot
from protege.deploy.viewer import shapes
from protege.deploy.viewer.figure import figure
from protege.deploy.viewer.ground import Ground
from protege.deploy.viewer.scene import Scene
from protege.sim.menagerie import load
from protege.sim.robots import get_robot
from protege.sim.robots.mjcf import robot_xml


def test_the_figure_has_mujocos_shapes() -> None:
    xml = """<mujoco><worldbody>
      <geom type="plane" size="1 1 1"/>
      <body name="one" pos="0 0 1"><freejoint/>
        <geom type="box" size=".1 .2 .3" pos="1 0 0"/><geom type="sphere" size=".5"/>
        <geom type="capsule" fromto="0 0 0 0 2 0" size=".25"/><geom type="cylinder" size=".2 .4" pos="0 0 -3"/>
        <geom type="ellipsoid" size=".1 .2 .3" pos="-2 0 0" rgba="1 0 .2 .5"/><geom size="9" group="3"/></body>
      <body name="none"><inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/></body></worldbody></mujoco>"""
    model = mujoco.MjModel.from_xml_string(xml)
    shapes = figure(model, ["one", "none"])
    assert list(shapes) == ["one"]
    grey, red = shapes["one"]
    assert (grey.color, grey.opacity, red.color, red.opacity) == ((128, 128, 128), None, (255, 0, 51), 0.5)
    assert grey.faces.max() == len(grey.vertices) - 1 and grey.faces.min() == 0
    np.testing.assert_allclose(grey.vertices.min(axis=0), [-0.5, -0.5, -3.4], atol=0.01)
    np.testing.assert_allclose(grey.vertices.max(axis=0), [1.1, 2.25, 0.5], atol=0.01)
    np.testing.assert_allclose(red.vertices.min(axis=0), [-2.1, -0.2, -0.3], atol=0.01)


@pytest.mark.parametrize(
    ("shape", "volume"),
    [
        (shapes.box(np.array([0.1, 0.2, 0.3])), 0.048),
        (shapes.ball(np.array([0.1, 0.2, 0.3])), 0.008 * np.pi),
        (shapes.capsule(0.1, 0.3), np.pi * (0.006 + 0.004 / 3.0)),
        (shapes.cylinder(0.1, 0.3), 0.006 * np.pi),
    ],
)
def test_a_shape_encloses_its_volume(shape: shapes.Mesh, volume: float) -> None:
    """By the divergence theorem; triangles that face inwards would count as negative."""
    vertices, faces = shape
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    assert (np.cross(a, b) * c).sum() / 6.0 == pytest.approx(volume, rel=0.02)


def test_a_robots_figure_has_mujocos_poses(each_exported: Path) -> None:
    robot = MujocoRobot(each_exported, standing=True)
    shaped = {robot.model.geom_bodyid[i] for i in range(robot.model.ngeom)} - {0}
    lowest = []
    for name, parts in figure(robot.model, robot.metadata.body_names).items():
        body, vertices = robot.data.body(name), np.concatenate([part.vertices for part in parts])
        lowest.append((vertices @ body.xmat.reshape(3, 3).T + body.xpos)[:, 2].min())
    assert len(lowest) == len(shaped) and min(lowest) == pytest.approx(1e-3, abs=2e-3)  # CLEARANCE


def test_the_viewer_needs_no_torch(each_exported: Path) -> None:
    """Nor do the robots' meshes and grounds, which another package offers it."""
    program = """
import sys
from protege.deploy.viewer.serve import Viewer
with Viewer({"student": sys.argv[1]}, port=0):
    print("torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(each_exported)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == "False"


def test_a_figure_has_the_meshes_that_a_package_offers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder stands in for the Menagerie's download."""
    folder, _, entry = get_robot("g1").menagerie.partition("/")
    (tmp_path / folder).mkdir()
    (tmp_path / folder / f"{entry}.xml").write_text("""<mujoco>
      <asset><mesh name="t" vertex="0 0 0  .2 0 0  0 .2 0  0 0 .2"/></asset><worldbody><body name="pelvis">
      <geom type="mesh" mesh="t" rgba="0 0 1 1"/></body></worldbody></mujoco>""")
    monkeypatch.setenv("MENAGERIE_ROOT", str(tmp_path))
    load.cache_clear()
    model = mujoco.MjModel.from_xml_string(robot_xml("g1"))
    shapes = figure(model, list(get_robot("g1").body_names))
    load.cache_clear()
    [mesh] = shapes["pelvis"]
    assert mesh.flat and mesh.color == (0, 0, 255) and mesh.faces.shape == (4, 3)
    np.testing.assert_allclose(mesh.vertices.max(axis=0), 0.2, atol=1e-6)
    assert len(shapes["torso_link"]) > 1 and not shapes["torso_link"][0].flat


def test_the_camera_has_the_robots_camera_distance() -> None:
    """1.54 times that distance: the page's lens is wider than the pictures'. The same from every robot: behind, to its right."""
    places = []
    for camera in (metadata.Camera(2.0, 1.0), metadata.Camera(4.0, 0.5)):
        page = SimpleNamespace(initial_camera=SimpleNamespace())
        Scene._look(SimpleNamespace(_server=page), camera)  # pyright: ignore[reportArgumentType]
        position, look_at = (np.array(getattr(page.initial_camera, x)) for x in ("position", "look_at"))
        assert look_at[2] == camera.height and position[0] < 0.0 and position[1] < 0.0
        places.append((position - look_at) / camera.distance)
        assert np.linalg.norm(places[-1]) == pytest.approx(1.54, abs=0.01)
    np.testing.assert_allclose(places[0], places[1])


def test_rays_meet_the_ground_by_hand() -> None:
    scene = SimpleNamespace(
        _origin=SimpleNamespace(position=(-5.0, 1.0, 0.0)), _ground=Ground()
    )  # the robot is at (5, -1)

    def ground(origin: list[float], direction: list[float]) -> Any:
        return Scene.ground(scene, np.array(origin), np.array(direction))  # pyright: ignore[reportArgumentType]

    assert ground([0.0, 0.0, 2.0], [0.5, 0.0, -1.0]) == pytest.approx((6.0, -1.0))
    assert ground([0.0, 0.0, 2.0], [1.0, 0.0, 0.1]) is None
    assert ground([0.0, 0.0, 2.0], [1.0, 0.0, -0.001]) is None  # 2 km away
    assert ground([0.0, 0.0, -2.0], [1.0, 0.0, -1.0]) is None  # from below


def test_rays_meet_uneven_ground() -> None:
    ground = Ground("slopes")
    scene, origin = (
        SimpleNamespace(_origin=SimpleNamespace(position=(0.0, 0.0, 0.0)), _ground=ground),
        np.array([0, 0, 3]),
    )
    ahead = np.array([1.0, 0.3, -0.8])
    x, y = Scene.ground(scene, origin, ahead) or (0.0, 0.0)  # pyright: ignore[reportArgumentType]
    assert y == pytest.approx(0.3 * x) and 3.0 - 0.8 * x == pytest.approx(ground.height(np.array([x, y])), abs=1e-3)
