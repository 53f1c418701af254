"""Commands and the references that follow them: observations, motion, saved state."""

from typing import cast

import pytest
import torch
from robot_states import own_settings

from protege.core.errors import UserError
from protege.core.motions import MotionLibrary, load_clips
from protege.core.robots import rotation as R
from protege.core.robots.state import RobotState
from protege.core.tasks import modalities, tasks
from protege.sim.env_config import EnvConfig
from protege.sim.observing import command_shapes, observe_commands
from protege.sim.references.gait_set import GaitSet
from protege.sim.robots import get_robot
from protege.sim.tasks.locomotion_command import SUBSTEPS, LocomotionCommand, pool_size
from protege.sim.tasks.steering import MAX_CLOCK_OFFSET, SteeringParams, gait_lead
from protege.sim.tasks.task import TaskContext

ROBOT = get_robot("smpl")
CPU = torch.device("cpu")
MODALITIES = list(modalities())
N, DT = 6, ROBOT.control_dt
HELD = SUBSTEPS * round(MAX_CLOCK_OFFSET / DT)
"""Frames that a clock may be behind or ahead."""
ALL = torch.ones(N, dtype=torch.bool)


@pytest.fixture(scope="module")
def gait() -> GaitSet:
    return GaitSet(load_clips(["smpl_humanoid_walk.npy"], ROBOT), ROBOT, CPU)


def context(task: str, gait: GaitSet, seed: int = 0, *, evaluation: bool = False, **config) -> TaskContext:
    """The context of N envs of a walking task; they need no library of clips."""
    robot, generator = gait.robot, torch.Generator().manual_seed(seed)
    env = EnvConfig(num_plans=32, episode_length_s=4.0, **(own_settings(robot) | config))
    nothing = cast(MotionLibrary, None)
    return TaskContext(tasks()[task], N, env, robot, nothing, lambda: gait, generator, CPU, evaluation)


def make(task: str, gait: GaitSet, seed: int = 0, *, evaluation: bool = False, **config):
    """The task's command."""
    made = context(task, gait, seed, evaluation=evaluation, **config)
    return made.task.build(made).command


def observe(command: LocomotionCommand, state: RobotState) -> dict[str, torch.Tensor]:
    """Observations of the commands by robots in this state."""
    return observe_commands([command], state, command_shapes(EnvConfig()))


def play(command: LocomotionCommand, steps: int) -> list[RobotState]:
    """References of the envs from reset on, the robots being where the references are."""
    states, reference = [command.reset(ALL)], command.reference
    for _ in range(steps):
        following = reference.table[reference.index + 1]
        following.body_pos_w += reference.shift[:, None]
        command.advance(following)
        states.append(reference.now())
    return states


@pytest.fixture(scope="module")
def each_gait(robot) -> GaitSet:
    """The walk of each robot in turn."""
    return GaitSet(load_clips([f"{robot.name}_humanoid_walk.npy"], robot), robot, CPU)


def test_evaluations_assign_plans_in_turn(gait):
    """32 plans for six envs: in five rounds none comes twice, also if an env is ahead of the others."""
    command = make("goal", gait, evaluation=True)
    assigned = []
    for _ in range(5):
        command.reset(ALL)
        assigned += command.plan.tolist()
    assert assigned == list(range(30))
    command.reset(torch.arange(N) == 1)
    assert command.plan.tolist() == [24, 31, 26, 27, 28, 29]
    command.reset(ALL)
    assert command.plan.tolist() == [30, 5, 0, 1, 2, 3]


def test_few_envs_draw_few_plans():
    """16 for each env and `env.num_plans` at most; in evaluation all, since none may come twice."""
    assert [pool_size(n, 1024, in_turn=False) for n in (1, 16, 63, 64, 4096)] == [16, 256, 1008, 1024, 1024]
    assert pool_size(1, 1024, in_turn=True) == 1024


def test_a_checkpoint_of_a_larger_pool_is_refused(gait):
    command = make("path", gait)
    state = command.state_dict()
    state["plan"][3] = 32
    with pytest.raises(UserError, match="the checkpoint's path envs are at commands of a larger pool than 32"):
        command.load_state_dict(state)


@pytest.mark.parametrize("kind", MODALITIES)
def test_the_reference_goes_along_the_plan(kind, robot, each_gait):
    command = make(kind, each_gait)
    steps = round(1.5 / robot.control_dt)
    states = play(command, steps)
    want = command.point_w()
    off = (states[-1].root_pos_w[:, :2] - want).norm(dim=1)
    assert off.max() < 0.12, "no further than the pelvis sways"
    travelled = (states[-1].root_pos_w - states[0].root_pos_w)[:, :2]
    plan = command.plans.pos[command.plan, steps]
    torch.testing.assert_close(travelled, plan, atol=0.25, rtol=0.0)


@pytest.mark.parametrize("kind", MODALITIES)
def test_the_reference_faces_where_the_plan_heads(kind, robot, each_gait):
    command = make(kind, each_gait)
    states = play(command, round(1.0 / robot.control_dt))
    heading = command.plans.heading[command.plan, round(1.0 / robot.control_dt)]
    error = R.wrap_angle(R.yaw(states[-1].root_quat_w) - heading).abs()
    assert error.max() < 0.2, "no further than the pelvis turns within a stride"


@pytest.mark.parametrize("kind", MODALITIES)
def test_the_references_velocities_are_those_of_its_poses(kind, robot, each_gait):
    states = play(make(kind, each_gait), 12)
    for before, now, after in zip(states, states[1:], states[2:], strict=False):
        difference = (after.body_pos_w - before.body_pos_w) / (2.0 * robot.control_dt)
        torch.testing.assert_close(now.body_lin_vel_w, difference, atol=1e-4, rtol=1e-4)
        joints = (after.joint_pos - before.joint_pos) / (2.0 * robot.control_dt)
        torch.testing.assert_close(now.joint_vel, joints, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", MODALITIES)
def test_references_keep_their_feet_on_the_ground(kind, robot, each_gait):
    feet = robot.body_ids(robot.feet)
    states = play(make(kind, each_gait), round(2.0 / robot.control_dt))
    heights = torch.stack([state.body_pos_w[:, feet, 2].min(dim=1).values for state in states])
    assert heights.min() > 0.0 and heights.max() < 0.16  # foot bodies' origins are a few centimetres above the soles


def test_every_env_shows_only_its_own_modality(gait):
    for kind in MODALITIES:
        command = make(kind, gait)
        state = command.reset(ALL)
        obs = observe(command, state)
        assert not command.pose_mask.any()
        for other in MODALITIES:
            assert obs[f"{other}_mask"].tolist() == [other == kind] * N
            assert obs[other].any() == (other == kind)


def test_the_path_lies_ahead_in_the_heading_frame(robot, each_gait):
    command = make("path", each_gait)
    state = command.reset(ALL)
    path = observe(command, state)["path"]
    yaw = R.yaw(state.root_quat_w)
    for k, seconds in enumerate((0.5, 5.0)):
        step = round(seconds / robot.control_dt)
        x, y = (command.plans.pos[command.plan, step] - state.root_pos_w[:, :2]).T
        local = torch.stack([yaw.cos() * x + yaw.sin() * y, yaw.cos() * y - yaw.sin() * x], dim=1)
        torch.testing.assert_close(path[:, (0, 9)[k]], local, atol=1e-5, rtol=1e-5)
    assert (path[:, 0, 0] > 0.0).all()


def test_the_goal_comes_nearer_in_time(robot, each_gait):
    command = make("goal", each_gait)
    state = command.reset(ALL)
    first = observe(command, state)["goal"][:, 2]
    command.advance(state)
    torch.testing.assert_close(observe(command, state)["goal"][:, 2], first - robot.control_dt)


def test_steering_is_a_direction_and_a_speed(gait):
    command = make("steering", gait)
    state = command.reset(ALL)
    obs = observe(command, state)["steering"]
    assert obs.shape == (N, 3)
    wanted = command.plans.direction[command.plan, 0] - R.yaw(state.root_quat_w)
    torch.testing.assert_close(obs[:, :2], torch.stack([wanted.cos(), wanted.sin()], dim=1), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(obs[:, 2], command.plans.commanded_speed[command.plan, 0])


@pytest.mark.parametrize(("kind", "carried"), [("path", False), ("goal", False), ("steering", True)])
def test_only_steering_carries_its_reference_along_with_the_robot(kind, carried, each_gait):
    command = make(kind, each_gait)
    here = command.reset(ALL)
    here.body_pos_w[..., 0] += 3.0
    here.body_pos_w[..., 2] -= 0.5
    command.advance(here)
    reference = command.reference.now()
    gap = (here.root_pos_w - reference.root_pos_w)[:, :2].norm(dim=1)
    assert (gap < 1e-5).all() if carried else (gap > 2.5).all()
    assert command.reference.shift[:, 2].abs().max() == 0.0, "a fall is not carried along"
    # What lies ahead is carried along with what is now, and dropped by the next episode.
    pos, _ = command.reference.future()
    ahead = (pos[:, 0, 0] - reference.root_pos_w)[:, :2].norm(dim=1)
    assert ahead.max() < 0.1
    start = command.reset(ALL)
    assert (start.root_pos_w[:, :2].norm(dim=1) < 0.12).all()


def test_the_lead_of_a_gait_by_hand():
    """The root and one body, which is 0.1 m ahead and is to move at 1 m/s: 0.05 m²/s on average of 0.5 + 0.04 m²/s²."""
    body = torch.tensor([[[0.0, 0.0, 1.0], [1.0, 0.0, 1.0]]])
    velocity = torch.tensor([[[2.0, 0.0, 0.0], [3.0, 0.0, 0.0]]])
    still = torch.zeros(1, 2, 3)
    reference = RobotState(still, still, body, still, velocity, still)
    robot = RobotState(still, still, body + torch.tensor([[[5.0, 5.0, 0.1], [5.1, 5.0, 0.1]]]), still, still, still)
    torch.testing.assert_close(gait_lead(robot, reference), torch.tensor([0.05 / 0.54]))
    torch.testing.assert_close(gait_lead(reference, reference), torch.zeros(1))


@pytest.mark.parametrize(
    ("kind", "follow", "ahead", "frames"),
    [
        ("steering", True, -1, 30 * SUBSTEPS - HELD),
        ("steering", True, 1, 30 * SUBSTEPS),
        ("steering", True, 3, 30 * SUBSTEPS + HELD),
        ("steering", False, -1, 30),
        ("path", True, -1, 30),
    ],
)
def test_a_plan_waits_for_a_lagging_gait_up_to_a_limit(kind, follow, ahead, frames, gait):
    """Robots that are always two control steps behind, in step, or two ahead, for thirty of them."""
    params = SteeringParams(follow_gait=follow, training_change_time=(3.0, 6.0))
    command = make(kind, gait, 3, steering_params=params)
    command.reset(ALL)
    reference = command.reference
    walks = (command.plans.speed[command.plan, :38] > 0.5).all(dim=1)
    assert walks.sum() > 3
    command.advance(reference.table[reference.index + reference.stride])
    for _ in range(29):
        command.advance(reference.table[reference.index + reference.stride * ahead])
    gone = reference.stride * command.step + command.substep
    assert (gone[walks] == frames).all() and (command.substep < reference.stride).all()
    assert torch.equal(reference.index, command.frames * command.plan + gone)


def test_a_plan_that_follows_a_gait_is_the_same_in_smaller_steps(gait):
    whole, fine = (make("steering", gait, 3, steering_params=SteeringParams(follow_gait=f)) for f in (False, True))
    assert torch.equal(whole.plans.pos, fine.plans.pos)
    table = fine.reference.table
    for name, x in vars(whole.reference.table).items():
        assert torch.equal(getattr(table, name)[::SUBSTEPS], x)
    stepwise = table.joint_pos.unflatten(0, (32, -1)).diff(dim=1)
    assert stepwise.abs().amax() < 0.12, "rad, no jumps: a control step apart it is 0.4"


def test_evaluations_do_not_wait_for_gaits():
    params = SteeringParams(follow_gait=True)
    assert params.when(evaluation=False).follow_gait and not params.when(evaluation=True).follow_gait


@pytest.mark.parametrize("kind", MODALITIES)
def test_other_commands_are_shown_with_the_mix_probability(kind, gait):
    shown = []
    for seed in range(20):
        command = make(kind, gait, seed, mix_probability=1.0)
        state = command.reset(ALL)
        obs = observe(command, state)
        shown.append(torch.stack([obs[f"{name}_mask"] for name in MODALITIES], dim=1))
        for name in MODALITIES:
            assert obs[name][~obs[f"{name}_mask"]].abs().sum() == 0.0
    mask = torch.cat(shown).float().mean(dim=0)
    own = MODALITIES.index(kind)
    assert mask[own] == 1.0
    others = [mask[k] for k in range(3) if k != own]
    if kind == "steering":
        assert others == [0.0, 0.0]  # its plan obeys the command only after a while, and is nowhere in particular
    else:
        assert all(0.3 < share < 0.7 for share in others)


def test_a_reset_of_some_rows_leaves_the_others(gait):
    command = make("path", gait)
    play(command, 5)
    before = (command.plan.clone(), command.reference.now(), command.reference.future()[0])
    mask = torch.tensor([False, True, False, False, True, False])
    start = command.reset(mask)
    others = [0, 2, 3, 5]
    assert torch.equal(command.plan[others], before[0][others])
    assert command.step.tolist() == [5, 0, 5, 5, 0, 5]
    now, future = command.reference.now(), command.reference.future()[0]
    assert torch.equal(now.body_pos_w[others], before[1].body_pos_w[others])
    assert torch.equal(future[others], before[2][others])
    assert not torch.equal(now.body_pos_w[1], before[1].body_pos_w[1])
    assert torch.equal(start.body_pos_w[mask], now.body_pos_w[mask])


@pytest.mark.parametrize("kind", MODALITIES)
def test_a_saved_command_continues_exactly(kind, gait):
    command = make(kind, gait, mix_probability=0.5)
    state = play(command, 20)[-1]
    saved = command.state_dict()
    other = make(kind, gait, mix_probability=0.5)
    other.load_state_dict(saved)
    for each in (command, other):
        each.advance(state)
    a, b = (observe(each, state) for each in (command, other))
    assert all(torch.equal(a[key], b[key]) for key in a)
    x, y = (each.reference.now() for each in (command, other))
    torch.testing.assert_close(x.body_pos_w, y.body_pos_w, atol=1e-6, rtol=0.0)
    x, y = (each.reset(ALL) for each in (command, command))
    assert not torch.equal(x.body_pos_w, y.body_pos_w), "resets go on drawing"


@pytest.mark.parametrize("kind", MODALITIES)
def test_plans_begin_facing_any_way_in_any_phase(kind, gait):
    command = make(kind, gait)
    yaw = R.wrap_angle(command.plans.heading[:, 0])
    assert yaw.min() < -2.0 and yaw.max() > 2.0
    first = command.reference.table[:: command.frames]
    assert len(first.joint_pos) == len(yaw) == 32
    assert R.wrap_angle(R.yaw(first.root_quat_w) - yaw).abs().max() < 0.2
    walking = first.joint_pos[command.plans.speed[:, 0] > 0.1]
    assert torch.pdist(walking).min() > 1e-3, "no two that walk start in the same phase"


def test_a_plan_ends_before_its_frames_do(gait):
    """At its last step all that is seen ahead is still of this plan, not of the next one in the table."""
    command = make("goal", gait)
    command.reset(ALL)
    command.reference.index += command.last_step
    assert (command.reference.index + command.reference.ahead.max() <= command.reference.last).all()
    assert torch.equal(command.reference.last // command.frames, command.plan)


def test_a_seed_gives_the_same_commands(gait):
    a, b, c = (make("goal", gait, seed) for seed in (1, 1, 2))
    assert torch.equal(a.plans.end, b.plans.end)
    assert not torch.equal(a.plans.end, c.plans.end)
