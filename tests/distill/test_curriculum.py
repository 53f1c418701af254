"""Stages and phases over the run's budget."""

import pytest

from protege.core.errors import UserError
from protege.distill.config import DistillConfig, Stage
from protege.distill.curriculum import stage_index, usable_stages
from protege.distill.phases import Phase, phase, teacher_share

ALL = {"path_follower": 1.0, "goal_directed": 1.0, "steering": 1.0, "masked_mimic": 1.0}

STAGES = [
    Stage("paths", 0.15, {"path": 1.0}),
    Stage("goals", 0.15, {"path": 1.0, "goal": 2.0}),
    Stage("steering", 0.2, {"path": 1.0, "goal": 1.0, "steering": 2.0}),
    Stage("all", 0.5, {"path": 1.0, "goal": 1.0, "steering": 1.0, "masked_mimic": 1.0}),
]


def test_stages_come_in_the_given_order():
    stages = usable_stages(STAGES, ALL)
    seen = [stages[stage_index(stages, progress)].task_mix for progress in (0.0, 0.2, 0.4, 0.9)]
    assert [set(mix) for mix in seen] == [
        {"path"},
        {"path", "goal"},
        {"path", "goal", "steering"},
        {"path", "goal", "steering", "masked_mimic"},
    ]


def test_a_stage_begins_where_the_one_before_ends():
    # Shares 1, 2 and 1 of 4: edges at exactly 0.25 and 0.75.
    stages = [Stage("a", 1.0, {"path": 1.0}), Stage("b", 2.0, {"goal": 1.0}), Stage("c", 1.0, {"path": 1.0})]
    assert [stage_index(stages, p) for p in (0.0, 0.249, 0.25, 0.749, 0.75, 1.0)] == [0, 0, 1, 1, 2, 2]


def test_a_teacher_of_weight_0_leaves_its_tasks_out():
    stages = usable_stages(STAGES, ALL | {"path_follower": 0.0, "masked_mimic": 0.0})
    assert [stage.name for stage in stages] == ["goals", "steering", "all"]
    assert {task for stage in stages for task in stage.task_mix} == {"goal", "steering"}


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([Stage("a", 1.0, {"walk": 1.0})], r"agent\.curriculum\[0\].*'walk'"),
        ([Stage("a", 0.0, {"path": 1.0})], "no stage"),
        ([], "no stage"),
    ],
)
def test_the_error_names_an_unusable_curriculum(stages, message):
    with pytest.raises(UserError, match=message):
        usable_stages(stages, ALL)


def test_ppo_starts_after_imitation_and_ramps_up():
    config = DistillConfig(ppo_start=0.5, ppo_ramp=0.2)
    factors = [phase(config, p).ppo for p in (0.0, 0.49, 0.5, 0.6, 0.7, 1.0)]
    assert factors == pytest.approx([0, 0, 0, 0.5, 1, 1])
    assert [phase(config, p).own_returns for p in (0.49, 0.5)] == [False, True]
    assert phase(DistillConfig(ppo_start=0.5, ppo_ramp=0.0), 0.5).ppo == 1.0
    assert phase(DistillConfig(ppo_start=1.0, ppo_ramp=0.0), 1.0) == Phase(False, False, 0.0, 1.0)  # never


def test_the_critic_may_learn_before_the_actor():
    config = DistillConfig(ppo_start=0.2, critic_first=0.3, ppo_ramp=0.25)
    phases = [phase(config, p) for p in (0.1, 0.2, 0.45, 0.55, 0.8)]
    assert [x.frozen for x in phases] == [False, True, True, False, False]
    assert [x.own_returns for x in phases] == [False, True, True, True, True]
    assert [x.ppo for x in phases] == pytest.approx([0.0, 0.0, 0.0, 0.2, 1.0])


def test_the_anchor_falls_linearly_once_ppo_starts():
    config = DistillConfig(ppo_start=0.2, critic_first=0.2, anchor_end=0.1)
    assert [phase(config, p).anchor for p in (0.1, 0.4, 0.7, 1.0)] == pytest.approx([1.0, 1.0, 0.55, 0.1])


def test_the_share_of_envs_in_which_teachers_act_falls_to_0():
    config = DistillConfig(teacher_iterations=4)
    assert [teacher_share(config, i) for i in range(6)] == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
