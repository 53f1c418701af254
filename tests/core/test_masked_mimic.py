"""MaskedMimic: losses by hand, inputs of its networks, and learning from an expert on the toy robot."""

from math import isfinite, log

import pytest
import torch
from toy_env import BestExpert, J, NanEnv, ToyEnv

from protege.core.env import Obs
from protege.core.learning.imitation import Imitation, imitation_loss, kl_coefficient, latent_kl
from protege.core.learning.learner import Learner
from protege.core.learning.masked_mimic import MaskedMimic, MaskedMimicConfig, sample_latent
from protege.core.learning.rollout import RolloutBuffer
from protege.core.robots.servos import Servos

SMALL = {"latent_dim": 16, "ff_size": 32, "num_layers": 1, "num_heads": 2, "latent_size": 4,
         **{f"{part}_units": [32] for part in ("prior", "encoder", "decoder", "critic")},
         "rollout_steps": 8, "epochs": 2, "minibatches": 2}  # fmt: skip


class AllShown(ToyEnv):
    def _observe(self) -> Obs:
        return super()._observe() | {"pose_mask": torch.ones_like(self.state["pose_mask"])}


def make_policy(env: ToyEnv, **changes) -> MaskedMimic:
    return MaskedMimic(env.obs_shapes, Servos.unknown(J), MaskedMimicConfig(**{**SMALL, **changes}))


def wild_policy(**changes) -> tuple[MaskedMimic, Obs]:
    """A policy with weights large enough that every input has an effect, and 16 envs, half of them with masked poses."""
    env = ToyEnv(16)
    policy = make_policy(env, **changes)
    for parameter in policy.parameters():
        parameter.data.normal_(0.0, 0.3)
    return policy, env.reset()


def make_learner(env: ToyEnv, **changes) -> Learner:
    config = MaskedMimicConfig(**{**SMALL, **changes})
    return Learner(Imitation(make_policy(env, **changes), BestExpert(), config), env.reset())


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


# Losses


def test_imitation_loss_by_hand():
    mean = torch.tensor([[1.0, 2.0], [0.0, 0.0], [0.0, 0.0]])
    expert = torch.tensor([[0.0, 0.0], [3.0, 0.0], [torch.nan, 9.0]])
    # Rows: (1 + 4) / 2 = 2.5, 9 / 2 = 4.5, and one that does not count.
    assert imitation_loss(mean[:2], expert[:2]).item() == pytest.approx(3.5)
    assert imitation_loss(mean, expert, torch.tensor([1.0, 1.0, 0.0])).item() == pytest.approx(3.5)
    assert imitation_loss(mean, expert, torch.tensor([0.0, 1.0, 0.0])).item() == pytest.approx(4.5)
    assert imitation_loss(mean, expert, torch.zeros(3)).item() == 0.0


def test_latent_kl_by_hand():
    # KL(N(m, s²) | N(0, 1)) = (s² + m² - 1) / 2 - ln s.
    # Row 0, m = (1, 2), s = 1: 1/2 + 2 = 2.5. Row 1, m = 0, s² = (4, 1): 3/2 - ln 2 + 0. Row 2 does not count.
    mean = torch.tensor([[1.0, 2.0], [0.0, 0.0], [torch.nan, 5.0]])
    log_var = torch.tensor([[0.0, 0.0], [log(4.0), 0.0], [0.0, 0.0]])
    prior = (torch.zeros(3, 2), torch.zeros(3, 2))
    rows, only = (2.5, 1.5 - log(2.0)), torch.tensor([0.0, 1.0, 0.0])
    assert latent_kl((mean, log_var), prior, torch.tensor([1.0, 1.0, 0.0])).item() == pytest.approx(sum(rows) / 2)
    assert latent_kl((mean, log_var), prior, only).item() == pytest.approx(rows[1])
    # The other way round it is another number: KL(N(0, 1) | N(0, 4)) = (1/4 - 1) / 2 + ln 2, for row 1.
    assert latent_kl(prior, (mean, log_var), only).item() == pytest.approx(log(2.0) - 0.375)


def test_ignored_rows_have_no_gradient():
    mean = torch.ones(2, J, requires_grad=True)
    imitation_loss(mean, torch.tensor([[0.0] * J, [1e6] * J]), torch.tensor([1.0, 0.0])).backward()
    # Of the mean of x² over three joints, at 1.
    assert mean.grad is not None and torch.allclose(mean.grad, torch.tensor([[2.0 / 3.0] * J, [0.0] * J]))


def test_the_kl_coefficient_rises_linearly():
    config = MaskedMimicConfig(kl_start=0.1, kl_end=0.5, kl_ramp=100)
    assert [kl_coefficient(i, config) for i in (0, 25, 50, 100, 10**6)] == pytest.approx([0.1, 0.2, 0.3, 0.5, 0.5])


def test_a_sampled_latent_has_the_given_moments():
    mean, log_var = torch.tensor([1.0, -2.0]), torch.tensor([log(0.25), log(4.0)])
    z = sample_latent(mean.expand(100_000, 2), log_var.expand(100_000, 2), generator())
    # The standard error of the wider one's mean is 2 / sqrt(100 000) = 0.006.
    assert torch.allclose(z.mean(0), mean, atol=0.03)
    assert torch.allclose(z.std(0), torch.tensor([0.5, 2.0]), rtol=0.02)


def test_a_sampled_latent_is_differentiable():
    mean = torch.zeros(5, 2, requires_grad=True)
    log_var = torch.full((5, 2), log(4.0)).requires_grad_()
    noise = torch.randn(5, 2, generator=generator())
    sample_latent(mean, log_var, generator()).sum().backward()
    # z = m + exp(l / 2) e: dz/dm = 1, dz/dl = exp(l / 2) e / 2 = e here
    assert mean.grad is not None and torch.equal(mean.grad, torch.ones(5, 2))
    assert log_var.grad is not None and torch.allclose(log_var.grad, noise)


# Inputs


def test_only_the_encoder_and_the_critic_see_hidden_poses():
    policy, obs = wild_policy()
    other = obs | {"poses": torch.where(obs["pose_mask"][..., None], obs["poses"], torch.randn(obs["poses"].shape))}
    hidden = ~obs["pose_mask"].all(-1).all(-1)
    assert all(map(torch.equal, policy.prior(obs), policy.prior(other)))
    assert torch.equal(policy.distribution(obs)[0], policy.distribution(other)[0])
    moved = (policy.encoder(obs)[0] - policy.encoder(other)[0]).abs().sum(-1) > 1e-5
    assert hidden.any() and torch.equal(moved, hidden)
    assert torch.equal((policy.value(obs) - policy.value(other)).abs() > 1e-5, hidden)


def test_the_prior_sees_everything_else():
    policy, obs = wild_policy()
    for name in ("proprioception", "history", "poses", "pose_mask"):
        changed = {**obs, name: ~obs[name] if name == "pose_mask" else obs[name] + 0.5}
        assert ((policy.prior(changed)[0] - policy.prior(obs)[0]).abs().sum(-1) > 1e-5).all(), name


# Acting


def test_the_distribution_is_the_decoders_at_the_priors_mean():
    policy, obs = wild_policy(action_noise=0.2)
    mean, std = policy.distribution(obs)
    assert torch.equal(mean, policy.decoder(obs, policy.prior(obs)[0]))
    assert torch.allclose(std, torch.full((16, J), 0.2))


def test_privileged_envs_act_with_the_encoders_latent():
    policy, obs = wild_policy()
    privileged = torch.arange(16) % 2 == 0
    (latent, log_var), (delta, log_var_q) = policy.prior(obs), policy.encoder(obs)
    # The same noise in both.
    by_prior = policy.decoder(obs, sample_latent(latent, log_var, generator()))
    by_encoder = policy.decoder(obs, sample_latent(latent + delta, log_var_q, generator()))
    assert ((by_prior - by_encoder).abs().sum(-1) > 1e-4).all()
    sample = policy.act(obs, generator(), privileged)
    assert torch.allclose(sample.mean[privileged], by_encoder[privileged], atol=1e-6)
    assert torch.allclose(sample.mean[~privileged], by_prior[~privileged], atol=1e-6)
    assert torch.equal(policy.act(obs, generator()).mean, by_prior)


def test_the_actors_parameters_are_the_deployed_ones():
    policy = make_policy(ToyEnv(2))
    parts = {name: sum(p.numel() for p in module.parameters()) for name, module in policy.named_children()}
    assert policy.num_parameters("actor") == parts["prior_net"] + parts["decoder_net"]
    assert policy.num_parameters("critic") == parts["critic"]
    assert policy.num_parameters() == sum(parts.values()) and parts["encoder_net"] > 0


def test_a_saved_policy_acts_the_same():
    policy, obs = wild_policy(action_noise=0.3)
    policy.update_normalizers(obs)
    again = make_policy(ToyEnv(2))
    again.load_state_dict(policy.state_dict())
    for privileged in (None, torch.ones(16, dtype=torch.bool)):
        a, b = policy.act(obs, generator(), privileged), again.act(obs, generator(), privileged)
        assert torch.equal(a.action, b.action) and torch.equal(a.value, b.value)


# Training


def filled(learner: Learner, env: ToyEnv, iteration: int) -> RolloutBuffer:
    learner.obs = env.reset()
    learner.collect(env, iteration, 0.0)
    return learner.buffer


def expert_share(iteration: int) -> float:
    env = ToyEnv(400)
    learner = make_learner(env, expert_iterations=4, action_noise=1e-5, rollout_steps=3)
    data = filled(learner, env, iteration).data
    near = ((data["action"] - data["expert_mean"]).abs() < 1e-3).all(-1)  # an untrained policy's action is near zero
    assert torch.equal(near.all(0), near.any(0))  # throughout the rollout
    return near[0].float().mean().item()


def test_the_expert_acts_in_a_decreasing_share_of_the_envs():
    shares = [expert_share(iteration) for iteration in (0, 1, 2, 3, 4, 9)]
    # 400 envs: a standard error of 0.025 at most.
    assert shares == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0, 0.0], abs=0.1)


def test_labels_are_the_experts_in_all_envs():
    env = ToyEnv(32)
    learner = make_learner(env, expert_iterations=2)
    seen: list[Obs] = []
    learner.algorithm.expert = lambda obs: seen.append(obs) or BestExpert()(obs)
    buffer = filled(learner, env, 1)
    for t, obs in enumerate(seen):
        mean, _, value = BestExpert()(obs)
        assert torch.equal(buffer.obs["proprioception"][t], obs["proprioception"])
        assert torch.equal(buffer.data["expert_mean"][t], mean) and torch.equal(buffer.data["expert_value"][t], value)
    assert len(seen) == 8


def train(env: ToyEnv, **changes) -> list[dict[str, float]]:
    """Metrics of 40 iterations."""
    fast = {"learning_rate": 2e-3, "epochs": 3, "minibatches": 4, "expert_iterations": 10, **changes}
    learner, rows = make_learner(env, **fast), []
    for iteration in range(40):
        learner.collect(env, iteration, 0.0)
        rows.append(learner.update())
    return rows


def test_it_learns_the_experts_actions():
    rows = train(AllShown(64), kl_ramp=30)
    for name in ("actor/imitation_loss", "actor/prior_imitation_loss"):
        assert rows[-1][name] < rows[0][name] / 5.0, name
    assert [rows[i]["actor/kl_coefficient"] for i in (0, 15, 30, 39)] == pytest.approx([1e-4, 5.5e-4, 1e-3, 1e-3])
    assert not any(row["agent/skipped_updates"] for row in rows)


def test_with_masked_poses_the_encoder_imitates_better_than_the_prior():
    rows = train(ToyEnv(64))
    assert rows[-1]["actor/imitation_loss"] < rows[0]["actor/imitation_loss"] / 5.0
    assert 2.0 * rows[-1]["actor/imitation_loss"] < rows[-1]["actor/prior_imitation_loss"]


def test_an_env_with_failed_physics_does_not_affect_the_loss():
    env = ToyEnv(16, broken=[2, 9])
    learner = make_learner(env)
    buffer = filled(learner, env, 0)
    assert buffer.data["reward"].isfinite().all() and buffer.weight[:, [2, 9]].sum() == 0.0
    # Nor do its labels, with the same noise and order of rows.
    both = []
    for label in (0.0, 1e6):
        buffer.data["expert_mean"][:, [2, 9]] = buffer.data["expert_value"][:, [2, 9]] = label
        torch.manual_seed(0)
        learner = make_learner(ToyEnv(16))
        learner.algorithm.begin(env, 0, 0.0, torch.Generator())
        learner.buffer = buffer
        both.append((learner.update(), learner.algorithm.policy.state_dict()))
    (metrics, state), (again, same) = both
    assert metrics == again and metrics["agent/skipped_updates"] == 0.0
    assert all(x.isfinite().all() and torch.equal(x, same[name]) for name, x in state.items())
    assert state["tokenizer.normalizers.proprioception.count"] == 16 + 8 * 14  # the first observation, the rollout
    assert state["critic.returns.mean"].item() == pytest.approx(1.0 / 0.03, rel=1e-5)


def test_an_env_that_observes_nan_does_not_affect_the_gradient():
    env = NanEnv(16, broken=[2, 9])
    learner = make_learner(env)
    buffer = filled(learner, env, 0)
    assert buffer.data["expert_mean"][1:, [2, 9]].isnan().all()
    metrics = learner.update()
    assert metrics["agent/skipped_updates"] == 0.0
    assert all(isfinite(value) for value in metrics.values())
    assert all(x.isfinite().all() for x in learner.algorithm.policy.state_dict().values())
