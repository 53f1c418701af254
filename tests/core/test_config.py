"""Config: defaults, overrides, and the errors about wrong ones."""

from dataclasses import dataclass, field

import pytest
import yaml
from small_config import PARTS, Envs, Weighted

from protege.core.env import env_plugin
from protege.core.errors import UserError
from protege.core.learning.policy import ModelConfig
from protege.core.learning.ppo import PPOConfig
from protege.core.runs.config import RunConfig, compose, from_dict
from protege.core.runs.config_layers import FORMER_NAME


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
def test_invalid_values_are_named(override, message):
    parts = {**PARTS, "env": env_plugin().config_class}
    with pytest.raises(UserError, match=message):
        compose(parts, None, [override])


def test_a_missing_value_is_named():
    @dataclass
    class Needy:
        path: str = "???"

    with pytest.raises(UserError, match=r"needy\.path has no value\. Add needy\.path=\.\.\."):
        compose({"needy": Needy}, None)


@dataclass
class Gusts:
    strength: float = field(default=1.0, metadata={FORMER_NAME: "wind"})


@dataclass
class Windy:
    gusts: Gusts = field(default_factory=Gusts)


def test_a_former_key_still_works_and_its_current_name_is_logged_once(tmp_path, caplog):
    parts: dict[str, type] = {"env": Windy}
    (tmp_path / "old.yaml").write_text("env: {gusts: {wind: 3}}")
    log_message = "env.gusts.wind is now called env.gusts.strength"
    for given in ({"overrides": ["gusts.wind=3"]}, {"overrides": ["wind=3"]}, {"files": [tmp_path / "old.yaml"]}):
        caplog.clear()
        assert compose(parts, None, **given).env.gusts.strength == 3.0
        assert caplog.messages == [log_message]
    caplog.clear()
    assert from_dict(parts, {"env": {"gusts": {"wind": 3.0}}}).env.gusts.strength == 3.0
    assert not caplog.messages, "nobody can change what a checkpoint says"
    (tmp_path / "old.yaml").write_text("env: {gusts: {wind: 3, strength: 4}}")
    with pytest.raises(UserError, match=r"given twice, also by its former name env\.gusts\.wind"):
        compose(parts, None, files=[tmp_path / "old.yaml"])


def test_plain_data_gives_the_same_config():
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


def test_parameters_of_a_task_that_is_not_installed_are_ignored():
    data = compose(PARTS, None).to_dict()
    assert from_dict(PARTS, {**data, "env": {**data["env"], "other_task": {"speed": 1.0}}}).to_dict() == data
