"""The effect of each of the five losses on the student, and their schedules."""

import math
from collections.abc import Callable

import pytest
import torch
from tiny import TASKS, scripted, student_config
from torch import Tensor, nn

from protege.core.env import env_plugin
from protege.core.learning.learner import Learner
from protege.core.learning.process_group import SINGLE_PROCESS
from protege.core.robots.robot import Robot
from protege.core.runs.load_policy import make_actor_critic
from protege.distill.distillation import MIN_NOISE_SHARE, POSITION_OFFSET, Distillation
from protege.distill.teachers_by_task import TeachersByTask

PPO_ON = ("ppo_start=0", "ppo_ramp=0", "teacher_iterations=0", "noise_of_error=0", "weight_averaging=0")


class Training:
    """A student of scripted teachers, with PPO on from the beginning. At first its action of the first joint exceeds the bound."""

    def __init__(self, folder, robot: Robot, *overrides: str) -> None:
        config = student_config(folder, *PPO_ON, *overrides, robot=robot)
        torch.manual_seed(0)
        self.env = env_plugin().make(config.run, config.env)
        obs = self.env.set_task_mix(config.agent.curriculum[0].task_mix)
        self.student = make_actor_critic(self.env, config.model)
        last = [layer for layer in self.student.actor.modules() if isinstance(layer, nn.Linear)][-1]
        last.bias.data[0] = 1.1 * self.student.action_bound[0]
        self.algorithm = Distillation(self.student, TeachersByTask(scripted(robot)), config.agent)
        self.learner = Learner(self.algorithm, obs)

    def iterate(self, count: int = 1, progress: float = 0.5) -> dict[str, float]:
        metrics = {}
        for _ in range(count):
            self.learner.collect(self.env, 100, progress)
            metrics = self.learner.update()
        return metrics

    def weights(self, part: str) -> list[Tensor]:
        return [x.detach().clone() for x in getattr(self.student, part).parameters()]


@pytest.fixture
def training(tmp_path, robot):
    started: list[Training] = []

    def start(*overrides: str) -> Training:
        started.append(Training(tmp_path, robot, *overrides))
        return started[-1]

    yield start
    for one in started:
        one.env.close()


Start = Callable[..., Training]


@pytest.mark.parametrize(
    "key", ["ppo_weight", "distillation_weight", "kl_weight", "value_distillation_weight", "bounds_loss_weight"]
)
def test_each_weight_changes_the_actor(training: Start, key):
    """The value loss acts through the critic, whose values enter the advantages of the second rollout."""
    actors = []
    for change in ((), (), (f"{key}=0",), (f"{key}=3",)):
        run = training(*change)
        run.iterate(3)
        actors.append(run.weights("actor"))
    plain, again, without, more = (torch.cat([x.flatten() for x in actor]) for actor in actors)
    assert torch.equal(plain, again)  # nothing else differs
    assert (plain - without).abs().max() > 1e-5 and (plain - more).abs().max() > 1e-5
    assert (without - more).abs().max() > 1e-5


def test_the_actor_is_frozen_while_the_critic_learns_first(training: Start):
    run = training("ppo_start=0.2", "critic_first=0.4")
    run.iterate(1, progress=0.1)  # gives the optimiser a momentum
    actor, critic, mean = run.weights("actor"), run.weights("critic"), run.student.log_std.exp().mean()
    metrics = run.iterate(2, progress=0.5)
    assert all(map(torch.equal, actor, run.weights("actor")))
    assert not any(map(torch.equal, critic, run.weights("critic")))
    data = run.learner.buffer.data
    noise = (data["action"] - data["mean"]).std()
    assert noise.item() == pytest.approx(mean.item(), rel=0.1)  # full noise, as with PPO
    assert metrics["agent/ppo_factor"] == 0.0
    run.iterate(1, progress=0.7)
    assert not any(map(torch.equal, actor, run.weights("actor")))


def test_the_critic_learns_the_students_own_returns(training: Start):
    run = training("critic_first=1", "value_distillation_weight=0", "learning_rate=3e-3", "epochs=4")

    def error() -> float:
        data, rows = run.learner.buffer.data, {k: x.flatten(0, 1) for k, x in run.learner.buffer.obs.items()}
        with torch.no_grad():
            return (run.student.value(rows) - data["return"].flatten()).abs().mean().item()

    run.iterate()
    before = error()
    for _ in range(20):
        run.learner.update()
    assert error() < 0.5 * before


def test_the_noise_follows_the_error_joint_by_joint(training: Start):
    run = training("noise_of_error=0.5", "learning_rate=0", "min_learning_rate=0")
    own = run.student.log_std.exp().clone()
    run.iterate()
    data = run.learner.buffer.data
    error = (data["mean"] - data["teacher_mean"]).square().mean((0, 1)).sqrt()
    expected = (0.5 * error).clamp(MIN_NOISE_SHARE * own, own)
    torch.testing.assert_close(run.student.log_std.exp(), expected)
    assert expected[0] == own[0] and (expected < own).any()  # the first joint has a large error
    run.iterate()
    torch.testing.assert_close(data["std"][0, 0], expected)  # the next rollout uses it


def test_labels_do_not_count_where_the_robot_is_far_from_the_reference(training: Start):
    run = training("heed_distance=0.3")
    obs = dict(run.learner.obs)
    run.algorithm.begin(run.env, 100, 0.5, run.learner.generator)
    poses = obs["poses"].clone()
    poses[..., POSITION_OFFSET] = 0.0
    poses[1, 0, :, POSITION_OFFSET] = torch.tensor([0.3, 0.0, 0.4])  # every body is 0.5 m off in the next frame
    poses[2, 1:, :, POSITION_OFFSET] = 5.0  # later frames do not count
    label_weight = run.algorithm.act(obs | {"poses": poses}, run.learner.generator)[1]["label_weight"]
    expected = torch.ones(len(label_weight))
    expected[1] = 0.0
    assert torch.equal(label_weight, expected)
    run.iterate()
    run.learner.buffer.data["label_weight"].zero_()
    batch = next(iter(run.learner.buffer.minibatches(1, run.algorithm.inputs)))
    terms = run.algorithm.loss_terms(*batch, run.learner.generator)
    for name in ("actor/distillation_loss", "actor/kl_loss", "critic/value_distillation_loss"):
        assert terms[name][1] == 0.0
    assert terms["actor/ppo_loss"][1] != 0.0


def test_teachers_values_are_rescaled_to_the_students_returns_once_ppo_is_on(training: Start):
    run = training("ppo_start=0.5")
    values = {name: float(i + 1) for i, name in enumerate(TASKS)}  # of the `scripted` teachers
    for progress, own in ((0.1, False), (0.6, True)):
        run.learner.collect(run.env, 100, progress)
        run.algorithm.prepare(run.learner.buffer, SINGLE_PROCESS)
        data = run.learner.buffer.data
        for task, part in run.env.task_slices.items():
            expected = data["return"][:, part].mean().item() if own else values[task]
            torch.testing.assert_close(
                data["teacher_value"][:, part], torch.full_like(data["return"][:, part], expected)
            )


def test_the_anchor_scales_imitation_and_kl(training: Start):
    run = training("anchor_end=0.2")
    run.learner.collect(run.env, 100, 0.75)
    run.algorithm.prepare(run.learner.buffer, SINGLE_PROCESS)
    batch = next(iter(run.learner.buffer.minibatches(1, run.algorithm.inputs)))
    terms = run.algorithm.loss_terms(*batch, run.learner.generator)
    weights = {name: float(weight) for name, (weight, _) in terms.items()}
    assert weights["actor/distillation_loss"] == pytest.approx(2.5 * 0.4)  # 1 - 0.75 x 0.8
    assert weights["actor/kl_loss"] == pytest.approx(0.04)
    assert math.isfinite(run.iterate()["actor/kl_loss"])
