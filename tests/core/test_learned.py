"""The pipeline's summary: improvement of a run's metrics, by hand."""

import pytest
from recorded_pipelines import start, write_metrics

from protege.core.errors import UserError
from protege.core.runs.pipeline import LearningCheck, measured


@pytest.mark.parametrize(
    ("values", "direction", "wanted", "factor", "met"),
    [
        ((2.0, 9.0, 8.0), "up", 4.0, 4.0, True),  # 8 / 2
        ((2.0, 9.0, 7.9), "up", 4.0, 3.95, False),
        ((8.0, 1.0, 2.0), "down", 4.0, 4.0, True),  # 8 / 2
        ((8.0, 1.0, 4.0), "down", 4.0, 2.0, False),
        ((1.0, 1.01), "up", 1.0, 1.01, True),  # a factor of 1 means any change
        ((1.0, 1.0), "up", 1.0, 1.0, False),
        ((1.0, 1.01), "down", 1.0, 1.0 / 1.01, False),
        ((-3.0, -1.0), "up", 1.0, None, True),  # better, though the quotient is meaningless
        ((-1.0, -3.0), "up", 1.0, None, False),
        ((-3.0, 2.0), "up", 1.0, None, True),
        ((2.0, -3.0), "down", 1.0, None, True),
        ((-2.0, -10.0), "up", 3.0, None, False),  # 5 times as large, and worse
        ((-10.0, -2.0), "down", 3.0, None, False),
        ((-10.0, -2.0), "up", 3.0, None, False),  # better, but without a factor
        ((-10.0, 5.0), "up", 3.0, None, False),
        ((5.0, -10.0), "down", 3.0, None, False),
        ((-1.0, 0.0), "up", 3.0, None, False),
        ((2.0, float("nan")), "up", 3.0, None, False),
        ((0.0, float("nan")), "up", 1.0, None, False),
        ((0.0, 2.0), "up", 3.0, float("inf"), True),
        ((5.0, 0.0), "down", 3.0, float("inf"), True),
        ((0.0, 0.0), "up", 3.0, 1.0, False),
        ((6.0,), "up", 2.0, 1.0, False),
    ],
)
def test_the_factor_of_change_by_hand(tmp_path, values, direction, wanted, factor, met):
    run = write_metrics(tmp_path / "tracker", *values)
    row = measured(LearningCheck(run, "score", direction, wanted))
    assert row["met"] is met
    assert row["factor"] is None if factor is None else row["factor"] == pytest.approx(factor)
    assert (row["first"], row["last"]) == pytest.approx((values[0], values[-1]), nan_ok=True)
    assert (row["run"], row["metric"], row["wanted"]) == ("tracker", "score", wanted)


def test_the_final_value_is_the_mean_of_the_last_tenth(tmp_path):
    # 29 values: the last 2, (28 + 30) / 2. The first row and the last lack the metric and do not count.
    run = write_metrics(tmp_path, None, *map(float, range(1, 28)), 28.0, 30.0, None)
    row = measured(LearningCheck(run, "score"))
    assert (row["first"], row["last"], row["factor"]) == (1.0, 29.0, 29.0)


def test_a_metric_that_was_never_logged_is_named(tmp_path):
    run = write_metrics(tmp_path, 1.0, 2.0)
    with pytest.raises(UserError, match=r"metrics\.jsonl has no episode/length") as caught:
        measured(LearningCheck(run, "episode/length"))
    assert "--from" in caught.value.remedy
    with pytest.raises(UserError, match="has no score"):
        measured(LearningCheck(str(tmp_path / "nowhere"), "score"))


@pytest.mark.parametrize(
    "torn", ['{"iterat', '{"iteration": 2, "score": 5', '{"iteration": 2, "score": 50.0}', "\udcc3"]
)
def test_an_incomplete_last_line_of_the_log_is_ignored(tmp_path, torn):
    run = write_metrics(tmp_path, 1.0, 2.0)
    with open(tmp_path / "metrics.jsonl", "a", errors="surrogateescape") as file:
        file.write(torn)
    assert measured(LearningCheck(run, "score"))["last"] == 2.0


@pytest.mark.parametrize(
    "line", [b"{", b"", b"3", b"[]", b"null", b'{"score": "high"}', b'{"score": null}', b"\xff\xfe", b"\0"]
)
@pytest.mark.parametrize("at", [0, 2])
def test_any_other_damage_of_the_log_is_named(tmp_path, line, at):
    run = write_metrics(tmp_path, 1.0, 2.0)
    path = tmp_path / "metrics.jsonl"
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[:at], line, *lines[at:], b""]))
    with pytest.raises(UserError, match=rf"metrics\.jsonl is damaged in line {at + 1}\. Delete it.*--from"):
        measured(LearningCheck(run, "score"))


def test_the_summary_shows_no_factor_of_negative_values(tmp_path, recorder):
    start(tmp_path, recorder)
    write_metrics(tmp_path / "laptop" / "steering", -10.0, -2.0, metric="episode/return")
    result, names = start(tmp_path, recorder)
    assert result.exit_code == 0 and names == []
    [line] = [line for line in result.output.splitlines() if "steering" in line and "episode" in line]
    assert line.split()[2:] == ["-10", "-2", "-", "better", "✓"]
