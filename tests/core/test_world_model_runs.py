"""Trainings through a world model: they resume exactly, and they learn."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import protege
from torch._dynamo.testing import CompileCounter

from protege.core.learning.policy import ActorCritic, ModelConfig
from protege.core.learning.world_model import learner
from protege.core.learning.world_model.learner import WorldModelLearner
from protege.core.robots.kinematics import Kinematics
from protege.core.robots.servos import Servos
from protege.core.runs.checkpoint import load

PRESET = "full_body_tracker/world_model"
TINY = ["run.device=cpu", "run.num_threads=1", "env.num_envs=8", "agent.model_units=[16]", "agent.imagined_envs=8"]
TINY += [
    "agent.model_batch=8",
    "agent.warmup_steps=12",
    "agent.replay_steps=16",
    "agent.warmup_updates=2",
    "agent.horizon=3",
]
TINY += ["agent.model_updates=2", "agent.policy_updates=2", "model.mlp_units=[16]", "model.critic_units=[16]"]


def train(results: Path, name: str, robot: str, *words: object) -> Path:
    where = ["--results-dir", results, "--experiment-name", name, "--robot", robot]
    result = protege("core", "train", PRESET, *where, *TINY, *words)
    assert result.exit_code == 0, result.output
    return results / name


def test_a_resumed_run_equals_an_uninterrupted_one(robot, tmp_path):
    steady = "agent.final_rate=1"  # otherwise rates would decrease with the shorter budget
    whole = load(train(tmp_path, "whole", robot.name, "--max-iterations", 4, steady))
    train(tmp_path, "parts", robot.name, "--max-iterations", 2, steady)
    parts = load(train(tmp_path, "parts", robot.name, "--max-iterations", 4, steady))
    assert parts.iteration == whole.iteration == 4
    assert all(torch.equal(parts.model[name], x) for name, x in whole.model.items())
    mine, other = (x.training["trainer"] for x in (parts, whole))
    assert all(torch.equal(mine["model"][name], x) for name, x in other["model"].items())
    assert torch.equal(mine["replay"]["x"], other["replay"]["x"])


RANDOMISED = [
    *(
        "friction=[0.5,1.0]",
        "mass=[0.8,1.2]",
        "com=0.01",
        "stiffness=[0.8,1.2]",
        "damping=[0.8,1.2]",
        "delay=[0.0,0.07]",
    ),
    *("physics_rate=[0,480]", "physics_rate_time=0.2", "torso_com=0.03"),
    *("push_force=[20.0,50.0]", "push_interval=[0.1,0.3]", "noise.joint_pos=0.01"),
]
RANDOMISED = [f"env.randomization.{x}" for x in RANDOMISED]


def test_randomised_envs_have_factors_and_resume_exactly(robot, tmp_path):
    words = [*RANDOMISED, "agent.final_rate=1", "agent.muon_rate=0.01"]
    whole = load(train(tmp_path, "whole", robot.name, "--max-iterations", 3, *words)).training["trainer"]
    train(tmp_path, "parts", robot.name, "--max-iterations", 2, *words)
    parts = load(train(tmp_path, "parts", robot.name, "--max-iterations", 3, *words)).training["trainer"]
    assert all(torch.equal(parts["model"][name], x) for name, x in whole["model"].items())
    assert all(torch.equal(parts["replay"]["rows"][name], x) for name, x in whole["replay"]["rows"].items())
    count = 1 + 4 * robot.num_bodies + 2 * robot.num_joints + 1
    assert len(whole["factors"]) == count == whole["model"]["gains.entering.weight"].shape[1]
    assert (whole["model"]["gains.entering.weight"] != 0).any(), "it learns by them"


@pytest.mark.parametrize("sensors", ["full_state", "onboard"])
def test_an_imagined_step_is_compiled_once(robot, sensors, tmp_path, monkeypatch):
    """Each step of an episode has the first one's shapes, strides and gradients, also of histories and of delayed targets.

    So do the arbitrary states with which it is compiled while the simulator's kernels still are.
    """
    counters: dict[str, CompileCounter] = {}

    def counted(function: Callable[..., Any], *_: object) -> Callable[..., Any]:
        counter = counters[function.__name__] = CompileCounter()
        return torch.compile(function, dynamic=False, backend=counter)

    monkeypatch.setattr(learner, "compiled", counted)
    monkeypatch.setattr(learner, "compiles", lambda *_: True)
    monkeypatch.setattr(Kinematics, "fuse", lambda _: None)  # needs a GPU
    words = ["model.tokens=[proprioception,history,poses,joint_errors]", "env.history_steps=2", "agent.horizon=4"]
    if sensors == "onboard":
        words += ["model.sensors=onboard", "model.tokens=[proprioception,history,poses]"]
    train(tmp_path, "a", robot.name, "--max-iterations", 2, "env.randomization.delay=[0.0,0.04]", *words)
    assert {name: counter.frame_count for name, counter in counters.items()} == {"step_error": 1, "imagined_step": 1}


def test_compiling_ahead_changes_no_weight(tmp_path, monkeypatch):
    plain = load(train(tmp_path, "plain", "smpl", "--max-iterations", 2)).training["trainer"]
    monkeypatch.setattr(learner, "compiles", lambda *_: True)
    monkeypatch.setattr(learner, "compiled", lambda function, *_: function)
    monkeypatch.setattr(Kinematics, "fuse", lambda _: None)  # needs a GPU
    ahead = load(train(tmp_path, "ahead", "smpl", "--max-iterations", 2)).training["trainer"]
    for part in ("actor", "model", "target_critic"):
        assert all(torch.equal(ahead[part][name], x) for name, x in plain[part].items()), part
    assert torch.equal(ahead["replay"]["x"], plain["replay"]["x"])


def test_a_model_with_other_randomisation_is_refused(tmp_path):
    words = ["env.randomization.friction=[0.5,1.0]", "--max-iterations", 1]
    model = train(tmp_path, "a", "smpl", *words)
    taken = [f"agent.world_model_path={model}", "--max-iterations", 1]
    train(tmp_path, "b", "smpl", words[0], *taken)
    for other, message in (
        ("env.randomization.friction=[0.6,1.0]", "seen friction vary in [0.5, 1.0], here it varies in [0.6, 1.0]"),
        ("env.randomization.com=0", "seen friction vary in [0.5, 1.0], here it varies nowhere"),
    ):
        where = ["--results-dir", tmp_path, "--experiment-name", "c", "--robot", "smpl", *TINY]
        result = protege("core", "train", PRESET, *where, other, *taken)
        assert result.exit_code == 2, result.output
        assert message in " ".join(result.output.split()) and "agent.world_model_path" in result.output


def test_a_model_that_diverges_causes_a_fall_back(robot, tmp_path, monkeypatch):
    """The first update of iteration 3 breaks the model permanently: the run continues from iteration 2 with half the rates."""
    update, calls = WorldModelLearner._update_model, []

    def breaking(learner: WorldModelLearner) -> dict[str, torch.Tensor]:
        calls.append(0)
        if len(calls) == 2 + 3 * 2 + 1:  # two in the warm-up, two per iteration
            torch.nn.init.constant_(next(learner.model.net.parameters()), torch.nan)
        return update(learner)

    monkeypatch.setattr(WorldModelLearner, "_update_model", breaking)
    run = train(tmp_path, "a", robot.name, "--max-iterations", 7, "run.checkpoint_interval=2", "agent.final_rate=1")
    saved = load(run)
    assert (saved.iteration, saved.training["falls"]) == (7, 1)
    assert len(calls) == 2 + 2 * (6 + 5), "iterations 3 to 5 were bad; 2 to 6 come after the fall"
    assert all(x.isfinite().all() for x in saved.training["trainer"]["model"].values())
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == list(range(7))
    rates = [row["learning_rate"] for row in rows]
    assert rates == pytest.approx([rates[0]] * 2 + [rates[0] / 2] * 5)


def test_the_trained_policy_is_a_tracker_like_any_other(robot, tmp_path):
    run = train(tmp_path, "a", robot.name, "--max-iterations", 1)
    assert load(run).kind == "tracker"
    words = ["--num-episodes", 2, "--num-envs", 2, "--simulator", "mujoco", "--output", tmp_path / "out"]
    result = protege("evaluate", "--checkpoint", run, *words)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["tasks"].keys() == {"track"}


def test_the_algorithm_may_be_an_option(tmp_path):
    where = ["--results-dir", tmp_path, "--experiment-name", "a", "--max-iterations", 1, *TINY]
    result = protege("core", "train", "full_body_tracker/laptop", "--algorithm", "world_model", *where)
    assert result.exit_code == 0, result.output
    assert "replay" in load(tmp_path / "a").training["trainer"]


def test_policies_with_a_history_learn_too(robot, tmp_path):
    run = train(tmp_path, "a", robot.name, "--max-iterations", 2, "model.tokens=[proprioception,history,poses]")
    assert load(run).obs_shapes["history"][0] == 4


def test_the_saved_policy_is_an_average(tmp_path):
    """The trained policy differs from it; with no memory they are equal."""
    run = train(tmp_path, "last", "smpl", "--max-iterations", 2, "agent.average_memory=0", "run.seed=3")
    saved = load(run)
    assert all(torch.equal(saved.model[f"actor.{name}"], x) for name, x in saved.training["trainer"]["actor"].items())
    run = train(tmp_path, "average", "smpl", "--max-iterations", 2, "run.seed=3")
    saved = load(run)
    trained = saved.training["trainer"]["actor"]
    actor_state = {name.removeprefix("actor."): x for name, x in saved.model.items() if name.startswith("actor.")}
    assert actor_state.keys() == trained.keys()
    assert any(not torch.equal(actor_state[name], x) for name, x in trained.items())
    assert all(torch.isfinite(x).all() for x in trained.values())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["env.terrain.kind=gentle"], "env.terrain.kind: rough ground cannot be imagined"),
        (["agent.model_window=20"], "agent.model_window and agent.warmup_steps are 20 and 12"),
        (["agent.horizon=0"], "agent.horizon is 0"),
    ],
)
def test_an_invalid_training_is_one_error_line(words, message, tmp_path):
    result = protege("core", "train", PRESET, "--results-dir", tmp_path, "--experiment-name", "a", *TINY, *words)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_noise_is_added_to_unmasked_tokens_only():
    shapes = {"proprioception": (5,), "poses": (2, 3, 12), "reference_joint_pos": (4,), "reference_joint_vel": (4,)}
    shapes |= {"path": (2,), "path_mask": ()}
    tokens = ["proprioception", "poses", "path"]
    config = ModelConfig(actor="mlp", mlp_units=[8], critic_units=[8], tokens=tokens)
    policy = ActorCritic(shapes, Servos.unknown(4), config)
    assert policy.noise_shapes == {"proprioception": (1, 5), "poses": (2, 36)}
    obs = {name: torch.randn(6, *shape) for name, shape in shapes.items()} | {"path_mask": torch.ones(6) > 0}
    draws = {name: torch.randn(6, *shape) for name, shape in policy.noise_shapes.items()}
    mean, _ = policy.distribution(obs)
    still = policy.imagine(obs, 0.0, draws)
    torch.testing.assert_close(still.mean, mean)
    torch.testing.assert_close(still.offset, policy.offset(obs) * policy.action_scale)
    assert not torch.equal(policy.imagine(obs, 0.1, draws).mean, mean)
