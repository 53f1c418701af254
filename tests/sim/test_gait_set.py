"""Gaits by speed: which clips are gaits, their blends, the sliding of feet, and the limits of speed."""

import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from robot_states import own_settings

from protege.core.errors import UserError
from protege.core.motions import Clip, load_clips
from protege.core.motions.contact import contact_points
from protege.core.robots import rotation as R
from protege.core.robots.robot import Robot, Vec3
from protege.core.robots.state import RobotState
from protege.core.runs.config import RunConfig
from protege.sim.env_config import EnvConfig
from protege.sim.plugin import plugin
from protege.sim.references.gait import Gait
from protege.sim.references.gait_set import REVERSAL_SPEED, GaitSet, unfit
from protege.sim.references.plans import Plans
from protege.sim.references.warp import warped_walks

CPU = torch.device("cpu")
DT = 1.0 / 120.0
"""s, fine enough to see a foot slide."""


class Own(NamedTuple):
    """What a robot's walk can do backwards and ahead, and its run, m/s; how deep feet then are in the ground, m."""

    back: float
    walk: float
    run: float
    sunk: float


OWN = {"smpl": Own(-0.92, 1.55, 4.35, 0.005), "g1": Own(-0.78, 1.32, 3.68, 0.011)}


@pytest.fixture(scope="module")
def pace(robot: Robot) -> float:
    """Speed of the robot's legs relative to SMPL's: the speeds below are for SMPL."""
    return OWN[robot.name].back / OWN["smpl"].back


@pytest.fixture(scope="module")
def clips(robot: Robot) -> dict[str, Clip]:
    names = ("walk", "run", "jump")
    return dict(zip(names, load_clips([f"{robot.name}_humanoid_{name}.npy" for name in names], robot), strict=True))


@pytest.fixture(scope="module")
def gaits(clips: dict[str, Clip], robot: Robot) -> GaitSet:
    return GaitSet(list(clips.values()), robot, CPU)


def plan(speed: torch.Tensor, dt: float = DT) -> Plans:
    """Straight ahead along x, at a speed (T,) m/s."""
    speed = speed[None]
    zero, way = torch.zeros_like(speed), (speed * dt).cumsum(dim=1) - speed[:, :1] * dt
    pos = torch.stack([way, zero], dim=-1)
    return Plans(pos, zero, zero, speed, zero, speed, zero == 0.0, pos[:, -1], torch.tensor([len(speed) - 1]))


def play(gaits: GaitSet, speed: torch.Tensor, dt: float = DT) -> RobotState:
    return warped_walks(gaits, plan(speed, dt), torch.zeros(1), speed.shape[0] - 2, dt)


def points(robot: Robot, names: tuple[str, ...]) -> Iterator[tuple[int, Vec3, float]]:
    """Contact points of a foot: the body, the position in it, m, and the radius around it, m."""
    feet = [(body, geom) for body in robot.body_ids(names) for geom in robot.bodies[body].geoms]
    for body, geom in feet:
        (x, y, z), size = geom.pos, geom.size
        if geom.kind == "sphere":
            yield body, geom.pos, size[0]
        else:
            assert geom.kind == "box"
            yield from ((body, (x + a * size[0], y + b * size[1], z - size[2]), 0.0) for a in (-1, 1) for b in (-1, 1))


def soles(robot: Robot, state: RobotState) -> tuple[torch.Tensor, torch.Tensor]:
    """Height (T, 2) m of each foot's lowest point, and how fast it moves over the ground (T, 2) m/s."""
    heights, speeds = [], []
    for names in (robot.groups.left_foot, robot.groups.right_foot):
        places, velocities = [], []
        for body, place, radius in points(robot, names):
            arm = R.rotate(state.body_quat_w[:, body], torch.tensor(place).expand(len(state.joint_pos), 3))
            arm[:, 2] -= radius
            places.append(state.body_pos_w[:, body, 2] + arm[:, 2])
            spin = torch.linalg.cross(state.body_ang_vel_w[:, body], arm)
            velocities.append((state.body_lin_vel_w[:, body] + spin)[:, :2].norm(dim=1))
        height, lowest = torch.stack(places, dim=1).min(dim=1)
        heights.append(height)
        speeds.append(torch.stack(velocities, dim=1).gather(1, lowest[:, None]).squeeze(1))
    return torch.stack(heights, dim=1), torch.stack(speeds, dim=1)


def slide(robot: Robot, state: RobotState) -> torch.Tensor:
    """How fast the foot that bears the robot moves over the ground, m/s: of those lower than 2 cm the slower one."""
    height, speed = soles(robot, state)
    bearing = torch.where(height < 0.02, speed, torch.inf).min(dim=1).values
    return bearing[bearing.isfinite()]


# What a set can do -------------------------------------------------------------------------------------------------------


def test_gaits_are_ordered_by_speed_without_the_jump(gaits, robot):
    assert [gait.name for gait in (gaits.walk, *gaits.faster)] == [
        f"{robot.name}_humanoid_walk",
        f"{robot.name}_humanoid_run",
    ]
    assert not gaits.left_out, "a jump is slower than the fastest walk, and not needed"
    assert gaits.speeds == pytest.approx((OWN[robot.name].back, OWN[robot.name].run), abs=0.01)


def test_strides_are_measured(gaits):
    """The walk's clip holds eight strides, the run's thirteen."""
    assert gaits.walk.period == pytest.approx(gaits.walk.duration / 8)
    assert gaits.faster[0].period == pytest.approx(gaits.faster[0].duration / 13)
    assert gaits.walk.flight < 0.02 < 0.1 < gaits.faster[0].flight


def test_raised_heels_are_no_flight(clips, robot):
    """Both ankles rise in the middle of each stride, the soles' tips stay where they were: so people walk onto their toes."""
    walk, own = clips["walk"], Gait(clips["walk"], robot, CPU)
    ankles = [
        name for name in robot.joint_names if name in ("L_Ankle_y", "R_Ankle_y") or name.endswith("ankle_pitch_joint")
    ]
    joint_pos = walk.joint_pos.copy()
    raised = 0.2 * (1.0 - np.cos(2.0 * np.pi * walk.time / own.period))
    joint_pos[:, [robot.joint_names.index(name) for name in ankles]] += raised[:, None]
    feet = [robot.body_names.index(foot) for foot in robot.feet]

    def lowest(angles: np.ndarray) -> np.ndarray:
        return contact_points(robot, walk.root_pos_w, walk.root_quat_w, angles)[:, feet, 2].min(axis=1)

    root_pos_w = walk.root_pos_w.copy()
    root_pos_w[:, 2] += lowest(walk.joint_pos) - lowest(joint_pos)
    on_toes = replace(walk, joint_pos=joint_pos, root_pos_w=root_pos_w)
    gait = Gait(on_toes, robot, CPU)
    assert len(ankles) == 2 and gait.flight > own.flight + 0.005
    assert gait.airborne == pytest.approx(own.airborne, abs=1e-6)
    assert own.airborne < 0.01 < 0.05 < Gait(clips["run"], robot, CPU).airborne
    assert GaitSet([on_toes], robot, CPU).walk.name == walk.name


def test_a_walk_alone_covers_the_walks_speeds(clips, robot):
    alone, own = GaitSet([clips["walk"]], robot, CPU), OWN[robot.name]
    assert alone.speeds == pytest.approx((own.back, own.walk), abs=0.01)
    alone.require((0.0, own.walk - 0.05), "env.steering_params.speed")
    with pytest.raises(UserError) as caught:
        alone.require((0.0, 3.0), "env.steering_params.speed")
    assert caught.value.problem == (
        f"env.steering_params.speed is [0.0, 3.0] m/s, and {robot.name}_humanoid_walk can do {own.back} to {own.walk}"
    )
    assert f"--motion-file data/motions/{robot.name}_humanoid_run.npy" in caught.value.remedy


@pytest.mark.parametrize("speeds", [(-0.5, 3.5), (0.0, 1.5), (-0.9, 4.3)])
def test_walk_and_run_cover_all_speeds_in_between(gaits, speeds, pace):
    gaits.require((pace * speeds[0], pace * speeds[1]), "env.steering_params.speed")


@pytest.mark.parametrize("speeds", [(-1.0, 1.0), (0.0, 4.5)])
def test_speeds_beyond_walk_and_run_are_rejected(gaits, speeds, robot, pace):
    own, names = OWN[robot.name], " and ".join(f"{robot.name}_humanoid_{name}" for name in ("walk", "run"))
    with pytest.raises(UserError, match=re.escape(f"{names} can do {own.back} to {own.run}")):
        gaits.require((pace * speeds[0], pace * speeds[1]), "env.path_follower_params.speed")


# How it goes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("speed", [0.0, 0.3, 0.9, 1.5])
def test_within_the_walks_speeds_other_gaits_change_nothing(speed, gaits, clips, robot, pace):
    speed *= pace
    alone = GaitSet([clips["walk"]], robot, CPU)
    for name, x in vars(play(gaits, torch.full((100,), speed))).items():
        assert torch.equal(x, getattr(play(alone, torch.full((100,), speed)), name)), name


def test_at_its_own_speed_the_run_is_played_as_it_is(gaits):
    run = gaits.faster[0]
    cadence, _, rank = gaits.rhythm(torch.tensor([run.speed]))
    assert float(cadence) == pytest.approx(gaits.walk.period / run.period) and float(rank) == 1.0
    phase = gaits.walk.lead + torch.linspace(0.0, 1.0, 20) * gaits.walk.period
    got = gaits.pose(phase, torch.ones(20), torch.ones(20))
    want = run.pose(run.lead + torch.linspace(0.0, 1.0, 20) * run.period, torch.ones(20))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=0.0)


def test_strides_and_cadence_rise_with_speed_and_make_it(gaits):
    """Cadence times stride is the speed, in every gait and blend but where the walk's strides are at their longest."""
    speed = torch.linspace(0.3, 4.3, 400)
    cadence, _, rank = gaits.rhythm(speed)
    stride = speed / (cadence / gaits.walk.period)
    assert (stride.diff() > -1e-4).all() and (cadence.diff() >= -1e-6).all() and (rank.diff() >= 0.0).all()
    assert cadence.diff().max() < 0.02 and stride.diff().max() < 0.02, "no jumps"
    run = gaits.faster[0]
    torch.testing.assert_close(
        stride[speed > run.speed], torch.full_like(stride[speed > run.speed], run.speed * run.period)
    )


def test_backwards_is_the_walk_reversed_in_time(gaits):
    ahead, back = (gaits.rhythm(torch.tensor([speed])) for speed in (0.5, -0.5))
    assert torch.equal(back[0], -ahead[0]) and torch.equal(back[1], ahead[1]) and back[2] == 0.0
    forwards, backwards = (play(gaits, torch.full((200,), speed)) for speed in (0.5, -0.5))
    assert backwards.root_lin_vel_w[:, 0].mean() == pytest.approx(-0.5, abs=0.05)
    assert R.yaw(backwards.root_quat_w).abs().max() < 0.2, "it faces ahead"
    # Both start in the same pose, and move away from it in opposite directions.
    torch.testing.assert_close(forwards.joint_pos[0], backwards.joint_pos[0])
    torch.testing.assert_close(forwards.joint_vel[0], -backwards.joint_vel[0], atol=1e-3, rtol=1e-3)


def test_the_phase_reverses_smoothly(gaits):
    cadence, _, _ = gaits.rhythm(torch.linspace(-0.5, 0.5, 1001))
    assert cadence.diff().abs().max() < 0.012
    assert gaits.rhythm(torch.tensor([-REVERSAL_SPEED]))[0] == -gaits.rhythm(torch.tensor([0.0]))[0]


# Feet --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("speed", [-0.5, -0.2, 0.0, 0.2, 0.5, 1.0, 1.5, 1.8, 2.2, 2.6, 3.0, 3.5])
def test_feet_do_not_slide_where_they_bear_the_robot(speed, gaits, robot, pace):
    """Median: at most a tenth of the speed and 11 cm/s. The clips' own: 15 cm/s at 0.9 m/s and 27 at 3.3."""
    speed *= pace
    state = play(gaits, torch.full((1200,), speed))
    assert slide(robot, state).median() < 0.11 + 0.1 * abs(speed)
    assert state.root_lin_vel_w[:, 0].mean() == pytest.approx(speed, abs=0.02)


@pytest.mark.parametrize("speed", [2.0, 2.5, 3.0, 3.5])
def test_blends_and_runs_slide_no_more_than_the_clips(speed, gaits, robot, pace):
    """Mean. The walk's swing foot comes down while it still moves; stretched to 3 m/s it slid at 2.1 m/s."""
    speed *= pace
    own = slide(robot, play(gaits, torch.full((1200,), gaits.faster[0].speed))).mean()
    assert slide(robot, play(gaits, torch.full((1200,), speed))).mean() < 1.1 * own


@pytest.mark.parametrize("speed", [-0.5, 0.7, 1.5, 2.0, 2.5, 3.0, 3.5])
def test_the_lower_foot_is_at_the_ground_or_as_high_as_the_runs(speed, gaits, robot, pace):
    speed *= pace
    lowest = soles(robot, play(gaits, torch.full((1200,), speed)))[0].min(dim=1).values
    assert lowest.min() > -OWN[robot.name].sunk
    assert lowest.max() < (0.02 if speed <= gaits.top else 0.11)


@pytest.mark.parametrize(("begin", "end"), [(0.0, 3.5), (3.5, 0.0), (0.5, -0.5), (-0.5, 0.5), (1.4, 2.2)])
def test_speeding_up_and_braking_are_smooth(begin, end, gaits, pace):
    """Joints turn no faster than the run's, and no body jumps: at 1.5 m/s², through all gaits between."""
    begin, end = pace * begin, pace * end
    seconds = abs(end - begin) / 1.5
    ramp = torch.linspace(begin, end, round(seconds / DT))
    state = play(gaits, torch.cat([torch.full((60,), begin), ramp, torch.full((60,), end)]))
    fastest = play(gaits, torch.full((200,), 3.5 * pace)).joint_vel.abs().max()
    assert state.joint_vel.abs().max() < 1.1 * fastest
    moved = state.body_pos_w.diff(dim=0).norm(dim=-1)
    assert moved.max() < 12.0 * DT, "m: the run's feet reach 10 m/s"


# Which clips -------------------------------------------------------------------------------------------------------------


def turned(clip: Clip, yaw: float, name: str = "turned") -> Clip:
    """The same way, with the root facing elsewhere."""
    turn = R.from_yaw(torch.tensor(yaw, dtype=torch.float64)).expand(len(clip.time), 4)
    return replace(clip, name=name, root_quat_w=R.multiply(turn, torch.from_numpy(clip.root_quat_w)).numpy())


def arc(clip: Clip, angle: float) -> Clip:
    """The same walk along a circle, turning by an angle, rad."""
    turn = angle * clip.time / clip.time[-1]
    heading = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    steps = np.linalg.norm(np.diff(clip.root_pos_w[:, :2], axis=0), axis=1)[:, None] * heading[:-1]
    xy = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
    quat = R.multiply(R.from_yaw(torch.from_numpy(turn)), torch.from_numpy(clip.root_quat_w)).numpy()
    return replace(clip, name="arc", root_pos_w=np.column_stack([xy, clip.root_pos_w[:, 2]]), root_quat_w=quat)


def cut(clip: Clip, frames: int, name: str) -> Clip:
    fields = ("time", "root_pos_w", "root_quat_w", "joint_pos")
    return replace(clip, name=name, **{field: getattr(clip, field)[:frames] for field in fields})


def faster(clip: Clip, factor: float, name: str) -> Clip:
    """The same motion in less time."""
    return replace(clip, name=name, time=clip.time / factor)


def still(clip: Clip) -> Clip:
    return replace(clip, name="still", root_pos_w=clip.root_pos_w * [0.0, 0.0, 1.0])


def test_clips_that_turn_go_sideways_or_backwards_or_are_short_are_no_gaits(clips):
    walk = clips["walk"]
    reasons = {
        unfit(arc(walk, np.pi / 2)): "turns by 95 degrees",
        unfit(turned(walk, np.pi / 2)): "goes sideways",
        unfit(turned(walk, np.pi)): "goes backwards",
        unfit(cut(walk, 2, "two")): "lasts 0.02 s, 2 frames",
        unfit(cut(walk, 25, "short")): "lasts 0.40 s, 25 frames",
    }
    assert list(reasons) == list(reasons.values())
    assert unfit(walk) == ""


def test_without_a_walk_one_line_gives_the_reason_for_each_clip(clips, robot):
    walk = clips["walk"]
    none = [still(walk), cut(walk, 40, "once"), turned(walk, np.pi, "back"), clips["jump"], clips["run"]]
    with pytest.raises(UserError) as caught:
        GaitSet(none, robot, CPU)
    assert caught.value.problem.endswith(
        "It cannot be still, which does not travel, once, which does not repeat, back, which goes backwards, "
        f"{robot.name}_humanoid_jump, which does not step: its feet do not pass each other, "
        f"{robot.name}_humanoid_run, which runs: at times "
        "neither foot is on the ground, so that it cannot be slowed down to standing"
    )
    assert caught.value.remedy == f"Add one: --motion-file data/motions/{robot.name}_humanoid_walk.npy"


def test_the_walk_is_the_clip_nearest_to_a_walking_speed_and_like_ones_are_not_needed(clips, robot):
    walk = clips["walk"]
    stroll, brisk = faster(walk, 0.6, "stroll"), faster(walk, 1.4, "brisk")
    assert GaitSet([stroll, walk, brisk], robot, CPU).walk.name == "brisk"
    chosen = GaitSet([stroll, walk], robot, CPU)
    assert chosen.walk.name == walk.name and not chosen.faster and not chosen.left_out


def test_three_gaits_are_blended_with_their_neighbours(clips, robot):
    sprint = faster(clips["run"], 1.4, "sprint")
    three = GaitSet([sprint, clips["run"], clips["walk"]], robot, CPU)
    assert [gait.name for gait in three.faster] == [f"{robot.name}_humanoid_run", "sprint"]
    run, sprinting = (gait.speed for gait in three.faster)
    speeds = torch.tensor([1.0, (three.top + run) / 2, run, (run + sprinting) / 2, sprinting, 6.0])
    torch.testing.assert_close(three.rhythm(speeds)[2], torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 2.0]))
    for speed in speeds:
        assert slide(robot, play(three, torch.full((600,), float(speed)))).median() < 0.11 + 0.1 * speed


def test_a_sprint_is_not_blended_with_a_stroll(clips, robot):
    sprint = faster(clips["run"], 1.6, "sprint")
    chosen = GaitSet([sprint, clips["walk"]], robot, CPU)
    assert not chosen.faster
    assert chosen.left_out == {"sprint": f"is too fast to be blended with what does {OWN[robot.name].walk:.1f} m/s"}


SAID = {
    "smpl": "gaits: smpl_humanoid_walk 0.9 m/s, smpl_humanoid_run 3.3 m/s; together -0.9 to 4.3 m/s",
    "g1": "gaits: g1_humanoid_walk 0.8 m/s, g1_humanoid_run 2.8 m/s; together -0.8 to 3.7 m/s",
}


def test_gaits_and_rejected_clips_are_logged(clips, robot):
    back = turned(clips["walk"], np.pi, "back")
    chosen = GaitSet([back, still(clips["walk"]), clips["run"], clips["walk"]], robot, CPU)
    assert chosen.notes == [
        (logging.INFO, SAID[robot.name]),
        (logging.WARNING, "left out as a gait: back (goes backwards)"),
    ]


def test_the_direction_in_which_a_clip_walks_does_not_matter(gaits, clips, robot):
    turn = R.from_yaw(torch.tensor(2.1, dtype=torch.float64)).expand(len(clips["walk"].time), 4)
    pos = R.rotate(turn, torch.from_numpy(clips["walk"].root_pos_w)).numpy()
    other = Gait(replace(turned(clips["walk"], 2.1), root_pos_w=pos), robot, CPU)
    assert other.lead == pytest.approx(gaits.walk.lead, abs=1e-3) and other.period == gaits.walk.period


def test_an_environment_logs_its_gaits_once_at_its_first_step(caplog, robot):
    caplog.set_level(logging.INFO)
    own = OWN[robot.name]
    run = RunConfig(
        robot=robot.name,
        simulator="mujoco",
        motion_file=[f"{robot.name}_humanoid_walk.npy"],
        device="cpu",
        num_threads=1,
    )
    env = plugin.make(
        run, EnvConfig(num_envs=2, num_plans=2, task_mix={"track": 1.0, "steering": 1.0}, **own_settings(robot))
    )
    env.reset()
    assert not caplog.records
    for _ in range(2):
        env.step(torch.zeros(2, env.num_actions))
    assert [record.getMessage() for record in caplog.records] == [
        SAID[robot.name].partition(",")[0] + f"; together {own.back:.1f} to {own.walk:.1f} m/s"
    ]
    env.close()
