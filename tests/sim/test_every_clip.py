"""Playing every clip once: the clips, their ranges, and the measures, compared with hand arithmetic."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from many_clips import many
from robot_states import own_settings

from protege.core.motions import MotionLibrary
from protege.core.motions.frames import ClipFrames
from protege.core.robots import rotation as R
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState
from protege.core.runs.evaluation import run_episodes
from protege.sim.env import HumanoidEnv
from protege.sim.env_config import EnvConfig
from protege.sim.simulators.simulator import make_simulator
from protege.sim.tasks.every_clip import (
    MAX_HEIGHT_ERROR,
    MAX_TILT_ERROR,
    EveryClipCommand,
    FailureRecorder,
    rounds,
    toppled,
)
from protege.sim.tasks.terms import Deviation, Scene, mean_body_off
from protege.sim.tasks.track import MotionParams


def make_env(robot: Robot, num_envs: int, count: int = 5, task: str = "track", frames: int = 10**6) -> HumanoidEnv:
    settings = own_settings(robot) | {"num_envs": num_envs, "task_mix": {task: 1.0}, "episode_length_s": 0.2}
    config = EnvConfig(**settings, track=MotionParams(every_clip=True, device_frames=frames))
    simulator = make_simulator("mujoco", robot, num_envs, device="cpu", num_threads=1)
    return HumanoidEnv(simulator, many(robot, count), config, 0, evaluation=True)


def follow(env: HumanoidEnv, obs: Any) -> torch.Tensor:
    return (obs["reference_joint_pos"] - env.default_joint_pos) / env.action_scale


@pytest.mark.parametrize("task", ["track", "masked_mimic"])
@pytest.mark.parametrize("frames", [10**6, 1])
def test_each_clip_is_played_once_whole_and_the_same_every_time(robot: Robot, task: str, frames: int) -> None:
    """Also where the device has room for one clip at a time."""
    env = make_env(robot, 3, task=task, frames=frames)
    command = cast(EveryClipCommand, env.tasks[task].command)
    plain = MotionLibrary(many(robot, 5), robot, "cpu")
    seen, twice = list[int](), list[list[torch.Tensor]]()
    for _ in range(2):
        errors = list[torch.Tensor]()
        for clips in rounds(cast(Any, env.library), command):
            assert len(clips) <= 3 and env.library.counts.sum() <= max(plain.counts.max(), frames) + 3
            seen += clips
            rows = run_episodes(env, lambda obs: follow(env, obs), 3)
            assert rows["clip"].tolist() == [clips[i % len(clips)] for i in range(3)]
            lasted = (rows["length"] == (plain.counts[rows["clip"]] - 1) // plain.stride) | rows["failed"]
            assert lasted.all(), "longer than env.episode_length_s"
            errors.append(rows["cartesian_err/mean"][: len(clips)])
        twice.append(errors)
    assert sorted(seen[:5]) == list(range(5)) and seen[:5] == seen[5:]
    counts = ClipFrames(many(robot, 5), robot).counts[seen[:5]]
    assert (np.diff(counts) <= 0).all(), "the longest first"
    assert all(torch.equal(a, b) for a, b in zip(*twice, strict=True))


def test_measures_are_those_of_the_formulas(robot: Robot) -> None:
    """As PHC defines them: of positions, their first and their second differences, means over bodies and steps."""
    env = make_env(robot, 2, count=2)
    next(rounds(cast(Any, env.library), env.tasks["track"].command))
    obs, command, off = env.reset(), env.tasks["track"].command, []
    state, reference = env.state, command.reference
    off.append((state.body_pos_w - reference.now().body_pos_w).clone())
    assert off[0].abs().max() < 1e-5, "an episode begins in the reference's pose"
    off[0].zero_()
    for _ in range(12):
        step = env.step(follow(env, obs) + 0.05)
        assert not step.ended.any()
        obs = step.obs
        off.append((state.body_pos_w - reference.now().body_pos_w).clone())
    e = torch.stack(off)
    want = {
        "cartesian_err": e[1:].norm(dim=-1).mean(-1).mean(0),
        "root_relative_err": (e - e[:, :, :1])[1:].norm(dim=-1).mean(-1).mean(0),
        "velocity_err": (e[1:] - e[:-1]).norm(dim=-1).mean(-1).mean(0),
        "acceleration_err": (e[2:] - 2 * e[1:-1] + e[:-2]).norm(dim=-1).mean(-1).mean(0),
    }
    rows = env.log.rows(torch.zeros(2, dtype=torch.bool))
    for name, x in want.items():
        torch.testing.assert_close(rows[f"{name}/mean"], x, rtol=1e-4, atol=1e-6, msg=name)
        assert (x > 1e-5).all()


# Rules, by hand ----------------------------------------------------------------------------------------------------------


def scene(robot: Robot, step: int, up: float = 0.0, tilt: float = 0.0, aside: float = 0.0, yaw: float = 0.0) -> Scene:
    """One robot with the same offset of all bodies from its reference, which lies on its side."""
    reference = RobotState.empty((1,), robot.num_joints, robot.num_bodies, "cpu")
    for x in vars(reference).values():
        x.zero_()
    lying = R.from_axis_angle(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([1.2]))
    reference.body_quat_w[:] = lying
    turned = R.from_axis_angle(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([tilt]))
    turned = R.multiply(turned, lying)
    spun = R.multiply(turned, R.from_axis_angle(torch.tensor([0.0, 0.0, 1.0]), torch.tensor([yaw])))
    state = replace(reference.clone(), body_quat_w=spun.expand_as(reference.body_quat_w).clone())
    state.body_pos_w[..., 2] += up
    state.body_pos_w[..., 0] += aside
    command = cast(Any, SimpleNamespace(step=torch.tensor([step]), reference=SimpleNamespace(floor=None)))
    return Scene(
        state, reference, Deviation.of(state, reference), command, torch.zeros(1, 31, 2), robot.control_dt, robot
    )


def test_the_second_rule_compares_height_and_tilt_with_the_reference(robot: Robot) -> None:
    for off, want in (
        ({"up": MAX_HEIGHT_ERROR - 0.01}, False),
        ({"up": MAX_HEIGHT_ERROR + 0.01}, True),
        ({"up": -MAX_HEIGHT_ERROR - 0.01}, True),
        ({"tilt": MAX_TILT_ERROR - 0.01}, False),
        ({"tilt": MAX_TILT_ERROR + 0.01}, True),
        ({"tilt": -MAX_TILT_ERROR - 0.01}, True),
        ({"yaw": 3.0}, False),
        ({"aside": 9.0}, False),
    ):
        assert toppled(scene(robot, 1, **off)).tolist() == [want], off


def test_a_clip_that_is_lost_stays_lost_until_the_next_one_begins(robot: Robot) -> None:
    recorder = FailureRecorder(1, mean_body_off(0.5), torch.device("cpu"))
    recorded = []
    for step, off in enumerate([{}, {"aside": 0.6}, {}, {"tilt": 1.0}, {}, {"aside": 0.4}, {"up": 0.3}, {}], start=1):
        at = step if step < 6 else step - 5  # the sixth step is the first one of the next episode
        over = recorder(scene(robot, at, **off))
        recorded.append((bool(recorder.lost), bool(recorder.toppled), bool(over)))
    no, lost, both, toppled_ = (False,) * 3, (True, False, False), (True,) * 3, (False, True, False)
    assert recorded == [no, lost, lost, both, both, no, toppled_, toppled_]


def test_errors_are_measured_until_the_clip_is_lost(robot: Robot) -> None:
    recorder = FailureRecorder(1, mean_body_off(0.5), torch.device("cpu"))
    metric = recorder.until_lost(lambda scene: (torch.ones(1), torch.ones(1)))
    weights = []
    for step, aside in enumerate([0.0, 0.4, 0.6, 0.0], start=1):
        at = scene(robot, step, aside=aside)
        recorder(at)
        weights.append(float(metric(at)[1]))
    assert weights == [1.0, 1.0, 0.0, 0.0]
