"""The page of an evaluation: its answers, the worst clips and episodes, films, and what a browser shows."""

import base64
import io
import json
import re
from dataclasses import replace
from math import nan

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from equipment import launch
from PIL import Image
from playwright.sync_api import sync_playwright
from tiny import save_tracker

from protege.core.motions import StreamedLibrary, load_clip
from protege.core.runs.evaluation import wilson_interval
from protege.core.runs.load_policy import load_policy
from protege.distill import evaluate as evaluation_module
from protege.distill.cli import main
from protege.distill.conditions import Conditions
from protege.distill.evaluate import Evaluation, _play
from protege.distill.films import chosen, film_episodes
from protege.distill.report import embedded_films, write_report
from protege.distill.summary import summary
from protege.distill.table import decimals
from protege.distill.tasks import EVALUATED
from protege.distill.worst import worst_clips, worst_episodes
from protege.sim.render import Renderer

CLIPS = ("walk", "run")
SECONDS = 0.5
"""An untrained tracker fails in some of the episodes that are as short as this."""


@pytest.fixture(scope="module")
def tracker(robot, tmp_path_factory):
    torch.manual_seed(0)
    return save_tracker(tmp_path_factory.mktemp("tracker"), robot=robot)


def evaluate_command(tracker, robot, folder, *words):
    files = [f"--motion-file=data/motions/{robot.name}_humanoid_{name}.npy" for name in CLIPS]
    shared = ["evaluate", "--checkpoint", tracker, "--task", "track", "--num-envs", 4, "--output", folder]
    return CliRunner().invoke(main, [*map(str, (*shared, *files, *words)), f"env.episode_length_s={SECONDS}"])


@pytest.fixture(scope="module")
def filmed(gl, tracker, robot, tmp_path_factory):
    """The folder of an evaluation with films."""
    folder = tmp_path_factory.mktemp("filmed")
    done = evaluate_command(tracker, robot, folder, "--num-episodes", 8, "--seed", 4, "--films", 1)
    assert done.exit_code == 0, done.output
    return folder


def test_the_worst_clips_fail_most_then_err_most():
    rows = {"a": (0.5, 0.1), "b": (0.2, 0.1), "c": (0.5, None), "d": (1.0, 0.9), "e": (0.5, 0.3)}
    clips = {name: {"success": success, "error": error} for name, (success, error) in rows.items()}
    assert worst_clips(clips) == ["b", "c", "e", "a", "d"]


def test_the_worst_episodes_fail_soonest_then_err_most():
    arrays = {
        "failed": np.array([True, False, True, False, False, True]),
        "length_s": np.array([3.0, 10.0, 1.0, 10.0, 10.0, 2.0]),
        "error": np.array([0.3, 0.1, nan, 0.4, nan, 0.9]),
        "env": np.array([0, 0, 1, 1, 2, 2]),
        "clip": np.array(["walk", "run", "walk", "run", "walk", "run"]),
        "clip_start_s": np.array([0.1, 0.2, 0.3, 0.4, 0.5, nan]),
        "cause": np.array(["fallen", "", "fallen, off", "", "", "physics"]),
    }
    rows = worst_episodes(arrays, 2)
    assert [x["episode"] for x in rows] == [2, 5, 3, 1]  # episode 4 measured no error
    assert rows[0] == {
        "episode": 2, "env": 1, "failed": True, "cause": "fallen, off", "length_s": 1.0, "error": None,
        "clip": "walk", "clip_start_s": 0.3,
    }  # fmt: skip
    assert rows[1]["clip_start_s"] is None
    assert worst_episodes({"error": arrays["error"], "failed": arrays["failed"]}) == [], "results of an older version"


def task(title, successes, strict=None, **more):
    conduct = {"foot_slip": {"value": more.pop("slip", None), "ci": None, "unit": "m/s", "title": "speed of feet"}}
    return {
        "title": title, "episodes": 20, "success": successes / 20, "success_ci": list(wilson_interval(successes, 20)),
        "strict_success": strict, "failed_by": {"fallen": 1, "off_path": 3}, "error_unit": "m", "clips": {},
        "conduct": conduct, **more,
    }  # fmt: skip


def test_the_summary_by_hand():
    clips = {f"g_{name}": {"success": x, "error": 0.25} for name, x in (("walk", 1.0), ("jump", 0.5))}
    tasks = {"a": task("A", 19, slip=0.1), "b": task("B", 17, strict=0.75, slip=0.3, clips=clips)}
    found = summary({"tasks": tasks})
    assert found["works"]["value"] == "90.0 %"  # 36 of 40
    low, high = (100 * x for x in wilson_interval(36, 40))
    assert found["works"]["lines"] == [
        f"36 of 40 episodes succeed; {low:.1f} to {high:.1f} % with 95 % confidence.",
        "By the stricter rule, where there is one: 75.0 %.",
    ]
    assert found["worst"]["value"] == "B"
    assert found["worst"]["lines"][1:] == [
        "Most frequent cause: off path, in 3 of 3 failures.",
        "Worst clip: jump, 50.0 % succeed, 0.250 m.",
    ]
    assert found["moves"] == [{"name": "foot slip", "unit": "m/s", "mean": pytest.approx(0.2), "largest": "B"}]


def test_a_summary_without_failures():
    found = summary({"tasks": {"a": task("A", 20), "b": task("B", 20, strict=0.9)}})
    assert found["worst"] == {"value": "B", "lines": ["No episode fails; 90.0 % succeed by the stricter rule."]}
    found = summary({"tasks": {"a": task("A", 20), "b": task("B", 20, strict=1.0)}})
    assert found["worst"] == {"value": "No failures", "lines": ["Every episode of every task succeeds."]}
    assert found["moves"] == [{"name": "foot slip", "unit": "m/s", "mean": None, "largest": None}]


def test_decimals_show_three_digits_of_the_largest():
    assert [decimals(x) for x in ([0.02, 1.5], [31.2, None], [0.0123], [999.0], [], [0.0])] == [2, 1, 4, 0, 3, 3]


def test_the_first_failures_and_successes_are_filmed_in_turn():
    failed, recorded = [False, True, True, False, True, False], [True, False, True, True, True, True]
    assert chosen(failed, recorded, 1) == [2, 0]
    assert chosen(failed, recorded, 3) == [2, 0, 4, 3, 5]
    assert chosen(failed, recorded, 0) == []


@pytest.mark.parametrize("streamed", [False, True])
def test_episodes_begin_where_the_recording_says(tracker, robot, streamed):
    """The pose in which an episode began is the clip's at that time, also where clips are exchanged."""
    files = [paths(robot)[0]] * 9 if streamed else paths(robot)
    loaded, setup = load_policy(tracker), Conditions(num_envs=3, seed=2, motion_file=files)
    config = setup.env_config(loaded)
    if streamed:
        frames = 8 * 1014 if robot.name == "g1" else 8 * 610  # eight of the nine clips
        config = replace(config, track=replace(config.track, device_frames=frames))
    env = setup.make_env(loaded, "track", config, 3)
    assert isinstance(env.library, StreamedLibrary) == streamed
    rows, recording = _play(loaded, EVALUATED["track"], env, 6, films=True)
    env.close()
    found = recording.episodes(rows)
    clips = dict(zip(env.clip_names, (load_clip(path, robot) for path in files), strict=True))
    assert recording.recorded(rows).all() and len(set(found["clip_start_s"])) == 6
    for episode in range(6):
        motion, clip = recording.motion(rows, episode), clips[found["clip"][episode]]
        assert len(motion.time) == rows["length"][episode]
        assert found["length_s"][episode] == pytest.approx(len(motion.time) * robot.control_dt)
        root, _, joints = clip.at(found["clip_start_s"][episode : episode + 1])
        np.testing.assert_allclose(motion.joint_pos[0], joints[0], atol=1e-4)
        np.testing.assert_allclose(motion.root_pos_w[0], [0.0, 0.0, root[0, 2]], atol=1e-4)
    assert found["env"].tolist() == [0, 0, 1, 1, 2, 2]
    assert [bool(x) for x in found["cause"]] == rows["failed"].tolist()


def paths(robot):
    return [f"data/motions/{robot.name}_humanoid_{name}.npy" for name in CLIPS]


def test_films_show_a_failure_and_a_success(filmed):
    data = json.loads((filmed / "evaluation.json").read_text())["tasks"]["track"]
    with np.load(filmed / "evaluation.npz") as arrays:
        failed, length = arrays["track/failed"], arrays["track/length_s"]
    assert 0 < failed.sum() < 8
    assert [x["failed"] for x in data["films"]] == [True, False]
    assert [x["episode"] for x in data["films"]] == [failed.argmax(), (~failed).argmax()]
    for film in data["films"]:
        picture = Image.open(io.BytesIO((filmed / film["file"]).read_bytes()))
        assert picture.format == "WEBP" and picture.size == (320, 240) and picture.n_frames > 1
        # The last pose is one control step before the end; a film has a picture at its start.
        assert picture.n_frames / 12.0 == pytest.approx(length[film["episode"]], abs=1.5 / 12.0)
    page = (filmed / "evaluation.html").read_text()
    shown = [base64.b64decode(x) for x in re.findall(r"data:image/webp;base64,([^\"]+)", page)]
    assert shown == [(filmed / x["file"]).read_bytes() for x in data["films"]]


def test_a_film_of_a_longer_episode_is_cut(gl, tracker, robot, monkeypatch):
    """A failure's end and a success's beginning."""
    monkeypatch.setattr("protege.distill.films.MAX_SECONDS", 0.2)
    loaded, setup = load_policy(tracker), Conditions(num_envs=4, seed=4, motion_file=paths(robot))
    env = setup.make_env(loaded, "track", setup.env_config(loaded), 4)
    rows, recording = _play(loaded, EVALUATED["track"], env, 4, films=True)
    env.close()
    starts = []
    with Renderer(robot, 64, 48) as renderer:
        play = renderer.play
        monkeypatch.setattr(
            renderer, "play", lambda clip, fps, start, s: starts.append(start) or play(clip, fps, start, s)
        )
        rows["failed"][:] = torch.tensor([True, False, True, False])
        entries, films = film_episodes(renderer, "track", recording, rows, 1)
    assert starts == pytest.approx([(int(rows["length"][0]) - 1) * robot.control_dt - 0.2, 0.0])
    assert [Image.open(io.BytesIO(x)).n_frames for x in films.values()] == [3, 3]
    assert [x["file"] for x in entries] == list(films) == ["films/track_0_failed.webp", "films/track_1_succeeded.webp"]


def test_films_are_left_out_once_the_page_is_full(tmp_path):
    sizes = {"a0": 30_000, "a1": 30_000, "b0": 60_000}  # 40, 40 and 80 kB as text
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(bytes(size))
    tasks = {
        "a": {"films": [{"file": "a0"}, {"file": "a1"}, {"file": "gone"}]},
        "b": {"films": [{"file": "b0"}]},
        "c": {},
    }

    def shown(limit):
        return {x["file"] for films in embedded_films(tmp_path, tasks, limit).values() for x in films if x["source"]}

    assert shown(1.0) == {"a0", "a1", "b0"} and shown(0.16) == {"a0", "a1", "b0"}
    assert shown(0.159) == {"a0", "b0"}, "the first films of all tasks come before the second ones"
    assert shown(0.1) == {"a0", "a1"} and shown(0.01) == set()
    assert list(embedded_films(tmp_path, tasks)) == ["a", "b"]


def test_the_page_says_how_many_films_are_left_out(filmed, monkeypatch):
    monkeypatch.setattr(embedded_films, "__defaults__", (0.0,))
    page = write_report(filmed).read_text()
    assert "2 more are left out" in page and "data:image/webp" not in page
    monkeypatch.undo()
    assert "left out" not in write_report(filmed).read_text()


def test_films_without_opengl_are_refused_before_anything_is_played(tracker, robot, tmp_path, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "disable")
    monkeypatch.setattr(evaluation_module, "run_episodes", None)
    done = evaluate_command(tracker, robot, tmp_path, "--num-episodes", 1, "--films", 1)
    assert done.exit_code == 2 and done.stderr.count("\n") == 1, done.output
    assert done.stderr.splitlines()[-1].startswith(
        "error: MUJOCO_GL=disable leaves nothing to draw with. Set MUJOCO_GL=egl"
    )
    done = evaluate_command(tracker, robot, tmp_path, "--every-clip", "--films", 1)
    assert done.exit_code == 2 and "--every-clip makes no page" in done.output


def test_results_of_older_versions_are_shown(filmed, tmp_path):
    """Without motion quality, number of envs, films, and all that was recorded of episodes."""
    data = json.loads((filmed / "evaluation.json").read_text())
    del data["num_envs"], data["tasks"]["track"]["conduct"], data["tasks"]["track"]["films"]
    for clip in data["tasks"]["track"]["clips"].values():
        del clip["conduct"]
    with np.load(filmed / "evaluation.npz") as arrays:
        old = {name: arrays[name] for name in ("track/error", "track/failed")}
    Evaluation(data, old).save(tmp_path)
    page = write_report(tmp_path).read_text()
    assert "Does it work?" in page and "the worst clips" in page
    assert "The worst episodes" not in page and "Films" not in page and "How does it move?" not in page


@pytest.fixture(scope="module")
def browser(need):
    need("browser")
    with sync_playwright() as playwright:
        chromium = launch(playwright)
        yield chromium
        chromium.close()


OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
BROKEN = """async () => { const all = [...document.images]; all.forEach(x => { x.loading = 'eager' });
    await Promise.all(all.map(x => x.decode().catch(() => 0)));
    return [all.length, all.filter(x => !x.naturalWidth).length] }"""


@pytest.mark.parametrize("width", [400, 1200])
def test_a_browser_shows_the_page(filmed, browser, width):
    write_report(filmed)
    tab = browser.new_page(viewport={"width": width, "height": 900})
    requests = []
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto((filmed / "evaluation.html").as_uri())
    assert tab.evaluate(OVERFLOW) == 0
    count, broken = tab.evaluate(BROKEN)
    assert (count, broken) == (4, 0)  # success, errors, two films
    assert all(url.startswith(("file:", "data:")) for url in requests)
    cards = tab.locator("#summary .card")
    assert cards.locator("h2").all_inner_texts() == ["Does it work?", "Where is it worst?", "How does it move?"]
    boxes = [cards.nth(i).bounding_box() for i in range(3)]
    rows = {round(box["y"]) for box in boxes}
    assert len(rows) == (1 if width == 1200 else 3)
    assert max(box["y"] for box in boxes) < tab.get_by_role("heading", name="Results").bounding_box()["y"]
    # Numbers of a column end at the same place.
    ends = {
        tab.locator(".clips tbody tr").nth(i).locator("td.number").evaluate("x => x.getBoundingClientRect().right")
        for i in (0, 1)
    }
    assert len(ends) == 1
    assert tab.locator(".clips td.number").first.evaluate("x => getComputedStyle(x).textAlign") == "right"
    tab.close()
