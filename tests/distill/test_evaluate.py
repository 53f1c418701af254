"""Evaluation of a policy that plays the reference, in real envs; its files and commands."""

import json
import re
import sys
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from rich.console import Console
from tiny import SMALL_ENV, SMALL_MODEL, of_robot, save_teachers, save_tracker, student_config

from protege.core.cli.umbrella import main as umbrella
from protege.core.env import env_plugin
from protege.core.errors import UserError
from protege.core.runs.checkpoint import load, save
from protege.core.runs.evaluation import wilson_interval
from protege.core.runs.load_policy import load_policy
from protege.distill import evaluate as evaluation_module
from protege.distill.cli import main
from protege.distill.evaluate import default_output, evaluate
from protege.distill.periodic_evaluation import PeriodicEvaluation
from protege.distill.report import write_report
from protege.distill.table import print_table
from protege.distill.tasks import EVALUATED, OPTIONS, UNIFIED, default_tasks
from protege.sim.simulators.mujoco import MujocoSimulator
from protege.sim.terrain_params import TerrainParams

ALL = list(EVALUATED)


@pytest.fixture(scope="module")
def tracker(robot, tmp_path_factory):
    torch.manual_seed(0)
    return save_tracker(tmp_path_factory.mktemp("tracker"), robot=robot)


@pytest.fixture(scope="module")
def result(tracker, tmp_path_factory):
    """The tracker's evaluation on all tasks, and its folder."""
    folder = tmp_path_factory.mktemp("evaluation")
    evaluation = evaluate(load_policy(tracker), ALL, 6, num_envs=3, seed=4, output=folder)
    evaluation.save(folder)
    return evaluation, folder


def test_the_result_file_has_the_documented_fields(result):
    data = json.loads((result[1] / "evaluation.json").read_text())
    assert data["schema_version"] == 1 and data["seed"] == 4 and data["simulator"] == "mujoco"
    assert list(data["tasks"]) == ALL
    for task, x in data["tasks"].items():
        assert x["episodes"] == 6
        assert x["error_name"] == EVALUATED[task].metric and x["error_unit"] in ("m", "m/s")
        assert x["success_ci"] == pytest.approx(wilson_interval(round(6 * x["success"]), 6))
        assert x["success_ci"][0] <= x["success"] <= x["success_ci"][1]
        assert "fails if" in x["failure_rule"]
        assert (x["strict_success"] is None) == (x["strict_failure_rule"] is None) == (task in ("goal", "steering"))
        if x["strict_success"] is not None:
            assert x["strict_success"] <= x["success"]
        assert (x["falls"] is None) == task.startswith(("track", "masked_mimic"))
        assert list(x["conduct"]) == ["action_rate", "joint_acceleration", "foot_slip", "contact_impulse"]
        for name, measure in x["conduct"].items():
            assert measure["ci"][0] <= measure["value"] <= measure["ci"][1] and measure["value"] > 0.0, name
            assert measure["unit"] and measure["title"]


def test_errors_and_intervals_follow_from_the_episodes(result):
    evaluation, _ = result
    for task, x in evaluation.data["tasks"].items():
        errors = evaluation.arrays[f"{task}/error"]
        errors = errors[~np.isnan(errors)].astype(float)
        assert x["error_episodes"] == len(errors)
        if len(errors) < 2:
            assert x["error_ci"] is None
            continue
        half = 1.959963984540054 * errors.std(ddof=1) / len(errors) ** 0.5
        assert x["error"] == pytest.approx(errors.mean())
        assert x["error_ci"] == pytest.approx([errors.mean() - half, errors.mean() + half])
        assert x["success"] == pytest.approx(1.0 - evaluation.arrays[f"{task}/failed"].mean())


def test_measures_of_motion_quality_by_hand():
    """Of three episodes, one of which never touched the ground: means and normal intervals."""
    nan = float("nan")
    columns = {
        "action_rate/mean": [1.0, 2.0, 6.0],
        "joint_acceleration/mean": [10.0, 10.0, 10.0],
        "foot_slip/mean": [0.1, nan, 0.3],
        "contact_impulse/max": [2.0, 3.0, 4.0],
    }
    rows = {name: torch.tensor(values) for name, values in columns.items()}
    found = evaluation_module._motion_quality(rows | {"failed": torch.zeros(3, dtype=torch.bool)})
    assert {name: x["value"] for name, x in found.items()} == pytest.approx(
        {"action_rate": 3.0, "joint_acceleration": 10.0, "foot_slip": 0.2, "contact_impulse": 3.0}
    )
    z = 1.959963984540054
    for name, mean, deviation, count in (("action_rate", 3.0, 7.0**0.5, 3), ("foot_slip", 0.2, 0.02**0.5, 2)):
        half = z * deviation / count**0.5
        assert found[name]["ci"] == pytest.approx([mean - half, mean + half])
    assert [x["unit"] for x in found.values()] == ["rad/s", "rad/s²", "m/s", "×"]


def test_the_causes_of_failures_add_up(result):
    for x in result[0].data["tasks"].values():
        failures = round(x["episodes"] * (1.0 - x["success"]))
        assert max(x["failed_by"].values()) <= failures <= sum(x["failed_by"].values())
        if x["falls"] is not None:
            assert x["falls"] == x["failed_by"]["fallen"]


def test_results_of_clips_add_up_to_those_of_their_task(tracker, robot, tmp_path):
    names = [f"{robot.name}_humanoid_{name}" for name in ("walk", "run", "jump")]
    clips = [f"data/motions/{name}.npy" for name in names]
    evaluation = evaluate(load_policy(tracker), ["track", "path"], 12, num_envs=12, motion_file=clips)
    track, path = evaluation.data["tasks"].values()
    assert list(track["clips"]) == names and path["clips"] == {}
    parts = track["clips"].values()
    assert sum(x["episodes"] for x in parts) == 12
    for key in ("success", "strict_success", "error"):
        assert sum(x["episodes"] * x[key] for x in parts) / 12 == pytest.approx(track[key], rel=1e-5)
    evaluation.save(tmp_path)
    page = write_report(tmp_path).read_text()
    assert [page.count(f"<td>{name}</td>") for name in ("walk", "run", "jump")] == [1, 1, 1]
    for name, measure in track["conduct"].items():
        by_hand = sum(x["episodes"] * x["conduct"][name]["value"] for x in parts) / 12
        assert by_hand == pytest.approx(measure["value"], rel=1e-5), name
    console = Console(record=True, width=80)
    print_table(evaluation.data, console)
    lines = console.export_text().splitlines()
    assert [line.split()[1] for line in lines if line.startswith("   jump")] == [
        str(track["clips"][names[2]]["episodes"])
    ]


def test_the_unified_table_is_a_table_at_80_columns(result):
    data = result[0].data | {"tasks": {name: result[0].data["tasks"][name] for name in UNIFIED}}
    console = Console(width=80, record=True, force_terminal=False)
    print_table(data, console)
    header = [line.split() for line in console.export_text().splitlines()]
    assert ["task", "episodes", "success", "stricter", "falls", "error"] in header


def test_falls_are_counted_as_falls(tracker, robot):
    loaded = load_policy(tracker)
    # A tracker that crouches: all joints are 0.7 rad from the reference.
    with torch.no_grad():
        loaded.policy.actor[-1][-1].bias.copy_(0.7 / robot.action_scale())
    x = evaluate(loaded, ["path"], 3, num_envs=3).data["tasks"]["path"]
    assert x["success"] == 0.0 and x["falls"] == 3
    assert x["failed_by"] == {"fallen": 3, "off_path": 0, "physics": 0}


def test_traces_start_on_the_path_and_end_with_their_episode(result, robot):
    traces = {name: x for name, x in result[0].arrays.items() if name.startswith("trace/")}
    assert sorted(traces) == ["trace/0", "trace/1", "trace/2"]
    for trace in traces.values():
        assert trace.shape[1] == 4 and 1 < len(trace) <= round(3.0 / robot.control_dt)
        assert np.linalg.norm(trace[0, :2] - trace[0, 2:]) < 0.1


def test_the_same_seed_gives_the_same_evaluation(tracker):
    a, b, c = (evaluate(load_policy(tracker), ["goal"], 4, num_envs=4, seed=seed) for seed in (0, 0, 1))
    assert a.data == b.data
    assert np.array_equal(a.arrays["goal/error"], b.arrays["goal/error"], equal_nan=True)
    assert not np.array_equal(a.arrays["goal/error"], c.arrays["goal/error"], equal_nan=True) or a.data != c.data


def test_the_periodic_evaluation_repeats_itself_and_prefers_success(tracker, robot):
    loaded = load_policy(tracker)
    config = student_config(tracker.parent, "episode_length_s=1", "evaluation_episodes=3", robot=robot)
    evaluation = PeriodicEvaluation(SimpleNamespace(finished=False), config, ["path", "goal"], loaded.policy)
    metrics, score = evaluation.measure()
    assert (metrics, score) == evaluation.measure()
    assert set(metrics) <= {
        f"evaluation/{x}" for x in ("path/success", "path/path_following_err", "goal/success", "goal/goal_reaching_err")
    }
    assert [0.9, -1.0] > [0.8, -0.1] and [0.9, -0.1] > [0.9, -0.2] > []
    evaluation.finish()


def test_the_page_shows_every_task_and_needs_no_other_file(result):
    page = write_report(result[1]).read_text()
    for x in result[0].data["tasks"].values():
        assert x["title"] in page and x["failure_rule"] in page.replace("&#39;", "'")
    assert page.count("data:image/svg+xml;base64,") == 3  # success, errors, paths; there is no training log
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_training_curves_are_drawn_where_there_is_a_log(result, tmp_path):
    for name in ("evaluation.json", "evaluation.npz"):
        (tmp_path / name).write_bytes((result[1] / name).read_bytes())
    rows = [{"samples": 1000 * k, "actor/distillation_loss": 1.0 / (k + 1)} for k in range(5)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert write_report(tmp_path).read_text().count("data:image/svg+xml;base64,") == 4


def test_the_error_names_damaged_or_missing_results(result, tmp_path):
    with pytest.raises(UserError, match=r"evaluation\.json is missing"):
        write_report(tmp_path)
    for name in ("evaluation.json", "evaluation.npz"):
        (tmp_path / name).write_bytes((result[1] / name).read_bytes()[:200])
    with pytest.raises(UserError, match="damaged"):
        write_report(tmp_path)
    assert not (tmp_path / "evaluation.html").exists()


def test_default_tasks_output_and_options(tracker, monkeypatch):
    assert default_tasks("student") == UNIFIED and default_tasks("path_follower") == ("path",)
    assert default_output(tracker) == default_output(tracker / "last.ckpt") == tracker / "evaluation"
    assert {
        "distillation/tasks/unified_evaluation": ("track", "path", "goal", "steering"),
        "masked_mimic/tasks/motion_tracking": ("track",),
        "masked_mimic/tasks/patterns": ("track", *(name for name in EVALUATED if name.startswith("masked_mimic/"))),
        "masked_mimic/tasks/path_following": ("path",),
        "masked_mimic/tasks/goal_directed": ("goal",),
        "masked_mimic/tasks/steering": ("steering",),
    } == OPTIONS
    kinds = {"tracker": ("track",), "masked_mimic": ("track", "masked_mimic"), "steering": ("steering",)}
    assert {kind: default_tasks(kind) for kind in kinds} == kinds
    monkeypatch.setattr(evaluation_module, "run_episodes", None)  # nothing is played
    with pytest.raises(UserError, match="cannot write"):
        evaluate(load_policy(tracker), ["path"], 1, output=tracker / "last.ckpt" / "x")


def invoke(*words, code=0):
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.output


def test_train_evaluate_and_report_commands(tmp_path, robot):
    folders = save_teachers(tmp_path / "teachers", robot)
    teachers = [f"teacher_models.{name}.checkpoint=['{folder}']" for name, folder in folders.items()]
    run = tmp_path / "student"
    invoke(
        *("train", "distillation/laptop", "--experiment-name", "student", "--results-dir", tmp_path),
        *("--num-envs", 8, "--max-iterations", 2, *SMALL_ENV, *of_robot(robot), *SMALL_MODEL, *teachers),
        *(
            "rollout_steps=2",
            "evaluation_episodes=1",
            "max_time=null",
            "episode_length_s=0.5",
            "future_frames=[1,2,4,8]",
        ),
    )
    assert {"last.ckpt", "best.ckpt", "config.yaml", "metrics.jsonl"} <= {x.name for x in run.iterdir()}
    assert load_policy(run).kind == "student"
    evaluated = ("evaluate", "--checkpoint", run, "--num-episodes", 2)
    output = invoke(*evaluated, "--opt", "masked_mimic/tasks/path_following", "--task", "goal")
    assert "path_following_err" in output and "goal_reaching_err" in output and "cartesian_err" not in output
    page = run / "evaluation" / "evaluation.html"
    before = page.read_bytes()
    page.unlink()
    assert str(page) in invoke("report", run / "evaluation")
    assert page.read_bytes() == before
    invoke(*evaluated, "--output", tmp_path / "unified")
    assert list(json.loads((tmp_path / "unified" / "evaluation.json").read_text())["tasks"]) == list(UNIFIED)
    assert invoke("compare", run, run / "evaluation").endswith(f"{run / 'evaluation' / 'comparison.html'}\n")
    assert "tasks: " in invoke("compare", run, tmp_path / "unified", code=2)


def test_a_missing_teacher_gives_one_line_and_exit_code_2(tmp_path):
    words = ("train", "distillation/laptop", "--num-envs", 8, "--results-dir", tmp_path, *SMALL_ENV)
    output = invoke(*words, code=2)
    assert output.startswith("error: agent.teacher_models.path_follower.checkpoint") and output.count("\n") == 1


def test_a_wrong_robot_is_refused(tracker, robot):
    assert f"--robot {robot.name}" in invoke("evaluate", "--checkpoint", tracker, "--robot", "atlas", code=2)
    assert "no checkpoint" in invoke("evaluate", "--checkpoint", tracker / "x", code=2)


def save_trained_in(simulator, folder):
    """A tracker whose config names the given simulator as that of its training."""
    path = save_tracker(folder) / "last.ckpt"
    found = load(path)
    found.config["run"]["simulator"] = simulator
    save(path, found)
    return path


@pytest.mark.parametrize("command", [main, umbrella])
def test_an_evaluation_uses_mujoco_if_the_trainings_simulator_is_not_installed(command, tmp_path, monkeypatch):
    path = save_trained_in("mjwarp", tmp_path)
    monkeypatch.setitem(sys.modules, "mujoco_warp", None)
    words = ["evaluate", "--checkpoint", path, "--num-episodes", 1, "--task", "track", "--output", tmp_path / "out"]
    done = CliRunner().invoke(command, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    assert done.stderr.count("simulator: mujoco (trained in mjwarp)\n") == 1 and done.stderr.count("simulator:") == 1
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["simulator"] == "mujoco"


def test_only_a_default_simulator_is_printed(tracker, tmp_path):
    words = ["evaluate", "--checkpoint", tracker, "--num-episodes", 1, "--task", "track", "--output", tmp_path]
    named = CliRunner().invoke(main, [str(word) for word in (*words, "--simulator", "mujoco")])
    assert named.exit_code == 0 and "simulator:" not in named.stderr
    default = CliRunner().invoke(main, [str(word) for word in words])
    assert "simulator: mujoco\n" in default.stderr
    assert "simulator: mujoco\n" not in default.stdout


def test_commands_can_be_mixed_in_training_but_not_in_evaluation(tracker):
    loaded = load_policy(tracker)
    loaded.config["env"]["mix_probability"] = 1.0
    seen = []
    make = type(env_plugin()).make

    def watched(self, run, env, **options):
        seen.append(env.mix_probability)
        return make(self, run, env, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(env_plugin()), "make", watched)
        evaluate(loaded, ["path"], 1, num_envs=1)
    assert seen == [0.0]


def test_robots_can_be_pushed(tracker, monkeypatch):
    pushed = []
    push = MujocoSimulator.push
    monkeypatch.setattr(MujocoSimulator, "push", lambda self, force: pushed.append(force) or push(self, force))
    plain = evaluate(load_policy(tracker), ["path"], 2, num_envs=2)
    assert pushed == [] and "push" not in plain.data
    assert evaluate(load_policy(tracker), ["path"], 2, num_envs=2, push=240.0).data["push"] == 240.0
    assert pushed


def test_a_policy_is_evaluated_on_terrain(tracker):
    data = evaluate(load_policy(tracker), ["path"], 2, num_envs=2, terrain="gentle").data
    assert data["terrain"] == asdict(TerrainParams(kind="gentle"))
    terminal = Console(width=200, record=True)
    print_table(data, terminal)
    assert "seed 0, on gentle terrain" in terminal.export_text()
    assert "terrain" not in evaluate(load_policy(tracker), ["path"], 2, num_envs=2, terrain="flat").data


def test_a_policy_that_was_trained_on_terrain_is_evaluated_on_it_if_its_config_says_so(tracker):
    """The option `--terrain` comes before the config."""
    ground = {"kind": "gentle", "step_height": 0.01}
    for everywhere, option, wanted in ((True, None, True), (False, None, False), (False, "gentle", True)):
        loaded = load_policy(tracker)
        loaded.config["env"]["terrain"] |= ground | {"in_evaluation": everywhere}
        data = evaluate(loaded, ["path"], 2, num_envs=2, terrain=option).data
        assert data.get("terrain") == (asdict(TerrainParams(**ground)) if wanted else None)


def test_keys_of_the_env_config_can_be_changed(tracker, robot):
    loaded = load_policy(tracker)
    walk_and_run = [f"data/motions/{robot.name}_humanoid_{name}.npy" for name in ("walk", "run")]
    key = "env.steering_params.speed"

    def played(speed: str, clips: list[str] = walk_and_run):
        return evaluate(loaded, ["steering"], 2, num_envs=2, overrides=[f"{key}={speed}"], motion_file=clips).data

    fast = played("[2, 3]")
    assert fast["overrides"] == [f"{key}=[2, 3]"]
    assert "longer above 1.5 m/s" in fast["tasks"]["steering"]["failure_rule"]
    terminal = Console(width=200, record=True, force_terminal=False)
    print_table(fast, terminal)
    assert f"seed 0, {key}=[2, 3]" in terminal.export_text()
    with pytest.raises(UserError, match=rf"{key} is \[2.0, 3.0\] m/s, and {robot.name}_humanoid_walk can do"):
        played("[2, 3]", walk_and_run[:1])
    with pytest.raises(UserError, match=key):
        played("[1, 0]")
    with pytest.raises(UserError, match=r"unknown key run\.seed"):
        evaluate(loaded, ["steering"], 2, overrides=["run.seed=3"])
