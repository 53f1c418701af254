"""Two processes that train together on a CPU, as torchrun would start them; and what they do in the tests."""

import os
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import nn
from toy_env import BestExpert, ToyEnv, toy_robot

from protege.core.errors import UserError
from protege.core.learning import masked_mimic, ppo
from protege.core.learning.masked_mimic import MaskedMimic, MaskedMimicConfig
from protege.core.learning.networks import RunningNormalizer
from protege.core.learning.optim import adamw, backward, guarded_step
from protege.core.learning.policy import ModelConfig
from protege.core.learning.ppo import PPO, PPOConfig, normalize_advantage, weighted_mean
from protege.core.learning.process_group import World
from protege.core.learning.rollout import RolloutBuffer, collect
from protege.core.runs.config import Config, RunConfig
from protege.core.runs.load_policy import action_bound, make_actor_critic
from protege.core.runs.run import Run

SIZE = 2
MODEL = ModelConfig("mlp", mlp_units=[16], critic_units=[16])
LOOP = PPOConfig(rollout_steps=8, epochs=2, minibatches=2, desired_kl=0.01)


def on_ranks(work: Callable[..., Any], *args: Any, **options: Any) -> list[Any]:
    """What `work(world, *args, **options)` returns on each rank; a UserError is returned too. Fails if a rank hangs or dies."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["ranks", "lightning_fabric"])
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    work, pipes, processes = partial(work, **options), [], []
    for rank in range(SIZE):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_rank, args=(rank, port, theirs, work, args), daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        assert all(pipe.poll(60.0) for pipe in pipes), "a rank hangs"
        return [pipe.recv() for pipe in pipes]
    finally:
        for process in processes:
            process.join(5.0)
            process.kill()


def _rank(rank: int, port: int, pipe: Connection, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    where = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": SIZE, "LOCAL_WORLD_SIZE": SIZE, "MASTER_PORT": port}
    os.environ.update({key: str(value) for key, value in where.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", TORCHELASTIC_RUN_ID="test", GROUP_RANK="0")
    torch.set_num_threads(1)
    world = World.join(RunConfig(device="cpu"))
    try:
        pipe.send(_plain(work(world, *args)))
    except UserError as error:
        pipe.send(error)
    finally:
        world.close()


def _plain(value: Any) -> Any:
    """Tensors as numpy arrays: torch would send file descriptors of a process that is about to end."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.detach().numpy() if isinstance(value, torch.Tensor) else value


# What ranks do ---------------------------------------------------------------------------------------------------------


def pooled_moments(world: World, x: torch.Tensor, weight: torch.Tensor) -> dict[str, Any]:
    """x (size, M, F), weight (size, M): the moments that a normaliser has after two updates with a fading memory; means."""
    normalizer = RunningNormalizer(x.shape[-1])
    for rows in (x, x.square()):
        with world.pooling(normalizer):
            normalizer.update(rows[world.rank], weight[world.rank], 0.5)
    first, valid = x[world.rank, :, 0], weight[world.rank]
    return {
        "moments": torch.cat(normalizer.moments()),
        "mean": weighted_mean(first, valid, world),
        "advantage": normalize_advantage(first, valid, world),
    }


def gathered(world: World) -> dict[str, Any]:
    """What World says of the ranks' own values."""
    rank = world.rank
    module = nn.Linear(2, 2)
    module.weight.data.fill_(float(rank))
    world.share(module)
    return {
        "seed": world.seed(5),
        "settings": world.settings(RunConfig(num_threads=3, device="cpu")),
        "weight": module.weight,
        "objects": world.gather({"rank": rank}),
        "rows": world.rows({"length": torch.arange(rank + 1)}),
        "metrics": world.metrics({"both": float(rank)} | {f"only {rank}": 1.0}),
    }


def one_bad_gradient(world: World) -> list[tuple[float, torch.Tensor]]:
    """Steps of which the second has a NaN on one rank: skipped or not, and the weight after it."""
    torch.manual_seed(0)
    layer = nn.Linear(1, 1, bias=False)
    optimizer = adamw([(layer.parameters(), 0.1)])
    rows = []
    for step in range(3):
        bad = step == 1 and world.rank == 1
        backward(optimizer, layer(torch.full((1, 1), torch.nan if bad else 1.0 + world.rank)).sum())
        rows.append((guarded_step(optimizer, 10.0, world).item(), layer.weight.detach().clone()))
    return rows


def make_ppo(config: PPOConfig, world: World) -> tuple[ToyEnv, PPO]:
    torch.manual_seed(0)
    env = ToyEnv(8, seed=world.seed(0))
    return env, PPO(make_actor_critic(env, MODEL), config, "cpu", world.seed(0), world)


def one_update(world: World, config: PPOConfig) -> dict[str, Any]:
    """A rollout, and what an update makes of it."""
    env, trainer = make_ppo(config, world)
    policy, obs = trainer.policy, env.reset()
    buffer = RolloutBuffer({key: obs[key] for key in policy.obs_keys}, config.rollout_steps, env.num_actions)
    collect(env, policy, buffer, obs, trainer.generator)
    seen = {
        "obs": {k: x.clone() for k, x in buffer.obs.items()},
        "data": {k: x.clone() for k, x in buffer.data.items()},
    }
    metrics = trainer.update(buffer)
    return seen | {"policy": policy.state_dict(), "rate": metrics["learning_rate"]}


def train(
    world: World, folder: str, interrupt: int | None = None, pause: float = 0.0, **settings: Any
) -> dict[str, Any]:
    """A training of the toy robot.

    Args:
        interrupt: the rank that gets Ctrl-C in its second iteration, twice, as from a terminal and from torchrun.
        pause: s, of the ranks in each iteration, the second one sleeping twice as long.
    """
    run_config = RunConfig(experiment_name="a", results_dir=folder, seed=3, **settings)
    config = Config({"run": run_config, "agent": LOOP, "model": MODEL})
    torch.manual_seed(config.run.seed)
    env = _Slow(world, interrupt, pause)
    policy = make_actor_critic(env, MODEL)
    with Run(config, "tracker", env.robot, env.obs_shapes, world) as run:
        ppo.train(run, env, policy, LOOP, config.run.seed)
    state = {key: getattr(run, key) for key in ("iteration", "samples", "finished", "interrupted", "seconds")}
    return {**state, "policy": policy.state_dict(), "phase": env.state["phase"], "failures": env.failures}


class _Slow(ToyEnv):
    def __init__(self, world: World, interrupt: int | None, pause: float) -> None:
        super().__init__(8, seed=world.seed(3))
        self.pause, self.calls = pause * (1 + world.rank) / LOOP.rollout_steps, 0
        self.interrupt_at = LOOP.rollout_steps + 2 if interrupt == world.rank else -1

    def step(self, action: torch.Tensor) -> Any:
        time.sleep(self.pause)
        self.calls += 1
        if self.calls == self.interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return super().step(action)


def train_masked_mimic(world: World, folder: str) -> dict[str, Any]:
    units = {f"{x}_units": [16] for x in ("prior", "encoder", "decoder", "critic")}
    agent = MaskedMimicConfig(16, 16, 1, 2, latent_size=4, rollout_steps=4, minibatches=2, **units)
    config = Config({"run": RunConfig(experiment_name="m", results_dir=folder, max_iterations=2), "agent": agent})
    env = ToyEnv(8, seed=world.seed(0))
    policy = MaskedMimic(env.obs_shapes, action_bound(toy_robot()), agent, env.default)  # other weights on each rank
    with Run(config, "masked_mimic", env.robot, env.obs_shapes, world) as run:
        masked_mimic.train(run, env, policy, BestExpert(), agent)
    return {"policy": policy.state_dict()}
