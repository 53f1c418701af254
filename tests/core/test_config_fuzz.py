"""200 configs with values that nobody expects: each is built, or refused in one line; those that are built make an environment."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from importlib import import_module
from random import Random
from typing import Any

import pytest
import torch
from fuzz import FOREIGN, VALUES, YAML, in_one_line, within

from protege.core.config import Config, RunConfig, compose, from_dict
from protege.core.env import env_plugin
from protege.core.errors import UserError
from protege.core.experiments import EXPERIMENTS, Experiment

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
    """Where a value can be replaced: all keys, and all entries of lists."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for name, value in items:
        yield (*path, name)
        yield from places(value, (*path, name))


def mutated(random: Random, preset: str, whole: dict[str, Any]) -> Config:
    """A config with one to three values replaced, by arguments or in its data."""
    found = list(places(whole))
    chosen = [random.choice(found) for _ in range(random.randint(1, 3))]
    if random.random() < 0.5:
        texts = [f"{'.'.join(map(str, path))}={random.choice(YAML)}" for path in chosen]
        return compose(parts_of(preset), preset, texts)
    data = deepcopy(whole)
    for path in chosen:
        node = data
        try:
            for name in path[:-1]:
                node = node[name]
            node[path[-1]] = random.choice([*VALUES, *FOREIGN])
        except (LookupError, TypeError):
            continue  # an earlier one has taken its place
    return from_dict(parts_of(preset), data)


@pytest.fixture(scope="module")
def built() -> list[Config]:
    """The mutated configs that were built; the others were refused in one short line."""
    random, configs, refused = Random(19), [], 0
    wholes = {preset: compose(parts_of(preset), preset).to_dict() for preset in PRESETS}
    for i in range(COUNT):
        preset = PRESETS[i % len(PRESETS)]
        try:
            with within(10.0):
                configs.append(mutated(random, preset, wholes[preset]))
        except UserError as error:
            refused += 1
            in_one_line(error)
    assert len(configs) + refused == COUNT
    return configs


def test_configs_are_built_or_refused_in_one_line(built):
    assert COUNT // 10 < len(built) < COUNT // 2


def test_those_that_are_built_make_an_environment_that_steps_or_are_refused(built):
    """On four environments, so that it is quick; sizes are checked by the memory that they take."""
    plugin, stepped = env_plugin(), 0
    for config in Random(19).sample(built, BUILT):
        few = replace(config.env, num_envs=min(config.env.num_envs, 4), num_plans=min(config.env.num_plans, 4))
        try:
            with within(30.0):
                env = plugin.make(replace(config.run, num_threads=1), few)
                obs = env.reset()
                step = env.step(torch.zeros(env.num_envs, env.num_actions))
                env.close()
        except UserError as error:
            in_one_line(error)
            continue
        stepped += 1
        assert all(x.isfinite().all() for x in obs.values())
        assert step.reward.isfinite().all()
    assert stepped > BUILT // 3
