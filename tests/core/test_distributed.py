"""Two ranks: both have the same policy as a single rank with the envs of both."""

import json
from pathlib import Path

import numpy as np
import pytest
import ranks
import torch
from ranks import LOOP, make_learner, on_ranks
from tiny_runs import snapshot

from protege.core.errors import UserError
from protege.core.launcher import Launch, launch
from protege.core.learning.networks import RunningNormalizer
from protege.core.learning.ppo import PPOConfig, normalize_advantage, weighted_mean
from protege.core.learning.process_group import SINGLE_PROCESS, ProcessGroup
from protege.core.runs.checkpoint import load


def assert_equal(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def test_moments_and_means_are_those_of_all_ranks_data():
    generator = torch.Generator().manual_seed(0)
    x = 3.0 + torch.randn(2, 50, 3, generator=generator) * torch.tensor([1.0, 10.0, 0.1])
    x[1] += 1.0
    weight = (torch.rand(2, 50, generator=generator) < 0.7).float()
    first, second = on_ranks(ranks.pooled_moments, x, weight)
    alone = RunningNormalizer(3)
    for rows in (x, x.square()):
        alone.update(rows.flatten(0, 1), weight.flatten(), 0.5)
    np.testing.assert_array_equal(first["moments"], second["moments"])
    np.testing.assert_allclose(first["moments"], torch.cat(alone.moments()), rtol=1e-5)
    np.testing.assert_allclose(first["mean"], weighted_mean(x[..., 0], weight), rtol=1e-6)
    advantage = normalize_advantage(x[..., 0], weight)
    np.testing.assert_allclose([first["advantage"], second["advantage"]], advantage, atol=1e-5)


def test_ranks_gather_each_others_values():
    first, second = on_ranks(ranks.gathered)
    assert first["seed"] == 5 and abs(second["seed"] - 5) > 1000
    assert (first["settings"].seed, second["settings"].seed) == (0, second["seed"] - 5)
    assert second["settings"].num_threads == 3
    for one in (first, second):
        assert (one["weight"] == 0.0).all()
        assert one["objects"] == [{"rank": 0}, {"rank": 1}]
        assert one["rows"]["length"].tolist() == [0, 0, 1]
        assert one["metrics"] == {"both": 0.5, "only 0": 1.0, "only 1": 1.0}


def test_a_nan_on_one_rank_skips_the_step_on_all():
    first, second = on_ranks(ranks.one_bad_gradient)
    assert [skipped for skipped, _ in first] == [skipped for skipped, _ in second] == [0.0, 1.0, 0.0]
    weights = [weight.item() for _, weight in first]
    assert weights == [weight.item() for _, weight in second]
    assert weights[0] == weights[1] != weights[2]


def test_an_update_equals_that_of_one_rank_with_all_envs():
    config = PPOConfig(rollout_steps=16, epochs=3, minibatches=1, learning_rate=1e-4, desired_kl=0.01)
    first, second = on_ranks(ranks.one_update, config)
    assert_equal(first["policy"], second["policy"])
    assert first["rate"] == second["rate"] != config.learning_rate
    assert not np.array_equal(first["data"]["action"], second["data"]["action"])
    env, alone = make_learner(config, SINGLE_PROCESS)
    alone.algorithm.begin(env, 0, 0.0, alone.generator)
    policy, buffer = alone.algorithm.policy, alone.buffer
    before = {key: x.clone() for key, x in policy.state_dict().items()}
    both = {part: {k: torch.cat([torch.from_numpy(one[part][k]) for one in (first, second)], 1) for k in first[part]}
            for part in ("obs", "data")}  # fmt: skip
    buffer.obs, buffer.data, buffer.num_envs = both["obs"], both["data"], 16
    metrics = alone.update()
    assert first["rate"] == pytest.approx(metrics["learning_rate"], rel=1e-6)
    for key, x in policy.state_dict().items():
        np.testing.assert_allclose(first["policy"][key], x, rtol=1e-4, atol=2e-6, err_msg=key)
    assert max((x - before[key]).abs().max() for key, x in policy.actor.state_dict(prefix="actor.").items()) > 1e-4


def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path: Path):
    whole = on_ranks(ranks.train, str(tmp_path / "whole"), max_iterations=4)
    on_ranks(ranks.train, str(tmp_path / "parts"), max_iterations=2)
    parts = on_ranks(ranks.train, str(tmp_path / "parts"), max_iterations=4)
    for a, b in zip(whole, parts, strict=True):
        assert_equal(a["policy"], b["policy"])
        np.testing.assert_array_equal(a["phase"], b["phase"])
    first, second = whole
    assert_equal(first["policy"], second["policy"])
    np.testing.assert_array_equal(first["failures"], second["failures"])
    assert first["failures"][1] > 0.0 and not np.array_equal(first["phase"], second["phase"])
    assert first["samples"] == second["samples"] == 4 * 2 * 8 * LOOP.rollout_steps
    saved = load(tmp_path / "whole" / "a" / "last.ckpt")
    assert len(saved.training["ranks"]) == 2 and "optimizer" in saved.training
    rows = [json.loads(line) for line in (tmp_path / "whole" / "a" / "metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [0, 1, 2, 3]


def test_another_number_of_ranks_is_refused(tmp_path: Path):
    two, one = tmp_path / "two", tmp_path / "one"
    on_ranks(ranks.train, str(two), max_iterations=1)
    before = snapshot(two)
    with pytest.raises(UserError, match=r"last.ckpt is of a run on 2 ranks, not 1. Start 2 ranks, or begin anew"):
        ranks.train(SINGLE_PROCESS, str(two), max_iterations=2)
    assert snapshot(two) == before
    ranks.train(SINGLE_PROCESS, str(one), max_iterations=1)
    errors = on_ranks(ranks.train, str(one), max_iterations=2)
    assert all("is of a run on 1 rank, not 2. Start 1 rank, or" in str(error) for error in errors)
    ranks.train(SINGLE_PROCESS, str(tmp_path / "anew"), max_iterations=1, checkpoint=str(two / "a" / "last.ckpt"))


def test_ctrl_c_on_one_rank_stops_all_after_the_same_iteration(tmp_path: Path):
    for rank in (0, 1):
        folder = tmp_path / str(rank)
        stopped = on_ranks(ranks.train, str(folder), rank, max_iterations=50)
        assert [(one["iteration"], one["interrupted"], one["finished"]) for one in stopped] == [(2, True, False)] * 2
        assert load(folder / "a" / "last.ckpt").iteration == 2


def test_the_time_limit_ends_all_ranks_at_the_same_iteration(tmp_path: Path):
    first, second = on_ranks(ranks.train, str(tmp_path), None, 0.02, max_time=0.5)
    assert first["iteration"] == second["iteration"] > 1
    assert first["finished"] and second["finished"] and first["seconds"] == second["seconds"] >= 0.5
    assert_equal(first["policy"], second["policy"])


def test_masked_mimic_has_the_same_weights_on_both(tmp_path: Path):
    first, second = on_ranks(ranks.train_masked_mimic, str(tmp_path))
    assert_equal(first["policy"], second["policy"])


TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
SRUN = {"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1"}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, Launch()),
        (TORCHRUN, Launch(5, 8, 1, 4, "torchrun")),
        (TORCHRUN | {"WORLD_SIZE": "1", "RANK": "0"}, Launch()),
        (SRUN | {"SLURM_NTASKS_PER_NODE": "4"}, Launch(5, 8, 1, 4, "slurm")),
        (SRUN, Launch(5, 8, 1, 0, "slurm")),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, Launch()),  # the batch script itself
    ],
)
def test_the_launcher_is_recognised_by_its_variables(monkeypatch, variables, expected):
    for name in {*TORCHRUN, *SRUN, "SLURM_NTASKS_PER_NODE"}:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launch() == expected


@pytest.mark.parametrize(
    ("variables", "device", "message"),
    [
        (SRUN, "cpu", "Give sbatch --ntasks-per-node"),
        (TORCHRUN, "cuda:1", "Take run.device=cuda"),
        (TORCHRUN, "cuda", "4 ranks on a machine, of whose GPUs each sees 2"),
    ],
)
def test_a_launch_that_does_not_fit_the_machine_is_refused(monkeypatch, variables, device, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        ProcessGroup.join(device)
