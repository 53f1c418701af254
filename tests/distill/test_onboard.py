"""A student with onboard sensors, from its preset to the robot: training, evaluation, export, check, run."""

import json
from pathlib import Path

import torch
from click.testing import CliRunner
from tiny import SMALL_ENV, SMALL_MODEL, TEACHERS, of_robot, save_teachers

from protege.core.learning.policy import ActorCritic
from protege.core.robots.robot import Robot
from protege.core.runs.load_policy import load_policy
from protege.core.runs.training import train
from protege.deploy.cli.main import main
from protege.distill.evaluate import evaluate
from protege.distill.experiment import EXPERIMENTS

SMALL = ["num_envs=8", "rollout_steps=4", "epochs=1", "minibatches=2", "teacher_iterations=0", "run.max_time=null"]


def settings(folder: Path, robot: Robot, *overrides: str) -> list[str]:
    """Overrides of a tiny run, with a teacher of each kind."""
    teachers = save_teachers(folder / "teachers", robot)
    named = [f"teacher_models.{name}.checkpoint=['{teachers[name]}']" for name in TEACHERS]
    where = [f"results_dir={folder}", "experiment_name=onboard", "run.device=cpu"]
    return [*SMALL_ENV, *of_robot(robot), *SMALL_MODEL, *SMALL, *where, *named, *overrides]


def test_an_onboard_student_is_trained_evaluated_exported_checked_and_run(tmp_path: Path, robot: Robot) -> None:
    every = "curriculum=[{name: all, task_mix: {path: 1, goal: 1, steering: 1, masked_mimic: 1}}]"
    evaluated = ["evaluation_interval=2", "evaluation_episodes=2", "max_iterations=2"]
    overrides = settings(tmp_path, robot, every, *evaluated)
    run = train(EXPERIMENTS["distillation"], "distillation/onboard", overrides)
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["actor/distillation_loss"] > 0.0 and any("evaluation/steering/success" in row for row in rows)

    loaded = load_policy(run.folder)
    student = loaded.policy
    assert isinstance(student, ActorCritic) and student.sensors == "onboard"
    inputs = {"onboard", "onboard_history", "onboard_masked_poses", "path", "goal", "steering"}
    assert set(student.actor_tokens) == inputs and not inputs & set(student.critic_tokens) - {
        "path",
        "goal",
        "steering",
    }
    assert {"proprioception", "poses"} <= set(student.critic_tokens)  # the critic has the full state
    played = evaluate(loaded, ["steering", "masked_mimic"], 4, num_envs=2, simulator="mujoco", device="cpu")
    assert played.data["tasks"]["steering"]["episodes"] == 4

    out, report = str(tmp_path / "out"), tmp_path / "report.json"
    for command in (
        ["export", "--checkpoint", str(run.folder), "--output", out],
        ["info", out],
        ["check", out, "--checkpoint", str(run.folder), "--num-states", "100"],
        ["run", out, "--fast", "--no-safety", "--seconds", "0.5", "--report", str(report)],
    ):
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, done.output
    assert json.loads(report.read_text())["loop"]["event"] is None


def test_labels_do_not_depend_on_the_students_sensors(tmp_path: Path) -> None:
    """A teacher's label depends only on the full state."""
    from protege.core.env import env_plugin
    from protege.core.runs.config import RunConfig, compose
    from protege.distill.teachers_by_task import load_teachers
    from protege.sim.robots import get_robot

    robot = get_robot("smpl")
    parts = {"run": RunConfig, "env": env_plugin().config_class, **EXPERIMENTS["distillation"].parts}
    overrides = settings(tmp_path, robot)
    config = compose(parts, "distillation/onboard", overrides, robot_settings=env_plugin().robot_settings)
    labels = []
    for sensors in ("full_state", "onboard"):
        env = env_plugin().make(config.run, config.env, sensors=sensors)
        teachers = load_teachers(config.agent.teacher_models, ["path"], env, config.run)
        obs = env.set_task_mix({"path": 1.0})
        labels.append(teachers.label(obs, env.task_slices))
        env.close()
    assert labels[0].keys() == labels[1].keys()
    assert all(torch.equal(labels[0][name], labels[1][name]) for name in labels[0])


def test_an_onboard_student_learns_through_a_world_model_and_resumes_exactly(tmp_path: Path, robot: Robot) -> None:
    """With delayed actions: its replay holds the last actions, which its observations include."""
    of_ppo = ("epochs", "minibatches", "rollout_steps", "teacher_iterations", "experiment_name")
    given = [x for x in settings(tmp_path, robot) if x.split("=")[0] not in of_ppo]
    given += ["model.sensors=onboard", "agent.model_units=[16]", "agent.imagined_envs=8", "agent.model_batch=8"]
    given += ["agent.warmup_steps=12", "agent.replay_steps=16", "agent.horizon=3", "agent.warmup_updates=2"]
    given += ["agent.final_rate=1", "env.randomization.delay=[0.0,0.05]"]
    weights = []
    for name, budgets in (("whole", [2]), ("parts", [1, 2])):
        for budget in budgets:
            where = [f"experiment_name={name}", f"max_iterations={budget}"]
            run = train(EXPERIMENTS["distillation/world_model"], "distillation/world_model", [*given, *where])
        weights.append(load_policy(run.folder).policy.state_dict())
    whole, parts = weights
    assert {"onboard", "onboard_poses"} <= {name.split(".")[2] for name in whole if "normalizers" in name}
    assert all(torch.equal(parts[name], x) for name, x in whole.items())
