"""Presets: bases, and defaults from a robot's settings."""

from dataclasses import fields
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pytest
import yaml
from small_config import PARTS, Envs, experiment_of, families

from protege.core.env import env_plugin
from protege.core.errors import UserError
from protege.core.runs import config as config_module
from protege.core.runs.config import RunConfig, all_presets, compose, find_preset


def test_each_laptop_preset_finds_the_runs_of_earlier_ones():
    """Each preset's expert path is the run folder of another preset."""
    found = {
        name: (find_preset(name), experiment_of(name))
        for name, _ in all_presets()
        if "laptop" in name and "pipeline" not in name
    }
    configs = {
        name: compose({"run": RunConfig, "env": env_plugin().config_class, **experiment.parts}, name)
        for name, (_, experiment) in found.items()
    }
    made = {f"results/{config.run.experiment_name}": found[name][1].kind for name, config in configs.items()}
    assert len(made) == len(configs) == 6
    assert all(path.startswith("results/laptop_") for path in made)
    for name in ("masked_mimic/laptop", "path_follower/laptop", "goal_directed/laptop", "steering/laptop"):
        assert made[configs[name].agent.expert_model_path] == "tracker"
    models = configs["distillation/laptop"].agent.teacher_models
    for teacher in models.weights():
        assert [made[path] for path in getattr(models, teacher).checkpoint] == [teacher]


def test_presets_and_arguments_override_a_robots_settings(own_presets):
    def settings(robot: str) -> tuple[str, dict[str, Any]]:
        return robot, {"env": {"num_envs": 2, "speed": [0.1, 0.2]}} if robot == "toy" else {}

    config = compose(PARTS, "of_toy", robot_settings=settings)
    assert (config.env.num_envs, config.env.speed) == (3, (0.1, 0.2))
    assert compose(PARTS, "of_toy", ["env.speed=[1, 2]"], robot_settings=settings).env.speed == (1.0, 2.0)
    assert compose(PARTS, "of_toy", ["run.robot=other"], robot_settings=settings).env.speed == Envs().speed


@pytest.mark.parametrize("robot", ["smpl", "g1"])
def test_presets_name_clips_and_runs_by_the_robot(robot):
    plugin = env_plugin()
    presets = [name for name, _ in all_presets() if name.split("/")[0] in families() and "laptop" not in name]
    for preset in presets:
        parts = {"run": RunConfig, "env": plugin.config_class, **experiment_of(preset).parts}
        config = compose(parts, preset, [f"run.robot={robot}"], robot_settings=plugin.robot_settings)
        assert config.run.experiment_name.startswith(f"{robot}_")
        assert all(clip.startswith(f"data/motions/{robot}_humanoid_") for clip in config.run.motion_file)
        assert "<robot>" not in config.to_yaml()


@pytest.fixture
def own_presets(tmp_path, monkeypatch):
    """Presets of a package that is installed for the test only."""
    folder = tmp_path / "own_presets"
    (folder / "family").mkdir(parents=True)
    (folder / "__init__.py").touch()
    texts = {
        "base": "env: {num_envs: 100, speed: [0.1, 0.2]}\nrun: {experiment_name: first}",
        "family/laptop": "base: base\nenv: {num_envs: 4}\nmodel: {latent_dim: 32}",
        "both": "base: [family/laptop, of_toy]\nenv: {speed: [0.5, 0.6]}",
        "empty": "",
        "of_toy": "run: {robot: toy}\nenv: {num_envs: 3}",
        "typo": "env: {num_emvs: 4}",
        "wrong": "base: base\nenv: {num_envs: few}",
        "orphan": "base: nowhere",
    }
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("own", "own_presets", "protege.presets")
    monkeypatch.setattr(config_module, "entry_points", lambda group: [entry, *entry_points(group=group)])


def test_presets_build_on_each_other(own_presets):
    config = compose(PARTS, "family/laptop", ["latent_dim=64"])
    assert (config.env.num_envs, config.env.speed, config.run.experiment_name) == (4, (0.1, 0.2), "first")
    assert config.model.latent_dim == 64
    both = compose(PARTS, "both")  # of a list of bases, the later one wins
    assert (both.env.num_envs, both.env.speed, both.model.latent_dim) == (3, (0.5, 0.6), 32)
    assert (both.run.experiment_name, both.run.robot) == ("first", "toy")
    assert compose(PARTS, "empty").to_dict() == compose(PARTS, None).to_dict()
    assert {"base", "family/laptop"} < {name for name, _ in all_presets()}


@pytest.mark.parametrize(
    ("preset", "message"),
    [
        ("typo", r"preset typo: unknown key env\.num_emvs\. Did you mean env\.num_envs"),
        ("wrong", r"preset wrong: env\.num_envs: .*few"),
        ("orphan", "no preset 'nowhere'"),
        ("family/labtop", r"no preset 'family/labtop'\. Did you mean family/laptop\?"),
    ],
)
def test_wrong_presets_are_named(own_presets, preset, message):
    with pytest.raises(UserError, match=message):
        compose(PARTS, preset)


@pytest.mark.parametrize("name", sorted(name for name, _ in all_presets() if not name.startswith("pipeline/")))
def test_every_shipped_preset_composes(name):
    experiment = experiment_of(name)
    config = compose({"run": RunConfig, "env": env_plugin().config_class, **experiment.parts}, name)
    assert config.run.experiment_name
    assert config.run.motion_file
    assert sum(config.env.task_mix.values()) > 0.0
    for part, value in yaml.safe_load(find_preset(name).read_text()).items():
        assert part == "base" or set(value) <= {f.name for f in fields(getattr(config, part))}
