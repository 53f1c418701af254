"""The shipped student through ONNX Runtime and MuJoCo: where it stands, where it stops, and what says that it fell."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import DT, FakePolicy, FakeRobot, metadata, nothing

from protege.deploy.commands.commander import Commander
from protege.deploy.interface import Command, CommandSource, RobotReading
from protege.deploy.loop.closed_loop import FallDetector, run_closed_loop
from protege.deploy.loop.loop import ControlLoop
from protege.deploy.policy.metadata import Fall, StartState
from protege.deploy.robots.mujoco import MujocoRobot
from protege.deploy.runtime import OnnxPolicy


def run(
    walker: Path, source: CommandSource | None, order: dict, seconds: float, *, standing: bool = True
) -> tuple[dict, np.ndarray]:
    """A run from rest or in motion: what it showed, and the root's way (T, 3) m."""
    policy, robot, way = OnnxPolicy(walker), MujocoRobot(walker, standing=standing), list[np.ndarray]()
    commander = Commander(policy)
    commander.order(order)
    loop = ControlLoop(policy, robot, source or commander, policy.metadata.control_dt, realtime=False)
    loop.on_step = lambda step: way.append(step.reading.root_pos_w)
    return run_closed_loop(loop, seconds), np.array(way)


def masked(time: float, reading: RobotReading) -> Command:
    """Poses of which none counts: as empty as nothing."""
    turns = np.tile([1.0, 0.0, 0.0, 0.0], (4, 24, 1))
    return Command(target_body_pos_w=np.zeros((4, 24, 3)), target_body_quat_w=turns, pose_mask=np.zeros((4, 24), bool))


@pytest.mark.parametrize("source", [nothing, masked], ids=["nothing", "masked"])
def test_a_policy_without_a_command_stands(source: CommandSource, walker: Path) -> None:
    """It begins in the middle of a walk at 1.2 m/s."""
    result, way = run(walker, source, {}, 5.0, standing=False)
    assert result["stood"] and result["fell_at_s"] is None
    assert np.linalg.norm(way[-1] - way[-30]) < 0.05 and np.linalg.norm(way[-1, :2]) < 1.5


def test_a_path_ends_in_standing_at_its_end(walker: Path) -> None:
    result, way = run(walker, None, {"path": {"points": [[2.0, 0.0]], "speed": 1.0}}, 6.0)
    assert np.linalg.norm(way[-1, :2] - [2.0, 0.0]) < 0.1 and np.linalg.norm(way[-1] - way[-30]) < 0.05
    [note] = result["notes"]
    assert result["stood"] and note["message"].startswith("path done, ") and 1.0 < note["time"] < 4.0


def test_a_path_with_impossible_corners_does_not_make_the_robot_run_away(walker: Path) -> None:
    """With a clock that waits for nobody it ended 29 m away."""
    points = [[0, -1.2], [-1.2, -1.2], [-1.2, 0], [1.5, 0.5], [2.5, -1.5]]
    result, way = run(walker, None, {"path": {"points": points, "speed": 1.0}}, 15.0)
    assert np.abs(way[:, :2]).max() < 4.0 and len(result["notes"]) <= 1


# Falls -------------------------------------------------------------------------------------------------------------------


def test_a_robot_lying_at_the_start_counts_as_fallen(walker: Path) -> None:
    policy, robot = OnnxPolicy(walker), MujocoRobot(walker)
    assert policy.metadata.start is not None
    lying = replace(policy.metadata.start, root_pos_w=[0.0, 0.0, 0.2], root_quat_w=[0.5**0.5, 0.0, -(0.5**0.5), 0.0])
    robot.reset(lying)
    loop = ControlLoop(policy, robot, Commander(policy), policy.metadata.control_dt, realtime=False)
    result = run_closed_loop(loop, 0.2)
    assert not result["stood"] and result["fell_at_s"] == 0.0


def test_a_fall_is_below_60_percent_of_the_standing_height_by_hand() -> None:
    """Of a robot that says nothing of itself: 0.9 m at first, so that 0.54 m is the bound; and of one whose start is known."""
    start = StartState([0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0], [0.0] * 3, [0.0] * 3, [0.0] * 2, [0.0] * 2)
    careful = replace(metadata(), fall=Fall(root=0.9))  # 0.81 m
    for described, heights, expected in (
        (careful, (0.82, 0.8, 0.9), 2 * DT),
        (metadata(), (0.55, 0.53, 0.9), 2 * DT),
        (metadata(), (0.55, 0.55, 0.55), None),
        (replace(metadata(), start=start), (0.61, 0.59, 0.1), 2 * DT),
        (replace(metadata(), start=start), (0.61, 0.61, 0.61), None),
    ):
        base = FakeRobot().read()
        readings = {k + 1: replace(base, root_pos_w=np.array([0.0, 0.0, z])) for k, z in enumerate(heights)}
        robot = FakeRobot(readings)
        falls = FallDetector(robot, nothing, described)
        ControlLoop(FakePolicy(), robot, nothing, DT, realtime=False, on_step=falls).run(4)
        assert falls.at == (None if expected is None else pytest.approx(expected))
