"""Sums over running episodes, and the rows of those that end."""

import pytest
import torch

from protege.sim.episodes import EpisodeLog

NAN = float("nan")


@pytest.fixture
def log() -> EpisodeLog:
    """Four envs: two of a task that measures `err`, two of one that measures nothing."""
    return EpisodeLog(torch.tensor([0, 0, 1, 1]), {"path": ["err"], "other": []})


def add(log: EpisodeLog, values: list[float], weights: list[float]) -> None:
    log.add("err", slice(0, 2), torch.tensor(values), torch.tensor(weights))


def rows(log: EpisodeLog, envs: list[int]) -> dict[str, list[float]]:
    """The rows of some envs, whose episodes end here."""
    failed = torch.tensor([False, True, False, True])
    table = log.rows(failed)
    assert all(len(column) == 4 for column in table.values())
    log.restart(torch.tensor([env in envs for env in range(4)]))
    return {key: column[envs].tolist() for key, column in table.items()}


def test_metrics_are_means_maxima_and_last_values_where_they_count(log):
    add(log, [1.0, 5.0], [1.0, 0.0])
    log.step(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    add(log, [3.0, 7.0], [1.0, 1.0])
    log.step(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    add(log, [9.0, 9.0], [0.0, 0.0])
    row = rows(log, [0, 1])
    assert row["err/mean"] == [2.0, 7.0]
    assert row["err/max"] == [3.0, 7.0]
    assert row["err/last"] == [3.0, 7.0]
    assert (row["length"], row["return"]) == ([2.0, 2.0], [2.0, 4.0])
    assert (row["failed"], row["task"]) == ([False, True], [0, 0])


def test_unmeasured_metrics_are_nan(log):
    add(log, [1.0, 1.0], [0.0, 1.0])
    row = rows(log, [0, 3])
    for key in ("err/mean", "err/max", "err/last"):
        assert row[key] == pytest.approx([NAN, NAN], nan_ok=True)


def test_a_restart_resets_only_the_finished_envs(log):
    add(log, [4.0, 4.0], [1.0, 1.0])
    log.step(torch.ones(4))
    rows(log, [0])
    add(log, [1.0, 2.0], [1.0, 1.0])
    log.step(torch.ones(4))
    row = rows(log, [0, 1])
    assert row["err/mean"] == [1.0, 3.0]
    assert row["err/max"] == [1.0, 4.0]
    assert row["length"] == [1.0, 2.0]


def test_a_saved_log_is_restored(log):
    add(log, [4.0, 2.0], [1.0, 1.0])
    log.step(torch.ones(4))
    saved = log.state_dict()
    log.step(torch.ones(4))
    other = EpisodeLog(torch.tensor([0, 0, 1, 1]), {"path": ["err"], "other": []})
    other.load_state_dict(saved)
    assert rows(other, [0, 1])["length"] == [1.0, 1.0]
    assert rows(log, [0])["length"] == [2.0]
