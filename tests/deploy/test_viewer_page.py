"""The viewer's page in a real browser."""

import base64
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from equipment import launch
from playwright.sync_api import Page, sync_playwright
from waiting import PATIENCE, seen, until

from protege.deploy.motions.clip_paths import find_clip
from protege.deploy.viewer.conditions import Conditions
from protege.deploy.viewer.serve import Viewer


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
    return seen(viewer.simulation).modes


def test_a_steered_walk(page: tuple[Page, Viewer], tmp_path: Path) -> None:
    tab, viewer = page
    viewer.controls.reset()
    until(lambda: seen(viewer.simulation).time < 1.0, "no reset")
    for _ in range(5):
        tab.keyboard.press("i")
    until(lambda: viewer.controls.speed == 1.25, "the keys did nothing")
    until(lambda: seen(viewer.simulation).body_pos_w[0, 0] > 2.0, "it did not walk 2 m ahead")
    assert abs(seen(viewer.simulation).body_pos_w[0, 1]) < 0.5 and not seen(viewer.simulation).fallen
    for _ in range(6):
        tab.keyboard.press("j")
    until(lambda: viewer.controls.direction == 90.0, "the keys did nothing")
    left = seen(viewer.simulation).body_pos_w[0, 1]
    until(lambda: seen(viewer.simulation).body_pos_w[0, 1] > left + 0.7, "it did not walk to the left")
    red, green, blue = np.moveaxis(picture(tab, tmp_path)[:, :560], -1, 0)
    skin = (red - blue > 40) & (red > green) & (green > blue)
    # The robot stays before the camera: most of it is within the middle of the picture.
    rows, columns = np.nonzero(skin)
    assert len(rows) > 500 and 150 < np.median(columns) < 560 and 150 < np.median(rows) < 520
    tab.keyboard.press("x")
    until(
        lambda: modes(viewer) == ("steering",) and seen(viewer.simulation).command.steering_speed == 0.0,
        "it does not stand",
    )


def squares(tab: Page, tmp_path: Path) -> list[tuple[float, float]]:
    """The places of the squares between arrows, in pixels: of the handle at the root, which pushes, and of the stick."""
    tab.mouse.move(300, 30)  # what the pointer is over has another colour
    tab.wait_for_timeout(1000)  # until they are drawn there
    red, _, blue = np.moveaxis(picture(tab, tmp_path)[:, :560], -1, 0)
    rows, columns = np.nonzero((blue > 170) & (blue - red > 90))
    found = [(columns[part], rows[part]) for part in (rows < rows.min() + 30, rows > rows.max() - 30)]
    return [(float(np.median(x)), float(np.median(y))) for x, y in found]


def test_the_stick_is_dragged(page: tuple[Page, Viewer], tmp_path: Path) -> None:
    tab, viewer = page
    viewer.controls.reset()
    until(lambda: seen(viewer.simulation).time < 1.0, "no reset")
    _, (x, y) = squares(tab, tmp_path)
    tab.mouse.move(x, y)
    tab.mouse.down()
    for k in range(1, 6):
        tab.mouse.move(x, y - 8 * k)
    tab.mouse.up()
    until(lambda: viewer.controls.speed > 0.2, "the stick did nothing")
    # Up in the picture is away from the camera, which stands behind the robot to its right: ahead and a little to the left.
    assert -20.0 < viewer.controls.direction < 90.0
    until(lambda: (seen(viewer.simulation).command.steering_speed or 0.0) > 0.2, "it is not told")
    tab.keyboard.press("x")


def test_the_handle_at_the_root_pushes(page: tuple[Page, Viewer], tmp_path: Path) -> None:
    tab, viewer = page
    viewer.controls.reset()
    until(lambda: seen(viewer.simulation).time < 1.0, "no reset")
    (x, y), _ = squares(tab, tmp_path)
    tab.mouse.move(x, y)
    tab.mouse.down()
    for k in range(1, 6):
        tab.mouse.move(x - 8 * k, y)
    until(lambda: viewer.controls._force.value != 240.0, "no force is aimed at")
    tab.screenshot(path=tmp_path / "arrow.png", timeout=1e3 * PATIENCE)
    before = seen(viewer.simulation).body_pos_w[0, 1]
    assert abs(before) < 0.03  # nothing pushes yet
    tab.mouse.up()
    # To the left in the picture is to the robot's left.
    until(lambda: seen(viewer.simulation).body_pos_w[0, 1] > before + 0.03, "no push")


def test_clicks_are_goals_and_points_of_a_path(page: tuple[Page, Viewer]) -> None:
    tab, viewer = page
    tab.get_by_role("tab", name="path, goal").click()
    tab.mouse.click(330, 500)
    until(lambda: modes(viewer) == ("goal",), "the click was no goal")
    frame = seen(viewer.simulation)
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
    viewer.simulation._commander._sources["path"]._clock.lost = given_up  # pyright: ignore[reportAttributeAccessIssue]
    tab.get_by_text(given_up).first.wait_for()
    assert modes(viewer) == ("steering",)


def test_a_clip_a_push_a_reset_and_another_student(page: tuple[Page, Viewer]) -> None:
    tab, viewer = page
    tab.get_by_role("tab", name="clip").click()
    tab.get_by_role("button", name="play").click()
    until(lambda: modes(viewer) == ("motion",), "no clip")
    at = seen(viewer.simulation).index
    tab.get_by_role("button", name="reset").click()
    until(lambda: seen(viewer.simulation).time < 1.0 and seen(viewer.simulation).index > at, "no reset")
    before = seen(viewer.simulation).body_pos_w[0, 1]
    tab.get_by_role("button", name="left", exact=True).click()
    until(lambda: seen(viewer.simulation).body_pos_w[0, 1] > before + 0.05, "no push")
    tab.get_by_role("combobox", name="student").click()
    tab.get_by_role("option", name="tiny").click()
    until(lambda: viewer.simulation.student == "tiny", "no other student")
    tab.get_by_text("tiny", exact=False).first.wait_for()


def test_the_ground_is_chosen(page: tuple[Page, Viewer], tmp_path: Path) -> None:
    tab, viewer = page
    tab.get_by_role("tab", name="conditions").click()
    tab.get_by_role("combobox", name="ground").click()
    tab.get_by_role("option", name="gentle").click()
    until(lambda: seen(viewer.simulation).ground.kind == "gentle" and viewer._scene._terrain, "no other ground")
    tab.screenshot(path=tmp_path / "ground.png", timeout=1e3 * PATIENCE)
    tab.get_by_role("button", name="as exported").click()
    until(lambda: seen(viewer.simulation).ground.kind == "flat" and not viewer._scene._terrain, "not flat again")


def test_conditions_pause_and_contact_forces(page: tuple[Page, Viewer], tmp_path: Path) -> None:
    tab, viewer = page
    tab.get_by_role("tab", name="conditions").click()
    slider = tab.get_by_role("slider").first  # friction
    slider.focus()
    tab.keyboard.press("ArrowLeft")
    until(lambda: viewer.simulation.conditions.friction == pytest.approx(0.95), "the slider did nothing")
    tab.get_by_role("button", name="as exported").click()
    until(lambda: viewer.simulation.conditions == Conditions(), "there are still differences")
    tab.get_by_text("contact forces").click()
    until(lambda: seen(viewer.simulation).contacts is not None, "no contact forces")
    tab.mouse.click(300, 30)  # the page has the keys
    tab.keyboard.press("m")
    until(lambda: viewer.simulation.playback.paused, "no pause")
    time.sleep(0.5)
    at = seen(viewer.simulation).index
    tab.screenshot(path=tmp_path / "conditions.png")
    tab.keyboard.press("n")
    until(lambda: seen(viewer.simulation).index == at + 1, "no single step")
    tab.keyboard.press("m")
    until(lambda: seen(viewer.simulation).index > at + 3, "it does not go on")


def test_a_tracked_clip_has_a_ghost_of_the_reference(page: tuple[Page, Viewer]) -> None:
    tab, viewer = page
    viewer.simulation.switch("walker")
    until(lambda: seen(viewer.simulation).student == "walker", "no switch")
    viewer.controls.play("smpl_humanoid_walk.npy")
    until(lambda: modes(viewer) == ("motion",), "no clip")
    frame = seen(viewer.simulation)
    assert frame.ghost is not None and frame.note == ""
    np.testing.assert_array_equal(frame.ghost[0], frame.command.target_body_pos_w[0])
    tab.get_by_text("ghost of the reference").click()
    until(lambda: seen(viewer.simulation).ghost is None, "it is still there")
    tab.get_by_text("ghost of the reference").click()
    until(lambda: seen(viewer.simulation).ghost is not None, "it is not there again")
    viewer.controls.stand()


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
    viewer.simulation.switch("walker")
    until(lambda: viewer.simulation.student == "walker" and seen(viewer.simulation).student == "walker", "no switch")
    viewer.controls.stand()
    until(lambda: modes(viewer) == ("steering",), "it does not stand")
    contents = find_clip(Path("smpl_humanoid_run.npy")).read_bytes()
    drop(tab, "my run.npy", contents)
    until(lambda: modes(viewer) == ("motion",), "the dropped clip is not tracked")
    until(lambda: viewer.controls._clip.value == "my_run", "it is not in the list")
    assert viewer.controls._clip.options[-1] == "my_run"
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
    until(lambda: seen(viewer.simulation).ghost is not None, "no ghost")
    assert modes(viewer) == ("steering",)
    tab.get_by_text("chosen, without physics").first.wait_for()
    tab.wait_for_timeout(1000)  # until it is drawn
    assert bluish(picture(tab, tmp_path)) > before + 300
    viewer.controls.stand()
    until(lambda: seen(viewer.simulation).ghost is None, "it is still there")
    tab.get_by_text("without physics").first.click()
    until(lambda: not viewer.controls._as_ghost.value, "a ghost is still asked for")


def test_a_film_is_saved(page: tuple[Page, Viewer], tmp_path: Path) -> None:
    import imageio.v3 as iio

    tab, viewer = page
    viewer.controls.steer(1.0, 0.0)
    tab.get_by_role("button", name="film", exact=True).click()
    tab.get_by_role("button", name="stop filming").wait_for()
    # A machine without a GPU draws a frame now and then.
    tab.wait_for_function("window.protegeFilm.bytes > 2000")
    with tab.expect_download() as download:
        tab.get_by_role("button", name="stop filming").click()
    assert download.value.suggested_filename == "protege.webm"
    download.value.save_as(tmp_path / "protege.webm")
    film = iio.imread(tmp_path / "protege.webm", plugin="FFMPEG")
    # The whole scene, without the panels, and not of one colour.
    assert len(film) >= 1 and film.shape[1:] == (640, 900, 3) and film[-1].std() > 10.0
    tab.get_by_role("button", name="film", exact=True).wait_for()


def test_an_impossible_order_shows_its_reason_on_the_page(page: tuple[Page, Viewer]) -> None:
    tab, viewer = page
    viewer.controls._order({"goal": {"point": (float("nan"), 0.0)}})
    tab.get_by_text("This is not possible").wait_for()
    tab.get_by_text("a point is a pair (x, y) of numbers").wait_for()


def test_a_dropped_file_of_another_format_shows_how_to_import_it(page: tuple[Page, Viewer]) -> None:
    tab, _ = page
    drop(tab, "dance.csv", b"0,0,0.8,0,0,0,1,0.1\n")
    tab.get_by_text(
        "dance.csv is a table of text (CSV), no clip of smpl. Import it: protege sim motions import dance.csv"
    ).wait_for()
    drop(tab, "theirs.npy", find_clip(Path("g1_humanoid_walk.npy")).read_bytes())
    tab.get_by_text("theirs.npy is a clip of the robot g1, not of smpl").wait_for()
