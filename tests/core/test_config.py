"""Config: presets, overrides, and what is said about wrong ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pytest
import yaml

from protege.core.env import env_plugin
from protege.core.errors import UserError
from protege.core.learning.policy import ModelConfig
from protege.core.learning.ppo import PPOConfig
from protege.core.runs import config as config_module
from protege.core.runs.config import RunConfig, all_presets, checked, compose, find_preset, from_dict
from protege.core.runs.config_layers import FORMERLY
from protege.core.runs.experiments import EXPERIMENTS


@dataclass
class Weighted:
    weight: float = 1.0


@dataclass
class Envs:
    num_envs: int = 8
    speed: tuple[float, float] = (0.5, 1.5)
    frames: tuple[int, ...] = (1, 2)
    wind: bool = False
    task_mix: dict[str, float] = field(default_factory=lambda: {"track": 1.0})
    path: Weighted = field(default_factory=Weighted)
    goal: Weighted = field(default_factory=Weighted)


PARTS: dict[str, type] = {"run": RunConfig, "env": Envs, "agent": PPOConfig, "model": ModelConfig}


def families() -> dict:
    """The experiments of all packages by the first part of their presets' names."""
    known = dict(EXPERIMENTS)
    for package in ("protege.teachers.experiments", "protege.distill.experiment"):
        known |= import_module(package).EXPERIMENTS
    return known


def test_defaults_are_those_of_the_dataclasses():
    config = compose(PARTS, None)
    assert (config.run, config.env, config.agent, config.model) == (RunConfig(), Envs(), PPOConfig(), ModelConfig())


@pytest.mark.parametrize(
    ("override", "part", "name", "value"),
    [
        ("env.num_envs=16", "env", "num_envs", 16),
        ("num_envs=16", "env", "num_envs", 16),
        ("latent_dim=128", "model", "latent_dim", 128),
        ("env.speed=[0, 2.5]", "env", "speed", (0.0, 2.5)),
        ("frames=[1, 5, 9]", "env", "frames", (1, 5, 9)),
        ("env.wind=true", "env", "wind", True),
        ("agent.learning_rate=1e-3", "agent", "learning_rate", 1e-3),
        ("agent.gamma=1", "agent", "gamma", 1.0),
        ("agent.expert_model_path=results/a=b", "agent", "expert_model_path", "results/a=b"),
        ("agent.expert_model_path=", "agent", "expert_model_path", ""),
        ("run.motion_file=[a.npy, b.npy]", "run", "motion_file", ["a.npy", "b.npy"]),
        ("+motion_file=walk.npy", "run", "motion_file", ["walk.npy"]),
        ("run.motion_file=", "run", "motion_file", []),
        ("mlp_units=64", "model", "mlp_units", [64]),
        ("run.max_time=null", "run", "max_time", None),
        ("run.max_time=90", "run", "max_time", 90.0),
        ("env.task_mix.path=2", "env", "task_mix", {"track": 1.0, "path": 2.0}),
        ("task_mix.path=2", "env", "task_mix", {"track": 1.0, "path": 2.0}),
        ("task_mix={track: 0, goal: 3}", "env", "task_mix", {"track": 0.0, "goal": 3.0}),
        ("path.weight=3", "env", "path", Weighted(3.0)),
        ("+env.config.path.weight=3", "env", "path", Weighted(3.0)),
        ("+agent.config.expert_model_path=results/a", "agent", "expert_model_path", "results/a"),
    ],
)
def test_overrides(override, part, name, value):
    found = getattr(getattr(compose(PARTS, None, [override]), part), name)
    assert found == value
    assert type(found) is type(value)


def test_the_last_override_wins():
    assert compose(PARTS, None, ["num_envs=1", "env.num_envs=2"]).env.num_envs == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("env.num_env=1", r"unknown key env\.num_env\. Did you mean env\.num_envs\?"),
        ("model.latent_dims=1", r"unknown key model\.latent_dims\. Did you mean model\.latent_dim\?"),
        ("latentdim=1", r"unknown key latentdim\. Did you mean model\.latent_dim\?"),
        ("env.path.wieght=1", r"env\.path\.wieght.*env\.path\.weight"),
        ("+env.config.num_env=1", r"unknown key env\.num_env\. Did you mean env\.num_envs\?"),
        ("xyzzy=1", r"unknown key xyzzy\. See the keys in docs/configuration\.md"),
        ("weight=2", r"weight could be env\.goal\.weight or env\.path\.weight\. Write the whole path"),
        ("env.task_mix.path.speed=2", r"env\.task_mix\.path\.speed"),
        ("env.num_envs.x=2", r"env\.num_envs\.x"),
        ("env.num_envs=many", r"env\.num_envs=many: env\.num_envs: .*many"),
        ("env.num_envs=1.5", r"env\.num_envs: .*1\.5"),
        ("env.wind=[1]", r"env\.wind"),
        ("env.speed=fast", r"env\.speed"),
        ("env.speed=[slow, fast]", r"env\.speed"),
        ("env.task_mix.path=often", r"env\.task_mix\.path: .*often"),
        ("env.path=3", r"env\.path"),
        ("env=3", r"env"),
        ("env.speed=[1]", r"env\.speed has 1 entries, not 2\. Give a list of 2"),
        ("frames=3", r"frames=3: env\.frames: expected a list, e\.g\. \[a, b\]"),
        ("motion_file={a: 1}", r"run\.motion_file\[0\] is \{'a': 1\}\. Give a value of the type str"),
        ("run.seed=", r"run\.seed"),
        ("run.seed=null", r"run\.seed"),
        ("run.seed={", r"run\.seed: '\{' is not YAML"),
        ("env.num_envs", r"'env\.num_envs' is not an override\. Write key\.path=value"),
        ("=3", r"'=3' is not an override"),
    ],
)
def test_wrong_overrides_are_named_in_one_line(override, message):
    with pytest.raises(UserError, match=message) as error:
        compose(PARTS, None, [override])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("max_time=-1", r"run\.max_time is -1\.0\. Take 0 or more"),
        ("env.num_envs=0", r"env\.num_envs is 0\. Take 1 or more"),
        ("future_frames=[]", r"env\.future_frames is empty\. Give one entry or more"),
        ("future_frames=[1,0]", r"env\.future_frames\[1\] is 0\. Take 1 or more"),
        ("num_plans=0", r"env\.num_plans is 0"),
        ("history_steps=0", r"env\.history_steps is 0"),
        ("episode_length_s=0", r"env\.episode_length_s is 0\.0\. Take more than 0"),
        ("episode_length_s=.nan", r"env\.episode_length_s is nan\. Take a finite number"),
        ("task_mix.path=-1", r"env\.task_mix\.path is -1\.0\. Take 0 or more"),
        ("mix_probability=2", r"env\.mix_probability is 2\.0\. Take 0 to 1"),
        ("goal_params.distance=[4,1]", r"env\.goal_params\.distance is \[4\.0, 1\.0\]\. The first must not be larger"),
        ("path_follower_params.speed=[-101,1]", r"env\.path_follower_params\.speed\[0\] is -101\.0"),
        ("steering_params.change_time=[6,3]", r"env\.steering_params\.change_time is \[6\.0, 3\.0\]"),
        (
            "patterns={full: 0, head_hands: 0, root: 0, hands: 0, feet: 0, random: 0, inbetween: 0}",
            r"patterns has no positive weight",
        ),
        ("rollout_steps=0", r"agent\.rollout_steps is 0"),
        ("epochs=0", r"agent\.epochs is 0"),
        ("minibatches=0", r"agent\.minibatches is 0"),
        ("bounds_loss_weight=-1", r"agent\.bounds_loss_weight is -1\.0"),
        (
            "min_learning_rate=1",
            r"agent\.min_learning_rate and agent\.max_learning_rate are 1\.0 and 0\.001\. The first",
        ),
        ("num_heads=0", r"model\.num_heads is 0"),
        ("num_heads=3", r"model\.latent_dim must be a multiple of model\.num_heads"),
        ("critic_units=[]", r"model\.critic_units is empty"),
    ],
)
def test_values_that_cannot_work_are_named(override, message):
    parts = {**PARTS, "env": env_plugin().config_class}
    with pytest.raises(UserError, match=message):
        compose(parts, None, [override])


def test_laptop_presets_work_one_after_another():
    """Each finds what it learns from where another one's run is."""
    found = {
        name: (find_preset(name), families()[name.split("/")[0]])
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


def test_a_value_that_is_missing_is_asked_for():
    @dataclass
    class Needy:
        path: str = "???"

    with pytest.raises(UserError, match=r"needy\.path has no value\. Add needy\.path=\.\.\."):
        compose({"needy": Needy}, None)


def test_a_robots_settings_hold_unless_a_preset_or_an_argument_says_otherwise(own_presets):
    def settings(robot: str) -> tuple[str, dict[str, Any]]:
        return robot, {"env": {"num_envs": 2, "speed": [0.1, 0.2]}} if robot == "toy" else {}

    config = compose(PARTS, "of_toy", robot_settings=settings)
    assert (config.env.num_envs, config.env.speed) == (3, (0.1, 0.2))
    assert compose(PARTS, "of_toy", ["env.speed=[1, 2]"], robot_settings=settings).env.speed == (1.0, 2.0)
    assert compose(PARTS, "of_toy", ["run.robot=other"], robot_settings=settings).env.speed == Envs().speed


@pytest.mark.parametrize("robot", ["smpl", "g1"])
def test_presets_name_clips_and_runs_by_the_robot(robot):
    plugin = env_plugin()
    for name, experiment in families().items():
        presets = [preset for preset, _ in all_presets() if preset.split("/")[0] == name and "laptop" not in preset]
        for preset in presets:
            parts = {"run": RunConfig, "env": plugin.config_class, **experiment.parts}
            config = compose(parts, preset, [f"run.robot={robot}"], robot_settings=plugin.robot_settings)
            assert config.run.experiment_name.startswith(f"{robot}_")
            assert all(clip.startswith(f"data/motions/{robot}_humanoid_") for clip in config.run.motion_file)
            assert "<robot>" not in config.to_yaml()


@dataclass
class Gusts:
    strength: float = field(default=1.0, metadata={FORMERLY: "wind"})


@dataclass
class Windy:
    gusts: Gusts = field(default_factory=Gusts)


def test_a_former_key_still_works_and_a_user_is_told_its_present_name_once(tmp_path, caplog):
    parts: dict[str, type] = {"env": Windy}
    (tmp_path / "old.yaml").write_text("env: {gusts: {wind: 3}}")
    said = "env.gusts.wind is now called env.gusts.strength"
    for given in ({"overrides": ["gusts.wind=3"]}, {"overrides": ["wind=3"]}, {"files": [tmp_path / "old.yaml"]}):
        caplog.clear()
        assert compose(parts, None, **given).env.gusts.strength == 3.0
        assert caplog.messages == [said]
    caplog.clear()
    assert from_dict(parts, {"env": {"gusts": {"wind": 3.0}}}).env.gusts.strength == 3.0
    assert not caplog.messages, "nobody can change what a checkpoint says"
    (tmp_path / "old.yaml").write_text("env: {gusts: {wind: 3, strength: 4}}")
    with pytest.raises(UserError, match=r"given twice, also by its former name env\.gusts\.wind"):
        compose(parts, None, files=[tmp_path / "old.yaml"])


def test_plain_data_comes_back_as_the_same_config():
    config = compose(PARTS, None, ["num_envs=3", "task_mix.path=2", "speed=[1, 2]", "path.weight=4"])
    data = config.to_dict()
    assert yaml.safe_load(config.to_yaml()) == data
    assert data["env"]["speed"] == [1.0, 2.0]
    again = from_dict(PARTS, data)
    assert again.to_dict() == data
    assert again.env == config.env
    assert from_dict({"env": Envs}, data).to_dict() == {"env": data["env"]}
    with pytest.raises(AttributeError, match="no part 'model'"):
        from_dict({"env": Envs}, data).model  # noqa: B018


def test_data_of_another_version_is_refused():
    data = compose(PARTS, None).to_dict()
    data["env"]["num_worlds"] = 3
    with pytest.raises(UserError, match=r"unknown key env\.num_worlds"):
        from_dict(PARTS, data)


def test_parameters_of_a_task_that_is_not_installed_are_left_out():
    data = compose(PARTS, None).to_dict()
    assert from_dict(PARTS, {**data, "env": {**data["env"], "other_task": {"speed": 1.0}}}).to_dict() == data


@pytest.fixture
def own_presets(tmp_path, monkeypatch):
    """Presets of a package that is installed for the test only."""
    folder = tmp_path / "own_presets"
    (folder / "family").mkdir(parents=True)
    (folder / "__init__.py").touch()
    texts = {
        "base": "env: {num_envs: 100, speed: [0.1, 0.2]}\nrun: {experiment_name: first}",
        "family/laptop": "base: base\nenv: {num_envs: 4}\nmodel: {latent_dim: 32}",
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
    experiment = families()[name.split("/")[0]]
    config = compose({"run": RunConfig, "env": env_plugin().config_class, **experiment.parts}, name)
    assert config.run.experiment_name
    assert config.run.motion_file
    assert sum(config.env.task_mix.values()) > 0.0
    for part, value in yaml.safe_load(find_preset(name).read_text()).items():
        assert part == "base" or set(value) <= {f.name for f in fields(getattr(config, part))}


# What anyone may have written ---------------------------------------------------------------------------------------------

BOMB = ", ".join(["&a0 [x]", *(f"&a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 8))])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: {robot: '${env.num_envs}'}", r"run\.robot: \$\{\.\.\.\} is not filled in\. Write the value out"),
        ("run: {experiment_name: '${oc.env:PATH}'}", r"run\.experiment_name: \$\{\.\.\.\} is not filled in"),
        ("env: {task_mix: {'${x}': 1}}", r"env\.task_mix\.\$\{x\}: \$\{\.\.\.\} is not filled in"),
        ("run: {robot: '???'}", r"run\.robot: \?\?\? is no value"),
        ("env: {num_envs: " + "9" * 5000 + "}", r"line 1: a number of 5000 characters"),
        ("env: {num_envs: 99999999999999999999}", r"env\.num_envs is 99999999999999999999\. Take 1000000 or less"),
        ("env: " + "[" * 2000, r"line 1: lists or mappings more than 32 deep"),
        ("run: &a {motion_file: [*a]}", r"line 1: an alias of what it is in"),
        (f"run: {{motion_file: [{BOMB}]}}", r"line 1: aliases make this more than 100,000 values"),
        ("env: {num_envs: 4}\n---\nenv: {num_envs: 5}", r"line 2: but found another document"),
        ("env: {null: 3}", r"line 1: a key that is no text"),
        ("env: {? [1, 2] : 3}", r"line 1: a key that is no text"),
        (
            "env.num_envs: 4",
            r"the key env\.num_envs has a dot in a name\. Nest it: \{'env': \{'num_envs': '\.\.\.'\}\}",
        ),
        ("env: {num_envs: .inf}", r"env\.num_envs"),
        ("env: {episode_length_s: .inf}", r"env\.episode_length_s is inf\. Take a finite number"),
        ("env: {task_mix: {track: .nan}}", r"env\.task_mix\.track is nan\. Take a finite number"),
        ("run: {max_time: .inf}", r"run\.max_time is inf\. Take a finite number"),
        ("run: {max_time: '1e999'}", r"run\.max_time is inf\. Take a finite number"),
        (
            "run: {motion_file: [[walk.npy]]}",
            r"run\.motion_file\[0\] is \['walk\.npy'\]\. Give a value of the type str",
        ),
        ("env: {task_mix: {walk: [1]}}", r"env\.task_mix\.walk is \[1\]\. Give a value of the type float"),
        ("env: {task_mix: {track: " + "[" * 9 + "]" * 9 + "}}", r"env\.task_mix\.track"),
        ("run: {robot: !!python/name:os.system x}", r"line 1: the tag tag:yaml\.org,2002:python/name:os\.system"),
    ],
)
def test_files_that_say_more_than_plain_data_are_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        compose({**PARTS, "env": env_plugin().config_class}, None, files=[path])
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(("data", "reason"), [("env: 1".encode("utf-16"), "UTF-8"), (b"run: {robot: \xe9}", "UTF-8")])
def test_files_in_another_encoding_are_named(tmp_path, data, reason):
    path = tmp_path / "c.yaml"
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"cannot read {path} \(it is not {reason} text\)"):
        compose(PARTS, None, files=[path])


def test_a_date_is_text():
    assert compose(PARTS, None, ["run.robot=2024-99-99"]).run.robot == "2024-99-99"


def changed(part: Any, change: Callable[[Any], Any], key: str) -> Iterator[tuple[str, Any]]:
    """Copies of a dataclass with one number changed, in a list, a mapping or a dataclass below it too, each with its key."""
    for f in fields(part):
        value, full = getattr(part, f.name), f"{key}.{f.name}"
        if is_dataclass(value):
            yield from ((name, replace(part, **{f.name: new})) for name, new in changed(value, change, full))
        elif isinstance(value, dict):
            yield from ((f"{full}.{n}", replace(part, **{f.name: {**value, n: change(x)}})) for n, x in value.items())
        elif isinstance(value, list | tuple) and value and is_dataclass(value[0]):
            for name, new in changed(value[0], change, f"{full}[0]"):
                yield name, replace(part, **{f.name: [new, *value[1:]]})
        elif isinstance(value, list | tuple) and value and isinstance(value[0], int | float):
            yield f"{full}[0]", replace(part, **{f.name: type(value)(map(change, value))})
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield full, replace(part, **{f.name: change(value)})
        elif value is None:
            yield full, replace(part, **{f.name: change(0.0 if "time" in f.name else 0)})


@pytest.mark.parametrize("huge", [10**17, -(10**17)])
@pytest.mark.parametrize("family", sorted(families()))
def test_every_number_has_bounds(family, huge):
    """A number beyond them is refused by its key, whichever it is: no config asks for 1e9 m or for 100 000 threads."""
    parts, keys = {"run": RunConfig, "env": env_plugin().config_class, **families()[family].parts}, []
    for name, cls in parts.items():
        for key, part in changed(cls(), lambda x: type(x)(huge), name):
            keys.append(key)
            with pytest.raises(UserError) as error:
                checked(part, name)
            assert str(error.value).startswith(f"{key} is ")
    assert len(keys) > 80
