"""The clock of a path that waits for the robot: its rate by hand, and the rules of the evaluations that have it."""

import numpy as np
import pytest
import torch
from test_locomotion import ALL, CPU, DT, N, make, play
from test_tasks import make_env, put, step

from protege.core.errors import UserError
from protege.core.motions import load_clips
from protege.deploy.commands import path_clock as deployed
from protege.sim.references.gait_set import GaitSet
from protege.sim.robots import get_robot
from protege.sim.tasks import path_clock as rules
from protege.sim.tasks.locomotion_command import SUBSTEPS
from protege.sim.tasks.path import POINT_TIMES, PathParams
from protege.sim.tasks.path_clock import PathClock, behind_or_beside, clock_rate

WAITING = PathParams(clock="waiting")
PATH_STEPS = (torch.tensor(POINT_TIMES) / DT).round().long()


@pytest.fixture(scope="module")
def gait() -> GaitSet:
    return GaitSet(load_clips(["smpl_humanoid_walk.npy"], get_robot("smpl")), get_robot("smpl"), CPU)


def beside(*distances: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Robots at given distances beside the points of paths along y, m."""
    offset = torch.tensor([[d, 0.0] for d in distances])
    return offset, torch.tensor([[0.0, 0.1]]).expand_as(offset)


def test_the_rate_falls_from_one_on_the_path_to_zero_at_sixty_centimetres():
    distance = torch.tensor([0.0, 0.15, 0.3, 0.6, 5.0])
    torch.testing.assert_close(clock_rate(distance), torch.tensor([1.0, 0.75, 0.5, 0.0, 0.0]))


def test_a_robot_ahead_on_the_path_does_not_slow_the_clock():
    """Ahead, behind, beside, ahead and beside, and anywhere where the path does not go on."""
    offset = torch.tensor([[0.0, 2.0], [0.0, -2.0], [0.3, 0.0], [0.3, 0.4], [0.3, 0.4]])
    way = torch.tensor([[0.0, 0.1]] * 4 + [[0.0, 0.0]])
    torch.testing.assert_close(behind_or_beside(offset, way), torch.tensor([0.0, 2.0, 0.3, 0.3, 0.5]))


def test_fractions_of_a_frame_are_carried_over():
    """3 frames a step at the rates 1, 0.5 and 0: 3, 1.5 and 0 frames each."""
    clock = PathClock(3, 3, DT, CPU)
    frames = torch.stack([clock.advance(*beside(0.0, 0.3, 0.7)) for _ in range(4)]).T.tolist()
    assert frames == [[3, 3, 3, 3], [1, 2, 1, 2], [0, 0, 0, 0]]


def test_a_robot_astray_for_two_seconds_has_lost_the_path():
    clock = PathClock(3, SUBSTEPS, DT, CPU)
    for k in range(61):  # the first one is at time zero
        clock.advance(*beside(1.01, 1.01 if k != 30 else 0.9, 0.99))
        assert clock.lost().tolist() == [k == 60, False, False]
    assert clock.elapsed.tolist() == [61, 61, 61]
    assert clock.late(torch.tensor([40, 41, 39])).tolist() == [True, False, True]
    clock.reset(torch.tensor([True, False, False]))
    assert clock.elapsed.tolist() == [0, 61, 61] and clock.astray.tolist() == [0, 30, 0]


def test_the_clock_is_that_of_deployment():
    """The same numbers, and along a bent path with robots about it the same time, to a quarter of a step."""
    assert (rules.STANDSTILL_DISTANCE, rules.ASTRAY_DISTANCE, rules.ASTRAY_TIME, rules.DIRECTION_LOOKAHEAD) == (
        deployed.CLOCK_STOP_DISTANCE,
        deployed.LOST_DISTANCE,
        deployed.LOST_SECONDS,
        deployed.DIRECTION_SECONDS,
    )
    points = np.cumsum(np.random.default_rng(0).uniform(0.0, 0.05, (200, 2)), axis=0)

    def position(time):
        return np.stack([np.interp(time / DT, np.arange(200), points[:, axis]) for axis in (0, 1)], axis=-1)

    theirs, ours = deployed.PathClock(position, 199 * DT), PathClock(1, SUBSTEPS, DT, CPU)
    frames, generator = 0, np.random.default_rng(1)
    for k in range(1, 150):
        here = position(theirs.now) + generator.uniform(-0.4, 0.4, 2)
        at = frames * DT / SUBSTEPS
        offset, way = (
            here - position(theirs.now),
            position(theirs.now + deployed.DIRECTION_SECONDS) - position(theirs.now),
        )
        theirs.advance(k * DT, here)
        frames += int(ours.advance(*(torch.tensor(x, dtype=torch.float32)[None] for x in (offset, way))))
        assert at <= frames * DT / SUBSTEPS <= theirs.now + 1e-4
        assert theirs.now - frames * DT / SUBSTEPS < DT / SUBSTEPS + 1e-4
    assert 1.0 < theirs.now < 4.0


def test_the_plan_moves_on_with_its_clock_and_stands_still_without(gait):
    """Robots 0.15 m beside the point of the time: three frames of four each step. The path is seen from there on."""
    command = make("path", gait, evaluation=True, path_follower_params=WAITING)
    state = command.reset(ALL)

    def stray(distance: float) -> None:
        here, later = command.points_w(command.way).unbind(dim=1)
        way = (later - here) / (later - here).norm(dim=1, keepdim=True)
        state.body_pos_w[:, 0, :2] = here + distance * torch.stack([-way[:, 1], way[:, 0]], dim=1)
        command.advance(state)

    for _ in range(20):
        stray(0.1499)
    assert command.step.tolist() == [15] * N and command.substep.tolist() == [0] * N
    assert torch.equal(command.reference.index, command.frames * command.plan + 60)
    torch.testing.assert_close(command.point_w(), command.plans.pos[command.plan, 15])
    stray(0.2999)  # two frames: half a step
    halfway = command.plans.pos[command.plan, 15:17].mean(dim=1)
    torch.testing.assert_close(command.point_w(), halfway)
    ahead = command.points_w(PATH_STEPS)[:, 0]
    torch.testing.assert_close(ahead, command.plans.pos[command.plan, 30:32].mean(dim=1))
    stray(0.61)
    torch.testing.assert_close(command.point_w(), halfway)


def test_the_path_ends_where_its_time_is_over_and_so_does_its_reference(gait):
    command = make("path", gait, evaluation=True, path_follower_params=WAITING)
    state = command.reset(ALL)
    for _ in range(125):  # of 120 that the path lasts
        state.body_pos_w[:, 0, :2] = command.point_w()
        command.advance(state)
    end = command.plans.pos[command.plan, 120]
    assert command.step.tolist() == [120] * N and command.substep.tolist() == [0] * N
    torch.testing.assert_close(command.points_w(PATH_STEPS), end[:, None].expand(N, 10, 2))
    assert torch.equal(command.reference.index, command.reference.last)
    state.body_pos_w[:, 0, :2] = end + torch.tensor([[0.49, 0.0], [0.51, 0.0], *[[0.0, 0.0]] * 4])
    assert command.over(state).tolist() == [True, False, True, True, True, True]


def test_a_fixed_clock_sees_the_path_as_before(gait):
    """It goes on beyond the episode's end, and whole steps show the plan's own points."""
    command = make("path", gait)
    play(command, 110)
    points = command.plans.pos[command.plan[:, None], 110 + PATH_STEPS]
    assert torch.equal(command.points_w(PATH_STEPS), points)
    assert command.clock is None and torch.equal(command.point_w(), command.plans.pos[command.plan, 110])


def test_a_clock_that_waits_is_saved(gait):
    command = make("path", gait, evaluation=True, path_follower_params=WAITING)
    state = command.reset(ALL)
    for _ in range(7):
        state.body_pos_w[:, 0, :2] = command.point_w() + torch.tensor([0.05, 0.0])
        command.advance(state)
    other = make("path", gait, evaluation=True, path_follower_params=WAITING)
    other.load_state_dict(command.state_dict())
    for each in (command, other):
        each.advance(state)
    assert torch.equal(command.reference.index, other.reference.index)
    assert torch.equal(command.state_dict()["fraction"], other.state_dict()["fraction"])
    assert command.state_dict()["elapsed"].tolist() == [8] * N


def test_an_episode_fails_astray_for_two_seconds_or_late():
    env = make_env("path", path_follower_params=WAITING, episode_length_s=1.0)
    env.reset()
    clock = env.tasks["path"].command.clock
    put(env, 1, 1.4, 0.0)
    put(env, 2, 0.9, 0.0)
    clock.astray[1:3] = 60
    clock.elapsed[2] = 44  # of 45: one and a half times a second
    clock.elapsed[3] = 43
    result = step(env)
    assert result.failed.tolist() == [False, True, True, False]
    causes = {key.split("/")[1]: x.tolist() for key, x in result.episodes.items() if key.startswith("failed_by/")}
    assert causes["path_lost"] == [False, True, False, False] and causes["too_late"] == [False, False, True, False]
    assert clock.elapsed.tolist() == [1, 0, 0, 44] and clock.astray.tolist() == [0, 0, 0, 0]


def test_training_keeps_the_fixed_clock():
    env = make_env("path", evaluation=False, path_follower_params=WAITING)
    assert env.tasks["path"].command.clock is None
    assert set(make_env("path").tasks["path"].failures) == {"fallen", "off_path"}


def test_another_clock_is_refused():
    with pytest.raises(UserError, match=r"^env.path_follower_params.clock is 'slow'. Take fixed or waiting"):
        PathParams(clock="slow").check("env.path_follower_params")
