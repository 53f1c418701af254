"""Adaptive sampling of start frames: by hand, in numbers, and in the environment."""

import json
import math
from typing import Any, cast

import numpy as np
import pytest
import torch
from tiny_runs import TRACKER, train

from protege.core.errors import UserError
from protege.core.learning.rollout import episode_metrics
from protege.core.motions import Clip, MotionLibrary, load_clips
from protege.core.tasks import tasks
from protege.sim.env import HumanoidEnv
from protege.sim.env_config import EnvConfig
from protege.sim.references.adaptive_sampling import MEMORY_STEPS, AdaptiveSampler
from protege.sim.robots import get_robot
from protege.sim.simulators.simulator import make_simulator
from protege.sim.tasks.masks import MaskSampler
from protege.sim.tasks.motion_command import MotionCommand
from protege.sim.tasks.task import TaskContext
from protege.sim.tasks.track import MotionParams

ROBOT = get_robot("smpl")
DT = ROBOT.control_dt
CPU = torch.device("cpu")
FRAMES = {"short": 151, "long": 271, "tiny": 13}
STARTABLE = torch.tensor([121, 241, 1])  # half a second less, at least one: 2, 4 and 1 seconds


def standing(name: str, frames: int) -> Clip:
    quat = np.tile([1.0, 0.0, 0.0, 0.0], (frames, 1))
    return Clip(name, np.arange(frames) / 60.0, np.zeros((frames, 3)), quat, np.zeros((frames, ROBOT.num_joints)))


def library(names=tuple(FRAMES)) -> MotionLibrary:
    return MotionLibrary([standing(name, FRAMES[name]) for name in names], ROBOT, CPU)


def sampler(ratio=0.5, limit=5.0) -> AdaptiveSampler:
    return AdaptiveSampler(library(), STARTABLE, DT, ratio, limit)


def with_counts(adaptive: AdaptiveSampler, failures: list[float], attempts: list[float]) -> AdaptiveSampler:
    adaptive.counts.copy_(torch.tensor([failures, attempts]))
    return adaptive


def close(got: torch.Tensor, want: list[float]) -> None:
    torch.testing.assert_close(got, torch.tensor(want, dtype=torch.float32), atol=1e-6, rtol=0.0)


# By hand -----------------------------------------------------------------------------------------------------------------


def test_bins_are_seconds_of_the_possible_starts():
    adaptive = sampler()
    assert adaptive.bins.tolist() == [2, 4, 1] and adaptive.clip.tolist() == [0, 0, 1, 1, 1, 1, 2]
    assert adaptive.next.tolist() == [1, 1, 3, 4, 5, 5, 6], "the last bin of a clip has none after it"
    in_bins = torch.bincount(adaptive.bin)
    # 121 starts in two, 241 in four; the half second after the last start is of the last bin.
    assert in_bins.tolist() == [61, 60 + 30, 61, 60, 60, 60 + 30, 13]


def test_without_recorded_failures_starts_are_uniform():
    third = 1.0 / 3.0
    want = [third / 2] * 2 + [third / 4] * 4 + [third]
    close(sampler().uniform, want)
    close(sampler().shares(), want)


def test_failures_fade_and_count_where_they_happen():
    adaptive = sampler()
    # Short's first frame twice, long's second bin and last frame, tiny.
    frames = torch.tensor([0, 0, 151 + 61, 151 + 270, 422])
    adaptive.count(frames, torch.tensor([True, False, True, False, False]))
    close(adaptive.counts[0], [1, 0, 0, 1, 0, 0, 0])
    close(adaptive.counts[1], [1 + DT, 0, 0, 1, 0, DT, DT])
    adaptive.count(torch.tensor([0, 0, 0, 0, 422]), torch.tensor([False, False, False, False, True]))
    fade = 1.0 - 1.0 / MEMORY_STEPS
    close(adaptive.counts[0], [fade, 0, 0, fade, 0, 0, 1])
    close(adaptive.counts[1], [fade * (1 + DT) + 4 * DT, 0, 0, fade, 0, fade * DT, fade * DT + 1])


def test_the_distribution_after_given_failures():
    # (failures + 1) / (attempts + 1): 1/4, 1/4 | 1/4, 1/4, 1, 1/4 | 1/4. With the next: 1/2, 1/2 | 1/2, 5/4, 5/4, 1/2 | 1/2.
    adaptive = with_counts(sampler(ratio=0.4), [0, 0, 0, 0, 3, 0, 0], [3] * 7)
    # Times uniform (1/6, 1/6, 1/12, ..., 1/3): 1/12, 1/12, 1/24, 5/48, 5/48, 1/24, 1/6; the sum is 5/8.
    by_failure = [2 / 15, 2 / 15, 1 / 15, 1 / 6, 1 / 6, 1 / 15, 4 / 15]
    uniform = [1 / 6, 1 / 6, *[1 / 12] * 4, 1 / 3]
    assert sum(by_failure) == pytest.approx(1.0)
    close(adaptive.shares(), [0.6 * u + 0.4 * f for u, f in zip(uniform, by_failure, strict=True)])


def test_a_clip_that_always_fails_is_drawn_more_often():
    # Rates 1 in short, 1/9 in the others, whose share is 2/3: by failure 9 to 2, so 9/11 with ratio 1.
    adaptive = with_counts(sampler(ratio=1.0), [8, 8, 0, 0, 0, 0, 0], [8] * 7)
    assert adaptive.shares()[:2].sum().item() == pytest.approx(9 / 11)


def test_no_bin_exceeds_its_limit_and_the_excess_goes_to_the_others():
    # Hardness 1 in short and 1/1000 elsewhere: nearly 1/2 for each of short's bins, cut to 1.5 · 1/6.
    adaptive = with_counts(sampler(ratio=1.0, limit=1.5), [999, 999, 0, 0, 0, 0, 0], [999] * 7)
    # Of the half that is left, each bin gets by its room, all but by its uniform share: 1/4 for long and 1/4 · 4/4 for tiny.
    shares = adaptive.shares()
    torch.testing.assert_close(shares, torch.tensor([0.25, 0.25, *[0.0625] * 4, 0.25]), atol=1e-3, rtol=0.0)
    assert shares.sum().item() == pytest.approx(1.0)


@pytest.mark.parametrize("limit", [1.0, 1.2, 2.0, 5.0])
@pytest.mark.parametrize("ratio", [0.1, 0.5, 1.0])
def test_the_bounds_hold_for_any_counts(ratio, limit):
    for seed in range(50):
        adaptive, generator = sampler(ratio, limit), torch.Generator().manual_seed(seed)
        attempts = 10.0 ** (8.0 * torch.rand(7, generator=generator) - 2.0)
        adaptive.counts[1] = attempts
        adaptive.counts[0] = attempts * torch.rand(7, generator=generator) ** 8
        shares = adaptive.shares()
        assert shares.sum().item() == pytest.approx(1.0, abs=1e-5)
        assert (shares <= limit * adaptive.uniform * (1 + 1e-5)).all()
        assert (shares >= min(1 - ratio, limit) * adaptive.uniform * (1 - 1e-5)).all(), "nothing is forgotten"
        if limit == 1.0:
            torch.testing.assert_close(shares, adaptive.uniform, atol=1e-6, rtol=0.0)


def test_a_single_short_clip_has_one_bin():
    only = AdaptiveSampler(library(("tiny",)), torch.tensor([1]), DT, 0.5, 5.0)
    only.count(torch.tensor([3, 4]), torch.tensor([True, True]))
    close(only.shares(), [1.0])
    clip, phase = only.sample(1000, torch.Generator().manual_seed(0))
    assert (clip == 0).all() and 0.45 < phase.mean() < 0.55


# Draws -------------------------------------------------------------------------------------------------------------------


def test_draws_follow_the_shares_and_are_even_within_a_bin():
    adaptive = with_counts(sampler(ratio=0.8), [3, 0, 0, 0, 3, 0, 0], [3] * 7)
    n = 200_000
    clip, phase = adaptive.sample(n, torch.Generator().manual_seed(0))
    assert phase.min() >= 0.0 and phase.max() <= 1.0
    drawn = adaptive.first[clip] + (phase * adaptive.bins[clip]).long()
    torch.testing.assert_close(
        torch.bincount(drawn, minlength=7) / n, adaptive.shares(), atol=5 / math.sqrt(n), rtol=0.0
    )
    inside = (phase * adaptive.bins[clip]) % 1.0
    for b in range(7):
        assert inside[drawn == b].mean().item() == pytest.approx(0.5, abs=0.02)


def motion_command(start_within=1.0, seed=0, **track) -> MotionCommand:
    config = EnvConfig(track=MotionParams(**track))
    generator, none = torch.Generator().manual_seed(seed), cast(Any, None)
    context = TaskContext(tasks()["track"], 4000, config, ROBOT, library(), none, generator, CPU, evaluation=False)
    return MotionCommand(context, MaskSampler.of(context), start_within=start_within)


def test_starts_concentrate_before_failures():
    command = motion_command(adaptive_sampling=0.5)
    everywhere = torch.ones(4000, dtype=torch.bool)
    command.reset(everywhere)
    assert command.startable.tolist() == STARTABLE.tolist()
    long = command.clip == 1
    late = long & (command.reference.index >= 151 + 181)
    assert late.float().mean() == pytest.approx(1 / 12, abs=0.02)
    for _ in range(200):
        command.record_failures(late)
        command.step.zero_()
    command.reset(everywhere)
    assert command.sampler is not None
    drawn = torch.bincount(command.sampler.bin[command.reference.index], minlength=7) / 4000
    torch.testing.assert_close(drawn, command.sampler.shares(), atol=0.03, rtol=0.0)
    assert (drawn[4:6] > 2.0 / 12).all(), "the second that is failed in and the one before it"
    assert ((command.reference.last - command.reference.index)[command.clip < 2] >= 30).all()


def test_a_saved_command_draws_the_same():
    command = motion_command()
    everywhere = torch.ones(4000, dtype=torch.bool)
    command.reset(everywhere)
    command.record_failures(command.clip == 1)
    saved, generator = command.state_dict(), command.generator.get_state()
    other = motion_command(seed=5)
    other.load_state_dict(saved)
    other.generator.set_state(generator)
    assert (
        torch.equal(saved["adaptive_sampling"], other.state_dict()["adaptive_sampling"])
        and saved["adaptive_sampling"].any()
    )
    command.reset(everywhere)
    other.reset(everywhere)
    assert torch.equal(command.reference.index, other.reference.index)


@pytest.mark.parametrize("options", [{"start_within": 0.1}, {"adaptive_sampling": 0.0}])
def test_switched_off_nothing_is_counted_and_draws_are_the_librarys(options):
    command = motion_command(**options)
    command.record_failures(torch.ones(4000, dtype=torch.bool))
    command.reset(torch.ones(4000, dtype=torch.bool))
    assert command.sampler is None and "adaptive_sampling" not in command.state_dict()
    assert torch.equal(command.clip, library().sample_clips(4000, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(
    ("key", "value"), [("adaptive_sampling", 1.5), ("adaptive_sampling", -0.1), ("adaptive_sampling_limit", 0.9)]
)
def test_bad_values_are_named(key, value):
    with pytest.raises(UserError, match=f"env.track.{key} is {value}"):
        MotionParams(**{key: value}).check("env.track")


# In the environment ------------------------------------------------------------------------------------------------------


def make_env(mix, seed=0, evaluation=False) -> HumanoidEnv:
    clips = load_clips([f"smpl_humanoid_{name}.npy" for name in ("walk", "run")], ROBOT)
    simulator = make_simulator("mujoco", ROBOT, 12, device="cpu", num_threads=1)
    return HumanoidEnv(
        simulator, clips, EnvConfig(num_envs=12, task_mix=mix, num_plans=16), seed, evaluation=evaluation
    )


def falling(env: HumanoidEnv) -> torch.Tensor:
    return torch.full((env.num_envs, env.num_actions), 0.7)


def test_the_environment_counts_failures_and_names_clips():
    env = make_env({"track": 1.0, "masked_mimic": 1.0, "path": 1.0})
    env.reset()
    assert env.clip_names == ["smpl_humanoid_walk", "smpl_humanoid_run"]
    failures = dict.fromkeys(("track", "masked_mimic"), 0)
    for _ in range(15):
        before = {name: env.tasks[name].command.clip.clone() for name in failures}
        step = env.step(falling(env))
        for name in failures:
            part = env.task_slices[name]
            assert torch.equal(step.episodes["clip"][part], before[name]), "of the episode that ends, not of the next"
            failures[name] += int(step.failed[part].sum())
        assert (step.episodes["clip"][env.task_slices["path"]] == -1).all()
    for name, count in failures.items():
        assert count > 0
        assert env.tasks[name].command.sampler.counts[0].sum().item() == pytest.approx(count, rel=0.02)
        assert env.tasks[name].command.sampler.counts[1].sum().item() == pytest.approx(
            count + (60 - count) * DT, rel=0.02
        )


def test_evaluation_counts_nothing():
    env = make_env({"track": 1.0}, evaluation=True)
    env.reset()
    for _ in range(15):
        env.step(falling(env))
    assert env.tasks["track"].command.sampler is None


def test_a_saved_environment_resumes_exactly_with_its_failure_counts():
    env = make_env({"track": 1.0})
    env.reset()
    for _ in range(12):
        env.step(falling(env))
    saved = env.state_dict()
    want = [env.step(falling(env)) for _ in range(12)]
    assert torch.stack([step.failed for step in want]).any()
    other = make_env({"track": 1.0}, seed=0)
    other.load_state_dict(saved)
    for step in want:
        got = other.step(falling(other))
        assert all(torch.equal(got.obs[key], step.obs[key]) for key in step.obs)
    assert torch.equal(other.tasks["track"].command.sampler.counts, env.tasks["track"].command.sampler.counts)


def test_success_is_reported_per_clip():
    table = {
        "task": torch.tensor([0, 0, 0, 0, 1]),
        "length": torch.ones(5),
        "return": torch.ones(5),
        "failed": torch.tensor([True, False, False, False, True]),
        "clip": torch.tensor([0, 0, 2, 2, -1]),
    }
    metrics = episode_metrics(table, ["track", "path"], ["walk", "run", "jump"])
    success = {key: value for key, value in metrics.items() if key.startswith("success/")}
    assert success == {"success/walk": 0.5, "success/jump": 1.0}, "run was not played, and a path is no clip"
    assert metrics["episode/success"] == pytest.approx(0.6)
    assert not any(key.startswith("success/") for key in episode_metrics(table, ["track", "path"], ["walk"]))


def test_a_training_with_two_clips_logs_the_success_of_each(tmp_path):
    clips = [f"smpl_humanoid_{name}" for name in ("walk", "run")]
    files = f"run.motion_file=[{clips[0]}.npy, {clips[1]}.npy]"
    folder = train(TRACKER, tmp_path, "two", files, "run.max_iterations=3", "agent.rollout_steps=24")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {key for row in rows for key in row if key.startswith("success/")} == {f"success/{clip}" for clip in clips}


def test_clips_with_the_same_name_are_distinguished():
    clips = [standing(name, 13) for name in ("walk", "run", "walk")]
    assert MotionLibrary(clips, ROBOT, CPU).names == ["walk-0", "run", "walk-2"]
