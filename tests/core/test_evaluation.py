"""Complete episodes, and confidence intervals of their results."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import protege, snapshot
from toy_env import toy_robot

from protege.core.env import Step
from protege.core.errors import UserError
from protege.core.runs.evaluation import (
    evaluation_env,
    mean_interval,
    run_episodes,
    summarize,
    wilson_interval,
)
from protege.core.runs.load_policy import load_policy


class ScriptedEnv:
    """Envs with predetermined episode lengths; episodes of length 2 fail.

    Args:
        lengths: of each env's episodes, the last one again and again.
    """

    def __init__(self, lengths: list[list[int]]) -> None:
        self.lengths, self.num_envs, self.device = lengths, len(lengths), torch.device("cpu")
        self.num_actions, self.robot, self.steps = 1, toy_robot(), 0

    def reset(self) -> dict[str, torch.Tensor]:
        self.episode, self.age = [0] * self.num_envs, [0] * self.num_envs
        return self._observe()

    def step(self, action: torch.Tensor) -> Step:
        assert torch.equal(action, 2.0 * self._observe()["age"])
        self.steps += 1
        self.age = [age + 1 for age in self.age]
        wanted = [mine[min(number, len(mine) - 1)] for mine, number in zip(self.lengths, self.episode, strict=True)]
        lengths, number = torch.tensor(self.age), torch.tensor(self.episode)
        ended = lengths == torch.tensor(wanted)
        failed = ended & (lengths == 2)
        episodes = {"length": lengths, "number": number, "failed": failed, "err/mean": lengths.float() / 10.0}
        self.age = torch.where(ended, 0, lengths).tolist()
        self.episode = (number + ended).tolist()
        obs, none = self._observe(), torch.zeros_like(ended)
        return Step(obs, none.float(), failed, ended & ~failed, obs, episodes, none)

    def _observe(self) -> dict[str, torch.Tensor]:
        return {"age": torch.tensor(self.age).unsqueeze(1).float()}


def double(obs):
    return 2.0 * obs["age"]


def test_every_env_contributes_equally_many_first_episodes():
    env = ScriptedEnv([[2], [10, 2, 2, 7], [5]])
    rows = run_episodes(env, double, 5)  # 2 from each of 3 envs
    assert rows["env_id"].tolist() == [0, 0, 1, 1, 2, 2]
    assert rows["length"].tolist() == [2, 2, 10, 2, 5, 5]
    assert rows["number"].tolist() == [0, 1, 0, 1, 0, 1]
    assert env.steps == 12  # no more than the slowest env needs


def test_short_failures_are_not_overrepresented():
    """Half of the episodes fail in 2 steps, half succeed in 20: the first 12 to end are nearly all failures."""
    env = ScriptedEnv([[2], [20]] * 6)
    rows = run_episodes(env, double, 12)
    assert summarize(rows, "err/mean").success == 0.5


@given(
    lengths=st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=4), min_size=1, max_size=5), n=st.integers(1, 12)
)
def test_at_least_the_requested_number_of_episodes_is_run(lengths, n):
    rows = run_episodes(ScriptedEnv(lengths), double, n)
    each = math.ceil(n / len(lengths))
    assert rows["env_id"].tolist() == [world for world in range(len(lengths)) for _ in range(each)]
    assert rows["length"].tolist() == [mine[min(k, len(mine) - 1)] for mine in lengths for k in range(each)]


def test_episodes_are_run_without_gradients():
    weight = torch.ones((), requires_grad=True)
    acted = []

    def act(obs):
        acted.append(weight * double(obs))
        return acted[-1]

    run_episodes(ScriptedEnv([[2], [3]]), act, 2)
    assert acted and not any(action.requires_grad for action in acted)


def test_the_wilson_interval_by_hand():
    # 8 of 10: z² = 3.841459, centre (0.8 + 0.192073) / 1.384146, half width 1.959964 sqrt(0.016 + 0.009604) / 1.384146
    assert wilson_interval(8, 10) == pytest.approx((0.490162, 0.943318), abs=1e-6)
    low, high = wilson_interval(0, 20)
    assert (low, high) == pytest.approx((0.0, 3.841459 / 23.841459), abs=1e-6)
    assert wilson_interval(20, 20) == pytest.approx((20.0 / 23.841459, 1.0), abs=1e-6)
    assert all(math.isnan(x) for x in wilson_interval(0, 0))


@given(count=st.integers(1, 500), share=st.floats(0.0, 1.0))
def test_the_wilson_interval_solves_its_equation(count, share):
    """At its ends the true proportion p is 1.96 standard errors of p away from the measured one."""
    successes = round(share * count)
    for p in wilson_interval(successes, count):
        assert 0.0 <= p <= 1.0
        left = (successes / count - p) ** 2
        assert left == pytest.approx(1.959963984540054**2 * p * (1.0 - p) / count, abs=1e-9)


def test_the_normal_interval_by_hand():
    # mean 2.5, sample deviation sqrt(5/3), over sqrt(4)
    half = 1.959963984540054 * math.sqrt(5.0 / 3.0) / 2.0
    assert mean_interval(torch.tensor([1.0, 2.0, 3.0, 4.0])) == pytest.approx((2.5 - half, 2.5 + half))
    assert all(math.isnan(x) for x in mean_interval(torch.tensor([1.0])))


def test_a_summary_ignores_unmeasured_errors():
    nan = math.nan
    rows = {"failed": torch.tensor([False, True, False, False]), "err/mean": torch.tensor([0.1, nan, 0.3, nan])}
    summary = summarize(rows, "err/mean")
    assert (summary.episodes, summary.success) == (4, 0.75)
    assert summary.success_ci == wilson_interval(3, 4)
    assert summary.error == pytest.approx(0.2)
    assert summary.error_ci == pytest.approx(mean_interval(torch.tensor([0.1, 0.3])))
    assert summary.to_dict()["success_ci"] == list(summary.success_ci)
    nothing = summarize({"failed": torch.tensor([True]), "err/mean": torch.tensor([nan])}, "err/mean")
    assert math.isnan(nothing.error)
    assert nothing.success == 0.0


# On the real robot -------------------------------------------------------------------------------------------------------


def test_an_untrained_tracker_is_evaluated_by_the_published_rule(tiny_tracker):
    loaded = load_policy(tiny_tracker)

    def played():
        env = evaluation_env(loaded, "track", num_envs=4, seed=0)
        rows = run_episodes(env, lambda obs: loaded.policy.distribution(obs)[0], 6)
        env.close()
        return rows

    rows = played()
    assert rows["env_id"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    # Failed episodes, and no others, had a mean error of 0.5 m at the last step.
    assert torch.equal(rows["failed"], rows["cartesian_err/last"] > 0.5)
    assert summarize(rows, "cartesian_err/mean") == summarize(played(), "cartesian_err/mean")


def test_an_environment_of_another_shape_is_refused(tiny_tracker):
    loaded = load_policy(tiny_tracker)
    with pytest.raises(UserError, match=r"learned with history of shape \(2, 220\), here it is \(5, 220\)"):
        evaluation_env(loaded, "track", num_envs=2, seed=0, overrides={"history_steps": 5})
    with pytest.raises(UserError, match=r"drives the robot smpl, not g1\. Take --robot smpl"):
        evaluation_env(loaded, "track", num_envs=2, seed=0, robot="g1")


def test_the_command_evaluates(tiny_tracker, tmp_path):
    before = snapshot(tiny_tracker)
    options = ("--checkpoint", tiny_tracker, "--num-episodes", 4, "--num-envs", 4, "--seed", 3)
    change = "env.track.termination_distance=0.25"
    result = protege("evaluate", *options, "--output", tmp_path / "evaluation", change)
    assert result.exit_code == 0, result.output
    data = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())
    assert (data["kind"], data["seed"], data["overrides"]) == ("tracker", 3, [change])
    [(task, played)] = data["tasks"].items()
    assert (task, played["episodes"]) == ("track", 4)
    assert f"{played['success']:.1%}" in result.stdout
    assert f"{played['error']:.3f} m" in result.stdout
    assert snapshot(tiny_tracker) == before
