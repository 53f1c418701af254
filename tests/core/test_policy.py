"""The actor-critic: densities by hand, its tokens, and starting from another policy."""

from math import exp, log, pi

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from toy_env import COMMANDS, H, J, K, P, ToyEnv

from protege.core.env import Obs
from protege.core.errors import UserError
from protege.core.learning.policy import ActorCritic, Critic, ModelConfig, kl_divergence, log_prob
from protege.core.learning.tokens import Tokenizer
from protege.core.robots.servos import Servos

SMALL = {
    "latent_dim": 16,
    "ff_size": 32,
    "num_layers": 2,
    "num_heads": 2,
    "mlp_units": [16],
    "critic_units": [16],
}
EVERYTHING = ["proprioception", "history", "path", "goal", "steering", "poses", "masked_poses"]
LEAD = torch.tensor([0.1, 0.2, 0.3])  # s


def servos(env: ToyEnv) -> Servos:
    ones = torch.ones(J)
    return Servos(ones, ones, env.default, damping_time=LEAD, log_std=-2.9 * ones)


def make_policy(env: ToyEnv, **changes) -> ActorCritic:
    config = ModelConfig(**{**SMALL, **changes})
    return ActorCritic(env.obs_shapes, servos(env), config)


def wild_policy(env: ToyEnv, **changes) -> ActorCritic:
    """A policy with weights large enough that every input has an effect."""
    policy = make_policy(env, **changes)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.normal_(0.0, 0.4)
    return policy


def observe(num_envs: int = 8, seed: int = 0) -> tuple[ToyEnv, Obs]:
    """An env whose second half has masked poses and commands."""
    env = ToyEnv(num_envs, seed)
    return env, env.reset()


def outputs(policy: ActorCritic, obs: Obs) -> Tensor:
    mean, _, value = policy(obs)
    return torch.cat([mean, value.unsqueeze(1)], dim=1).detach()


# Densities


def test_log_prob_by_hand():
    # Two joints, off by half a standard deviation and by two.
    action, mean, std = torch.tensor([[1.0, 4.0]]), torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 2.0]])
    expected = -0.5 * 0.25 - 0.5 * 4.0 - 2 * log(2.0) - log(2.0 * pi)
    assert log_prob(action, mean, std).tolist() == pytest.approx([expected])


def test_kl_by_hand():
    # KL(N(0, 1) | N(1, 2²)) = ln 2 + (1 + 1) / (2 · 4) - 1/2, and the same once more
    zero, one = torch.zeros(1, 2), torch.ones(1, 2)
    expected = 2.0 * (log(2.0) + 2.0 / 8.0 - 0.5)
    assert kl_divergence(zero, one, one, 2.0 * one).tolist() == pytest.approx([expected])


numbers = st.lists(st.floats(-3.0, 3.0), min_size=3, max_size=3)


@given(numbers, numbers, numbers, numbers)
def test_densities_agree_with_torch(mean_p, mean_q, log_p, log_q):
    a, b = torch.tensor([mean_p]).double(), torch.tensor([mean_q]).double()
    std_p, std_q = torch.tensor([log_p]).double().exp(), torch.tensor([log_q]).double().exp()
    p, q = torch.distributions.Normal(a, std_p), torch.distributions.Normal(b, std_q)
    kl = torch.distributions.kl_divergence(p, q).sum(-1)
    assert torch.allclose(kl_divergence(a, std_p, b, std_q), kl, rtol=1e-9, atol=1e-9)
    assert torch.allclose(log_prob(b, a, std_p), p.log_prob(b).sum(-1), rtol=1e-9)
    assert (kl_divergence(a, std_p, b, std_q) >= -1e-12).all()
    assert kl_divergence(a, std_p, a, std_p).item() == pytest.approx(0.0, abs=1e-12)


# Tokens


def test_token_sets_have_the_declared_sizes():
    env, obs = observe()
    tokenizer = Tokenizer(env.obs_shapes, EVERYTHING)
    assert tokenizer.sizes == {
        "proprioception": (1, J + 1),
        "history": (H, J + 1),
        "path": (1, P * 2 + 1),
        "goal": (1, J + 1),
        "steering": (1, J + 1),
        "poses": (K, J * 12),
        "masked_poses": (K, J * 13),
    }
    for token, size in tokenizer.sizes.items():
        x, present = tokenizer(obs, token)
        assert x.shape == (8, *size)
        assert present is None or present.shape == (8, size[0])


def test_masked_poses_by_hand():
    env, obs = observe()
    obs["pose_mask"] = torch.tensor([[True, False, True], [False, False, False]]).expand(8, K, J)
    tokenizer = Tokenizer(env.obs_shapes, ["proprioception", "masked_poses"])
    x, present = tokenizer(obs, "masked_poses")
    assert present is not None and present.tolist() == [[True, False]] * 8
    bodies, mask = x[..., : J * 12].unflatten(2, (J, 12)), x[..., J * 12 :]
    assert mask.tolist() == [[[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]] * 8
    # Nothing seen yet: as observed, up to the normaliser's floor.
    assert torch.allclose(bodies[:, 0, [0, 2]], obs["poses"][:, 0, [0, 2]], atol=1e-3)
    assert not bodies[:, 0, 1].any() and not bodies[:, 1].any()


def test_commands_are_normalised_over_commanded_envs():
    env, obs = observe()
    obs["goal"] = torch.arange(8.0).unsqueeze(1).expand(8, J)
    obs["goal_mask"] = torch.tensor([i in (1, 3, 6) for i in range(8)])
    tokenizer = Tokenizer(env.obs_shapes, ["proprioception", "goal"])
    tokenizer.update(obs, torch.tensor([1.0] * 6 + [0.0] * 2))
    goal, body = tokenizer.normalizers["goal"], tokenizer.normalizers["proprioception"]
    assert goal.mean.tolist() == [2.0] * J and goal.var.tolist() == [1.0] * J  # of 1 and 3; world 6 does not count
    assert body.count == 6.0
    x, present = tokenizer(obs, "goal")
    assert present is not None and present.squeeze(1).tolist() == [i in (1, 3, 6) for i in range(8)]
    assert torch.allclose(x[[1, 3], 0, 0], torch.tensor([-1.0, 1.0]), atol=1e-3)
    assert not x[[0, 2, 4, 5, 7]].any() and (x[[1, 3, 6], 0, -1] == 1.0).all()


def test_poses_share_one_scale_over_the_frames():
    env, obs = observe()
    tokenizer = Tokenizer(env.obs_shapes, ["proprioception", "poses", "masked_poses", "history"])
    tokenizer.update(obs)
    assert sorted(tokenizer.normalizers) == ["poses", "proprioception"]
    seen = obs["poses"].flatten(2).flatten(0, 1)
    assert torch.allclose(tokenizer.normalizers["poses"].mean, seen.mean(0), atol=1e-5)
    assert torch.allclose(tokenizer.normalizers["poses"].var, seen.var(0, unbiased=False), atol=1e-5)


def test_obs_keys_are_the_observations_that_the_policy_reads():
    env, _ = observe()
    policy = make_policy(env, tokens=["proprioception", "goal"], critic_inputs=["proprioception", "masked_poses"])
    assert policy.obs_keys == ["proprioception", "goal", "goal_mask", "poses", "pose_mask"]
    assert make_policy(env).obs_keys == ["proprioception", "poses", "reference_joint_pos", "reference_joint_vel"]


@pytest.mark.parametrize("actor", ["transformer", "mlp"])
def test_masked_commands_and_poses_have_no_influence(actor):
    env, obs = observe(num_envs=16)
    inputs = [token for token in EVERYTHING if token != "poses"]
    policy = wild_policy(env, actor=actor, tokens=inputs, critic_inputs=inputs)
    before = outputs(policy, obs)
    hidden = dict(obs)
    hidden["poses"] = torch.where(obs["pose_mask"].unsqueeze(-1), obs["poses"], torch.randn_like(obs["poses"]))
    for name in COMMANDS:
        shown = obs[f"{name}_mask"].view(-1, *[1] * (obs[name].ndim - 1))
        hidden[name] = torch.where(shown, obs[name], torch.randn_like(obs[name]))
    assert not torch.equal(hidden["goal"], obs["goal"])
    assert torch.equal(outputs(policy, hidden), before)


@pytest.mark.parametrize("actor", ["transformer", "mlp"])
def test_visible_commands_and_poses_have_influence(actor):
    env, obs = observe(num_envs=16)
    obs |= {f"{name}_mask": torch.ones(16, dtype=torch.bool) for name in COMMANDS}
    policy = wild_policy(env, actor=actor, tokens=[t for t in EVERYTHING if t != "poses"], critic_inputs=EVERYTHING)
    before = outputs(policy, obs)
    for name in (*COMMANDS, "poses", "history", "proprioception"):
        changed = outputs(policy, {**obs, name: obs[name] + 0.5})
        moved = (changed - before).abs() > 1e-5
        assert moved.all(dim=0).all() if name != "poses" else moved.any(1).all(), name


# The policy


def test_with_reference_residual_an_untrained_policy_targets_the_reference():
    env, obs = observe()
    policy = make_policy(env)
    last = policy.actor[-1][-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([0.1, 0.2, 0.3]))
    mean, std = policy.distribution(obs)
    expected = obs["reference_joint_pos"] - env.default + torch.tensor([0.1, 0.2, 0.3])
    assert torch.allclose(mean, expected + 0.7 * LEAD * obs["reference_joint_vel"], atol=1e-6)
    assert torch.allclose(std, torch.full((8, J), exp(-2.9)))
    for other in ({"reference_residual": False}, {"tokens": ["proprioception", "masked_poses"]}):
        absolute = make_policy(env, **other)
        assert not {"reference_joint_pos", "reference_joint_vel"} & set(absolute.obs_keys)
        assert absolute.distribution({k: obs[k] for k in absolute.obs_keys})[0].abs().max() < 0.2


def test_a_sample_matches_its_distribution():
    env, obs = observe()
    policy = wild_policy(env)
    sample = policy.act(obs, torch.Generator().manual_seed(3))
    mean, std = policy.distribution(obs)
    noise = torch.randn(8, J, generator=torch.Generator().manual_seed(3))
    assert torch.equal(sample.mean, mean) and torch.equal(sample.std, std)
    assert torch.equal(sample.action, mean + std * noise)
    assert torch.equal(sample.log_prob, log_prob(sample.action, mean, std))
    assert torch.allclose(sample.value, policy.value(obs))
    assert not sample.action.requires_grad and not sample.value.requires_grad


def test_the_critic_predicts_in_units_of_its_returns():
    critic = Critic({"body": (1, 2)}, [8])
    returns = torch.tensor([10.0, 20.0, 30.0])
    critic.update(returns)
    sets = {"body": (torch.randn(5, 1, 2), None)}
    assert critic.scale.item() == pytest.approx((200.0 / 3.0 + 1e-4) ** 0.5)
    assert torch.allclose(critic(sets), critic.net(sets).squeeze(-1) * critic.scale + 20.0)
    critic.update(returns)
    assert critic.returns.count == 1.5 + 3.0  # half of the past is forgotten


def test_parameters_are_counted_by_part():
    env, _ = observe()
    policy = make_policy(env)
    total = sum(p.numel() for p in policy.parameters())
    assert policy.num_parameters("actor") + policy.num_parameters("critic") == policy.num_parameters() == total


def test_the_default_actor_has_the_published_size():
    shapes = {
        "proprioception": (220,),
        "poses": (4, 24, 12),
        "reference_joint_pos": (69,),
        "reference_joint_vel": (69,),
    }
    policy = ActorCritic(shapes, Servos.unknown(69), ModelConfig())
    assert policy.num_parameters("actor") > 9_000_000


# Starting from another policy


@pytest.mark.parametrize("actor", ["transformer", "mlp"])
def test_a_policy_with_more_commands_starts_with_the_same_actions(actor):
    env, obs = observe(num_envs=16)
    tracker = wild_policy(env, actor=actor)
    tracker.update_normalizers(obs)
    more = {"tokens": ["proprioception", "poses", "path"]} if actor == "mlp" else {"added_tokens": ["path"]}
    teacher = make_policy(env, actor=actor, critic_inputs=["proprioception", "poses", "path"], log_std=-4.0, **more)
    teacher.load_from(tracker.state_dict())
    assert (teacher.log_std == -4.0).all()  # its own: a setting, not a weight
    assert obs["path_mask"].any()
    assert torch.equal(teacher.distribution(obs)[0], tracker.distribution(obs)[0])
    assert torch.allclose(teacher.value(obs), tracker.value(obs), atol=1e-6)
    # The command can be learned: its last layer has a gradient.
    teacher.distribution(obs)[0].square().sum().backward()
    new = teacher.actor.inputs["path"] if actor == "mlp" else teacher.actor[0].encoders["path"][-1]
    assert new.weight.grad is not None and new.weight.grad.any()


def test_a_policy_that_does_not_fit_is_refused_and_nothing_is_loaded():
    env, _ = observe()
    tracker = wild_policy(env).state_dict()
    for changes in ({"latent_dim": 32}, {"num_layers": 3}, {"tokens": ["proprioception", "poses", "path"]}):
        policy = make_policy(env, **changes)
        before = {name: x.clone() for name, x in policy.state_dict().items()}
        with pytest.raises(UserError, match="does not fit"):
            policy.load_from(tracker)
        assert all(torch.equal(x, before[name]) for name, x in policy.state_dict().items())
    teacher = wild_policy(env, added_tokens=["path"])
    with pytest.raises(UserError, match="does not fit"):
        make_policy(env).load_from(teacher.state_dict())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"actor": "lstm"}, "model.actor"),
        ({"tokens": ["poses", "proprioception"]}, "model.tokens"),
        ({"tokens": ["proprioception", "smell"]}, "'smell'"),
        ({"tokens": []}, "model.tokens"),
        ({"added_tokens": ["history"]}, "model.added_tokens"),
        ({"num_heads": 3}, "model.latent_dim"),
        ({"num_layers": 0}, "num_layers"),
    ],
)
def test_wrong_models_are_refused_by_key(changes, named):
    env, _ = observe()
    with pytest.raises(UserError, match=named):
        make_policy(env, **changes)


def test_an_observation_that_the_environment_lacks_is_named():
    env, _ = observe()
    shapes = {key: shape for key, shape in env.obs_shapes.items() if key != "history"}
    with pytest.raises(UserError, match="history"):
        ActorCritic(shapes, servos(env), ModelConfig(tokens=["proprioception", "history"]))


# Joint errors


def test_joint_errors_are_a_token_of_existing_observations():
    n, joints = 64, 2
    shapes = {"proprioception": (13 + 2 * joints,), "reference_joint_pos": (joints,), "reference_joint_vel": (joints,)}
    random = torch.Generator().manual_seed(0)
    obs = {name: torch.randn(n, *shape, generator=random) for name, shape in shapes.items()}
    tokenizer = Tokenizer(shapes, ["joint_errors"])
    tokenizer.update(obs)
    assert set(tokenizer.obs_keys) == set(shapes) and tokenizer.sizes["joint_errors"] == (1, 2 * joints)
    x, mask = tokenizer(obs, "joint_errors")
    reference = torch.cat([obs["reference_joint_pos"], obs["reference_joint_vel"]], dim=1)
    errors = reference - obs["proprioception"][:, 13:]
    scaled = (errors - errors.mean(0)) / (errors.var(0, unbiased=False) + 1e-4).sqrt()
    assert mask is None and torch.allclose(x.squeeze(1), scaled, atol=1e-5)
    assert tokenizer.noise_shapes(["joint_errors"]) == {"joint_errors": (1, 2 * joints)}
