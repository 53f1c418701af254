"""References of pushed robots: where they are put, how they move there and return, by hand and by finite differences."""

from dataclasses import fields, replace
from math import pi
from typing import cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from robot_states import own_settings, random_state

from protege.core.motions import MotionLibrary, load_clips
from protege.core.robots import rotation as R
from protege.core.robots.state import RobotState
from protege.core.tasks import tasks
from protege.sim.env_config import EnvConfig
from protege.sim.references.gait_set import GaitSet
from protege.sim.references.placement import Placement
from protege.sim.references.reference import Reference
from protege.sim.robots import get_robot
from protege.sim.tasks import path, steering
from protege.sim.tasks.locomotion_command import LocomotionCommand
from protege.sim.tasks.task import TaskContext, make_scenes

CPU = torch.device("cpu")
N, DT, AFTER, BACK = 3, 0.02, 3, 50
ALL = torch.ones(N, dtype=torch.bool)
FIRST = torch.tensor([True, False, False])
WALKS = ["path", "goal", "steering"]


def same(a: RobotState, b: RobotState) -> bool:
    return all(torch.equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(RobotState))


def turned(vector: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Vectors (n, ..., 3) turned about the vertical axis by (n,) rad."""
    quat = R.from_yaw(angle).reshape(-1, *[1] * (vector.ndim - 2), 4)
    return R.rotate(quat.expand(*vector.shape[:-1], 4), vector)


# By hand ----------------------------------------------------------------------------------------------------------------


def two_bodies(root: tuple[float, float], other: tuple[float, float], yaw: float, speed: float = 0.0) -> RobotState:
    """One robot of two bodies at a height of 1 m that move along x."""
    pos = torch.tensor([[[*root, 1.0], [*other, 1.0]]])
    quat = R.from_yaw(torch.full((1, 2), yaw))
    velocity = torch.tensor([speed, 0.0, 0.5]).expand(1, 2, 3)
    return RobotState(torch.zeros(1, 1), torch.zeros(1, 1), pos, quat, velocity, torch.zeros(1, 2, 3))


def close(got: torch.Tensor, want: object) -> None:
    torch.testing.assert_close(got, torch.tensor(want), atol=1e-5, rtol=0.0)


def test_a_reference_is_put_where_the_robot_is_and_returns():
    """The walk at (1, 0) faces x, its hand is half a metre to its left; the robot is at (2, 3) and faces y."""
    placement = Placement(1, 0.5, after=0, back=4, device=CPU)  # back after 2 s
    walk = two_bodies((1.0, 0.0), (1.0, 0.5), 0.0, speed=1.0)
    placement.push(torch.ones(1, dtype=torch.bool))
    placement.put(two_bodies((2.0, 3.0), (0.0, 0.0), 0.5 * pi), walk, torch.zeros(1, 3))
    here = placement.placed(walk)
    close(here.body_pos_w[0], [[2.0, 3.0, 1.0], [1.5, 3.0, 1.0]])
    close(here.body_lin_vel_w[0], [[0.0, 1.0, 0.5], [0.0, 1.0, 0.5]])
    close(R.yaw(here.body_quat_w[0]), [0.5 * pi, 0.5 * pi])
    close(here.body_ang_vel_w[0], [[0.0, 0.0, 0.0]] * 2)
    # After one second half of the turn and of the jump (1, 3) is left; they fall at 1.5 / 2 s, the fastest.
    placement.age.fill_(2)
    half, root = placement.placed(walk), 0.5**0.5
    close(half.body_pos_w[0], [[1.5, 1.5, 1.0], [1.5 - 0.5 * root, 1.5 + 0.5 * root, 1.0]])
    close(half.body_ang_vel_w[0], [[0.0, 0.0, -0.75 * 0.5 * pi]] * 2)
    spin, away = -0.75 * 0.5 * pi, torch.tensor([-0.5 * root, 0.5 * root])  # rad/s; m, the hand from the root
    close(half.body_lin_vel_w[0, 0], [root - 0.75, root - 3.0 * 0.75, 0.5])
    close(
        half.body_lin_vel_w[0, 1, :2] - half.body_lin_vel_w[0, 0, :2], [-spin * float(away[1]), spin * float(away[0])]
    )
    placement.age.fill_(4)
    assert same(placement.placed(walk), walk)
    placement.age.fill_(1000)
    assert same(placement.placed(walk), walk)


def test_a_clip_goes_on_beside_its_old_place():
    """Its shift of (-1, 0) counts; it neither turns nor returns."""
    placement, clip = Placement(1, 0.5, after=0, back=0, device=CPU), two_bodies((1.0, 0.0), (1.0, 0.5), 0.0, speed=1.0)
    placement.push(torch.ones(1, dtype=torch.bool))
    placement.put(two_bodies((2.0, 3.0), (0.0, 0.0), 0.5 * pi), clip, torch.tensor([[-1.0, 0.0, 0.2]]))
    placement.age.fill_(1000)
    here = placement.placed(clip)
    close(here.body_pos_w[0], [[3.0, 3.0, 1.0], [3.0, 3.5, 1.0]])  # and with the shift at (2, 3)
    assert same(replace(here, body_pos_w=clip.body_pos_w), clip)


@pytest.mark.parametrize("back", [0, 7])
def test_velocities_are_the_derivatives_of_the_poses(robot, back):
    """Of a robot whose every body moves and turns at random, in double precision, all along the return."""
    state = RobotState(
        **{f.name: x.double() for f in fields(RobotState) for x in [getattr(random_state(robot), f.name)]}
    )
    placement = Placement(N, robot.control_dt, 0, back, CPU)
    for name in ("turn", "pivot", "jump"):
        setattr(placement, name, torch.randn(getattr(placement, name).shape).double())

    def at(seconds: float, age: float) -> RobotState:
        placement.age = torch.full((N,), age + seconds / robot.control_dt, dtype=torch.float64)
        spin = R.from_rotation_vector(state.body_ang_vel_w * seconds)
        pos = state.body_pos_w + state.body_lin_vel_w * seconds
        return placement.placed(replace(state, body_pos_w=pos, body_quat_w=R.multiply(spin, state.body_quat_w)))

    for age in (0.1, 2.0, 3.5, 6.0, 9.0):
        before, here, after = (at(x, age) for x in (-1e-5, 0.0, 1e-5))
        slope = (after.body_pos_w - before.body_pos_w) / 2e-5
        turn = R.to_rotation_vector(R.multiply(after.body_quat_w, R.conjugate(before.body_quat_w))) / 2e-5
        torch.testing.assert_close(here.body_lin_vel_w, slope, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(here.body_ang_vel_w, turn, atol=1e-5, rtol=1e-5)


SMPL_STATE = random_state(get_robot("smpl"))


@given(
    age=st.integers(0, 100),
    pivot=st.floats(-1e3, 1e3, width=32),
    ahead=st.integers(0, 50),
    back=st.sampled_from([0, 1, 50]),
)
def test_without_a_push_nothing_changes_bit_for_bit(age, pivot, ahead, back):
    placement = Placement(N, DT, AFTER, back, CPU)
    placement.age.fill_(age)
    placement.pivot.fill_(pivot)
    assert same(placement.placed(SMPL_STATE, ahead), SMPL_STATE)
    pos, quat = SMPL_STATE.body_pos_w[:, None], SMPL_STATE.body_quat_w[:, None]
    moved, spun = placement.placed_poses(pos, quat, torch.tensor([ahead]))
    assert torch.equal(moved, pos) and torch.equal(spun, quat)
    assert torch.equal(placement.placed_points(pos[:, 0, 0, :2]), pos[:, 0, 0, :2])


def test_it_is_put_there_once_the_push_has_acted():
    """`after` control steps after the last step of a push, one more push starting the wait anew; other rows wait for theirs."""
    placement, state = Placement(N, DT, AFTER, BACK, CPU), random_state(get_robot("smpl"))
    there = replace(state, body_pos_w=state.body_pos_w + 1.0)
    moved = []
    for step in range(9):
        if step in (0, 1, 3):
            placement.push(FIRST)
        placement.put(there, state, torch.zeros(N, 3))
        moved.append(bool(placement.jump[0].any()))
    assert moved == [False] * (3 + AFTER) + [True] * (9 - 3 - AFTER)
    assert not placement.jump[1:].any()
    placement.release(torch.tensor([True, True, False]))
    assert not any(x[0].any() for x in placement.rows().values())


# On commands ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gait(robot) -> GaitSet:
    return GaitSet(load_clips([f"{robot.name}_humanoid_walk.npy"], robot), robot, CPU)


def walks(task: str, gait: GaitSet, *, placed: bool = True):
    """N envs of a walking task; with an placement, or none."""
    config = EnvConfig(num_plans=8, episode_length_s=4.0, **own_settings(gait.robot))
    arguments = config, gait.robot, cast(MotionLibrary, None), lambda: gait, torch.Generator().manual_seed(0), CPU
    built = tasks()[task].build(TaskContext(tasks()[task], N, *arguments, evaluation=False))
    command = cast(LocomotionCommand, built.command)
    assert command.returns
    command.reset(ALL)
    command.reference.placement = Placement(N, command.dt, AFTER, BACK, CPU) if placed else None
    return built, command


def pushed_away(state: RobotState) -> RobotState:
    """Robots that were moved by (0.3, -0.2) m and turned by 0.4 rad about their roots, and fell by 0.1 m."""
    root, angle = state.root_pos_w[:, None], torch.full((N,), 0.4)
    pos = root + turned(state.body_pos_w - root, angle) + torch.tensor([0.3, -0.2, -0.1])
    return replace(state, body_pos_w=pos, body_quat_w=R.multiply(R.from_yaw(angle)[:, None], state.body_quat_w))


def follow(command: LocomotionCommand, state: RobotState, pushed: torch.Tensor | None = None) -> None:
    command.advance(state)
    command.reference.follow(state, pushed)


@pytest.mark.parametrize("task", WALKS)
def test_a_walk_goes_on_from_the_robot_and_returns_to_its_plan(gait, task):
    """The first robot is pushed in the first step. The others, and commands and their points, are as without an placement."""
    (built, command), (_, plain) = walks(task, gait), walks(task, gait, placed=False)
    away = pushed_away(plain.reference.now())
    for step in range(AFTER + 1):
        follow(command, away, FIRST if step == 0 else None)
        follow(plain, away)
        assert same(command.reference.now(), plain.reference.now()) == (step < AFTER)
    here, planned = command.reference.now(), plain.reference.now()
    assert same(here[1:], planned[1:])
    torch.testing.assert_close(here.root_pos_w[:1, :2], away.root_pos_w[:1, :2], atol=1e-5, rtol=0.0)
    assert torch.equal(here.root_pos_w[:, 2], planned.root_pos_w[:, 2]), "it did not fall"
    torch.testing.assert_close(R.yaw(here.root_quat_w[:1]), R.yaw(away.root_quat_w[:1]), atol=1e-5, rtol=0.0)
    angle = R.wrap_angle(R.yaw(away.root_quat_w) - R.yaw(planned.root_quat_w))[:1]
    for name in ("body_lin_vel_w", "body_ang_vel_w"):
        want = turned(getattr(planned, name)[:1], angle)
        torch.testing.assert_close(getattr(here, name)[:1], want, atol=1e-5, rtol=1e-5)
    # What is seen ahead is what comes, if robots stay where the reference is.
    ahead = command.reference.future()
    for step in range(1, 9):
        follow(command, command.reference.now())
        follow(plain, command.reference.now())
        if step in EnvConfig().future_frames and task != "steering":
            k = EnvConfig().future_frames.index(step)
            torch.testing.assert_close(ahead[0][:, k], command.reference.now().body_pos_w, atol=1e-5, rtol=0.0)
            torch.testing.assert_close(ahead[1][:, k], command.reference.now().body_quat_w, atol=1e-5, rtol=0.0)
    scene = make_scenes({task: built}, {task: slice(0, N)}, away, torch.zeros(N, 5, 2), gait.robot)[task]
    if task == "path":
        by_hand = (away.root_pos_w[:, :2] - plain.point_w()).norm(dim=1)
        assert torch.equal(path.path_distance(scene), by_hand), "the path of the user stays where it is"
    assert all(torch.equal(x, plain.inputs()[name]) for name, x in command.inputs().items())
    for _ in range(BACK):
        follow(command, away)
        follow(plain, away)
    assert same(command.reference.now(), plain.reference.now())


def test_a_turned_walk_that_is_steered_stays_with_the_robot(gait):
    """Its root is over the robot's in every step, its direction turns back, and its velocity is that of the plan, turned."""
    (_, command), (_, plain) = walks("steering", gait), walks("steering", gait, placed=False)
    away = pushed_away(plain.reference.now())
    for step in range(AFTER + 1 + BACK // 2):
        follow(command, away, ALL if step == 0 else None)
        follow(plain, away)
    placement, here, planned = command.reference.placement, command.reference.now(), plain.reference.now()
    assert placement is not None
    torch.testing.assert_close(here.root_pos_w[:, :2], away.root_pos_w[:, :2], atol=1e-5, rtol=0.0)
    torch.testing.assert_close(placement.angle(), 0.5 * placement.turn, atol=1e-6, rtol=0.0)
    want = turned(planned.root_lin_vel_w, 0.5 * placement.turn)
    torch.testing.assert_close(here.root_lin_vel_w, want, atol=1e-4, rtol=0.0)
    assert torch.equal(command.direction_and_speed()[0], plain.direction_and_speed()[0])


def test_training_ends_episodes_far_from_the_reference_and_evaluations_from_the_path(gait):
    """A robot a metre beside its path, half a turn off: neither matters to training once the reference has followed it."""
    built, command = walks("path", gait)
    start = command.reference.now()
    away = replace(start, body_pos_w=start.body_pos_w + torch.tensor([0.0, 1.0, 0.0]))
    for step in range(AFTER + 1):
        follow(command, away, FIRST if step == 0 else None)
    now = command.reference.now()
    robots = replace(
        now,
        body_pos_w=torch.where(FIRST[:, None, None], now.body_pos_w, now.body_pos_w + torch.tensor([0.0, 1.0, 0.0])),
    )
    scene = make_scenes({"path": built}, {"path": slice(0, N)}, robots, torch.zeros(N, 5, 2), gait.robot)["path"]
    assert built.broken_rules(scene, evaluation=False)["off_path"].tolist() == [False, True, True]
    assert path.off_path(0.5)(scene).tolist() == [True, True, True]
    assert not built.broken_rules(scene, evaluation=True)["off_path"].any(), "2 m"
    assert not built.broken_rules(scene, evaluation=False)["out_of_step"][0]


def test_a_steered_robot_that_was_turned_may_turn_back(gait):
    """A quarter turn off, after the time to settle: the evaluation's rule, and training's without an placement, end the episode."""
    built, command = walks("steering", gait)
    placement = command.reference.placement
    assert placement is not None
    command.plans.settled.fill_(True)
    direction = torch.atan2(*command.direction_and_speed()[0].flip(1).unbind(1))
    robots = command.reference.now()
    robots.body_quat_w = R.from_yaw(direction + 0.5 * pi)[:, None].expand_as(robots.body_quat_w).clone()
    placement.turn.copy_(torch.where(FIRST, 0.5 * pi, 0.0))
    scene = make_scenes({"steering": built}, {"steering": slice(0, N)}, robots, torch.zeros(N, 5, 2), gait.robot)[
        "steering"
    ]
    assert built.broken_rules(scene, evaluation=False)["heading_off"].tolist() == [False, True, True]
    assert built.broken_rules(scene, evaluation=True)["heading_off"].all()
    close(steering.heading_error(scene), [0.5 * pi] * N)


def test_the_step_ahead_of_a_turned_walk_is_turned(gait):
    """`planned` of the next step is where the reference is after it."""
    _, command = walks("goal", gait)
    follow(command, pushed_away(command.reference.now()), ALL)
    for _ in range(AFTER + 4):
        command.reference.follow(pushed_away(command.reference.now()))
        ahead = command.reference.planned(1)
        command.advance(command.reference.now())
        assert same(command.reference.planned(), ahead)


def test_a_twin_has_the_rows_of_its_own(gait):
    _, command = walks("goal", gait)
    twin = command.twin(5, torch.Generator())
    placement, own = cast(Reference, twin.reference).placement, command.reference.placement
    assert placement is not None and own is not None and placement.back == own.back
    for name, x in twin.rows().items():
        x.fill_(1)
        assert len(x) == 5 and not (name.startswith("placement") and command.rows()[name].any())
    assert placement.turn.eq(1.0).all() and placement.wait.eq(1).all()
