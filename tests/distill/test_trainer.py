"""The training of a student in a few real envs, with teachers whose labels are known."""

import json
import os
import signal
from dataclasses import replace

import pytest
import torch
from tiny import TASKS, TEACHERS, ScriptedTeacher, save_teachers, save_tracker, scripted, student_config

from protege.core.env import env_plugin
from protege.core.errors import UserError
from protege.core.learning.learner import Learner
from protege.core.robots.robot import Robot
from protege.core.robots.servos import Servos
from protege.core.runs.checkpoint import load
from protege.core.runs.load_policy import load_policy, make_actor_critic
from protege.core.runs.run import Run
from protege.distill.averaging import WeightAverage
from protege.distill.curriculum import tasks_of
from protege.distill.distillation import Distillation
from protege.distill.experiment import EXPERIMENTS, distil, train
from protege.distill.teachers_by_task import TeachersByTask, load_teachers
from protege.sim.env import HumanoidEnv


def run_distillation(config, teachers) -> Run:
    torch.manual_seed(config.run.seed)
    env = env_plugin().make(config.run, config.env)
    try:
        with Run(config, "student", env.robot, env.obs_shapes) as run:
            distil(run, env, config, TeachersByTask(teachers), config.agent.curriculum)
    finally:
        env.close()
    return run


def logged(run: Run) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]


class Rollout:
    """A learner of the distillation with a full buffer, its env and its teachers."""

    def __init__(self, folder, robot: Robot) -> None:
        config = student_config(folder, robot=robot)
        self.env, self.teachers = env_plugin().make(config.run, config.env), scripted(robot)
        obs = self.env.set_task_mix(config.agent.curriculum[0].task_mix)
        self.student = make_actor_critic(self.env, config.model)
        self.algorithm = Distillation(self.student, TeachersByTask(self.teachers), config.agent)
        self.learner = Learner(self.algorithm, obs)
        self.learner.collect(self.env, iteration=100, progress=0.0)
        self.buffer = self.learner.buffer

    def update(self, progress: float) -> dict[str, float]:
        """Update on the present buffer with the phase at `progress`, the used share of the budget."""
        self.algorithm.begin(self.env, 100, progress, self.learner.generator)
        return self.learner.update()

    def terms(self) -> dict[str, torch.Tensor]:
        """The loss terms of the whole buffer, without their weights."""
        obs, batch = next(iter(self.buffer.minibatches(1, self.algorithm.inputs, torch.Generator().manual_seed(0))))
        terms = self.algorithm.loss_terms(obs, batch, self.learner.generator)
        return {name: term for name, (_, term) in terms.items()}


@pytest.fixture
def rollout(tmp_path, robot):
    rollout = Rollout(tmp_path, robot)
    yield rollout
    rollout.env.close()


def test_each_env_is_labelled_by_the_teacher_of_its_task(rollout):
    data = rollout.buffer.data
    for i, (task, part) in enumerate(rollout.env.task_slices.items()):
        assert data["teacher_value"][:, part].eq(i + 1.0).all()
        assert data["task"][:, part].eq(float(i)).all()
        teacher = rollout.teachers[TEACHERS[i]]
        assert teacher.rows == [part.stop - part.start] * rollout.buffer.num_steps
        if task != "masked_mimic":
            assert all(masks[task].all() for masks in teacher.commanded)
    assert data["teacher_mean"][..., 0].isfinite().all()


def test_teachers_act_at_first_and_the_student_later(rollout):
    data, learner, env = rollout.buffer.data, rollout.learner, rollout.env
    assert data["student_acts"].all()
    far = data["action"] - data["teacher_mean"]
    learner.obs = env.reset()
    learner.collect(env, iteration=0, progress=0.0)
    assert not data["student_acts"].any()
    assert torch.equal(data["action"], data["teacher_mean"])
    # Once PPO is on, the student's exploration noise is added to the teachers' actions.
    rollout.algorithm.config = replace(rollout.algorithm.config, ppo_start=0.5)
    learner.obs = env.reset()
    learner.collect(env, iteration=0, progress=1.0)
    near = data["action"] - data["teacher_mean"]
    deviation = float(Servos.of(rollout.env.robot).log_std[0].exp())  # 0.055 for SMPL, 0.37 for the G1
    assert near.std().item() == pytest.approx(deviation, rel=0.1)
    assert far.std() > 0.2 * near.std()


def test_a_teachers_weight_scales_only_the_gradients_of_its_envs(rollout):
    config, student = rollout.algorithm.config, rollout.student
    obs, batch = next(iter(rollout.buffer.minibatches(1, rollout.algorithm.inputs)))
    seen: list[torch.Tensor] = []

    def gradient(weight: float) -> torch.Tensor:
        mean, std, value = student(obs)
        seen.append(mean.detach().requires_grad_())
        rollout.algorithm.policy = Fixed((seen[-1], std, value), student)
        config.teacher_models.steering.weight = weight
        terms = rollout.algorithm.loss_terms(obs, batch, rollout.learner.generator)
        (terms["actor/distillation_loss"][1] + terms["actor/kl_loss"][1]).backward()
        assert seen[-1].grad is not None
        return seen[-1].grad

    plain, heavy = gradient(1.0), gradient(3.0)
    steering = batch["task"] == TASKS.index("steering")
    torch.testing.assert_close(heavy[steering], 3.0 * plain[steering])
    torch.testing.assert_close(heavy[~steering], plain[~steering])
    assert plain[steering].abs().sum() > 0.0


class Fixed:
    """A policy whose output is given."""

    def __init__(self, output, student) -> None:
        self.output, self.critic, self.action_bound = output, student.critic, student.action_bound

    def __call__(self, obs):
        return self.output


def test_loss_terms_of_weight_0_have_no_effect(rollout):
    before = {name: x.clone() for name, x in rollout.student.named_parameters()}
    for name in vars(rollout.algorithm.config):
        if name.endswith("_weight"):
            setattr(rollout.algorithm.config, name, 0.0)
    metrics = rollout.update(progress=1.0)
    assert all(torch.equal(x, before[name]) for name, x in rollout.student.named_parameters())
    assert metrics["agent/skipped_updates"] == 0.0


def test_ppo_learns_only_from_envs_in_which_the_student_acts(rollout):
    rollout.update(progress=0.0)
    rollout.buffer.data["student_acts"][:, :4] = 0.0
    rollout.buffer.data["advantage"][:, :4] = 1e6
    assert rollout.terms()["actor/ppo_loss"].abs() < 1e3


def test_an_env_whose_physics_failed_does_not_affect_the_gradient(rollout):
    buffer = rollout.buffer
    buffer.data["invalid"][:, :2] = True
    seen = buffer.obs | {key: x for key, x in buffer.data.items() if key not in ("task", "student_acts")}
    for x in seen.values():
        if x.is_floating_point():
            x[:, :2] = torch.nan
    metrics = rollout.update(progress=1.0)
    assert metrics["agent/skipped_updates"] == 0.0 and metrics["agent/invalid_fraction"] == 0.25
    assert all(x.isfinite().all() for x in rollout.student.state_dict().values())


def test_the_student_imitates(tmp_path, robot):
    # The teachers act, so that the distribution of states stays the same and only learning lowers the losses.
    iterations = {"smpl": 15, "g1": 25}[robot.name]
    quick = (f"max_iterations={iterations}", "num_envs=16", "rollout_steps=8", "epochs=3", "learning_rate=1e-2")
    run = run_distillation(student_config(tmp_path, *quick, "teacher_iterations=1000", robot=robot), scripted(robot))
    rows = logged(run)
    first, last = rows[0], rows[-1]
    for name in ["actor/distillation_loss", "actor/kl_loss", *(f"distillation_loss/{task}" for task in TASKS)]:
        assert last[name] < first[name] / 4.0, name
    names = ("actor/ppo_loss", "actor/bounds_loss", "critic/value_loss", "episode/length", "path/return")
    assert all(any(name in row for row in rows) for name in names)


def test_the_critic_learns_the_teachers_values(rollout):
    buffer = rollout.buffer

    def error() -> float:
        """Mean absolute error in units of reward; the unit of the loss changes with the returns' deviation."""
        rows = {key: x.flatten(0, 1) for key, x in buffer.obs.items()}
        with torch.no_grad():
            return (rollout.student.value(rows) - buffer.data["teacher_value"].flatten()).abs().mean().item()

    before = error()
    for _ in range(30):
        rollout.update(progress=0.0)
    assert error() < before / 3.0


def test_the_average_of_the_weights_is_saved(tmp_path):
    run = run_distillation(student_config(tmp_path, "weight_averaging=0.9"), scripted())
    saved = load(run.folder)
    student = saved.training["trainer"]["distiller"]["student"]
    assert any(not torch.equal(x, student[name]) for name, x in saved.model.items())
    exact = load(
        run_distillation(student_config(tmp_path, "experiment_name=b", "weight_averaging=0"), scripted()).folder
    )
    student = exact.training["trainer"]["distiller"]["student"]
    assert all(torch.equal(x, student[name]) for name, x in exact.model.items())


def test_the_weight_average_by_hand():
    layer = torch.nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(0.0)
    average = WeightAverage(layer, 0.5)
    layer.weight.data.fill_(1.0)
    average.after_step()  # decay 1 / 10
    assert average.model.weight.item() == pytest.approx(0.9)
    layer.weight.data.fill_(2.0)
    average.updates = 100
    average.after_step()  # decay 1 / 2
    assert average.model.weight.item() == pytest.approx(0.5 * 0.9 + 0.5 * 2.0)


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    stages = "curriculum=[{name: a, task_mix: {path: 1}}, {name: b, task_mix: {goal: 1, steering: 1}}]"
    overrides = (stages, "max_iterations=6", "evaluation_interval=2", "evaluation_episodes=1", "episode_length_s=0.5")
    whole = run_distillation(student_config(tmp_path, *overrides), scripted())

    class Interrupting(ScriptedTeacher):
        def label(self, obs):
            if len(self.rows) == 1:  # in the second iteration or just after it; there are four labels per iteration
                os.kill(os.getpid(), signal.SIGINT)
            return super().label(obs)

    for name in ("path_follower", "goal_directed"):  # one stops in the first stage, the other in the second
        teachers = scripted()
        teachers[name] = Interrupting(teachers[name].offset, teachers[name].value)
        part = run_distillation(student_config(tmp_path, *overrides, "experiment_name=parts"), teachers)
        assert part.interrupted and not part.finished
    rest = run_distillation(student_config(tmp_path, *overrides, "experiment_name=parts"), scripted())

    assert rest.finished and rest.iteration == 6
    for name in ("last.ckpt", "best.ckpt"):
        a, b = load(whole.folder / name), load(rest.folder / name)
        assert all(torch.equal(x, b.model[key]) for key, x in a.model.items())
    a, b = (load(run.folder / "last.ckpt").training["trainer"] for run in (whole, rest))
    assert all(torch.equal(x, b["distiller"]["student"][key]) for key, x in a["distiller"]["student"].items())
    assert a["best"] == b["best"] and a["stage"] == b["stage"] == 1
    timeless = [[{k: x for k, x in row.items() if k != "seconds"} for row in logged(run)] for run in (whole, rest)]
    assert timeless[0] == timeless[1]
    assert {"evaluation/goal/success", "evaluation/path/success"} <= set(timeless[0][1])


@pytest.mark.parametrize("of_truth", [True, False])
def test_teachers_label_the_true_or_the_measured_state(of_truth, tmp_path, monkeypatch):
    given, truths = [], []
    true_observations = HumanoidEnv.true_observations

    def recorded(env):
        truth = true_observations(env)
        if truth is not None:  # the evaluation's sensors have no errors
            truths.append(truth["proprioception"].clone())
        return truth

    class Recording(ScriptedTeacher):
        def label(self, obs):
            given.append(obs["proprioception"].clone())
            return super().label(obs)

    monkeypatch.setattr(HumanoidEnv, "true_observations", recorded)
    noisy = "env.randomization.noise.joint_pos=0.1", f"label_true_state={of_truth}".lower()
    run_distillation(student_config(tmp_path, *noisy, "max_iterations=1"), {name: Recording() for name in TEACHERS})
    assert len(given) == 4 * len(TASKS), "labels in each control step of the rollout"
    assert len(truths) == (4 if of_truth else 0)
    by_step = [torch.cat(given[k : k + len(TASKS)]) for k in range(0, len(given), len(TASKS))]
    assert all(torch.equal(a, b) for a, b in zip(by_step, truths, strict=False))


def test_a_run_may_start_from_a_students_weights(tmp_path):
    first = run_distillation(student_config(tmp_path), scripted())
    overrides = (f"run.checkpoint={first.folder}", "experiment_name=second", "max_iterations=1", "learning_rate=0")
    second = run_distillation(student_config(tmp_path, *overrides, "min_learning_rate=0"), scripted())
    actor = {name: x for name, x in load(first.folder).model.items() if name.startswith("actor.")}
    assert all(torch.equal(x, load(second.folder).model[name]) for name, x in actor.items())


def test_the_error_names_missing_and_unsuitable_teachers(tmp_path, robot):
    config = student_config(tmp_path, robot=robot)
    env = env_plugin().make(config.run, config.env)
    models = config.agent.teacher_models
    folders = save_teachers(tmp_path, robot)
    for name, folder in folders.items():
        getattr(models, name).checkpoint = [str(folder)]
    teachers = load_teachers(models, tasks_of(config.agent.curriculum), env, config.run)
    assert set(teachers.teachers) == set(TEACHERS)
    assert teachers.digests == {str(folder): load_policy(folder).digest for folder in folders.values()}

    models.path_follower.checkpoint, models.steering.checkpoint = models.steering.checkpoint, []
    with pytest.raises(UserError, match=r"path_follower\.checkpoint\[0\]: .* holds a steering, not a path_follower"):
        load_teachers(models, ["path"], env, config.run)
    models.path_follower.checkpoint = [str(tmp_path / "path_follower")]
    with pytest.raises(UserError, match=r"agent\.teacher_models\.steering\.checkpoint is empty"):
        load_teachers(models, TASKS, env, config.run)
    models.steering.checkpoint = [str(tmp_path / "nowhere")]
    with pytest.raises(UserError, match=r"agent\.teacher_models\.steering\.checkpoint.*nowhere"):
        load_teachers(models, TASKS, env, config.run)
    load_teachers(models, ["path", "goal"], env, config.run)  # these tasks do not need the steering teacher
    env.obs_shapes["poses"] = (9, robot.num_bodies, 12)
    with pytest.raises(UserError, match=rf"path_follower\.checkpoint.*poses.*\(9, {robot.num_bodies}, 12\)"):
        load_teachers(models, ["path"], env, config.run)
    env.close()


def test_several_checkpoints_make_an_ensemble(tmp_path, robot):
    a, b = (save_tracker(tmp_path / name, "path_follower", robot) for name in "ab")
    teacher = f"teacher_models.path_follower.checkpoint=['{a}', '{b}']"
    config = student_config(tmp_path, teacher, robot=robot)
    env = env_plugin().make(config.run, config.env)
    obs = env.set_task_mix({"path": 1.0})
    labels = load_teachers(config.agent.teacher_models, ["path"], env, config.run).label(obs, env.task_slices)
    means = [load_policy(path).policy.distribution(obs)[0] for path in (a, b)]
    torch.testing.assert_close(labels["teacher_mean"], (means[0] + means[1]) / 2)
    torch.testing.assert_close(labels["teacher_spread"], 0.5 * (means[0] - means[1]).abs())
    env.close()


def test_a_teacher_of_weight_0_is_not_needed(tmp_path):
    folders = save_teachers(tmp_path)
    overrides = ["max_iterations=1", "teacher_models.steering.weight=0", "teacher_models.masked_mimic.weight=0"]
    overrides += [f"teacher_models.{name}.checkpoint=['{folders[name]}']" for name in TEACHERS[:2]]
    config = student_config(tmp_path, *overrides, "teacher_models.steering.checkpoint=[]")
    env = env_plugin().make(config.run, config.env)
    with Run(config, EXPERIMENTS["distillation"].kind, env.robot, env.obs_shapes) as run:
        train(run, env, config)
    env.close()
    assert {name for name in logged(run)[0] if name.startswith("distillation_loss/")} == {
        "distillation_loss/path",
        "distillation_loss/goal",
    }
