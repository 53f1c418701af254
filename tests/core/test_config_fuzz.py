"""200 configs with unexpected values: each is refused in one line, or is built and makes an environment."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from importlib import import_module
from random import Random
from typing import Any

import pytest
import torch
from fuzz import FOREIGN, VALUES, YAML, in_one_line, within

from protege.core.env import env_plugin
from protege.core.errors import UserError
from protege.core.runs.config import RunConfig, compose, from_dict
from protege.core.runs.experiments import EXPERIMENTS
from protege.core.runs.training import Experiment

PRESETS = ("full_body_tracker/laptop", "masked_mimic/laptop", "goal_directed/laptop", "distillation/laptop")
COUNT, BUILT = 200, 20


def experiment(preset: str) -> Experiment:
    known = dict(EXPERIMENTS)
    for package in ("protege.teachers.experiments", "protege.distill.experiment"):
        known |= import_module(package).EXPERIMENTS
    return known[preset.split("/")[0]]


def parts_of(preset: str) -> dict[str, type]:
    return {"run": RunConfig, "env": env_plugin().config_class, **experiment(preset).parts}


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all replaceable values: keys and entries of lists."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for name, value in items:
        yield (*path, name)
        yield from places(value, (*path, name))


def near(random: Random, value: Any) -> Any:
    """A plausible replacement of a value."""
    if isinstance(value, bool) or value is None:
        return random.choice([True, False, None, 3])
    if isinstance(value, int | float):
        return type(value)(value * random.choice([0, 0.1, 0.5, 2, 10, 100]))
    if isinstance(value, list):
        return random.choice([value[:1], value[::-1], value * 2, [*value, *value[:1]]])
    return {name: near(random, x) for name, x in value.items()} if isinstance(value, dict) else value[:-1]


def mutated(random: Random, part: str, cls: type, whole: dict[str, Any]) -> Any:
    """A part of a config with one to three values replaced, by arguments or in its data."""
    found = list(places(whole, (part,)))
    chosen = [random.choice(found) for _ in range(random.choice([1, 1, 2, 3]))]
    if random.random() < 0.3:
        texts = [f"{'.'.join(map(str, path))}={random.choice(YAML)}" for path in chosen]
        return getattr(compose({part: cls}, None, texts), part)
    data = {part: deepcopy(whole)}
    for path in chosen:
        node = data
        try:
            for name in path[:-1]:
                node = node[name]
            mild = random.random() < 0.6
            node[path[-1]] = near(random, node[path[-1]]) if mild else random.choice([*VALUES, *FOREIGN])
        except (LookupError, TypeError):
            continue  # an earlier replacement has removed it
    return getattr(from_dict({part: cls}, data), part)


@pytest.fixture(scope="module")
def built() -> list[Any]:
    """The mutated parts that were built; the others were refused in one line."""
    random, accepted, refused = Random(19), [], 0
    kinds = [(name, cls) for preset in PRESETS for name, cls in parts_of(preset).items()]
    wholes = {preset: compose(parts_of(preset), preset).to_dict() for preset in PRESETS}
    data = [wholes[preset][name] for preset in PRESETS for name in parts_of(preset)]
    for i in range(COUNT):
        (part, cls), whole = kinds[i % len(kinds)], data[i % len(kinds)]
        try:
            with within(20.0):
                accepted.append(mutated(random, part, cls, whole))
        except UserError as error:
            refused += 1
            in_one_line(error)
    assert len(accepted) + refused == COUNT
    return accepted


def test_configs_are_built_or_refused_in_one_line(built):
    assert COUNT // 20 < len(built) < COUNT // 2


def test_built_configs_make_an_environment_that_steps_or_are_refused(built):
    """With four environments, to be fast; sizes are limited by their memory."""
    plugin, stepped = env_plugin(), 0
    run = RunConfig(robot="smpl", motion_file=["data/motions/smpl_humanoid_walk.npy"], num_threads=1, device="cpu")
    own = [part for part in built if isinstance(part, RunConfig | plugin.config_class)]
    for part in Random(19).sample(own, min(BUILT, len(own))):
        settings = replace(part, num_threads=1) if isinstance(part, RunConfig) else run
        config = plugin.config_class() if isinstance(part, RunConfig) else part
        few = replace(config, num_envs=min(config.num_envs, 4), num_plans=min(config.num_plans, 4))
        try:
            with within(30.0):
                env = plugin.make(settings, few)
                obs = env.reset()
                step = env.step(torch.zeros(env.num_envs, env.num_actions))
                env.close()
        except UserError as error:
            in_one_line(error)
            continue
        stepped += 1
        assert all(x.isfinite().all() for x in obs.values())
        assert step.reward.isfinite().all()
    assert stepped > 3
