"""Files in several processes: the order of results, errors that come back, and a robot from a file."""

import operator
from collections.abc import Iterator
from copy import copy

import kneed
import pytest

from protege.core.errors import UserError
from protege.sim.motions import workers
from protege.sim.motions.body_map import body_map
from protege.sim.robots import get_robot


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "available_cores", lambda: 2)


@pytest.mark.usefixtures("two")
def test_results_come_in_order_a_few_at_a_time():
    taken = []

    def numbers() -> Iterator[int]:
        for number in range(12):
            taken.append(number)
            yield number

    results = workers.in_order(operator.neg, numbers(), 12, get_robot("g1"))
    assert next(results) == 0
    assert len(taken) < 7
    assert list(results) == [-number for number in range(1, 12)]


@pytest.mark.usefixtures("two")
def test_other_processes_know_where_a_robot_was_read_from(tmp_path):
    robot = get_robot(str(kneed.write(tmp_path)))
    assert list(workers.in_order(body_map, [robot] * 8, 8, robot)) == [body_map(robot)] * 8


def test_few_files_stay_in_this_process():
    assert list(workers.in_order(lambda x: x + 1, [1, 2, 3], 3, get_robot("g1"))) == [2, 3, 4]


def test_errors_come_back_as_they_were():
    error = copy(UserError("a.bvh is cut short", "Copy it again"))
    assert (error.problem, error.remedy, str(error)) == (
        "a.bvh is cut short",
        "Copy it again",
        "a.bvh is cut short. Copy it again",
    )
