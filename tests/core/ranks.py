"""Two ranks on a CPU, as torchrun would launch them, and their work in the tests."""

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
from protege.core.learning.imitation import Imitation
from protege.core.learning.learner import Learner
from protege.core.learning.masked_mimic import MaskedMimic, MaskedMimicConfig
from protege.core.learning.networks import RunningNormalizer
from protege.core.learning.optim import adamw, backward, guarded_step
from protege.core.learning.policy import ModelConfig
from protege.core.learning.ppo import PPO, PPOConfig, normalize_advantage, weighted_mean
from protege.core.learning.process_group import ProcessGroup
from protege.core.robots.servos import Servos
from protege.core.runs.config import Config, RunConfig
from protege.core.runs.load_policy import make_actor_critic
from protege.core.runs.loop import train_loop
from protege.core.runs.run import Run
from protege.core.runs.training import rank_settings

SIZE = 2
PRELOADED = [
    "protege.core.runs.experiments",
    "torch._dynamo",
    "torch.utils.serialization",
    "protege.sim.plugin",
    "protege.distill.experiment",
    "mujoco",
]
"""Modules that ranks import: once, before they are forked. (Not `ranks`: it is not on the server's path.)"""
MODEL = ModelConfig("mlp", mlp_units=[16], critic_units=[16])
LOOP = PPOConfig(rollout_steps=8, epochs=2, minibatches=2, desired_kl=0.01)


def on_ranks(work: Callable[..., Any], *args: Any, **options: Any) -> list[Any]:
    """Results of `work(group, *args, **options)` on each rank; a UserError is returned too. Fails if a rank hangs or dies."""
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
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
    group = ProcessGroup.join("cpu")
    try:
        pipe.send(_plain(work(group, *args)))
    except UserError as error:
        pipe.send(error)
    finally:
        group.close()


def _plain(value: Any) -> Any:
    """Convert tensors to numpy arrays, because torch would send file descriptors of a process that is about to end."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.detach().numpy() if isinstance(value, torch.Tensor) else value


# Work of the ranks -----------------------------------------------------------------------------------------------------


def pooled_moments(group: ProcessGroup, x: torch.Tensor, weight: torch.Tensor) -> dict[str, Any]:
    """x (size, M, F), weight (size, M): moments of a normaliser after two updates with memory below 1; and means."""
    normalizer = RunningNormalizer(x.shape[-1])
    for rows in (x, x.square()):
        with group.pooling(normalizer):
            normalizer.update(rows[group.rank], weight[group.rank], 0.5)
    first, valid = x[group.rank, :, 0], weight[group.rank]
    return {
        "moments": torch.cat(normalizer.moments()),
        "mean": weighted_mean(first, valid, group),
        "advantage": normalize_advantage(first, valid, group),
    }


def gathered(group: ProcessGroup) -> dict[str, Any]:
    """Results of ProcessGroup's methods for the ranks' own values."""
    rank = group.rank
    module = nn.Linear(2, 2)
    module.weight.data.fill_(float(rank))
    group.broadcast(module)
    return {
        "seed": group.seed(5),
        "settings": rank_settings(RunConfig(num_threads=3, device="cpu"), group),
        "weight": module.weight,
        "objects": group.gather({"rank": rank}),
        "rows": group.gather_rows({"length": torch.arange(rank + 1)}),
        "metrics": group.mean_metrics({"both": float(rank)} | {f"only {rank}": 1.0}),
    }


def one_bad_gradient(group: ProcessGroup) -> list[tuple[float, torch.Tensor]]:
    """Steps of which the second has a NaN on one rank: skipped or not, and the weight after it."""
    torch.manual_seed(0)
    layer = nn.Linear(1, 1, bias=False)
    optimizer = adamw([(layer.parameters(), 0.1)])
    rows = []
    for step in range(3):
        bad = step == 1 and group.rank == 1
        backward(layer(torch.full((1, 1), torch.nan if bad else 1.0 + group.rank)).sum(), optimizer)
        rows.append((guarded_step(optimizer, 10.0, group).item(), layer.weight.detach().clone()))
    return rows


def make_learner(config: PPOConfig, group: ProcessGroup) -> tuple[ToyEnv, Learner]:
    torch.manual_seed(0)
    env = ToyEnv(8, seed=group.seed(0))
    algorithm = PPO(make_actor_critic(env, MODEL), config)
    # A single process with both rollouts would not have each rank's first observation in its normalisers.
    obs = env.reset()
    learner = Learner(algorithm, obs, 0, group)
    for normalizer in algorithm.policy.tokenizer.normalizers.values():
        normalizer.reset()
    return env, learner


def one_update(group: ProcessGroup, config: PPOConfig) -> dict[str, Any]:
    """A rollout, and the results of an update."""
    env, learner = make_learner(config, group)
    learner.collect(env, 0, 0.0)
    buffer = learner.buffer
    seen = {
        "obs": {k: x.clone() for k, x in buffer.obs.items()},
        "data": {k: x.clone() for k, x in buffer.data.items()},
    }
    metrics = learner.update()
    return seen | {"policy": learner.algorithm.policy.state_dict(), "rate": metrics["learning_rate"]}


def train(
    group: ProcessGroup, folder: str, interrupt: int | None = None, pause: float = 0.0, **settings: Any
) -> dict[str, Any]:
    """A training of the toy robot.

    Args:
        interrupt: the rank that gets Ctrl-C in its second iteration, twice, as from a terminal and from torchrun.
        pause: s, of the ranks in each iteration, the second one sleeping twice as long.
    """
    run_config = RunConfig(experiment_name="a", results_dir=folder, seed=3, **settings)
    config = Config({"run": run_config, "agent": LOOP, "model": MODEL})
    torch.manual_seed(config.run.seed)
    env = _Slow(group, interrupt, pause)
    policy = make_actor_critic(env, MODEL)
    with Run(config, "tracker", env.robot, env.obs_shapes, group) as run:
        train_loop(run, env, Learner(PPO(policy, LOOP), env.reset(), config.run.seed, group))
    state = {key: getattr(run, key) for key in ("iteration", "samples", "finished", "interrupted", "seconds")}
    return {**state, "policy": policy.state_dict(), "phase": env.state["phase"], "failures": env.failures}


class _Slow(ToyEnv):
    def __init__(self, group: ProcessGroup, interrupt: int | None, pause: float) -> None:
        super().__init__(8, seed=group.seed(3))
        self.pause, self.calls = pause * (1 + group.rank) / LOOP.rollout_steps, 0
        self.interrupt_at = LOOP.rollout_steps + 2 if interrupt == group.rank else -1

    def step(self, action: torch.Tensor) -> Any:
        time.sleep(self.pause)
        self.calls += 1
        if self.calls == self.interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return super().step(action)


def train_masked_mimic(group: ProcessGroup, folder: str) -> dict[str, Any]:
    units = {f"{x}_units": [16] for x in ("prior", "encoder", "decoder", "critic")}
    agent = MaskedMimicConfig(16, 16, 1, 2, latent_size=4, rollout_steps=4, minibatches=2, **units)
    config = Config({"run": RunConfig(experiment_name="m", results_dir=folder, max_iterations=2), "agent": agent})
    env = ToyEnv(8, seed=group.seed(0))
    policy = MaskedMimic(env.obs_shapes, Servos.of(toy_robot()), agent)  # other weights on each rank
    with Run(config, "masked_mimic", env.robot, env.obs_shapes, group) as run:
        train_loop(run, env, Learner(Imitation(policy, BestExpert(), agent), env.reset(), group=group))
    return {"policy": policy.state_dict()}
