"""Labels of single teachers and of ensembles."""

import pytest
import torch

from protege.core.env import Obs
from protege.core.errors import UserError
from protege.core.runs.load_policy import load_policy
from protege.teachers.teacher import Ensemble, Label, Teacher


class Fixed:
    """Gives the same label to all observations."""

    def __init__(self, mean: list[float], std: list[float], value: float) -> None:
        self.fixed_label = Label(torch.tensor([mean]), torch.tensor([std]), torch.tensor([value]))

    def label(self, obs: Obs) -> Label:
        return self.fixed_label


def some_obs(teacher: Teacher, obs_shapes: dict[str, list[int]], n: int = 5) -> Obs:
    """Random observations of everything that a teacher reads, (n, ...)."""
    return {key: torch.randn(n, *obs_shapes[key]) for key in teacher.obs_keys}


def test_a_label_is_the_policys_distribution_and_value(tiny_tracker):
    loaded = load_policy(tiny_tracker)
    teacher = Teacher.load(tiny_tracker)
    assert (teacher.kind, set(teacher.obs_keys)) == (
        "tracker",
        {"proprioception", "poses", "reference_joint_pos", "reference_joint_vel"},
    )
    obs = some_obs(teacher, loaded.obs_shapes)
    label = teacher.label(obs)
    mean, std = loaded.policy.distribution(obs)
    torch.testing.assert_close(label.mean, mean)
    torch.testing.assert_close(label.std, std)
    torch.testing.assert_close(label.value, loaded.policy.value(obs))
    assert label.mean.shape == label.std.shape == (5, 69) and label.value.shape == (5,)


def test_labels_have_no_gradients(tiny_tracker):
    loaded = load_policy(tiny_tracker)
    loaded.policy.requires_grad_(True)
    teacher = Teacher(loaded)
    obs = {key: x.requires_grad_() for key, x in some_obs(teacher, loaded.obs_shapes).items()}
    label = teacher.label(obs)
    assert not any(x.requires_grad for x in (label.mean, label.std, label.value)) and label.spread is None


def test_an_ensemble_obeys_the_law_of_total_variance():
    """Var = mean of the variances + variance of the means; for the first joint (0.01 + 0.04) / 2 + 0.25 = 0.275."""
    both = Ensemble([Fixed([1.0, 0.0], [0.1, 0.3], 4.0), Fixed([2.0, 0.0], [0.2, 0.3], 7.0)]).label({})
    torch.testing.assert_close(both.mean, torch.tensor([[1.5, 0.0]]))
    torch.testing.assert_close(both.std.square(), torch.tensor([[0.275, 0.09]]))
    torch.testing.assert_close(both.value, torch.tensor([5.5]))
    torch.testing.assert_close(both.spread, torch.tensor([[0.5, 0.0]]))


def test_an_ensembles_deviation_matches_samples_of_its_teachers():
    means, stds = torch.tensor([-0.4, 0.1, 0.8]), torch.tensor([0.2, 0.5, 0.1])
    several = Ensemble([Fixed([float(m)], [float(s)], 0.0) for m, s in zip(means, stds, strict=True)]).label({})
    which = torch.randint(3, (200_000,), generator=torch.Generator().manual_seed(0))
    samples = means[which] + stds[which] * torch.randn(len(which), generator=torch.Generator().manual_seed(1))
    assert float(several.mean) == pytest.approx(float(samples.mean()), abs=0.01)
    assert float(several.std) == pytest.approx(float(samples.std()), abs=0.01)


def test_an_ensemble_of_one_equals_its_teacher(tiny_tracker):
    teacher = Teacher.load(tiny_tracker)
    obs = some_obs(teacher, load_policy(tiny_tracker).obs_shapes)
    alone, label = Ensemble([teacher]).label(obs), teacher.label(obs)
    for name in ("mean", "std", "value"):
        torch.testing.assert_close(getattr(alone, name), getattr(label, name))


def test_a_missing_teacher_and_one_of_another_robot_are_named(tiny_tracker, tmp_path):
    with pytest.raises(UserError, match="no checkpoint at"):
        Teacher.load(tmp_path / "nobody")
    with pytest.raises(UserError, match="drives the robot smpl, not g1"):
        Teacher.load(tiny_tracker, robot="g1")
