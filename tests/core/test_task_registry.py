"""The registry of tasks, and what is derived from it without an environment."""

from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints

import pytest
import torch

from protege.core import tasks as registry
from protege.core.errors import UserError
from protege.core.robots.state import RobotState
from protege.core.tasks import InputSpec, Modality, modalities, tasks

STATE = RobotState.empty((3,), 3, 3, torch.device("cpu"))


def sum_and_double(state: RobotState, inputs) -> torch.Tensor:
    return torch.stack([inputs["a"].sum(dim=1), 2.0 * inputs["b"]], dim=1)


TOY = Modality(
    name="toy",
    shape=lambda params: (2,),
    inputs=lambda shape: (InputSpec("a", (2,), "m", "world", "a point"), InputSpec("b", (), "1", "", "a number")),
    observe=sum_and_double,
)


@pytest.fixture
def entries(monkeypatch) -> Iterator[list[EntryPoint]]:
    """The entry points that are found, to be changed."""
    found: list[EntryPoint] = []
    monkeypatch.setattr(registry, "entry_points", lambda group: EntryPoints(found))
    tasks.cache_clear()
    yield found
    tasks.cache_clear()


def test_the_tasks_of_this_workspace_in_their_order():
    assert list(tasks()) == ["track", "masked_mimic", "path", "goal", "steering"]
    assert list(modalities()) == ["path", "goal", "steering"]
    assert [task.kind for task in tasks().values()] == [
        "tracker",
        "masked_mimic",
        "path_follower",
        "goal_directed",
        "steering",
    ]
    assert [task.column for task in tasks().values()][-2:] == ["goal_reaching_err/last", "steering_err/mean"]


def test_modalities_observe_the_declared_shapes_from_the_declared_inputs():
    for task in tasks().values():
        if task.modality is not None:
            shape = task.modality.shape(task.config_class())
            given = {spec.name: torch.zeros(3, *spec.shape) for spec in task.modality.inputs(shape)}
            assert task.modality.observe(STATE, given).shape == (3, *shape)


def test_uncommanded_observations_are_zero():
    given, mask = {"a": torch.ones(3, 2), "b": torch.full((3,), 3.0)}, torch.tensor([True, False, True])
    seen = TOY.observe_where(mask, STATE, given)
    assert seen.tolist() == [[2.0, 6.0], [0.0, 0.0], [2.0, 6.0]]


def test_without_packages_there_are_no_tasks(entries):
    assert not tasks() and not modalities()


def test_two_tasks_of_one_name_are_refused(entries):
    entries += [EntryPoint(name, "protege.sim.tasks.registry:TASKS", "protege.tasks") for name in ("sim", "twin")]
    with pytest.raises(UserError, match=r"two installed packages offer a task 'track'\. Remove one: protege\.sim\."):
        tasks()


def test_every_callable_of_a_task_accepts_its_default_parameters():
    """All callables of all tasks accept the default parameters."""
    for task in tasks().values():
        params = task.config_class()
        assert task.failure_rule(params) and task.title and task.taught_by
        assert all(low <= high and unit for low, high, unit in task.command_ranges(params).values())
        assert set(task.reward_weights(params)) >= set(getattr(params, "rewards", {}))
    assert tasks()["goal"].reward_weights(tasks()["goal"].config_class())["goal_closeness"] == 0.5
