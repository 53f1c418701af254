"""The error that the viewer's page plots."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import STANDING

from protege.deploy.interface import Command
from protege.deploy.policy import metadata
from protege.deploy.viewer.tracking import Tracking


def test_errors_compare_with_the_command_of_that_time(exported: Path) -> None:
    """A walk along x at 1 m/s, commanded 0.1 m to the left of that: by path, by poses, by steering, by goal."""
    described = metadata.load(exported)
    dt, tracking = described.control_dt, Tracking(described)
    bodies = np.zeros((24, 3))

    def error(k: int, command: Command | None) -> tuple[str, float]:
        here = np.array([k * dt, 0.0, 0.9])
        step = SimpleNamespace(command=command, reading=replace(STANDING, root_pos_w=here))
        return tracking(step, bodies + here)  # pyright: ignore[reportArgumentType]

    def path(k: int) -> Command:
        return Command(path_w=np.array([[k * dt + t, 0.1] for t in described.path_times]))

    seen = [error(k, path(k)) for k in range(30)]
    assert all(name == "path" for name, _ in seen)
    assert np.isnan([value for _, value in seen[:15]]).all()  # there was no command 0.5 s ago
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
