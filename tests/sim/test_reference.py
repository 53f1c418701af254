"""References as tables of frames: looked up, shifted, overwritten; and the walks that are warped into such tables."""

from dataclasses import replace

import pytest
import torch
from robot_states import own_settings

from protege.core.motions import MotionLibrary, load_clips
from protege.core.robots import rotation as R
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState
from protege.core.tasks import tasks
from protege.sim.env_config import EnvConfig
from protege.sim.references import warp
from protege.sim.references.gait_set import GaitSet
from protege.sim.references.plans import Plans
from protege.sim.references.reference import Reference
from protege.sim.references.rows import assign_where
from protege.sim.references.warp import warped_walks
from protege.sim.robots import get_robot
from protege.sim.tasks.masks import MaskSampler
from protege.sim.tasks.motion_command import MotionCommand, perturbed
from protege.sim.tasks.path import plan_paths
from protege.sim.tasks.steering import plan_steering
from protege.sim.tasks.task import TaskContext
from protege.sim.tasks.track import MotionParams

ROBOT = get_robot("smpl")
CPU = torch.device("cpu")
DT = ROBOT.control_dt
CONFIG = EnvConfig(episode_length_s=4.0)
AHEAD = CONFIG.future_frames
N = 8
ALL = torch.ones(N, dtype=torch.bool)


@pytest.fixture(scope="module")
def library() -> MotionLibrary:
    """Three clips, so that the second and the third are somewhere in the table."""
    clips = load_clips([f"smpl_humanoid_{name}.npy" for name in ("run", "walk", "jump")], ROBOT)
    return MotionLibrary(clips, ROBOT, CPU)


@pytest.fixture(scope="module")
def gaits(robot) -> GaitSet:
    """The walk of each robot in turn."""
    return GaitSet(load_clips([f"{robot.name}_humanoid_walk.npy"], robot), robot, CPU)


def motion_command(library: MotionLibrary, seed: int = 0, *, start_within: float = 1.0, masked: bool = False):
    generator = torch.Generator().manual_seed(seed)
    context = TaskContext(tasks()["track"], N, CONFIG, ROBOT, library, no_gait, generator, CPU, evaluation=False)
    return MotionCommand(context, MaskSampler.of(context) if masked else None, start_within=start_within)


def no_gait() -> GaitSet:
    raise AssertionError("clips are tracked as they are")


def assert_same(a: RobotState, b: RobotState, atol: float = 0.0) -> None:
    for name, x in vars(a).items():
        torch.testing.assert_close(x, getattr(b, name), atol=atol, rtol=0.0)


# Noise on starts -----------------------------------------------------------------------------------------------------------


def test_episodes_start_with_noise_that_each_draws_a_share_of(library):
    still = library.state[torch.zeros(20_000, dtype=torch.long)]
    moved = perturbed(still.clone(), 2.0, torch.Generator().manual_seed(0))
    root = {"lin": (moved.root_lin_vel_w, still.root_lin_vel_w), "ang": (moved.root_ang_vel_w, still.root_ang_vel_w)}
    pairs = {"pos": (moved.joint_pos, still.joint_pos), "vel": (moved.joint_vel, still.joint_vel), **root}
    share = (1.0 / 3.0) ** 0.5  # root of the mean square of a share that is uniform from 0 to 1
    for name, deviation in {"pos": 0.03, "vel": 0.5, "lin": 0.15, "ang": 0.3}.items():
        noise = torch.sub(*pairs[name])
        assert noise.square().mean().sqrt().item() == pytest.approx(2.0 * deviation * share, rel=0.03)
    of_episodes = (moved.joint_pos - still.joint_pos).square().mean(1).sqrt() / (2.0 * 0.03)
    assert of_episodes.min() < 0.02 and 0.95 < of_episodes.max() < 1.4
    assert torch.equal(moved.body_pos_w, still.body_pos_w) and torch.equal(moved.body_quat_w, still.body_quat_w)


@pytest.mark.parametrize("evaluation", [False, True])
def test_only_training_starts_with_noise(library, evaluation):
    config = EnvConfig(track=MotionParams(start_noise=1.0))
    generator = torch.Generator().manual_seed(0)
    context = TaskContext(tasks()["track"], N, config, ROBOT, library, no_gait, generator, CPU, evaluation=evaluation)
    command = MotionCommand(context, None, start_within=1.0)
    start = command.reset(ALL)
    assert torch.equal(start.joint_pos, command.reference.now().joint_pos) == evaluation


# Keeping -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_only_rows_of_the_mask_are_overwritten_and_in_place(shape):
    target, value = torch.zeros(4, *shape), torch.ones(4, *shape)
    view = target[1:]
    assign_where(target, torch.tensor([True, False, True, False]), value)
    assert target.flatten(1).mean(dim=1).tolist() == [1.0, 0.0, 1.0, 0.0] if shape else target.tolist() == [1, 0, 1, 0]
    assert view.data_ptr() == target[1:].data_ptr() and torch.equal(view, target[1:])


def test_values_of_masked_out_rows_may_be_nan():
    target = torch.zeros(2)
    assign_where(target, torch.tensor([True, False]), torch.tensor([1.0, torch.nan]))
    assert target.tolist() == [1.0, 0.0]


# Looking up --------------------------------------------------------------------------------------------------------------


def place(library: MotionLibrary, clip: list[int], frame: list[int]) -> Reference:
    """A reference of envs that are at some frames of some clips."""
    reference = Reference(len(clip), library.state, 2, AHEAD)
    starts, counts = library.starts[clip], library.counts[clip]
    reference.index.copy_(starts + torch.tensor(frame))
    reference.last.copy_(starts + counts - 1)
    return reference


def test_frames_are_those_of_the_library(library):
    clip = [0, 1, 2, 1]
    reference = place(library, clip, [0, 17, 100, 300])
    for step in range(5):
        time = (torch.tensor([0, 17, 100, 300]) + 2 * step) / library.rate
        assert_same(reference.now(), library.frames(torch.tensor(clip), time), atol=1e-4)
        ahead = time[:, None] + torch.tensor(AHEAD) * DT
        want = library.frames(torch.tensor(clip)[:, None].expand_as(ahead), ahead)
        pos, quat = reference.future()
        assert pos.shape == (4, len(AHEAD), ROBOT.num_bodies, 3)
        torch.testing.assert_close(pos, want.body_pos_w, atol=1e-4, rtol=0.0)
        assert R.angle_between(quat, want.body_quat_w).max() < 2e-3
        following = library.frames(torch.tensor(clip), time + DT)
        joint_pos, joint_vel = reference.next_joints()
        torch.testing.assert_close(joint_pos, following.joint_pos, atol=1e-4, rtol=0.0)
        torch.testing.assert_close(joint_vel, following.joint_vel, atol=1e-2, rtol=0.0)
        reference.advance()


def test_frames_past_the_end_are_the_last_frame_of_the_clip(library):
    ends = library.counts - 1
    reference = place(library, [0, 1, 2], (ends - 3).tolist())
    pos, _ = reference.future()
    last = library.state.body_pos_w[library.starts + ends]
    torch.testing.assert_close(pos[:, 1:], last[:, None].expand_as(pos[:, 1:]))
    assert not torch.equal(pos[:, 0], last)
    for _ in range(3):
        reference.advance()
    assert torch.equal(reference.index, library.starts + ends)
    torch.testing.assert_close(reference.now().body_pos_w, last)
    assert torch.equal(reference.next_joints()[0], library.state.joint_pos[library.starts + ends])


def test_a_shift_moves_the_reference_and_not_the_table(library):
    before = library.state.clone()
    reference = place(library, [0, 1], [5, 6])
    plain, (future, _) = reference.now(), reference.future()
    reference.shift[1] = torch.tensor([1.0, -2.0, 0.5])
    moved, (moved_future, _) = reference.now(), reference.future()
    torch.testing.assert_close(moved.body_pos_w - plain.body_pos_w, reference.shift[:, None].expand(2, 24, 3))
    torch.testing.assert_close(moved_future - future, reference.shift[:, None, None].expand_as(future))
    assert_same(library.state, before)


# Clips as commands -------------------------------------------------------------------------------------------------------


def test_clips_start_at_the_origin_from_a_random_frame_and_last_to_their_ends(library):
    command = motion_command(library)
    starts = [(command.reset(ALL), command.reference.index.clone(), command.last_step.clone()) for _ in range(20)]
    for state, index, last_step in starts:
        torch.testing.assert_close(state.root_pos_w[:, :2], torch.zeros(N, 2))
        assert torch.equal(state.root_pos_w[:, 2], library.state.root_pos_w[index, 2])
        clip = (index[:, None] >= library.starts).sum(dim=1) - 1
        left = (library.starts + library.counts - 1)[clip] - index
        assert torch.equal(command.library.starts[clip] + library.counts[clip] - 1, index + left)
        assert torch.equal(last_step, (left // 2).clamp_max(120))  # four seconds at most
        assert (left >= 29).all(), "half a second is left"
    indices = torch.cat([index for _, index, _ in starts])
    clips = (indices[:, None] >= library.starts).sum(dim=1) - 1
    assert set(clips.tolist()) == {0, 1, 2}
    assert len(indices.unique()) > 120


def left_at_the_end(command: MotionCommand) -> torch.Tensor:
    """Remaining frames at the last step of new episodes that end with the clip."""
    command.reset(ALL)
    left = command.reference.last - command.reference.index - 2 * command.last_step
    return left[command.last_step < command.max_steps]


def test_at_the_last_step_the_reference_is_at_the_clips_last_frame(library):
    command = motion_command(library)
    state = command.reset(ALL)
    late = command.reference.last - torch.arange(60, 60 + N)  # both even and odd numbers of frames are left
    command.reference.index.copy_(late)
    for step in range(35):
        left = command.reference.last - command.reference.index
        assert torch.equal(left, (torch.arange(60, 60 + N) - 2 * step).clamp_min(0))
        command.advance(state)
    # Where the episode ends, at most half a control step of the clip has not been played.
    ends = torch.cat([left_at_the_end(command) for _ in range(100)])
    assert len(ends) > 50 and set(ends.tolist()) == {0, 1}


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_clips_start_within_a_share(library, share):
    command = motion_command(library, start_within=share)
    for _ in range(20):
        command.reset(ALL)
        clip = (command.reference.index[:, None] >= library.starts).sum(dim=1) - 1
        phase = (command.reference.index - library.starts[clip]) / library.counts[clip]
        assert (phase <= share).all()


@pytest.mark.parametrize("masked", [False, True])
def test_a_reset_of_some_clips_leaves_the_others(library, masked):
    command = motion_command(library, masked=masked)
    state = command.reset(ALL)
    for _ in range(5):
        command.advance(state)
    before = command.state_dict()
    mask = torch.tensor([True, False] * (N // 2))
    start = command.reset(mask)
    after = command.state_dict()
    assert torch.equal(after.pop("adaptive_sampling"), before["adaptive_sampling"]), "of clips, not of envs"
    for name, x in after.items():
        assert torch.equal(x[~mask], before[name][~mask]), name
    assert command.step.tolist() == [0, 5] * (N // 2)
    assert not torch.equal(command.reference.index[mask], before["index"][mask])
    assert_same(start[mask], command.reference.now()[mask])


def test_masks_are_drawn_anew_every_other_second(library):
    command = motion_command(library, masked=True)
    state = command.reset(ALL)
    changes = 0
    for _ in range(600):
        before = command.pose_mask.clone()
        command.advance(state)
        changes += int((command.pose_mask != before).flatten(1).any(dim=1).sum())
    assert changes == pytest.approx(600 * N * DT / 2.0, rel=0.25)  # a new draw may be the old one again


@pytest.mark.parametrize("masked", [False, True])
def test_a_saved_clip_command_continues_exactly(library, masked):
    command, other = (motion_command(library, seed, masked=masked) for seed in (0, 1))
    state = command.reset(ALL)
    other.reset(ALL)
    for _ in range(5):
        command.advance(state)
    other.load_state_dict(command.state_dict())
    other.generator.set_state(command.generator.get_state())
    for each in (command, other):
        each.advance(state)
    assert_same(command.reference.now(), other.reference.now())
    assert torch.equal(command.pose_mask, other.pose_mask)
    assert_same(command.reset(ALL), other.reset(ALL))


# Warped walks ------------------------------------------------------------------------------------------------------------


def make_plans(robot: Robot, kind: str, count: int = 5, steps: int = 62) -> Plans:
    generator, config, dt = torch.Generator().manual_seed(0), EnvConfig(**own_settings(robot)), robot.control_dt
    plans = (
        plan_paths(count, steps, steps - 2, dt, config.path_follower_params, generator)
        if kind == "path"
        else plan_steering(count, steps, steps - 2, dt, config.steering_params, generator)
    )
    return plans.turned(torch.linspace(-3.0, 3.0, count))


def unflatten(table: RobotState, count: int) -> RobotState:
    """(Q · T, ...) frames as (Q, T, ...)."""
    return RobotState(**{name: x.unflatten(0, (count, -1)) for name, x in vars(table).items()})


@pytest.mark.parametrize("kind", ["path", "steering"])
def test_velocities_are_the_finite_differences_of_the_poses_also_of_the_first_and_last(robot, kind, gaits):
    plans, phase = make_plans(robot, kind), torch.linspace(0.0, 3.0, 5)
    walks = unflatten(warped_walks(gaits, plans, phase, 40, robot.control_dt), 5)
    longer = unflatten(warped_walks(gaits, plans, phase, 42, robot.control_dt), 5)
    assert walks.body_pos_w.shape == (5, 40, robot.num_bodies, 3)
    pos, quat, joints = longer.body_pos_w, longer.body_quat_w, longer.joint_pos
    turn = R.to_rotation_vector(R.multiply(quat[:, 2:], R.conjugate(quat[:, :-2]))) / (2.0 * robot.control_dt)
    inner = slice(1, 40)
    for got, want in (
        (walks.body_lin_vel_w[:, inner], (pos[:, 2:] - pos[:, :-2])[:, :39] / (2.0 * robot.control_dt)),
        (walks.joint_vel[:, inner], (joints[:, 2:] - joints[:, :-2])[:, :39] / (2.0 * robot.control_dt)),
        (walks.body_ang_vel_w[:, inner], turn[:, :39]),
    ):
        torch.testing.assert_close(got, want, atol=2e-4, rtol=1e-4)
    # The first frame has nothing before it: there the walk is extended backwards, which the forward difference bounds.
    forward = (pos[:, 1] - pos[:, 0]) / robot.control_dt
    assert (walks.body_lin_vel_w[:, 0] - forward).norm(dim=-1).mean() < 0.3
    root = walks.root_lin_vel_w[:, 0, :2]
    planned = plans.speed[:, :1] * torch.stack([plans.heading[:, 0].cos(), plans.heading[:, 0].sin()], dim=1)
    assert (root - planned).norm(dim=1).max() < 0.4, "no further than the pelvis sways"


def test_each_plan_has_its_own_walk_whatever_is_warped_with_it(robot, gaits, monkeypatch):
    """Whole, in chunks of one and of two plans (the last chunk smaller), and each plan alone."""
    plans, phase = make_plans(robot, "path"), torch.linspace(0.0, 3.0, 5)
    whole = warped_walks(gaits, plans, phase, 40, robot.control_dt)
    for chunk in (1, 40, 80, 119):
        monkeypatch.setattr(warp, "CHUNK_FRAMES", chunk)
        assert_same(warped_walks(gaits, plans, phase, 40, robot.control_dt), whole, atol=2e-4)
    for row in (0, 3):
        alone = warped_walks(gaits, plans[row : row + 1], phase[row : row + 1], 40, robot.control_dt)
        assert_same(alone, whole[40 * row : 40 * (row + 1)], atol=2e-4)


def test_the_phase_is_where_in_the_clip_a_walk_begins(robot, gaits):
    plans = make_plans(robot, "path")
    phase = torch.tensor([0.0, 0.2, 0.4, 0.6, gaits.walk.duration])
    walks = unflatten(warped_walks(gaits, plans, phase, 10, robot.control_dt), 5)
    _, amplitude = gaits.walk.cadence_and_amplitude(plans.speed[:, 0])
    amplitude = torch.maximum(amplitude, 0.5 * plans.turn_rate[:, 0].abs().clamp_max(1.0))
    want = gaits.walk.pose(phase, amplitude)[0]
    torch.testing.assert_close(walks.joint_pos[:, 0], want, atol=1e-3, rtol=0.0)


def test_walking_after_standing_starts_with_the_same_foot_at_any_phase(robot, gaits):
    speed = torch.cat([torch.ones(10), torch.zeros(5), torch.linspace(0.0, 1.0, 27)]).expand(5, -1)
    plans = replace(make_plans(robot, "path", steps=42), speed=speed, turn_rate=torch.zeros(5, 42))
    joints = unflatten(
        warped_walks(gaits, plans, torch.tensor([0.0, 0.1, 0.3, 0.6, 0.9]), 40, robot.control_dt), 5
    ).joint_pos
    assert joints[:, :10].std(dim=0).amax(dim=-1).min() > 0.1
    assert joints[:, 10:].std(dim=0).max() < 1e-4
    cadence, amplitude = gaits.walk.cadence_and_amplitude(speed[0])
    since = float(cadence[16:18].sum()) * robot.control_dt  # two steps after 15, the last that stands
    want = gaits.walk.pose(torch.tensor([gaits.walk.start + since]), amplitude[17:18])[0]
    torch.testing.assert_close(joints[0, 17:18], want, atol=1e-4, rtol=0.0)


@pytest.mark.parametrize("later", [0.25, 1.0])
def test_frames_later_than_their_steps_are_those_between(robot, later, gaits):
    """By a whole step they are the next ones; by a part of one a walk at constant speed is the one that began so much later."""
    plans, phase = make_plans(robot, "path", steps=44), torch.linspace(0.1, 2.0, 5)
    steady = replace(plans, speed=torch.ones(5, 44), turn_rate=torch.zeros(5, 44), heading=torch.zeros(5, 44))
    shifted = unflatten(warped_walks(gaits, steady, phase, 40, robot.control_dt, later), 5)
    cadence, _ = gaits.walk.cadence_and_amplitude(torch.ones(1))
    want = unflatten(warped_walks(gaits, steady, phase + later * robot.control_dt * cadence, 40, robot.control_dt), 5)
    torch.testing.assert_close(shifted.joint_pos, want.joint_pos, atol=1e-4, rtol=0.0)
    torch.testing.assert_close(shifted.joint_vel, want.joint_vel, atol=2e-3, rtol=0.0)
    if later == 1.0:
        following = unflatten(warped_walks(gaits, plans, phase, 41, robot.control_dt), 5).body_pos_w[:, 1:]
        now = unflatten(warped_walks(gaits, plans, phase, 40, robot.control_dt, later), 5).body_pos_w
        torch.testing.assert_close(now[:, 1:], following[:, 1:], atol=1e-4, rtol=0.0)


def test_turned_plans_give_turned_walks(robot, gaits):
    plans, phase = make_plans(robot, "path"), torch.zeros(5)
    yaw = torch.full((5,), 1.3)
    plain, turned = (warped_walks(gaits, each, phase, 20, robot.control_dt) for each in (plans, plans.turned(yaw)))
    turn = R.from_yaw(torch.tensor(1.3)).expand(len(plain.joint_pos), robot.num_bodies, 4)
    torch.testing.assert_close(turned.body_pos_w, R.rotate(turn, plain.body_pos_w), atol=1e-4, rtol=0.0)
    torch.testing.assert_close(turned.body_lin_vel_w, R.rotate(turn, plain.body_lin_vel_w), atol=2e-3, rtol=0.0)
    assert R.angle_between(turned.body_quat_w, R.multiply(turn, plain.body_quat_w)).max() < 3e-3
    assert_same(
        RobotState(turned.joint_pos, turned.joint_vel, *[torch.zeros(0)] * 4),
        RobotState(plain.joint_pos, plain.joint_vel, *[torch.zeros(0)] * 4),
        atol=1e-4,
    )
