"""The comparison of two evaluations, by hand; its command, and its page in a real browser."""

import json
from math import sqrt

import numpy as np
import pytest
from click.testing import CliRunner
from equipment import launch
from playwright.sync_api import sync_playwright
from rich.console import Console

from protege.core.errors import UserError
from protege.core.runs.evaluation import difference_interval, wilson_interval
from protege.distill.cli import main
from protege.distill.comparison import compare, different, flat, verdicts
from protege.distill.comparison_report import print_comparison


def task(successes: int, episodes: int, error: float | None, half: float, slip: float | None = 0.3) -> dict:
    """The entry in evaluation.json of a task whose intervals of the error and the slip have known half widths."""
    return {
        "title": "Follow a path", "episodes": episodes, "failure_rule": "...", "strict_failure_rule": None,
        "success": successes / episodes, "success_ci": list(wilson_interval(successes, episodes)),
        "strict_success": None, "strict_success_ci": None, "error_name": "path_following_err", "error_unit": "m",
        "error": error, "error_ci": None if error is None else [error - half, error + half],
        "conduct": {"foot_slip": {"value": slip, "ci": slip and [slip - 0.01, slip + 0.01], "unit": "m/s", "title": "..."}},
    }  # fmt: skip


def evaluation(name: str = "first", **changes) -> dict:
    facts = {
        "schema_version": 1, "checkpoint": f"results/{name}", "kind": "student", "name": name, "robot": "smpl",
        "simulator": "mujoco", "motion_file": ["walk.npy"], "seed": 0, "versions": {"protege-core": "0.1.0"},
        "tasks": {"path": task(48, 80, 0.5, 0.1)},
    }  # fmt: skip
    return facts | changes


FIRST = evaluation()
SECOND = evaluation("second", seed=1, push=300.0, tasks={"path": task(56, 70, 0.3, 0.05, slip=None)})


def test_differences_by_hand():
    """Success is the example of Newcombe 1998 (Statistics in Medicine 17, p. 877), his method 10: 56/70 and 48/80."""
    data = compare([FIRST, SECOND], ["a", "b"])
    assert data["names"] == ["first", "second"]
    success, error, slip = data["tasks"]["path"]["rows"]
    assert success["values"] == pytest.approx([60.0, 80.0]) and success["unit"] == "%"
    assert success["difference"] == pytest.approx(20.0)
    assert success["interval"] == pytest.approx([5.24, 33.39], abs=0.005)
    assert success["better"] == 1, "more success is better"
    half = sqrt(0.1**2 + 0.05**2)
    assert error["difference"] == pytest.approx(-0.2)
    assert error["interval"] == pytest.approx([-0.2 - half, -0.2 + half])
    assert error["better"] == 1, "less error is better"
    assert [slip[x] for x in ("values", "difference", "interval", "better")] == [[0.3, None], None, None, None]
    back = compare([SECOND, FIRST], ["b", "a"])["tasks"]["path"]["rows"]
    assert [row["better"] for row in back] == [0, 0, None]
    assert back[0]["interval"] == pytest.approx([-x for x in reversed(success["interval"])])


def test_a_difference_within_its_interval_is_not_clear():
    """Of two means with half widths 0.03 and 0.04 the difference has 0.05."""
    for error, better in ((0.549, None), (0.551, 0), (0.451, None), (0.449, 1)):
        data = compare(
            [evaluation(tasks={"path": task(5, 10, 0.5, 0.03)}), evaluation(tasks={"path": task(6, 10, error, 0.04)})],
            ["a", "b"],
        )
        assert [row["better"] for row in data["tasks"]["path"]["rows"]] == [None, better, None]
    assert difference_interval(1.0, (0.97, 1.03), 0.5, (0.46, 0.54)) == pytest.approx((0.45, 0.55))


def test_the_answers_count_clear_rows():
    more, less, gentler = verdicts(compare([FIRST, SECOND], ["a", "b"]))
    assert (more["question"], more["value"], more["leader"]) == ("Which succeeds more?", "second", 1)
    assert more["wins"] == [0, 1] and more["rows"] == 1
    assert less["value"] == "second" and gentler["value"] == "No clear difference" and gentler["leader"] is None
    tasks = {"a": task(9, 10, 0.5, 0.01), "b": task(9, 10, 0.5, 0.01)}
    mixed = {"a": task(9, 10, 0.6, 0.01), "b": task(9, 10, 0.4, 0.01)}
    answers = verdicts(compare([evaluation(tasks=tasks), evaluation(tasks=mixed)], ["a", "b"]))
    assert [x["value"] for x in answers] == ["No clear difference", "Each in part", "No clear difference"]
    assert [(x["wins"], x["rows"]) for x in answers] == [([0, 0], 2), ([1, 1], 2), ([0, 0], 2)]


def test_settings_that_differ():
    data = compare([FIRST, SECOND], ["a", "b"])
    assert data["settings"] == {"seed": [0, 1], "push": [None, 300.0], "tasks.path.episodes": [80, 70]}
    assert flat({"a": {"b": {"c": 1}}, "d": [2]}) == {"a.b.c": 1, "d": [2]}
    assert different({"a": 1, "b": 2, "c": 3}, {"b": 2, "c": 4, "d": 5}, {"c"}) == {"a": [1, None], "d": [None, 5]}


def test_policies_of_one_name_are_called_by_their_folders():
    assert compare([FIRST, evaluation(checkpoint="other")], ["a", "b"])["names"] == ["results/first", "other"]
    assert compare([FIRST, evaluation(seed=1)], ["a", "b"])["names"] == ["a", "b"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"robot": "g1"}, "robot: a has smpl, b has g1. Compare evaluations of one robot"),
        (
            {"tasks": {"goal": {}, "path": {}}},
            "tasks: a has path, b has goal, path. Evaluate both with the same --task",
        ),
    ],
)
def test_evaluations_of_different_things_are_refused(changes, message):
    with pytest.raises(UserError) as raised:
        compare([FIRST, evaluation(**changes)], ["a", "b"])
    assert str(raised.value) == message


def write(folder, data, errors, config=""):
    """A run's folder with its evaluation."""
    (folder / "evaluation").mkdir(parents=True)
    (folder / "evaluation" / "evaluation.json").write_text(json.dumps(data | {"checkpoint": str(folder)}))
    np.savez(
        folder / "evaluation" / "evaluation.npz",
        **{"path/error": np.array(errors), "path/failed": np.zeros(len(errors), bool)},
    )
    if config:
        (folder / "config.yaml").write_text(config)
    return folder


def command(*words):
    return CliRunner().invoke(main, ["compare", *map(str, words)])


def test_the_command_writes_a_page_and_prints_tables(tmp_path):
    config = "run: {{seed: 0, experiment_name: {0}}}\nagent: {{learning_rate: {1}}}\n"
    first = write(tmp_path / "a", FIRST, [0.4, 0.6], config.format("a", 0.001))
    second = write(tmp_path / "b", SECOND, [0.2, np.nan, 0.4], config.format("b", 0.002))
    done = command(first, second / "evaluation", "--output", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert done.output.endswith(f"{tmp_path / 'out' / 'comparison.html'}\n")
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "agent.learning_rate" in page and "experiment_name" not in page
    assert command(first, second).exit_code == 0 and (second / "comparison.html").is_file()


def test_other_versions_and_missing_results_are_refused(tmp_path):
    first, old = write(tmp_path / "a", FIRST, [0.5]), write(tmp_path / "old", FIRST | {"schema_version": 0}, [0.5])
    for second, message in ((old, "is of another version"), (tmp_path / "none", "evaluation.json is missing")):
        done = command(first, second)
        assert done.exit_code == 2 and message in done.output and done.output.count("\n") == 1


def test_the_tables_fit_eighty_columns():
    terminal = Console(width=80, record=True, force_terminal=False)
    print_comparison(compare([FIRST, SECOND], ["a", "b"]), terminal)
    lines = terminal.export_text().splitlines()
    assert lines[:2] == ["first: first", "second: second"]
    rows = [line.split() for line in lines]
    assert ["success", "60", "%", "80", "%", "+20", "second"] in rows and ["[+5.24,", "+33.4]"] in rows


@pytest.mark.parametrize("width", [400, 1200])
def test_a_browser_shows_the_page(need, tmp_path, width):
    need("browser")
    long = "a_run_with_a_name_that_is_much_longer_than_a_column_of_the_table"
    command(write(tmp_path / "a", FIRST, [0.4, 0.6]), write(tmp_path / "b", SECOND | {"name": long}, [0.2, 0.4]))
    with sync_playwright() as playwright:
        chromium = launch(playwright)
        tab = chromium.new_page(viewport={"width": width, "height": 900})
        tab.goto((tmp_path / "b" / "comparison.html").as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        assert tab.evaluate("[...document.images].map(x => x.naturalWidth > 0)") == [True, True]
        assert tab.locator("#summary .card strong").all_inner_texts() == [long, long, "No clear difference"]
        assert "+20.0 points" in tab.locator("table.numbers").inner_text()
        assert "−0.200 m" in tab.locator("table.numbers").inner_text()
        chromium.close()
