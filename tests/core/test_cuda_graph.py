"""Recorded functions: on a GPU replays are compared with plain calls; on a CPU the function is called directly."""

import pytest
import torch

from protege.core.learning.accelerate import accelerate
from protege.core.learning.cuda_graph import Recorded
from protege.core.learning.learner import Learner
from protege.core.learning.policy import ActorCritic, ModelConfig
from protege.core.learning.ppo import PPO, PPOConfig
from protege.core.robots.servos import Servos

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
JOINTS, ENVS, STEPS = 7, 64, 8


def test_on_a_cpu_recorded_work_is_called_directly():
    counter = torch.zeros(())

    def work() -> torch.Tensor:
        counter.add_(1.0)
        return counter.clone()

    recorded = Recorded(work, "cpu", torch.Generator())
    results = [recorded() for _ in range(Recorded.EAGER_CALLS + 3)]
    assert [float(x) for x in results] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert recorded.recording is None


def test_arguments_are_passed_on():
    recorded = Recorded(lambda obs, batch: obs["x"] * batch["y"], "cpu")
    for k in range(Recorded.EAGER_CALLS + 2):
        assert recorded({"x": torch.tensor([k])}, {"y": torch.tensor([3])}) == 3 * k


def random_(x: torch.Tensor, generator: torch.Generator) -> None:
    x.copy_(torch.randn(x.shape, device=x.device, generator=generator))


@pytest.mark.parametrize("compiled", [False, True])
def test_replayed_updates_equal_those_of_plain_calls(compiled, monkeypatch):
    shapes = {"proprioception": (20,), "poses": (2, 4, 5), "reference_joint_pos": (JOINTS,)}
    config = ModelConfig(latent_dim=32, ff_size=32, num_layers=2, reference_velocity=0.0)

    def trained(eager_calls: int) -> tuple[torch.Tensor, dict[str, float]]:
        monkeypatch.setattr(Recorded, "EAGER_CALLS", eager_calls)
        torch.manual_seed(0)
        policy = ActorCritic(shapes, Servos.unknown(JOINTS), config).to(DEVICE)
        accelerate(policy, DEVICE, mixed_precision=False, compile=compiled)
        obs = {name: torch.zeros(ENVS, *shape, device=DEVICE) for name, shape in shapes.items()}
        algorithm = PPO(policy, PPOConfig(rollout_steps=STEPS, epochs=2, minibatches=4))
        algorithm.gamma = 0.97
        learner = Learner(algorithm, obs)
        generator = torch.Generator(DEVICE).manual_seed(1)
        buffer, metrics = learner.buffer, {}
        for _ in range(4):
            for x in [*buffer.obs.values(), buffer.data["reward"]]:
                random_(x, generator)
            for t in range(STEPS):
                sample = policy.act({name: x[t] for name, x in buffer.obs.items()}, generator)
                for name in ("action", "log_prob", "mean", "std", "value"):
                    buffer.data[name][t] = getattr(sample, name)
            buffer.data["next_value"].copy_(buffer.data["value"])
            metrics = learner.update()
        return torch.cat([x.detach().flatten() for x in policy.parameters()]), metrics

    weights, metrics = trained(eager_calls=3)
    expected, expected_metrics = trained(eager_calls=1_000_000)
    assert torch.equal(weights, expected)
    assert metrics == expected_metrics
