"""The mean of several policies' weights."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_runs import TRACKER, protege, train

from protege.core.checkpoint import Checkpoint, load
from protege.core.errors import UserError
from protege.core.experiments import load_policy
from protege.distill.averaging import soup


def policy(weight: list[float], **facts) -> Checkpoint:
    model = {"actor.weight": torch.tensor(weight), "steps": torch.tensor(7)}
    given = {"kind": "student", "robot": "smpl", "joint_names": ["hip"], "obs_shapes": {"path": [10, 2]}}
    return Checkpoint(**{**given, "config": {}, "model": model, **facts})


def test_the_mean_by_hand():
    a = policy([1.0, 2.0], samples=10, seconds=1.5, iteration=2, metrics={"loss": 1.0}, training={"optimizer": {}})
    mixed = soup({"a": a, "b": policy([3.0, 2.0], samples=20), "c": policy([5.0, -1.0])})
    assert mixed.model["actor.weight"].tolist() == [3.0, 1.0]
    assert mixed.model["steps"] == 7
    assert (mixed.samples, mixed.seconds, mixed.iteration, mixed.finished) == (30, 1.5, 2, True)
    assert mixed.metrics == mixed.training == {}
    assert a.model["actor.weight"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"kind": "tracker"}, "b differs from a in kind"),
        ({"robot": "g1"}, "b differs from a in robot"),
        ({"obs_shapes": {"path": [5, 2]}}, "b differs from a in obs_shapes"),
        ({"model": {"actor.weight": torch.zeros(3), "steps": torch.tensor(7)}}, "b differs from a at actor.weight"),
        ({"model": {"steps": torch.tensor(7)}}, "b differs from a at actor.weight"),
    ],
)
def test_policies_that_have_no_mean(other, message):
    a = policy([1.0, 2.0])
    with pytest.raises(UserError, match=message):
        soup({"a": a, "b": replace(a, **other)})
    with pytest.raises(UserError, match="one policy"):
        soup({"a": a})


def test_a_policy_with_its_own_training_gone_on(tmp_path: Path):
    """The command's result acts, by the mean of both."""
    first = train(TRACKER, tmp_path, "first", "--max-iterations", 1)
    second = train(TRACKER, tmp_path, "second", "--max-iterations", 1, "--checkpoint", first)
    done = protege("distill", "average", first, second, "--output", tmp_path / "both")
    assert done.exit_code == 0, done.output
    models = [load(path).model for path in (first, second, tmp_path / "both")]
    key = "actor.1.0.weight"
    assert not torch.equal(models[0][key], models[1][key])
    torch.testing.assert_close(models[2][key], (models[0][key] + models[1][key]) / 2)
    loaded = load_policy(tmp_path / "both")
    assert loaded.kind == "tracker"
    done = protege(
        "distill",
        "evaluate",
        "--checkpoint",
        tmp_path / "both",
        "--num-episodes",
        2,
        "--num-envs",
        2,
        "--output",
        tmp_path / "ev",
    )
    assert done.exit_code == 0, done.output
    done = protege("distill", "average", first, "--output", tmp_path / "one")
    assert done.exit_code == 2 and "Name two or more" in done.output
