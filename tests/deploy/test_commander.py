"""One place for the present command: switched in flight, from any thread, without a jump of the policy's history."""

import json
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from protege.deploy.commands.commander import Commander, merge_commands
from protege.deploy.commands.goal import Goal
from protege.deploy.commands.motion import Motion, MotionCommand
from protege.deploy.commands.path import Path as Line
from protege.deploy.commands.sources.script import Script
from protege.deploy.commands.steering import Steering
from protege.deploy.errors import DeployError
from protege.deploy.geometry import Pose2D
from protege.deploy.interface import Command, RobotReading
from protege.deploy.loop.loop import ControlLoop
from protege.deploy.motions.clips import load_clip
from protege.deploy.robots.mujoco import MujocoRobot
from protege.deploy.runtime import OnnxPolicy

DT = 1.0 / 30.0
WALK = "smpl_humanoid_walk.npy"


@pytest.fixture(scope="module")
def policy(exported: Path) -> OnnxPolicy:
    return OnnxPolicy(exported)


@pytest.fixture(scope="module")
def robot(exported: Path) -> MujocoRobot:
    return MujocoRobot(exported)


@pytest.fixture
def here(robot: MujocoRobot) -> RobotReading:
    robot.reset(robot.metadata.start)
    return robot.read()


def test_it_stands_until_the_first_order(policy: OnnxPolicy, here: RobotReading) -> None:
    commander = Commander(policy)
    command = commander(0.0, here)
    assert commander.modes == ("steering",) and command.steering_speed == 0.0 and [*command.inputs] == ["steering"]
    commander.order({"goal": {"point": [1, 0]}})
    assert [*commander(DT, here).inputs] == ["goal"] and commander.modes == ("goal",)
    commander.order({})
    assert commander(2 * DT, here).steering_speed == 0.0 and commander.modes == ("steering",)


def test_each_order_has_its_own_clock_and_frame(policy: OnnxPolicy, here: RobotReading) -> None:
    commander = Commander(policy)
    commander(0.0, here)
    commander.order({"goal": Goal((1.0, 0.0), seconds=3.0), "steering": Steering(90.0, frame="start")})
    moved = RobotReading(**vars(here))
    moved.root_pos_w = here.root_pos_w + np.array([5.0, 0.0, 0.0])
    moved.root_quat_w = np.array([0.0, 0.0, 0.0, 1.0])  # faces -x
    first = commander(2.0, moved)
    later = commander(3.0, here)
    assert first.goal_time_left == 3.0 and later.goal_time_left == 2.0
    np.testing.assert_allclose(first.goal_w, moved.root_pos_w[:2] - [1.0, 0.0], atol=1e-12)
    np.testing.assert_array_equal(first.goal_w, later.goal_w)
    left = [-np.sin(here.yaw), np.cos(here.yaw)]  # of where it faced at the start, not now
    np.testing.assert_allclose(first.steering_direction_w, left, atol=1e-9)


def test_a_motion_begins_where_the_robot_is(policy: OnnxPolicy, robot: MujocoRobot, here: RobotReading) -> None:
    commander = Commander(policy, robot.body_poses)
    commander.order({"motion": {"clip": WALK, "bodies": ["Head", "L_Hand"]}, "path": {"speed": 1.0}})
    moved = RobotReading(**vars(here))
    moved.root_pos_w, moved.root_quat_w = np.array([3.0, -1.0, 0.9]), np.array([np.cos(0.35), 0.0, 0.0, np.sin(0.35)])
    commander(5.0, moved)
    command = commander(6.0, here)
    clip = load_clip(WALK, policy.metadata).placed(Pose2D(np.array([3.0, -1.0]), 0.7))
    expected = MotionCommand(clip, robot.body_poses, policy.metadata)(1.0, here)
    for name in ("target_body_pos_w", "target_body_quat_w", "reference_joint_pos"):
        a, b = getattr(command, name), getattr(expected, name)
        sign = np.sign((a * b).sum(-1, keepdims=True)) if "quat" in name else 1.0
        np.testing.assert_allclose(sign * a, b, atol=1e-9)
    names = policy.metadata.body_names
    assert command.pose_mask is not None and command.pose_mask.shape == (4, 24)
    assert {names[k] for k in np.flatnonzero(command.pose_mask[0])} == {"Head", "L_Hand"}
    assert [*command.inputs] == ["path"] and commander.modes == ("motion", "path")


def test_a_moved_motion_is_measured_at_its_place(policy: OnnxPolicy, robot: MujocoRobot) -> None:
    clip = load_clip(WALK, policy.metadata).placed(Pose2D(np.zeros(2), 0.0))
    moved = MotionCommand(clip, robot.body_poses, policy.metadata).moved(Pose2D(np.array([3.0, -1.0]), 0.7))
    time = np.array([0.0, 1.0, 2.0])
    bodies, _ = robot.body_poses(clip.placed(Pose2D(np.array([3.0, -1.0]), 0.7)).at(time))
    assert moved.errors(time, bodies[:, 0], bodies)["cartesian_err"] < 1e-9


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ({"dance": {}}, "unknown mode 'dance'"),
        ({"motion": {"clip": WALK}}, r"needs the robot's kinematics. pip install"),
        ([1, 2], "an order is a mapping"),
    ],
)
def test_a_bad_order_is_refused_at_once_and_changes_nothing(
    policy: OnnxPolicy, here: RobotReading, order: object, message: str
) -> None:
    commander = Commander(policy)
    commander.order({"path": {}})
    with pytest.raises(DeployError, match=message):
        commander.order(order)
    commander(0.0, here)
    assert commander.modes == ("path",)


def test_unknown_bodies_and_clips_are_reported(policy: OnnxPolicy, robot: MujocoRobot) -> None:
    commander = Commander(policy, robot.body_poses)
    with pytest.raises(DeployError, match=r"the robot has no Tail\. It has Pelvis"):
        commander.prepare({"motion": Motion(WALK, ("Tail",))})
    with pytest.raises(DeployError, match=r"no clip at nowhere\.npy"):
        commander.prepare({"motion": {"clip": "nowhere.npy"}})


def moved(here: RobotReading, x: float, y: float) -> RobotReading:
    """The robot elsewhere in the world, facing x."""
    other = RobotReading(**vars(here))
    other.root_pos_w, other.root_quat_w = np.array([x, y, 0.9]), np.array([1.0, 0.0, 0.0, 0.0])
    return other


def test_a_paths_end_is_a_goal_and_only_poses_continue(
    policy: OnnxPolicy, robot: MujocoRobot, here: RobotReading
) -> None:
    commander = Commander(policy, robot.body_poses)
    commander(0.0, moved(here, 0.0, 0.0))
    line = {"points": [[3.0, 0.0]], "speed": 1.0, "frame": "world"}
    commander.order({"path": line, "steering": {}, "motion": {"clip": WALK, "bodies": ["Head"]}})
    commander(10.0, moved(here, 0.0, 0.0))
    assert commander.modes == ("path", "steering", "motion") and not commander.notes
    commander(11.8, moved(here, 0.0, 0.0))
    assert commander.modes == ("path", "steering", "motion")
    command = commander(12.25, moved(here, 1.8, 0.0))  # the last second begins at 12 s
    assert commander.modes == ("motion", "goal") and [*command.inputs] == ["goal"] and command.pose_mask is not None
    np.testing.assert_allclose(command.goal_w, [3.0, 0.0])
    assert command.goal_time_left == pytest.approx(3.0 - 2.25)
    assert commander(20.0, moved(here, 3.0, 0.0)).goal_time_left == 0.0
    assert list(commander.notes) == [(12.25, "path done, 0.0 s late")]


def test_a_path_that_is_given_up_ends_in_standing(policy: OnnxPolicy, here: RobotReading) -> None:
    commander = Commander(policy)
    commander(0.0, moved(here, 0.0, 0.0))
    commander.order({"path": {}, "goal": {"point": [9.0, 0.0]}})
    shown = {
        time: [*commander(time, moved(here, 0.0, y)).inputs]
        for time, y in ((5.0, 0.0), (6.0, 1.5), (7.9, 1.5), (8.0, 1.5))
    }
    assert shown == {5.0: ["path", "goal"], 6.0: ["path", "goal"], 7.9: ["path", "goal"], 8.0: ["steering"]}
    command = commander(9.0, moved(here, 0.0, 3.0))
    assert commander.modes == ("steering",) and command.steering_speed == 0.0
    np.testing.assert_allclose(command.steering_direction_w, [1.0, 0.0], atol=1e-9)
    assert list(commander.notes) == [(8.0, "path given up: 1.5 m off for 2 s")]


def test_commands_outside_the_training_are_clamped_with_one_warning(
    policy: OnnxPolicy, here: RobotReading, caplog: pytest.LogCaptureFixture
) -> None:
    assert {"path_speed", "path_turn_rate", "goal_distance", "steering_speed"} <= set(policy.metadata.command_ranges)
    commander = Commander(policy)
    for k in (1, 2):  # one warning only
        commander.order({"steering": {"speed": 3.0}, "goal": {"point": [40.0, 0.0]}})
        command = commander(20.0 * k, moved(here, 0.0, 0.0))
        assert command.steering_speed == 1.5 and command.goal_time_left == pytest.approx(2.0 + 4.0 / 0.8)
        np.testing.assert_allclose(command.goal_w, [4.0, 0.0])
        # Twice as fast as known: the same line, at half the speed. Its turn rate is known then.
        commander.order({"path": {"speed": 3.0, "turn_rate": 1.2}})
        points = commander(20.0 * k + 10.0, moved(here, 0.0, 0.0)).path_w
        assert points is not None
        np.testing.assert_allclose(np.linalg.norm(points - [0.0, 2.5], axis=1), 2.5, atol=0.02)
        assert np.linalg.norm(points[0]) == pytest.approx(0.75, abs=0.01)
    commander.order({"path": {"turn_rate": -2.0}})
    bent = commander(90.0, moved(here, 0.0, 0.0)).path_w
    assert bent is not None
    np.testing.assert_allclose(np.linalg.norm(bent - [0.0, -1.25], axis=1), 1.25, atol=0.02)  # at 0.8 rad/s
    assert [record.getMessage() for record in caplog.records] == [
        "steering speed of 3 m/s is beyond the training's 0 to 1.5: 1.5 instead",
        "goal distance of 40 m is beyond the training's 1 to 4: it is shown 4 m ahead",
        "path speed of 3 m/s is beyond the training's 0.5 to 1.5: 1.5 instead",
        "path turn rate of -2 rad/s is beyond the training's -0.8 to 0.8: -0.8 instead",
    ]


def test_silence_is_measured_from_the_last_order_or_keep_alive(policy: OnnxPolicy) -> None:
    now = 100.0
    commander = Commander(policy, clock=lambda: now)
    now = 200.0
    assert commander.silence == 0.0  # nobody has ever spoken
    commander.order({"path": {}})
    now = 200.3
    assert commander.silence == pytest.approx(0.3)
    commander.keep_alive()
    assert commander.silence == 0.0


def test_a_switch_does_not_change_the_history(exported: Path) -> None:
    policy, robot = OnnxPolicy(exported), MujocoRobot(exported)
    commander, seen = Commander(policy), list[dict[str, np.ndarray]]()
    policy.on_inputs = seen.append
    orders = {0: {"path": Line()}, 4: {"goal": Goal((2.0, 0.0))}, 8: {"steering": Steering(), "path": Line()}}

    def script(time: float, reading: RobotReading) -> Command:
        if len(seen) in orders:
            commander.order(orders[len(seen)])
        return commander(time, reading)

    ControlLoop(policy, robot, script, DT, realtime=False).run(12)
    masks = [step["command_mask"][0].astype(int).tolist() for step in seen]
    assert masks == [[1, 0, 0]] * 4 + [[0, 1, 0]] * 4 + [[1, 0, 1]] * 4
    assert [bool(step["reset"][0]) for step in seen] == [True] + [False] * 11
    for before, after in pairwise(seen[1:]):
        np.testing.assert_array_equal(after["history"][0, 1:], before["history"][0, :-1])


def test_many_threads_give_orders_while_the_loop_runs(policy: OnnxPolicy, here: RobotReading) -> None:
    commander, done = Commander(policy), threading.Event()
    orders = [commander.prepare(order) for order in ({"path": Line()}, {"goal": Goal((1.0, 1.0))})]

    def talk(k: int) -> None:
        while not done.wait(1e-5):
            commander.take(orders[k])

    threads = [threading.Thread(target=talk, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    shown = {tuple(commander(step * DT, here).inputs) for step in range(2000)}
    done.set()
    for thread in threads:
        thread.join()
    # Always one order or the other (or, at the very first, none), never half of each.
    assert shown <= {("path",), ("goal",), ("steering",)} and len(shown) >= 2


def test_the_later_of_two_commands_with_the_same_field_wins() -> None:
    both = merge_commands([Command(steering_speed=1.0, goal_time_left=2.0), Command(steering_speed=0.5)])
    assert (both.steering_speed, both.goal_time_left, both.path_w) == (0.5, 2.0, None)


# Scripts -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["json", "yaml"])
def test_a_script_gives_its_orders_at_their_times(
    ending: str, policy: OnnxPolicy, here: RobotReading, tmp_path: Path
) -> None:
    path = tmp_path / f"walk.{ending}"
    entries = [{"at": 0.1, "path": {"speed": 1.0}}, {"at": 0.2, "goal": {"point": [1, 0]}, "steering": {}}]
    text = (
        json.dumps(entries)
        if ending == "json"
        else "- {at: 0.1, path: {speed: 1.0}}\n- at: 0.2\n  goal: {point: [1, 0]}\n  steering: {}\n"
    )
    path.write_text(text)
    script = Script(path, Commander(policy))
    shown = [[*script(step * DT, here).inputs] for step in range(8)]
    assert shown == [["steering"]] * 3 + [["path"]] * 3 + [["goal", "steering"]] * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read"),
        ("{", "is neither YAML nor JSON"),
        ("at: 1", "is not a list of orders"),
        ("[]", "is not a list of orders"),
        ("- path: {}", "entry 0 has no time. Give `at`"),
        ("- {at: .nan, path: {}}", "entry 0 has no time"),
        ("- {at: 0, path: {}}\n- {at: 1, path: {sped: 1}}", "entry 1: unknown key of path 'sped'. Did you mean speed?"),
        ("- {at: 1, path: {}}\n- {at: 1, goal: {point: [1, 1]}}", "the times of the orders do not rise"),
        ("[" * 100_000, "is neither YAML nor JSON"),
        ("- {at: 0}\n" * 200_000, "is larger than"),
        (b"\xff\xfe\x00", "is neither YAML nor JSON"),
    ],
)
def test_a_bad_script_is_reported(text: str | bytes | None, message: str, policy: OnnxPolicy, tmp_path: Path) -> None:
    path = tmp_path / "script.yaml"
    if text is not None:
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(DeployError) as caught:
        Script(path, Commander(policy))
    assert str(path) in caught.value.message and message in caught.value.message and "\n" not in caught.value.message
