"""Adaptive sampling of a streamed library, and an env and a training whose clips come and go."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from many_clips import many
from robot_states import own_settings
from tiny_runs import TRACKER, train

from protege.core.motions import StreamedLibrary, save_clip
from protege.core.motions.frames import ClipFrames
from protege.core.motions.slots import EMPTY
from protege.core.robots.robot import Robot
from protege.core.runs.checkpoint import load
from protege.sim.env import HumanoidEnv
from protege.sim.env_config import EnvConfig
from protege.sim.references.adaptive_sampling import MEMORY_STEPS, AdaptiveSampler, startable_frames
from protege.sim.references.streamed_sampling import StreamedSampler
from protege.sim.simulators.simulator import make_simulator
from protege.sim.tasks.track import MotionParams

CPU = torch.device("cpu")
COUNT, DRAIN, INTERVAL = 40, 4, 6


def library(robot: Robot, share: float = 0.4, weights: list[float] | None = None) -> StreamedLibrary:
    frames = ClipFrames(many(robot, COUNT, 0.8, 3.2), robot, weights)
    return StreamedLibrary(frames, robot, CPU, int(share * frames.counts.sum()), DRAIN, INTERVAL, 0)


def random_counts(sampler: AdaptiveSampler, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    sampler.counts[1] = 20.0 * torch.rand(sampler.counts.shape[1], generator=generator)
    sampler.counts[0] = sampler.counts[1] * torch.rand(sampler.counts.shape[1], generator=generator)


def test_bins_and_shares_are_those_of_clips_that_stay(robot: Robot) -> None:
    """Of the clips on the device, with all blocks drawn from: the formula is one."""
    streamed = library(robot)
    streamed.draw_from(range(streamed.blocks))
    sampler = StreamedSampler(streamed, robot.control_dt, 0.7, 3.0)
    slots = np.flatnonzero(streamed.clips != EMPTY)
    frames = streamed.source
    assert isinstance(frames, ClipFrames)
    clips = [frames.clips[i] for i in streamed.clips[slots]]
    stay = StreamedLibrary(ClipFrames(clips, robot, streamed.times[slots].tolist()), robot, CPU, 10**6, 4, 6, 0)
    plain = AdaptiveSampler(stay, startable_frames(stay.counts, stay.rate), robot.control_dt, 0.7, 3.0)
    used = len(plain.clip)
    assert len(sampler.held) == used and not sampler.uniform[used:].any()
    torch.testing.assert_close(sampler.uniform[:used], plain.uniform)
    random_counts(sampler)
    plain.counts.copy_(sampler.counts[:, :used])
    torch.testing.assert_close(sampler.shares()[:used], plain.shares())
    assert not sampler.shares()[used:].any()
    for slot, place in enumerate(slots):
        rows = torch.arange(int(stay.counts[slot]))
        there = sampler.bin_at(streamed.starts[place] + rows)
        assert torch.equal(there, plain.bin_at(stay.starts[slot] + rows))


def test_draws_follow_the_shares_without_leaving_clips(robot: Robot) -> None:
    streamed = library(robot)
    sampler = StreamedSampler(streamed, robot.control_dt, 0.8, 5.0)
    random_counts(sampler)
    slot, phase = sampler.sample(100_000, torch.Generator().manual_seed(0))
    assert ((phase >= 0.0) & (phase <= 1.0)).all()
    assert (slot >= streamed.block_slots).all(), "block 0 is on its way out"
    drawn = sampler.first[slot] + (phase * sampler.bins[slot]).long().minimum(sampler.bins[slot] - 1)
    got = torch.bincount(drawn, minlength=sampler.counts.shape[1]) / 100_000
    torch.testing.assert_close(got, sampler.shares(), atol=0.005, rtol=0.0)


def test_counts_of_a_clip_are_kept_while_it_is_not_loaded(robot: Robot) -> None:
    streamed = library(robot)
    sampler = StreamedSampler(streamed, robot.control_dt, 0.8, 5.0)
    generator, known = torch.Generator().manual_seed(0), {}
    for _ in range(40 * INTERVAL):
        frame = streamed.starts[torch.from_numpy(np.flatnonzero(streamed.clips != EMPTY))]
        frame = frame[torch.randint(len(frame), (30,), generator=generator)]
        sampler.count(frame, torch.rand(30, generator=generator) < 0.3)
        there = dict(zip(streamed.clips.tolist(), range(len(streamed.clips)), strict=True))
        for clip, slot in there.items():
            if clip != EMPTY and (streamed.clips == clip).sum() == 1:
                bins = slice(int(sampler.first[slot]), int(sampler.first[slot] + sampler.bins[slot]))
                known[clip] = sampler.counts[:, bins].clone()
            else:
                known.pop(clip, None)  # in two slots at once: what the last one knows stays
        if streamed.advance():
            sampler.refresh_clips()
        for slot in np.flatnonzero(streamed.clips != EMPTY):
            if (clip := streamed.clips[slot]) in known and (streamed.clips == clip).sum() == 1:
                bins = slice(int(sampler.first[slot]), int(sampler.first[slot] + sampler.bins[slot]))
                assert torch.equal(sampler.counts[:, bins], known[clip])
    assert len(known) > COUNT // 2
    assert sampler.counts.max() < MEMORY_STEPS


# In the environment ------------------------------------------------------------------------------------------------------


def make_env(robot: Robot, mix: dict[str, float] | None = None, seed: int = 0, **track: Any) -> HumanoidEnv:
    clips = many(robot, 30, 0.8, 1.6)
    params = MotionParams(device_frames=int(0.5 * ClipFrames(clips, robot).counts.sum()), **track)
    settings = own_settings(robot) | {"num_envs": 8, "episode_length_s": 0.4, "track": params}
    config = EnvConfig(**(settings | {"task_mix": mix or {"track": 1.0}}))
    return HumanoidEnv(make_simulator("mujoco", robot, 8, device="cpu", num_threads=1), clips, config, seed)


def play(env: HumanoidEnv, steps: int) -> list[Any]:
    """Follow the reference, so that episodes last."""
    obs, generator, rows = env.reset(), torch.Generator().manual_seed(1), []
    for _ in range(steps):
        noise = 0.1 * torch.randn(env.num_envs, env.num_actions, generator=generator)
        step = env.step((obs["reference_joint_pos"] - env.default_joint_pos) / env.action_scale + noise)
        obs = step.obs
        rows.append({"obs": {k: x.clone() for k, x in obs.items()}, "failed": step.failed.clone(),
                     "clip": step.episodes["clip"].clone()})  # fmt: skip
    return rows


def test_an_episode_s_frames_stay_while_it_lasts(robot: Robot) -> None:
    """The reference of an env is, at every step, a frame of the clip that it plays, in its own order."""
    env = make_env(robot, exchange_interval_s=0.4)
    assert isinstance(env.library, StreamedLibrary) and env.library.streams
    whole = StreamedLibrary(env.library.source, robot, CPU, 10**7, 4, 6, 0)
    command, obs, seen = cast(Any, env.tasks["track"].command), env.reset(), set()
    for _ in range(25 * env.library.interval):
        clip, index = command.clip.clone(), command.reference.index.clone()
        inside = index - env.library.starts[env.library.slot_at(index)]
        for i in range(env.num_envs):
            there = whole.starts[clip[i]] + inside[i]
            for name, x in vars(env.library.state).items():
                assert torch.equal(x[index[i]], getattr(whole.state, name)[there])
        step = env.step((obs["reference_joint_pos"] - env.default_joint_pos) / env.action_scale)
        goes_on = ~step.ended
        assert torch.equal(command.clip[goes_on], clip[goes_on]) and torch.equal(step.episodes["clip"], clip)
        obs = step.obs
        seen |= set(clip.tolist())
    assert len(seen) > 15


@pytest.mark.parametrize("steps", [5, 37])
def test_a_saved_environment_goes_on_exactly(robot: Robot, steps: int) -> None:
    mix = {"track": 1.0, "masked_mimic": 1.0}
    env = make_env(robot, mix)
    play(env, steps)
    saved = env.state_dict()
    other = make_env(robot, mix)
    play(other, 3)
    other.load_state_dict(saved)
    for _ in range(60):
        action = 0.3 * torch.ones(env.num_envs, env.num_actions)
        want, got = env.step(action), other.step(action)
        assert all(torch.equal(x, got.obs[key]) for key, x in want.obs.items())
        for key, x in want.episodes.items():
            torch.testing.assert_close(got.episodes[key], x, rtol=0.0, atol=0.0, equal_nan=True, msg=key)
    sampler, copy = (cast(Any, x.tasks["track"].command).sampler for x in (env, other))
    assert torch.equal(sampler.counts, copy.counts) and torch.equal(sampler.store, copy.store)


def test_a_resumed_training_of_a_streamed_library_equals_an_uninterrupted_one(
    robot: Robot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROTEGE_CACHE", str(tmp_path / "cache"))
    clips = many(robot, 24, 0.8, 1.6)
    for clip in clips:
        save_clip(tmp_path / "clips" / clip.name, clip)
    half = ClipFrames(clips, robot).counts.sum() // 2
    words = [f"run.robot={robot.name}", f"motion_file=[{tmp_path}/clips]", "env.episode_length_s=0.4",
             "exchange_interval_s=0.4", f"device_frames={half}", "agent.rollout_steps=16"]  # fmt: skip
    whole = load(train(TRACKER, tmp_path, "whole", *words, "run.max_iterations=4"))
    train(TRACKER, tmp_path, "parts", *words, "run.max_iterations=2")
    torch.manual_seed(123)
    parts = load(train(TRACKER, tmp_path, "parts", *words, "run.max_iterations=4"))
    assert whole.training["env"]["library"]["step"] == 64, "so clips were exchanged"
    assert all(torch.equal(parts.model[name], x) for name, x in whole.model.items())
    assert all(torch.equal(parts.training["trainer"]["obs"][k], x) for k, x in whole.training["trainer"]["obs"].items())
    for name, x in whole.training["env"]["library"]["draws"].items():
        assert torch.equal(parts.training["env"]["library"]["draws"][name], x)
