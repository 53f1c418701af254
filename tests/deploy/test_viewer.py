"""The live viewer: its parts by hand, and the page in a real browser."""

import base64
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mujoco
import numpy as np
import pytest
from click.testing import CliRunner
from equipment import launch
from playwright.sync_api import Page, sync_playwright
from waiting import PATIENCE, seen, until

from protege.deploy.cli.main import main
from protege.deploy.errors import DeployError
from protege.deploy.interface import Command
from protege.deploy.motions.clip_paths import find_clip
from protege.deploy.policy import metadata
from protege.deploy.robots.mujoco import MujocoRobot
from protege.deploy.viewer.figure import figure
from protege.deploy.viewer.scene import Scene
from protege.deploy.viewer.serve import Viewer, free_port
from protege.deploy.viewer.tracking import Tracking
from protege.deploy.viewer.world import World
from protege.sim.robots import get_robot
from protege.sim.robots.menagerie import load
from protege.sim.robots.mjcf import robot_xml

# Parts -------------------------------------------------------------------------------------------------------------------


def test_errors_are_of_what_was_told_then(exported: Path) -> None:
    """A walk along x at 1 m/s, told to be 0.1 m to the left of that: by path, by poses, by steering, by goal."""
    described = metadata.load(exported)
    dt, tracking = described.control_dt, Tracking(described)
    bodies = np.zeros((24, 3))

    def error(k: int, command: Command | None) -> tuple[str, float]:
        here = np.array([k * dt, 0.0, 0.9])
        return tracking(SimpleNamespace(command=command, reading=SimpleNamespace(root_pos_w=here)), bodies + here)  # pyright: ignore[reportArgumentType]

    def path(k: int) -> Command:
        return Command(path_w=np.array([[k * dt + t, 0.1] for t in described.path_times]))

    seen = [error(k, path(k)) for k in range(30)]
    assert all(name == "path" for name, _ in seen)
    assert np.isnan([value for _, value in seen[:15]]).all()  # nothing was told 0.5 s ago
    np.testing.assert_allclose([value for _, value in seen[15:]], 0.1, atol=1e-12)
    tracking.forget()
    assert np.isnan(error(30, path(30))[1])

    ahead = np.array([[(k + frame) * dt, 0.0, 1.0] for k in (0, 1) for frame in described.future_frames])
    for k, expected in ((0, np.nan), (1, 0.1)):
        targets = np.broadcast_to(ahead.reshape(2, -1, 1, 3)[k], (4, 24, 3))
        name, value = error(k, Command(target_body_pos_w=targets))
        assert name == "motion" and value == pytest.approx(expected, nan_ok=True)

    tracking.forget()
    steering = Command(steering_direction_w=np.array([0.0, 1.0]), steering_speed=1.0)
    name, value = [error(k, steering) for k in range(31)][-1]
    assert name == "steering" and value == pytest.approx(np.sqrt(2.0))
    name, value = error(0, Command(goal_w=np.array([3.0, 4.0]), goal_time_left=1.0))
    assert name == "goal" and value == pytest.approx(5.0)
    assert error(0, None)[0] == error(0, Command())[0] == ""


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


def test_a_robots_figure_stands_where_mujoco_says(each_exported: Path) -> None:
    robot = MujocoRobot(each_exported, standing=True)
    shaped = {robot.model.geom_bodyid[i] for i in range(robot.model.ngeom)} - {0}
    lowest = []
    for name, parts in figure(robot.model, robot.metadata.body_names).items():
        body, vertices = robot.data.body(name), np.concatenate([part.vertices for part in parts])
        lowest.append((vertices @ body.xmat.reshape(3, 3).T + body.xpos)[:, 2].min())
    assert len(lowest) == len(shaped) and min(lowest) == pytest.approx(1e-3, abs=2e-3)  # CLEARANCE


def test_the_camera_stands_back_as_far_as_the_robot_says() -> None:
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


def test_rays_meet_the_ground_by_hand() -> None:
    scene = SimpleNamespace(_origin=SimpleNamespace(position=(-5.0, 1.0, 0.0)))  # the robot is at (5, -1)

    def ground(origin: list[float], direction: list[float]) -> Any:
        return Scene.ground(scene, np.array(origin), np.array(direction))  # pyright: ignore[reportArgumentType]

    assert ground([0.0, 0.0, 2.0], [0.5, 0.0, -1.0]) == pytest.approx((6.0, -1.0))
    assert ground([0.0, 0.0, 2.0], [1.0, 0.0, 0.1]) is None
    assert ground([0.0, 0.0, 2.0], [1.0, 0.0, -0.001]) is None  # 2 km away
    assert ground([0.0, 0.0, -2.0], [1.0, 0.0, -1.0]) is None  # from below


def test_a_port_in_use_is_one_line(exported: Path) -> None:
    assert free_port("127.0.0.1", 0) > 0
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = CliRunner().invoke(main, ["view", str(exported), "--port", str(port), "--seconds", "0.1"])
    assert done.exit_code == 2 and done.output.count("\n") == 1
    assert (
        f"error: cannot listen on 127.0.0.1, port {port} (Address already in use). Choose another --port" in done.output
    )


def test_view_serves_for_so_long_and_for_this_machine_alone(exported: Path) -> None:
    done = CliRunner().invoke(main, ["view", str(exported), "--port", "0", "--seconds", "0.5"])
    assert done.exit_code == 0, done.output
    [line] = done.output.splitlines()
    assert line.startswith("http://127.0.0.1:") and line.endswith(" (Ctrl-C ends it)")


def test_bad_exports_are_one_line(exported: Path, tmp_path: Path) -> None:
    (tmp_path / exported.name).mkdir()
    for folders, message in (
        ([tmp_path], "policy.json does not exist"),
        ([exported, tmp_path / exported.name], "two of the exports have the same name"),
    ):
        done = CliRunner().invoke(main, ["view", *map(str, folders), "--port", "0"])
        assert done.exit_code == 2 and done.output.count("\n") == 1 and message in done.output


# The world ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def world(walker: Path, exported: Path) -> Iterator[World]:
    made = World({"walker": walker, "tiny": exported})
    made.start()
    until(lambda: made.frame is not None, "no frame")
    yield made
    made.close()
    assert made.error is None


def test_the_world_obeys_is_pushed_and_begins_anew(world: World) -> None:
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


def test_another_student_takes_over_and_who_lies_is_set_up(world: World) -> None:
    with pytest.raises(DeployError, match=r"no student nobody\. There are walker, tiny"):
        world.switch("nobody")
    world.switch("tiny")
    until(lambda: world.student == "tiny", "no switch")
    until(lambda: seen(world).fallen, "an untrained student falls")
    until(lambda: not seen(world).fallen and seen(world).time < 1.0, "it was not set up")


def test_a_path_that_is_given_up_is_said_until_the_next_order(world: World) -> None:
    until(lambda: seen(world).modes == ("steering",), "it is to stand")
    assert seen(world).note == ""
    given_up = "path given up: 1.2 m off for 2 s"  # as if it were
    world.order({"path": {"points": [(3.0, 0.0)], "frame": "world"}})
    until(lambda: seen(world).modes == ("path",), "no path")
    world._commander._sources["path"]._clock.lost = given_up  # pyright: ignore[reportAttributeAccessIssue]
    until(lambda: seen(world).note == given_up, "nothing is said")
    assert seen(world).modes == ("steering",) and seen(world).command.steering_speed == 0.0
    world.order({})
    until(lambda: seen(world).note == "", "it is still said")


# The page ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(need: Callable[[str], None], walker: Path, exported: Path) -> Iterator[tuple[Page, Viewer]]:
    """The page in headless Chromium, and what is behind it."""
    need("browser")
    with Viewer({"walker": walker, "tiny": exported}, port=0) as viewer, sync_playwright() as playwright:
        shown = threading.Thread(target=viewer.run, daemon=True)
        shown.start()
        chromium = launch(playwright)
        tab = chromium.new_page(viewport={"width": 900, "height": 640})
        tab.set_default_timeout(1e3 * PATIENCE)
        tab.goto(viewer.url)
        tab.get_by_text("control step, ms").wait_for()
        tab.mouse.click(300, 30)  # the page has the keys
        yield tab, viewer
        chromium.close()


def picture(tab: Page, tmp_path: Path) -> np.ndarray:
    import imageio.v3 as iio

    path = tmp_path / "page.png"
    tab.screenshot(path=path, timeout=1e3 * PATIENCE)
    return np.asarray(iio.imread(path))[..., :3].astype(int)


def modes(viewer: Viewer) -> tuple[str, ...]:
    return seen(viewer.world).modes


def test_a_steered_walk(page: tuple[Page, Viewer], tmp_path: Path) -> None:
    tab, viewer = page
    viewer.controls.reset()
    until(lambda: seen(viewer.world).time < 1.0, "no reset")
    for _ in range(5):
        tab.keyboard.press("i")
    until(lambda: viewer.controls.speed == 1.25, "the keys did nothing")
    until(lambda: seen(viewer.world).body_pos_w[0, 0] > 2.0, "it did not walk 2 m ahead")
    assert abs(seen(viewer.world).body_pos_w[0, 1]) < 0.5 and not seen(viewer.world).fallen
    for _ in range(6):
        tab.keyboard.press("j")
    until(lambda: viewer.controls.direction == 90.0, "the keys did nothing")
    left = seen(viewer.world).body_pos_w[0, 1]
    until(lambda: seen(viewer.world).body_pos_w[0, 1] > left + 0.7, "it did not walk to the left")
    red, green, blue = np.moveaxis(picture(tab, tmp_path)[:, :560], -1, 0)
    skin = (red - blue > 40) & (red > green) & (green > blue)
    # The robot stays before the camera: most of it is within the middle of the picture.
    rows, columns = np.nonzero(skin)
    assert len(rows) > 500 and 150 < np.median(columns) < 560 and 150 < np.median(rows) < 520
    tab.keyboard.press("x")
    until(
        lambda: modes(viewer) == ("steering",) and seen(viewer.world).command.steering_speed == 0.0, "it does not stand"
    )


def test_the_stick_is_dragged(page: tuple[Page, Viewer], tmp_path: Path) -> None:
    tab, viewer = page
    viewer.controls.reset()
    until(lambda: seen(viewer.world).time < 1.0, "no reset")
    tab.wait_for_timeout(1000)  # until it is drawn there
    red, _, blue = np.moveaxis(picture(tab, tmp_path)[:, :560], -1, 0)
    rows, columns = np.nonzero((blue > 170) & (blue - red > 90))  # the square between the stick's arrows
    assert len(rows) > 5
    x, y = float(np.median(columns)), float(np.median(rows))
    tab.mouse.move(x, y)
    tab.mouse.down()
    for k in range(1, 6):
        tab.mouse.move(x, y - 8 * k)
    tab.mouse.up()
    until(lambda: viewer.controls.speed > 0.2, "the stick did nothing")
    # Up in the picture is away from the camera, which stands behind the robot to its right: ahead and a little to the left.
    assert -20.0 < viewer.controls.direction < 90.0
    until(lambda: (seen(viewer.world).command.steering_speed or 0.0) > 0.2, "it is not told")
    tab.keyboard.press("x")


def test_clicks_are_goals_and_points_of_a_path(page: tuple[Page, Viewer]) -> None:
    tab, viewer = page
    tab.get_by_role("tab", name="path, goal").click()
    tab.mouse.click(330, 500)
    until(lambda: modes(viewer) == ("goal",), "the click was no goal")
    frame = seen(viewer.world)
    assert np.linalg.norm(frame.command.goal_w - frame.body_pos_w[0, :2]) < 10.0
    tab.get_by_role("combobox", name="a click is").click()
    tab.get_by_role("option", name="a point of a path").click()
    for x in (250, 330, 420):
        tab.mouse.click(x, 520)
        time.sleep(0.5)  # two clicks at once are a double click
    until(lambda: len(viewer.controls._points) == 3, "the clicks drew no path")
    tab.get_by_role("button", name="walk the path").click()
    until(lambda: modes(viewer) == ("path",), "no path")
    given_up = "path given up: 1.2 m off for 2 s"
    viewer.world._commander._sources["path"]._clock.lost = given_up  # pyright: ignore[reportAttributeAccessIssue]
    tab.get_by_text(given_up).first.wait_for()
    assert modes(viewer) == ("steering",)


def test_a_clip_a_push_a_reset_and_another_student(page: tuple[Page, Viewer]) -> None:
    tab, viewer = page
    tab.get_by_role("tab", name="clip").click()
    tab.get_by_role("button", name="play").click()
    until(lambda: modes(viewer) == ("motion",), "no clip")
    at = seen(viewer.world).index
    tab.get_by_role("button", name="reset").click()
    until(lambda: seen(viewer.world).time < 1.0 and seen(viewer.world).index > at, "no reset")
    before = seen(viewer.world).body_pos_w[0, 1]
    tab.get_by_role("button", name="left", exact=True).click()
    until(lambda: seen(viewer.world).body_pos_w[0, 1] > before + 0.05, "no push")
    tab.get_by_role("combobox", name="student").click()
    tab.get_by_role("option", name="tiny").click()
    until(lambda: viewer.world.student == "tiny", "no other student")
    tab.get_by_text("tiny", exact=False).first.wait_for()


def bluish(picture: np.ndarray) -> int:
    """Pixels as blue as a ghost's."""
    red, green, blue = np.moveaxis(picture[:, :560], -1, 0)
    return int(((blue - red > 25) & (blue > green) & (red < 190)).sum())


def drop(tab: Page, name: str, contents: bytes) -> None:
    """Drop a file onto the middle of the page."""
    file = tab.evaluate_handle(
        """([name, text]) => {
            const data = new DataTransfer();
            data.items.add(new File([Uint8Array.from(atob(text), c => c.charCodeAt(0))], name));
            return data;
        }""",
        [name, base64.b64encode(contents).decode()],
    )
    tab.dispatch_event("canvas", "drop", {"dataTransfer": file})


def test_a_clip_is_dropped_onto_the_page_or_chosen(page: tuple[Page, Viewer], tmp_path: Path) -> None:
    """Tracked, then as a ghost by the button, then by a student that is given another robot's."""
    tab, viewer = page
    viewer.world.switch("walker")
    until(lambda: viewer.world.student == "walker" and seen(viewer.world).student == "walker", "no switch")
    viewer.controls.stand()
    until(lambda: modes(viewer) == ("steering",), "it does not stand")
    contents = find_clip(Path("smpl_humanoid_run.npy")).read_bytes()
    drop(tab, "my run.npy", contents)
    until(lambda: modes(viewer) == ("motion",), "the dropped clip is not tracked")
    assert viewer.controls._clip.value == "my_run" and viewer.controls._clip.options[-1] == "my_run"
    tab.get_by_role("tab", name="clip").click()
    tab.get_by_text("without physics").first.click()
    until(lambda: viewer.controls._as_ghost.value, "no ghost was asked for")
    viewer.controls.stand()
    until(lambda: modes(viewer) == ("steering",), "it does not stand")
    tab.wait_for_timeout(1000)  # until it is drawn
    before = bluish(picture(tab, tmp_path))
    (tmp_path / "chosen.npy").write_bytes(contents)
    with tab.expect_file_chooser() as chooser:
        tab.get_by_role("button", name="open a clip file").click()
    chooser.value.set_files(tmp_path / "chosen.npy")
    until(lambda: seen(viewer.world).ghost is not None, "no ghost")
    assert modes(viewer) == ("steering",)
    tab.get_by_text("chosen, without physics").first.wait_for()
    tab.wait_for_timeout(1000)  # until it is drawn
    assert bluish(picture(tab, tmp_path)) > before + 300
    viewer.controls.stand()
    until(lambda: seen(viewer.world).ghost is None, "it is still there")
    tab.get_by_text("without physics").first.click()
    until(lambda: not viewer.controls._as_ghost.value, "a ghost is still asked for")


def test_what_does_not_go_is_said_on_the_page(page: tuple[Page, Viewer]) -> None:
    tab, viewer = page
    viewer.controls._order({"goal": {"point": (float("nan"), 0.0)}})
    tab.get_by_text("That does not go").wait_for()
    tab.get_by_text("a point is a pair (x, y) of numbers").wait_for()


def test_a_dropped_file_of_another_kind_is_said_how_to_import(page: tuple[Page, Viewer]) -> None:
    tab, _ = page
    drop(tab, "dance.csv", b"0,0,0.8,0,0,0,1,0.1\n")
    tab.get_by_text(
        "dance.csv is a table of text (CSV), no clip of smpl. Import it: protege sim motions import dance.csv"
    ).wait_for()
    drop(tab, "theirs.npy", find_clip(Path("g1_humanoid_walk.npy")).read_bytes())
    tab.get_by_text("theirs.npy is a clip of the robot g1, not of smpl").wait_for()
