"""Common setup of all tests: one seed, one thread, no deadlines on a busy machine; and the robots that tests use."""

import os
import signal
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import equipment
import pytest
import torch
from hypothesis import settings

if TYPE_CHECKING:
    from protege.core.robots.robot import Robot

ROBOTS = sorted(entry_points(group="protege.robots").names)
"""Tests that depend on the robot run on each of these."""

# A shell ignores Ctrl-C for background processes, and programs started from there inherit this.
signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("protege", deadline=None, derandomize=True)
settings.load_profile("protege")
# Nothing is downloaded for rendering: robots are drawn with their own visual shapes instead of meshes.
os.environ["MENAGERIE_ROOT"] = os.devnull
# Test tensors are small: a second thread would make them slower.
torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    words = "fail, instead of skipping, the tests that need this where it is missing (repeatable)"
    parser.addoption("--require", action="append", choices=[*equipment.APT], default=[], help=words)


@pytest.fixture(scope="session")
def need(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """`need("gl")` and `need("browser")` skip the test if they are missing, see scripts/equipment.py."""
    missing = cache(equipment.missing)

    def check(name: str) -> None:
        if reason := missing(name):
            (pytest.fail if name in pytestconfig.getoption("--require") else pytest.skip)(reason)

    return check


@pytest.fixture(scope="session")
def gl(need: Callable[[str], None]) -> None:
    """For tests that render."""
    need("gl")


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session", params=ROBOTS)
def robot(request: pytest.FixtureRequest) -> "Robot":
    """Each robot in turn. Tests are grouped by robot, so that module fixtures are built once for each."""
    from protege.sim.robots import get_robot

    return get_robot(request.param)


@pytest.fixture(scope="session")
def tiny_tracker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a small tracker of the real robot after two iterations, see tests/core/tiny_runs.py."""
    from tiny_runs import TRACKER, train

    return train(TRACKER, tmp_path_factory.mktemp("tiny"), "tracker", "run.max_iterations=2")
