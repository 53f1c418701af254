"""Properties of the students' presets, with the envs that they make."""

import json
from math import isfinite

import pytest
import torch
from click.testing import CliRunner
from tiny import SMALL_ENV, SMALL_MODEL, TASKS, of_robot, save_teachers, scripted

from protege.core.env import env_plugin
from protege.core.learning.learner import Learner
from protege.core.runs.config import RunConfig, compose
from protege.core.runs.load_policy import make_actor_critic
from protege.distill.cli import main
from protege.distill.distillation import Distillation
from protege.distill.experiment import EXPERIMENTS
from protege.distill.phases import phase
from protege.distill.teachers_by_task import TeachersByTask

WALKS = TASKS[:3]
LOSSES = ("ppo", "distillation", "kl", "value_distillation", "bounds_loss")


def composed(preset, robot, *overrides):
    parts = {"run": RunConfig, "env": env_plugin().config_class, **EXPERIMENTS["distillation"].parts}
    small = [*SMALL_ENV, *of_robot(robot), *SMALL_MODEL, "num_envs=8", "rollout_steps=4", "minibatches=2"]
    return compose(parts, preset, [*small, *overrides], robot_settings=env_plugin().robot_settings)


@pytest.mark.parametrize("preset", ["rewarded"])
def test_all_five_losses_are_on(robot, preset):
    agent = composed(f"distillation/{preset}", robot).agent
    assert all(getattr(agent, f"{name}_weight") > 0.0 for name in LOSSES)
    assert phase(agent, 0.5).ppo == 1.0 and phase(agent, 1.0).anchor > 0.0
    assert agent.noise_of_error > 0.0


@pytest.mark.parametrize("preset", ["rewarded", "critic_first"])
def test_rewards_of_walking_tasks_need_onboard_quantities_and_falls_end_episodes(robot, preset):
    config = composed(f"distillation/{preset}", robot)
    env = env_plugin().make(config.run, config.env)
    try:
        env.set_task_mix(dict.fromkeys(WALKS, 1.0))
        ends = {name: set(env.tasks[name].terminations) for name in WALKS}
        assert ends["path"] == {"fallen"} and ends["steering"] == {"fallen", "heading_off"}
        assert ends["goal"] == {"fallen", "root_off"} and config.env.goal_params.termination_distance >= 1000.0
        sensed = {"upright", "steady_targets", "planted_feet", "low_power"}
        own = {"path": "path_position", "goal": "goal_closeness", "steering": "steering_velocity"}
        assert {name: set(env.tasks[name].rewards) for name in WALKS} == {x: {*sensed, own[x]} for x in WALKS}
    finally:
        env.close()


def test_an_iteration_of_the_rewarded_preset_learns_from_rewards_and_teachers(robot):
    config = composed("distillation/rewarded", robot, "teacher_iterations=0")
    env = env_plugin().make(config.run, config.env)
    try:
        obs = env.set_task_mix(dict.fromkeys(TASKS, 1.0))
        student = make_actor_critic(env, config.model)
        learner = Learner(Distillation(student, TeachersByTask(scripted(robot)), config.agent), obs)
        for _ in range(2):
            learner.collect(env, 5, 0.5)
            metrics = learner.update()
        assert metrics["agent/ppo_factor"] == 1.0 and metrics["agent/anchor"] == pytest.approx(0.55)
        assert all(torch.isfinite(x).all() for x in student.parameters())
        assert metrics["actor/ppo_loss"] != 0.0 and metrics["agent/skipped_updates"] == 0.0
        data = learner.buffer.data
        walking = torch.cat([data["reward"][:, env.task_slices[name]].flatten() for name in WALKS])
        assert walking.min() > 0.0 and walking.max() <= 1.0 + 1e-6  # 0.2 + 3 x 0.1 + 0.5
    finally:
        env.close()


@pytest.mark.parametrize("preset", ["robust", "onboard"])
def test_robust_presets_differ_in_everything_that_real_robots_do(robot, preset):
    random = composed(f"distillation/{preset}", robot).env.randomization
    assert random.friction == ({"robust": 0.3, "onboard": 0.2}[preset], 1.6)
    assert random.torso_com == 0.05 and random.delay == (0.0, 0.04)
    assert len(random.physics_rate) == 3 and random.velocity_step[1] == 0.5 and random.velocity_step_turn > 0.5
    assert all(x > 0.0 for x in vars(random.noise).values()) and random.bias.joint_pos == 0.01
    assert 0.0 < random.ramp < 1.0 and not random.in_evaluation


@pytest.mark.parametrize(("preset", "simulator"), [("robust", "mujoco"), ("onboard", "mujoco"), ("onboard", "mjwarp")])
def test_a_few_iterations_with_all_of_it_from_the_command_line(robot, preset, simulator, tmp_path):
    """Two rates of the physics within each rollout, and legs that collide."""
    teachers = save_teachers(tmp_path / "teachers", robot)
    named = [f"teacher_models.{name}.checkpoint=['{path}']" for name, path in teachers.items()]
    short = ["rollout_steps=4", "epochs=1", "minibatches=2", "evaluation_interval=0", "run.max_time=null", "num_envs=8"]
    mix = "curriculum=[{name: all, task_mix: {path: 1, goal: 1, steering: 1, masked_mimic: 1}}]"
    random = [f"physics_rate_time={2 * robot.control_dt}", "leg_collision=true", "contact_time=[1,2]", "effort=[0.8,1]"]
    words = [
        "train",
        f"distillation/{preset}",
        "--robot",
        robot.name,
        "--simulator",
        simulator,
        "--max-iterations",
        "3",
    ]
    words += [
        "--results-dir",
        str(tmp_path),
        "--device",
        "cpu",
        *SMALL_ENV,
        *of_robot(robot),
        *SMALL_MODEL,
        *short,
        mix,
    ]
    done = CliRunner().invoke(main, [*words, *named, *(f"env.randomization.{x}" for x in random)])
    assert done.exit_code == 0, done.output
    log = tmp_path / f"{robot.name}_{preset}" / "metrics.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(rows) == 3 and all(isfinite(row["actor/distillation_loss"]) for row in rows)
    assert rows[-1]["agent/skipped_updates"] == 0.0
