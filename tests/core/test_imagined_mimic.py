"""MaskedMimic in imagined episodes: prior and posterior, KL penalty and gradients, by hand and by finite differences."""

import pytest
import torch
from small_robots import LIGHT, robot_of
from torch.distributions import Normal, kl_divergence

from protege.core import observations
from protege.core.env import Obs
from protege.core.learning.masked_mimic import MaskedMimic, VariationalConfig
from protege.core.learning.networks import RunningNormalizer
from protege.core.learning.world_model import coordinates, imagination
from protege.core.learning.world_model.dynamics import WorldModel
from protege.core.learning.world_model.masked_mimic import ImaginedMimicConfig
from protege.core.robots.robot import Body, Joint
from protege.core.robots.servos import Servos
from protege.core.robots.state import RobotState

M, H, K, J, B, LATENT = 8, 2, 2, 3, 4, 4
SMALL = {"latent_dim": 8, "ff_size": 8, "num_layers": 1, "num_heads": 2, "latent_size": LATENT, "action_noise": 0.3,
         **{f"{part}_units": [8] for part in ("prior", "encoder", "decoder", "critic")}}  # fmt: skip
BODIES = tuple(Body(f"b{i}", f"b{i - 1}" if i else None, (0.0, 0.1, 0.2), LIGHT) for i in range(B))
JOINTS = tuple(Joint(f"j{i}", f"b{i + 1}", (1.0, 0.0, 0.0), (-1.0, 1.0), 1.0, 0.02, 1.0) for i in range(J))
ROBOT = robot_of("chain", BODIES, JOINTS, default_joint_pos=(0.1, 0.2, 0.3))
P = observations.proprioception_size(B, J)
SHAPES = {"proprioception": (P,), "history": (H, P), "poses": (K, B, 12), "pose_mask": (K, B)}
SHAPES |= {"reference_joint_pos": (J,), "reference_joint_vel": (J,)}


@pytest.fixture(autouse=True)
def double(monkeypatch):
    """Run everything in double precision, although networks convert their outputs with `float()`."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


class Envs:
    """M chains that should stay at the reference, in double precision; a third of the poses are masked."""

    def __init__(self) -> None:
        self.task_slices = {"masked": slice(0, M)}
        generator = torch.Generator().manual_seed(1)
        self.wanted = torch.randn(M, K, B, 3, generator=generator).double()
        self.joints = torch.randn(M, J, generator=generator).double()
        self.mask = torch.rand(M, K, B, generator=generator) < 0.6

    def load(self, rows) -> None: ...

    def advance(self, state: RobotState):
        reward = -(state.body_pos_w - self.wanted[:, 0]).square().sum((1, 2)).sqrt()
        never = torch.zeros(M, dtype=torch.bool)
        return reward, never, never

    def observe(self, state: RobotState, last_action: None = None) -> Obs:
        turned = state.root_quat_w[:, None, None].expand(M, K, B, 4)
        return {
            "proprioception": observations.proprioception(state),
            "poses": observations.poses(state, self.wanted, turned),
            "pose_mask": self.mask,
            "reference_joint_pos": self.joints,
            "reference_joint_vel": torch.zeros_like(self.joints),
        }


def wild(module: torch.nn.Module, std: float = 0.3) -> None:
    """Set weights large enough that every input has an effect."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data.normal_(0.0, std, generator=generator)


def make_policy(**changes) -> MaskedMimic:
    policy = MaskedMimic(SHAPES, Servos.of(ROBOT), VariationalConfig(**{**SMALL, **changes}))
    wild(policy)
    return policy.double()


def seen() -> Obs:
    generator = torch.Generator().manual_seed(2)
    state = coordinates.full_state(WorldModel(ROBOT, [8]).double().kinematics, states(generator))
    history = torch.randn(M, H, P, generator=generator).double()
    return {**Envs().observe(state), "history": history}


def states(generator: torch.Generator) -> torch.Tensor:
    x = torch.randn(M, coordinates.size(J), generator=generator).double()
    x[:, 3:7] /= x[:, 3:7].norm(dim=1, keepdim=True)
    return x


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def numbers(policy: MaskedMimic) -> dict[str, torch.Tensor]:
    """Standard normal numbers for an imagined step, each kind from the same seed."""
    shapes = policy.noise_shapes.items()
    return {name: torch.randn(M, *shape, generator=draws(), dtype=torch.float64) for name, shape in shapes}


def play(policy: MaskedMimic, kl_weight: float, horizon: int = 3, **changes) -> imagination.Rollout:
    model = WorldModel(ROBOT, [8])
    wild(model.net, 0.1)
    generator = torch.Generator().manual_seed(4)
    start = {"x": states(generator), "past": torch.stack([states(generator) for _ in range(H)])}
    quiet = {"offset_penalty": 0.0, "rate_penalty": 0.0, "observation_noise": 0.0, "critic": False}
    config = ImaginedMimicConfig(**{**quiet, **changes}, horizon=horizon)
    parts = (policy, policy.critic, model.double(), Envs(), start, config)
    return imagination.play(*parts, 0.5, draws(), None, kl_weight)  # pyright: ignore[reportArgumentType]


# Prior and posterior


@pytest.mark.parametrize(
    ("share", "rows"), [(0.0, []), (0.25, [3, 7]), (0.5, [1, 3, 5, 7]), (0.75, [1, 2, 3, 5, 6, 7]), (1.0, range(8))]
)
def test_the_prior_acts_alone_in_an_evenly_spaced_share_of_rows(share, rows):
    assert make_policy(prior_fraction=share).prior_only(8).nonzero().flatten().tolist() == list(rows)


def test_the_prior_acts_as_deployed_and_other_rows_sample_the_posterior():
    policy, obs = make_policy(), seen()
    acted, prior_only = policy.imagine(obs, 0.0, numbers(policy)), policy.prior_only(M)
    assert torch.equal(acted.mean[prior_only], policy.distribution(obs)[0][prior_only])
    (mean, _), (delta, log_var) = policy.prior(obs), policy.encoder(obs)
    z = mean + delta + (0.5 * log_var).exp() * torch.randn(mean.shape, generator=draws(), dtype=mean.dtype)
    torch.testing.assert_close(acted.mean[~prior_only], policy.decoder(obs, z)[~prior_only])
    explored, std = policy.explore(obs, draws())
    assert torch.equal(explored, acted.mean)
    torch.testing.assert_close(std, torch.full_like(std, 0.3))


def test_the_kl_is_reported_only_where_the_posterior_acts():
    policy, obs = make_policy(), seen()
    kl, prior_only = policy.imagine(obs, 0.0, numbers(policy)).latent_kl, policy.prior_only(M)
    (mean, log_var_p), (delta, log_var_q) = policy.prior(obs), policy.encoder(obs)
    posterior = Normal(mean + delta, (0.5 * log_var_q).exp())
    wanted = kl_divergence(posterior, Normal(mean, (0.5 * log_var_p).exp())).sum(-1)
    assert kl is not None and (wanted > 0.1).all()
    torch.testing.assert_close(kl, torch.where(prior_only, 0.0, wanted))


def test_the_offset_is_from_the_reference():
    policy, obs = make_policy(), seen()
    acted = policy.imagine(obs, 0.0, numbers(policy))
    target = ROBOT.default_pose() + ROBOT.action_scale() * acted.mean
    torch.testing.assert_close(acted.offset, target - obs["reference_joint_pos"])


def test_noise_on_the_body_is_the_same_for_prior_and_decoder():
    """Both networks receive the same noisy proprioception, except for the noise of the history."""
    policy, obs = make_policy(prior_fraction=1.0), seen()
    history = policy.prior_net.get_parameter("0.encoders.history.0.weight")
    assert not torch.equal(
        policy.imagine(obs, 0.1, numbers(policy)).mean, policy.imagine(obs, 0.0, numbers(policy)).mean
    )
    history.data.zero_()
    body = policy.tokenizer.normalizers["proprioception"]
    assert isinstance(body, RunningNormalizer)
    off = 0.1 * (body.var + body.EPSILON).sqrt() * torch.randn(M, P, generator=draws(), dtype=torch.float64)
    other = {**obs, "proprioception": obs["proprioception"] + off}
    torch.testing.assert_close(
        policy.imagine(obs, 0.1, numbers(policy)).mean, policy.imagine(other, 0.0, numbers(policy)).mean
    )


# Penalties


def test_the_weighted_kl_is_subtracted_from_the_reward():
    """Discounted by a half: 1, 1/2, 1/4 of each step's KL."""
    policy, weight = make_policy(), 0.3
    free, paid = play(policy, 0.0), play(policy, weight)
    assert torch.equal(free.reward, paid.reward)
    kls = [policy.imagine(obs, 0.0, numbers(policy)).latent_kl for obs in free.seen]
    wanted = weight * sum(0.5**k * kl for k, kl in enumerate(kls) if kl is not None)
    torch.testing.assert_close(free.gain - paid.gain, wanted)
    torch.testing.assert_close(paid.latent_kl, torch.stack([kl for kl in kls if kl is not None]).mean(0))


def test_a_failure_ends_an_imagined_episode_only_if_configured(monkeypatch):
    """All fail in the first of three steps: only its reward counts, or all rewards, discounted by a half."""
    broken = torch.ones(M, dtype=torch.bool)
    advance = Envs.advance
    monkeypatch.setattr(Envs, "advance", lambda self, state: (advance(self, state)[0], broken, ~broken))
    ended, whole = (play(make_policy(), 0.0, failures_end=end) for end in (True, False))
    torch.testing.assert_close(ended.gain.detach(), ended.reward[0])
    torch.testing.assert_close(whole.gain.detach(), sum(0.5**k * whole.reward[k] for k in range(3)))
    assert ended.alive.sum(0).eq(1).all() and whole.alive.all()
    assert ended.failed.all() and not whole.failed.any()


# Gradients


def test_gradients_through_imagined_steps_match_finite_differences():
    """Gradient of the return minus the KL with respect to all acting weights, with latents sampled in every step."""
    policy = make_policy()
    parameters = list(policy.actor.parameters())
    gradients = torch.autograd.grad(play(policy, 0.3).gain.sum(), parameters)
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    generator = torch.Generator().manual_seed(5)
    for part in policy.actor.values():
        mine = {id(parameter) for parameter in part.parameters()}
        way = [torch.randn(p.shape, generator=generator).double() * (id(p) in mine) for p in parameters]

        def gain(step: float, way: list[torch.Tensor] = way) -> torch.Tensor:
            for parameter, direction in zip(parameters, way, strict=True):
                parameter.data += step * direction
            total = play(policy, 0.3).gain.sum().detach()
            for parameter, direction in zip(parameters, way, strict=True):
                parameter.data -= step * direction
            return total

        slope = sum((gradient * direction).sum() for gradient, direction in zip(gradients, way, strict=True))
        numeric = (gain(1e-6) - gain(-1e-6)) / 2e-6
        torch.testing.assert_close(torch.as_tensor(slope), numeric, atol=1e-5, rtol=1e-5)


def test_the_reward_does_not_train_the_priors_variance():
    """The encoder gets no gradient either: only the deployed networks do."""
    policy = make_policy(prior_fraction=1.0)
    gradients = torch.autograd.grad(play(policy, 0.3).gain.sum(), list(policy.actor.parameters()))
    by_name = dict(zip((name for name, _ in policy.actor.named_parameters()), gradients, strict=True))
    assert all(gradient.eq(0).all() == name.startswith("encoder_net") for name, gradient in by_name.items())
    bias, size = by_name["prior_net.1.2.bias"], LATENT
    assert bias[:size].abs().sum() > 0 and bias[size:].eq(0).all()


# Checkpoints


def test_its_checkpoint_has_the_format_of_imitations():
    policy = make_policy()
    assert "action_scale" not in policy.state_dict()
    assert {name.split(".")[0] for name in policy.state_dict()} == {
        "tokenizer", "prior_net", "encoder_net", "decoder_net", "critic", "action_bound", "default_joint_pos", "log_std",
    }  # fmt: skip
    assert {f"{name}" for name in policy.actor.state_dict()} <= set(policy.state_dict())
