"""200 checkpoints with intact archives and changed contents: each can be used and resumed, or is refused in one line."""

import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from fuzz import FOREIGN, VALUES, in_one_line, within
from torch import Tensor

from protege.core.env import Env, env_plugin
from protege.core.errors import UserError
from protege.core.learning.learner import Learner
from protege.core.learning.policy import ModelConfig
from protege.core.learning.ppo import PPO, PPOConfig
from protege.core.runs.checkpoint import DIGEST, FORMAT, load
from protege.core.runs.checkpoint_checks import digest
from protege.core.runs.config import RunConfig, from_dict
from protege.core.runs.load_policy import load_to_act, make_actor_critic
from protege.core.runs.training_state import restore

COUNT = 200

TENSORS: list[Callable[[Tensor], Tensor]] = [
    lambda x: x.flatten(),
    lambda x: x.unsqueeze(0),
    lambda x: x.t() if x.ndim == 2 else x.unsqueeze(-1),
    lambda x: x[:-1] if x.ndim else x.reshape(1),
    lambda x: x.double(),
    lambda x: x.half(),
    lambda x: x.long(),
    lambda x: x.bool(),
    lambda x: x.to(torch.complex64),
    lambda x: torch.full_like(x, torch.nan) if x.is_floating_point() else x + 1,
    lambda x: torch.full_like(x, -torch.inf) if x.is_floating_point() else -x if x.dtype != torch.bool else ~x,
    lambda x: -x.abs() - 1.0 if x.is_floating_point() else torch.zeros_like(x),
    lambda x: x.reshape(-1)[:1].expand(10**9) if x.numel() else x,
    lambda x: x.reshape(-1)[:1].expand(x.shape) if x.numel() else x,
    lambda x: x.to_sparse() if x.ndim else x,
    lambda x: x.to("meta"),
    lambda x: torch.empty(0),
    lambda x: torch.randn(3),
]


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = data.items() if isinstance(data, Mapping) else enumerate(data) if isinstance(data, list) else ()
    for name, value in items:
        yield (*path, name)
        yield from places(value, (*path, name))


def replaced(data: Any, path: tuple[Any, ...], change: Callable[[Any, Any], Any]) -> Any:
    """A copy of nested mappings and lists in which a container is replaced by `change(container, key)`."""
    if len(path) == 1:
        return change(data.copy(), path[0])
    copy = data.copy()
    copy[path[0]] = replaced(data[path[0]], path[1:], change)
    return copy


def mutation(random: Random) -> Callable[[Any, Any], Any]:
    """A random change of an entry of a mapping or a list."""

    def drop(node: Any, name: Any) -> Any:
        del node[name]
        return node

    def rename(node: Any, name: Any) -> Any:
        if isinstance(node, list):
            node.insert(random.randrange(len(node)), node.pop(name))
        else:
            node[random.choice(["x", f"{name}_", "", 3, *node])] = node.pop(name)
        return node

    def retype(node: Any, name: Any) -> Any:
        node[name] = random.choice([*VALUES, *FOREIGN[:5], torch.zeros(3)])
        return node

    def swap(node: Any, name: Any) -> Any:
        other = random.choice(list(node) if isinstance(node, dict) else range(len(node)))
        node[name], node[other] = node[other], node[name]
        return node

    def reshape(node: Any, name: Any) -> Any:
        change = random.choice(TENSORS)
        node[name] = change(node[name]) if isinstance(node[name], Tensor) else random.choice(VALUES)
        return node

    return random.choice([drop, rename, retype, swap, reshape, reshape])


def rewritten(path: Path, random: Random) -> None:
    """Change some bytes of the archive's pickle and correct its checksums."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in members if name.endswith("data.pkl"))
    data = bytearray(members[name])
    for _ in range(random.randint(1, 4)):
        data[random.randrange(len(data))] = random.randrange(256)
    members[name] = bytes(data)
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)


class Trained:
    """The parts of a run that load a checkpoint: environment, policy, optimizer and loop of the tiny tracker."""

    def __init__(self, folder: Path) -> None:
        plugin = env_plugin()
        schema = {"run": RunConfig, "env": plugin.config_class, "agent": PPOConfig, "model": ModelConfig}
        config = from_dict(schema, load(folder).config)
        self.env: Env = plugin.make(config.run, config.env)
        self.ppo = PPO(make_actor_critic(self.env, config.model), config.agent)
        self.obs = self.env.reset()
        self.learner = Learner(self.ppo, self.obs)

    def take(self, path: Path) -> None:
        """Act with a checkpoint's policy and resume from its training state, if it loads."""
        loaded = load_to_act(path, self.env, "agent.expert_model_path", ["tracker"])
        mean, std = loaded.policy.distribution(self.obs)
        assert mean.isfinite().all()
        assert std.isfinite().all()
        parts = {"policy": self.ppo.policy, "optimizer": self.ppo.optimizer, "env": self.env, "trainer": self.learner}
        restore(parts, loaded.checkpoint.training, path)


@pytest.fixture(scope="module")
def trained(tiny_tracker) -> Iterator[Trained]:
    trained = Trained(tiny_tracker)
    yield trained
    trained.env.close()


def test_a_changed_checkpoint_is_refused_or_usable(trained, tiny_tracker, tmp_path):
    random, whole, taken = Random(19), torch.load(tiny_tracker / "last.ckpt", weights_only=True), 0
    weights = [("model", name) for name in whole["model"]]
    fields, inner = [(name,) for name in whole], list(places(whole))
    path = tmp_path / "last.ckpt"
    for i in range(COUNT):
        data = whole
        for _ in range(random.randint(1, 2)):
            place = random.choice(random.choice([fields, inner, weights]))
            try:
                data = replaced(data, place, mutation(random))
            except (LookupError, TypeError, AttributeError, RuntimeError, NotImplementedError):
                continue  # not possible here, or the entry no longer exists
        if i % 10 and isinstance(data, dict):  # most have no digest, or a correct one
            data = {name: x for name, x in data.items() if name != DIGEST}
            if i % 3 == 0:
                data = {"format": FORMAT, DIGEST: digest({k: x for k, x in data.items() if k != "format"}), **data}
        torch.save(data, path)
        if i % 5 == 0:
            rewritten(path, random)
        try:
            with within(20.0):
                trained.take(path)
            taken += 1
        except UserError as error:
            in_one_line(error)
    assert 3 < taken < COUNT // 3


def test_the_unchanged_checkpoint_is_accepted(trained, tiny_tracker):
    trained.take(tiny_tracker / "last.ckpt")


def test_a_change_without_a_new_digest_is_detected(tiny_tracker, tmp_path):
    """A single number of the weights, the optimizer or the config, a swapped name, another count of samples."""
    whole = torch.load(tiny_tracker / "last.ckpt", weights_only=True)
    names = whole["joint_names"]
    name = next(iter(whole["model"]))
    changes: list[tuple[tuple[Any, ...], Any]] = [
        (("model", name), whole["model"][name] + 1e-6),
        (("training", "optimizer", "param_groups", 0, "lr"), torch.tensor(1e-3)),
        (("config", "env", "future_frames"), [1, 2, 4, 16]),
        (("joint_names",), [names[1], names[0], *names[2:]]),
        (("samples",), whole["samples"] + 1),
    ]
    path = tmp_path / "last.ckpt"
    for place, value in changes:

        def put(node: Any, key: Any, value: Any = value) -> Any:
            node[key] = value
            return node

        torch.save(replaced(whole, place, put), path)
        with pytest.raises(UserError, match=r"is damaged: its contents differ from its checksum"):
            load(path)
        torch.save({key: x for key, x in replaced(whole, place, put).items() if key != DIGEST}, path)
        assert load(path).kind == "tracker"  # one of an earlier version has no digest
