"""Orders as plain data: what is taken, what is refused, and where in the world they lead."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protege.deploy.commands.goal import Goal, GoalCommand
from protege.deploy.commands.motion import Motion
from protege.deploy.commands.orders import parse
from protege.deploy.commands.path import Path, PathCommand
from protege.deploy.commands.steering import Steering, SteeringCommand
from protege.deploy.errors import DeployError
from protege.deploy.geometry import Pose2D
from protege.deploy.interface import RobotReading
from protege.deploy.policy.metadata import TensorSpec

TIMES = [0.5 * (k + 1) for k in range(10)]


def at(x: float, y: float, yaw: float) -> RobotReading:
    quat = np.array([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)])
    return RobotReading(np.array([x, y, 0.9]), quat, np.zeros(3), np.zeros(3), np.zeros(2), np.zeros(2))


HERE = at(2.0, 1.0, np.pi / 2)  # faces +y
ORIGINS = {
    "robot": HERE.pose_2d, "start": Pose2D(np.array([10.0, 0.0]), np.pi), "world": Pose2D(np.zeros(2), 0.0)
}  # fmt: skip


def test_an_order_is_parsed() -> None:
    text = """{"path": {"points": [[1, 0], [2, 0.5]], "speed": 0.8, "frame": "world"}, "steering": {"direction": 90},
               "goal": {"point": [3, -1], "seconds": 4}, "motion": {"clip": "wave.npy", "bodies": ["L_Hand"]}}"""
    assert parse(json.loads(text), {}) == {
        "path": Path(((1.0, 0.0), (2.0, 0.5)), 0.8, frame="world"),
        "steering": Steering(90),
        "goal": Goal((3.0, -1.0), 4),
        "motion": Motion("wave.npy", ("L_Hand",)),
    }
    assert parse({}, {}) == {}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "an order is a mapping of path, goal, steering, motion, not []"),
        ({"sterring": {}}, "unknown mode 'sterring'. Did you mean steering?"),
        ({7: {}}, "unknown mode 7"),
        ({"steering": 3}, "steering is a mapping, not 3"),
        ({"steering": {"sped": 1.0}}, "unknown key of steering 'sped'. Did you mean speed?"),
        ({"steering": {"speed": float("nan")}}, "speed is a number from -10 to 10, not nan"),
        ({"steering": {"speed": True}}, "speed is a number from -10 to 10, not True"),
        ({"steering": {"speed": 10**400}}, "speed is a number from -10 to 10"),
        ({"steering": {"direction": "left"}}, "direction is a number from -1e+06 to 1e+06, not 'left'"),
        ({"steering": {"frame": "body"}}, "unknown frame 'body'. Known: robot, start, world"),
        ({"goal": {}}, "goal needs point"),
        ({"goal": {"point": [1, 2, 3]}}, "a point is a pair (x, y) of numbers up to 100000 m, not [1, 2, 3]"),
        ({"goal": {"point": [1, float("inf")]}}, "a point is a pair"),
        ({"path": {"points": "12"}}, "points are a list of at most 1000 pairs (x, y), not '12'"),
        ({"path": {"points": [[0, 0]] * 1001}}, "points are a list of at most 1000 pairs"),
        ({"path": {"speed": 0}}, "speed is a number from 0.01 to 10, not 0"),
        ({"motion": {}}, "motion needs clip"),
        ({"motion": {"clip": 3}}, "a motion has a clip, a text, and bodies, a list of names"),
        ({"motion": {"clip": "a", "bodies": "Head"}}, "a motion has a clip, a text, and bodies"),
    ],
)
def test_invalid_orders_are_reported(data: object, message: str) -> None:
    with pytest.raises(DeployError) as caught:
        parse(data, {})
    assert message in caught.value.message and "\n" not in caught.value.message


TOY = {
    "toy": [
        TensorSpec("toy_height_w", "float32", [], "m", "world", ""),
        TensorSpec("toy_way_w", "float32", [2, 2], "m", "", ""),
    ]
}


def test_an_unknown_modality_is_ordered_by_its_inputs() -> None:
    order = parse({"toy": {"toy_height_w": 0.9, "toy_way_w": [[1, 2], [3, 4]]}, "goal": {"point": [1, 0]}}, TOY)
    command = order["toy"].begin(ORIGINS, TIMES)(0.0, HERE)
    assert command.inputs["toy"]["toy_height_w"].dtype == np.float32 and [*command.inputs] == ["toy"]
    np.testing.assert_array_equal(command.inputs["toy"]["toy_way_w"], [[1, 2], [3, 4]])
    assert order["goal"] == Goal((1.0, 0.0))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (3, "toy is a mapping, not 3"),
        ({"toy_height_w": 1.0}, "toy needs toy_way_w"),
        ({"toy_height_w": 1.0, "toy_way_w": [[0, 0], [0, 0]], "toy_hight_w": 1}, "unknown key of toy 'toy_hight_w'"),
        ({"toy_height_w": "high", "toy_way_w": [[0, 0], [0, 0]]}, "toy_height_w is a finite number, not 'high'"),
        ({"toy_height_w": float("nan"), "toy_way_w": [[0, 0], [0, 0]]}, "toy_height_w is a finite number, not nan"),
        ({"toy_height_w": [1.0], "toy_way_w": [[0, 0], [0, 0]]}, "toy_height_w is a finite number, not [1.0]"),
        ({"toy_height_w": 1.0, "toy_way_w": [[0, 0], [0]]}, "toy_way_w is [2, 2] finite numbers, not [[0, 0], [0]]"),
    ],
)
def test_unknown_inputs_are_reported(values: object, message: str) -> None:
    with pytest.raises(DeployError) as caught:
        parse({"toy": values}, TOY)
    assert message in caught.value.message
    with pytest.raises(DeployError, match="unknown mode 'toy'"):
        parse({"toy": values}, {})


WORDS = ["path", "goal", "steering", "motion", "toy", "toy_height_w", "speed", "points", "point", "clip", "frame"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(WORDS) | st.text(max_size=3),
        inner, max_size=3,
    ),
)  # fmt: skip


@given(JSON)
def test_any_json_is_an_order_or_a_one_line_error(data: object) -> None:
    order, line = {}, ""
    try:
        order = parse(data, TOY)
    except DeployError as error:
        line = error.message
    assert set(order) <= {"path", "goal", "steering", "motion", "toy"} and "\n" not in line


def test_steering_is_relative_to_its_frame() -> None:
    for frame, expected in {"robot": [-1.0, 0.0], "start": [0.0, -1.0], "world": [0.0, 1.0]}.items():
        command = Steering(90.0, 1.2, facing=0.0, frame=frame).begin(ORIGINS, TIMES)
        assert isinstance(command, SteeringCommand) and command.speed == 1.2 and command.facing is not None
        np.testing.assert_allclose(command.direction, expected, atol=1e-12)
        np.testing.assert_allclose([command.facing @ command.direction], [0.0], atol=1e-12)


def test_a_goal_is_relative_to_its_frame() -> None:
    for frame, expected in {"robot": [1.0, 4.0], "start": [7.0, -1.0], "world": [3.0, 1.0]}.items():
        command = Goal((3.0, 1.0), frame=frame).begin(ORIGINS, TIMES)
        assert isinstance(command, GoalCommand)
        np.testing.assert_allclose(command.point, expected, atol=1e-12)
        assert command.deadline == pytest.approx(2.0 + np.linalg.norm(command.point - [2.0, 1.0]) / 0.8)
    assert Goal((3.0, 1.0), 7.5).begin(ORIGINS, TIMES).deadline == 7.5


def test_a_path_begins_at_the_robot_and_passes_its_points() -> None:
    command = Path(((0.0, 1.0), (3.0, 1.0)), 0.5, frame="world").begin(ORIGINS, TIMES)
    assert isinstance(command, PathCommand)
    # 2 m west, then 3 m east, at half a metre a second; from there on it stays.
    times = np.array([0.0, 2.0, 4.0, 5.0, 10.0, 99.0])
    expected = [[2.0, 1.0], [1.0, 1.0], [0.0, 1.0], [0.5, 1.0], [3.0, 1.0], [3.0, 1.0]]
    np.testing.assert_allclose(command.position(times), expected, atol=1e-12)
    ahead = command(1.0, HERE).path_w
    np.testing.assert_allclose(ahead, command.position(1.0 + np.array(TIMES)))
    twice = Path(((1.0, 0.0), (1.0, 0.0)), 1.0).begin(ORIGINS, TIMES)
    np.testing.assert_allclose(twice(0.0, HERE).path_w[-1], [2.0, 2.0])


def test_a_path_without_points_starts_in_the_robots_heading() -> None:
    command = Path(turn_rate=0.5, speed=1.0, seconds=3.0).begin(ORIGINS, TIMES)
    assert isinstance(command, PathCommand)
    on_circle = np.linalg.norm(command.position(np.linspace(0.0, 3.0, 20)) - [0.0, 1.0], axis=1)
    np.testing.assert_allclose(on_circle, 2.0, atol=0.01)
    np.testing.assert_allclose(command.position(3.1), command.position(9.0), atol=1e-9)
