"""Advantages by hand, the buffer, and the loop that fills it on the toy robot."""

import pytest
import torch
from toy_env import EPISODE, J, NanEnv, ToyEnv

from protege.core.learning.policy import PolicySample, log_prob
from protege.core.learning.rollout import RolloutBuffer, collect, discount, episode_metrics, gae


def column(*values: float) -> torch.Tensor:
    """(T, 1)."""
    return torch.tensor(values, dtype=torch.float32).unsqueeze(1)


def flags(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.bool).unsqueeze(1)


NONE = flags(0, 0, 0)


def test_the_discount_per_second_is_the_same_at_every_control_rate():
    assert discount(None, 1.0 / 30.0) == 0.97
    assert discount(None, 0.02) == pytest.approx(0.98189, abs=1e-5)
    assert discount(None, 0.02) ** 50 == pytest.approx(0.97**30)
    assert discount(0.9, 0.02) == 0.9


def test_gae_by_hand():
    # gamma 0.5, lambda 0.5: delta = r + 0.5 v' - v = (1 + 1 - 1, 2 + 2 - 2, 3 + 4 - 4) = (1, 2, 3)
    # A2 = 3, A1 = 2 + 0.25 * 3 = 2.75, A0 = 1 + 0.25 * 2.75 = 1.6875
    reward, value, next_value = column(1, 2, 3), column(1, 2, 4), column(2, 4, 8)
    advantage, returns = gae(reward, value, next_value, NONE, NONE, NONE, 0.5, 0.5)
    assert advantage.squeeze(1).tolist() == [1.6875, 2.75, 3.0]
    assert returns.squeeze(1).tolist() == [2.6875, 4.75, 7.0]


def test_no_value_is_bootstrapped_after_a_failure():
    # delta1 = 2 - 2 = 0: the next value is not counted, nor is what the next episode brings.
    reward, value, next_value = column(1, 2, 3), column(1, 2, 4), column(2, 99, 8)
    failed = flags(0, 1, 0)
    advantage, _ = gae(reward, value, next_value, failed, failed, NONE, 0.5, 0.5)
    assert advantage.squeeze(1).tolist() == [1.0, 0.0, 3.0]


def test_a_time_out_bootstraps_from_the_true_next_value_only():
    # delta1 = 2 + 0.5 * 6 - 2 = 3, A0 = 1 + 0.25 * 3
    reward, value, next_value = column(1, 2, 3), column(1, 2, 4), column(2, 6, 8)
    cut = flags(0, 1, 0)
    advantage, _ = gae(reward, value, next_value, NONE, cut, NONE, 0.5, 0.5)
    assert advantage.squeeze(1).tolist() == [1.75, 3.0, 3.0]


def test_an_invalid_transition_has_no_advantage_and_ends_the_sum():
    reward, value, next_value = column(1, torch.nan, 3), column(1, 2, 4), column(2, 6, 8)
    invalid = flags(0, 1, 0)
    advantage, _ = gae(reward.nan_to_num(), value, next_value, invalid, invalid, invalid, 0.5, 0.5)
    assert advantage.squeeze(1).tolist() == [1.0, 0.0, 3.0]


def test_lambda_one_gives_discounted_returns_and_lambda_zero_the_td_error():
    torch.manual_seed(0)
    reward, value = torch.rand(6, 3), torch.rand(6, 3)
    next_value = torch.cat([value[1:], torch.rand(1, 3)])
    none = torch.zeros(6, 3, dtype=torch.bool)
    _, returns = gae(reward, value, next_value, none, none, none, 0.9, 1.0)
    expected = next_value[-1]
    for t in reversed(range(6)):
        expected = reward[t] + 0.9 * expected
        torch.testing.assert_close(returns[t], expected)
    advantage, _ = gae(reward, value, next_value, none, none, none, 0.9, 0.0)
    torch.testing.assert_close(advantage, reward + 0.9 * next_value - value)


# The loop ----------------------------------------------------------------------------------------------------------------


class Constant:
    """Acts at the default pose; its value identifies the state."""

    def act(self, obs, generator):
        mean = torch.zeros(len(obs["goal"]), J)
        std = torch.full_like(mean, 0.1)
        noise = torch.randn(mean.shape, generator=generator)
        action = mean + std * noise
        return PolicySample(action, log_prob(action, mean, std), mean, std, self.value(obs)), {}

    def value(self, obs) -> torch.Tensor:
        return obs["proprioception"].sum(1)


class Twice(Constant):
    """Acts like its label: twice the joint positions."""

    def act(self, obs, generator):
        sample, _ = super().act(obs, generator)
        twice = 2.0 * obs["proprioception"][:, :J]
        return sample.with_action(twice), {"twice": twice}


def rollout(env: ToyEnv, steps: int, actor: Constant | None = None, labels: dict | None = None):
    obs = env.reset()
    buffer = RolloutBuffer(obs, steps, J, labels)
    last, rows = collect(env, actor or Constant(), buffer, obs, torch.Generator().manual_seed(1))
    return buffer, last, rows


def test_the_buffer_holds_observations_and_actions():
    buffer, last, _ = rollout(ToyEnv(4, seed=3), 5)
    again = ToyEnv(4, seed=3)
    obs = again.reset()
    for t in range(5):
        assert torch.equal(buffer.obs["proprioception"][t], obs["proprioception"])
        step = again.step(buffer.data["action"][t])
        assert torch.equal(buffer.data["reward"][t], step.reward)
        obs = step.obs
    assert torch.equal(last["proprioception"], obs["proprioception"])


def test_next_values_belong_to_the_true_next_state():
    buffer, last, rows = rollout(ToyEnv(4, seed=3), EPISODE + 2)
    d, policy = buffer.data, Constant()
    assert d["timed_out"][EPISODE - 1].all() and len(rows["length"]) == 4
    ordinary = ~(d["failed"] | d["timed_out"])
    following = torch.cat([d["value"][1:], policy.value(last).unsqueeze(0)])
    assert torch.equal(d["next_value"][ordinary], following[ordinary])
    # After the reset the robot is elsewhere: the value of the new episode's first state is another one.
    assert (d["next_value"][d["timed_out"]] - following[d["timed_out"]]).abs().min() > 1e-3


def test_rows_are_the_episodes_that_ended():
    _, _, rows = rollout(ToyEnv(4), 2 * EPISODE)
    assert rows["length"].tolist() == [EPISODE] * 8
    assert not rows["failed"].any()
    metrics = episode_metrics(rows, ["track", "masked"])
    assert metrics["episode/length"] == EPISODE and metrics["episode/success"] == metrics["track/success"] == 1.0
    assert metrics["cartesian_err"] == pytest.approx(rows["cartesian_err/mean"].mean().item())
    assert episode_metrics({name: x[:0] for name, x in rows.items()}, ["track"]) == {}


def test_transitions_of_broken_envs_have_no_weight():
    buffer, _, _ = rollout(ToyEnv(4, broken=[1]), 6)
    assert buffer.weight.mean(0).tolist() == [1.0, 0.0, 1.0, 1.0]
    assert buffer.data["reward"].isfinite().all()
    buffer.compute_returns(0.9, 0.9)
    assert (buffer.data["advantage"][:, 1] == 0.0).all() and buffer.data["advantage"].isfinite().all()


def test_labels_are_stored_and_may_determine_the_action():
    buffer, _, _ = rollout(ToyEnv(4), 3, Twice(), {"twice": (J,)})
    d = buffer.data
    assert torch.equal(d["action"], d["twice"])
    assert torch.equal(d["twice"], 2.0 * buffer.obs["proprioception"][..., :J])
    torch.testing.assert_close(d["log_prob"], log_prob(d["action"], d["mean"], d["std"]))


def test_minibatches_are_a_partition():
    buffer, _, _ = rollout(ToyEnv(4), 6)
    buffer.data["reward"].copy_(torch.arange(24.0).view(6, 4))
    parts = list(buffer.minibatches(3, ["reward"], torch.Generator().manual_seed(0)))
    assert [len(data["reward"]) for _, data in parts] == [8, 8, 8]
    seen = torch.cat([data["reward"] for _, data in parts])
    assert sorted(seen.tolist()) == list(range(24)) and seen.tolist() != list(range(24))
    flat = buffer.obs["proprioception"].flatten(0, 1)
    assert all(torch.equal(obs["proprioception"], flat[data["reward"].long()]) for obs, data in parts)


def test_rows_of_broken_envs_are_replaced_by_a_valid_one():
    buffer, _, _ = rollout(NanEnv(4, broken=[0, 2]), 6)
    assert buffer.data["value"][1:, [0, 2]].isnan().all() and buffer.obs["poses"][1:, [0, 2]].isnan().all()
    buffer.data["reward"].copy_(torch.arange(24.0).view(6, 4))
    parts = list(buffer.minibatches(3, ["action", "mean", "value", "reward"], torch.Generator().manual_seed(0)))
    for obs, data in parts:
        assert all(x.isfinite().all() for x in [*obs.values(), *data.values()])
    reward, weight = (torch.cat([data[key] for _, data in parts]) for key in ("reward", "weight"))
    assert reward[weight == 0.0].tolist() == [1.0] * 12  # the first step of world 1
    assert sorted(reward[weight == 1.0].tolist()) == [i for i in range(24) if i % 2]


def test_the_step_before_an_env_breaks_has_a_finite_return():
    class BreaksLater(NanEnv):
        def step(self, action):
            self.broken[1] = len(steps) >= 2  # observed as NaN, although the step to it was valid
            steps.append(super().step(action))
            steps[-1].invalid[1] = len(steps) > 3
            return steps[-1]

    steps = []
    buffer, _, _ = rollout(BreaksLater(4), 5)
    buffer.data["reward"].nan_to_num_()
    assert buffer.data["value"][3:, 1].isnan().all() and buffer.weight[:, 1].tolist() == [1.0, 1.0, 1.0, 0.0, 0.0]
    buffer.compute_returns(0.9, 0.9)
    assert buffer.data["return"][buffer.weight > 0].isfinite().all()
