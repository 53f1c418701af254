"""The robustness suite: the change of each factor, tipping points computed by hand, and the command on both robots."""

import json
from math import pi, sqrt
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from rich.console import Console
from tiny import save_tracker

from protege.core import checks
from protege.core.errors import UserError
from protege.core.observations import FULL_STATE, ONBOARD
from protege.distill.cli import main
from protege.distill.conditions import changed
from protege.distill.robustness import measure as module
from protege.distill.robustness.measure import NO_CHANGE, Settings, measure, tipping
from protege.distill.robustness.report import write_report
from protege.distill.robustness.suite import FACTORS, GRAVITY, Situation
from protege.distill.robustness.table import print_table
from protege.sim.env_config import EnvConfig, NoiseParams, RandomizationParams
from protege.sim.mismatch import delay_steps, mismatched

BY_NAME = {factor.name: factor for factor in FACTORS}
TASKS = ("track", "path", "goal", "steering")


def config_with(name: str, value: float, robot) -> EnvConfig:
    config = changed(EnvConfig(), BY_NAME[name].changes(value, robot))
    checks.check(config, "env")
    return config


def test_every_value_is_a_valid_config_and_differs_from_the_nominal_one(robot):
    nominal = changed(EnvConfig(), NO_CHANGE)
    for factor in FACTORS:
        assert set(factor.quick) - set(factor.values) in (set(), {0.5}), factor.name
        for value in {*factor.values, *factor.quick, *([factor.together] if factor.together else [])}:
            config = config_with(factor.name, value, robot)
            assert config != nominal and config.randomization.in_evaluation, factor.name


def test_values_go_from_mild_to_severe(robot):
    for factor in FACTORS:
        off = [abs(x - factor.nominal(robot)) for x in factor.values]
        assert off == sorted(off) and off[0] > 0.0, factor.name


def test_rates_and_delays_are_those_of_the_simulation(robot):
    for rate in (240, 480, 990):
        other = mismatched(robot, config_with("physics_rate", rate, robot).mismatch)
        assert 1.0 / other.physics_dt == pytest.approx(rate, abs=0.5 / robot.control_dt)
        assert BY_NAME["physics_rate"].actual(rate, robot) == pytest.approx(1.0 / other.physics_dt, abs=1e-3)
    for delay in (8, 17, 25, 33):
        steps = delay_steps(robot, config_with("delay", delay, robot).mismatch)
        assert steps == round(1e-3 * delay / robot.physics_dt) > 0
        assert BY_NAME["delay"].actual(delay, robot) == pytest.approx(1e3 * steps * robot.physics_dt, abs=1e-3)
    for name, share in (("slower_loop", 0.93), ("faster_loop", 1.67)):
        other = mismatched(robot, config_with(name, share, robot).mismatch)
        assert other.control_dt == pytest.approx(robot.control_dt / share)


def test_factors_change_the_robot(robot):
    weaker = mismatched(robot, config_with("torque", 0.16, robot).mismatch)
    for joint, was in zip(weaker.joints, robot.joints, strict=True):
        assert joint.effort_limit == pytest.approx(0.16 * was.effort_limit)
    assert config_with("leg_collision", 1, robot).mismatch.leg_collision is True
    assert config_with("friction", 0.3, robot).randomization.friction == (0.3, 0.3)
    motors = config_with("motors", 0.6, robot).randomization
    assert (motors.stiffness, motors.damping) == ((0.6, 0.6), (0.6, 0.6))


def test_factors_change_the_sensors(robot):
    assert config_with("root_height", 2, robot).randomization.bias.root_height == (0.02, 0.02)
    assert config_with("lin_vel_lost", 100, robot).randomization.bias.lin_vel_scale == 0.0
    assert config_with("encoder_offset", 3, robot).randomization.bias.joint_pos == pytest.approx(3.0 * pi / 180.0)
    assert config_with("joint_vel_noise", 1.5, robot).randomization.noise == NoiseParams(joint_vel=1.5)
    assert config_with("orientation_noise", 0.05, robot).randomization.noise == NoiseParams(root_rotation=0.05)
    every = config_with("all_noise", 1, robot).randomization
    for name, width in (("joint_pos", 0.01), ("joint_vel", 0.5), ("root_ang_vel", 0.2), ("root_lin_vel", 0.5)):
        assert getattr(every.noise, name) == pytest.approx(width / sqrt(3.0)), "as wide as a uniform ± width"
    assert every.bias.joint_pos == 0.01


def test_factors_change_the_ground_pushes_and_commands(robot):
    steps, bumps = (config_with(name, 2, robot).terrain for name in ("steps", "bumps"))
    assert (steps.kind, steps.slope, steps.bump_height, steps.step_height) == ("gentle", 0.0, 0.0, 0.02)
    assert (bumps.kind, bumps.slope, bumps.bump_height, bumps.step_height) == ("gentle", 0.0, 0.02, 0.0)
    push = config_with("push", 0.39, robot).randomization
    assert push.push_force == pytest.approx((0.39 * GRAVITY * robot.mass,) * 2)
    assert (push.push_angle, push.push_time) == ((0.0, 0.0), 0.2)
    if robot.name == "smpl":
        assert push.push_force[0] == pytest.approx(240.0, abs=3.0), "DeepMimic's"
    assert config_with("velocity_steps", 0.5, robot).randomization.velocity_step == (0.5, 0.5)
    assert config_with("velocity_steps", 0.5, robot).randomization.velocity_step_interval == (1.0, 3.0)
    assert config_with("steering_changes", 1, robot).steering_params.change_time == (1.0, 4.0)


def test_the_trainings_randomisation_is_off_unless_it_applies_to_evaluations():
    trained = EnvConfig(randomization=RandomizationParams(friction=(0.5, 1.0)))
    assert changed(trained, NO_CHANGE).randomization == RandomizationParams(in_evaluation=True)
    trained.randomization.in_evaluation = True
    assert changed(trained, {"randomization.com": 0.01}).randomization == RandomizationParams(
        friction=(0.5, 1.0), com=0.01, in_evaluation=True
    )


def test_a_factor_that_cannot_be_varied_gives_the_reason(robot):
    situation = Situation(robot, ONBOARD, "isaaclab", ("path",))
    reasons = {factor.name: factor.absent(situation) for factor in FACTORS if factor.absent(situation)}
    assert "onboard" in reasons["root_height"] and "onboard" in reasons["lin_vel_lost"]
    assert "flat floor" in reasons["steps"] and "steering is not played" in reasons["steering_changes"]
    assert ("leg_collision" in reasons) == robot.self_collision
    plain = Situation(robot, FULL_STATE, "mujoco", TASKS)
    assert {x.name for x in FACTORS if x.absent(plain)} == ({"leg_collision"} if robot.self_collision else set())


def test_the_docs_list_the_values_of_the_suite():
    text = (Path(__file__).parents[2] / "docs" / "robustness.md").read_text()
    documented = {}
    for line in text.splitlines():
        if line.startswith("| `") and line.count("|") == 6:
            name, _, unit, values, quick = (cell.strip() for cell in line.strip("|").split("|"))
            documented[name.strip("`")] = (unit, values, quick)
    assert list(documented) == [factor.name for factor in FACTORS]
    for factor in FACTORS:
        values, quick = (", ".join(f"{x:g}" for x in factor.of(suite)) for suite in ("full", "quick"))
        expected = (factor.unit, "", "on") if factor.switch else (factor.unit, values, quick)
        assert documented[factor.name] == expected, factor.name
        together = f"`{factor.name}` {factor.together:g}" if factor.together else ""
        assert together in " ".join(text.split()), factor.name


# Tipping points ----------------------------------------------------------------------------------------------------------


def points(**success: float) -> list[dict[str, float]]:
    return [{"value": float(x.strip("v_").replace("_", ".")), "success": y} for x, y in success.items()]


def test_the_tipping_point_is_before_the_first_failure():
    assert tipping(points(v1=0.95, v2=0.85, v3=0.2), 0.0, 0.9) == (1.0, 2.0)
    assert tipping(points(v1=0.95, v2=0.9), 0.0, 0.9) == (2.0, None)
    assert tipping(points(v1=0.5, v2=0.95), 0.0, 0.9) == (0.0, 1.0), "later values that pass do not count"
    assert tipping(points(v0_6=1.0, v0_3=0.4), 1.0, 0.9) == (0.6, 0.3), "also for decreasing values"
    assert tipping(points(v1=0.5), None, 0.9) == (None, 1.0)


def test_bisection_finds_a_known_tipping_point(robot, monkeypatch, tmp_path):
    """The policy succeeds up to a height error of 1.3 cm and a delay of 2 physics steps."""
    played = []

    def play(loaded, settings, tasks, changes):
        height = changes.get("randomization.bias.root_height", (0.0, 0.0))[0]
        delay_in_steps = round(changes.get("mismatch.delay", 0.0) / robot.physics_dt)
        played.append((height, delay_in_steps))
        success = float(height <= 0.013 and delay_in_steps <= 2)
        one = {"episodes": 4, "success": success, "success_ci": [0.0, 1.0]}
        task = {**one, "falls": 0, "error": 0.1, "error_ci": None, "error_name": "x", "error_unit": "m"}
        return {**one, "tasks": {"path": task}}, {"name": "x", "simulator": "mujoco", "seed": 0}

    monkeypatch.setattr(module, "play", play)
    loaded: Any = type("Loaded", (), {"policy": type("Policy", (), {"sensors": FULL_STATE})})()
    monkeypatch.setattr(module, "driven_robot", lambda *_: robot)
    settings = Settings("quick", ("path",), 4, 3, factors=("root_height", "delay"), conditions={"simulator": "mujoco"})
    data = measure(loaded, settings)
    height, delay = sorted(data["factors"], key=lambda x: x["name"] != "root_height")
    tried = [(p["value"], p["by"]) for p in height["points"]]
    assert tried == [(1, "suite"), (1.25, "bisection"), (1.375, "bisection"), (1.5, "bisection"), (2, "suite")]
    assert height["tipping"] == {"passes": 1.25, "fails": 1.375}
    # There is no delay between 2 and 3 physics steps, so the bisection stops.
    edge = {name: 1e-3 * x / robot.physics_dt for name, x in delay["tipping"].items()}
    assert edge == pytest.approx({"passes": 2.0, "fails": 3.0}, abs=1e-3)
    assert data["together"]["values"] == {"delay": delay["points"][0]["value"], "root_height": 1}


# The command -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tracker(robot, tmp_path_factory):
    torch.manual_seed(0)
    return save_tracker(tmp_path_factory.mktemp("tracker"), robot=robot)


def run(*words):
    return CliRunner().invoke(main, ["robustness", *map(str, words)])


def test_the_command_writes_results_and_reports(tracker, robot, tmp_path):
    words = ["--checkpoint", tracker, "--task", "path", "--num-episodes", 2, "--num-envs", 2, "--rounds", 1]
    words += ["--factor", "friction", "--factor", "delay", "--factor", "leg_collision", "--output", tmp_path]
    done = run(*words, "--device", "cpu", "env.episode_length_s=1")
    assert done.exit_code == 0, done.output
    data = json.loads((tmp_path / "robustness.json").read_text())
    (policy,) = data["policies"]
    assert policy["robot"] == robot.name and policy["overrides"] == ["env.episode_length_s=1"]
    by_name = {x["name"]: x for x in policy["factors"]}
    assert list(by_name) == ["delay", "friction", "leg_collision"]
    assert bool(by_name["leg_collision"]["absent"]) == robot.self_collision
    assert policy["nominal"]["episodes"] == 2 and set(policy["together"]["values"]) == {"delay", "friction"}
    for factor in by_name.values():
        for point in factor["points"]:
            assert point["episodes"] == 2 and 0.0 <= point["success"] <= 1.0
            assert (point["tasks"]["path"]["error"] is None) == (point["success"] == 0.0), (
                "of episodes that did not fail"
            )
    page = (tmp_path / "robustness.html").read_text()
    assert "friction" in page and "data:image/svg+xml" in page and "http" not in page.split("<style>")[1]
    table = (tmp_path / "robustness.md").read_text().splitlines()
    assert len({line.count("|") for line in table if line.startswith("|")}) == 1, (
        "all rows have the same number of cells"
    )
    assert any(line.startswith("| friction | 0.3 × | 2 | ") for line in table)
    # The same policy twice, with two names.
    two = data | {"policies": [policy, policy | {"name": "other"}]}
    (tmp_path / "robustness.json").write_text(json.dumps(two))
    assert "tracker and other" in write_report(tmp_path).read_text()
    console = Console(width=80, record=True, force_terminal=False)
    print_table(data, console)
    text = console.export_text()
    assert "…" not in text and "friction" in text and "factor:" not in text, "the table fits eighty columns"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--factor", "wind"], "'wind' is not one of physics_rate, delay"),
        (["--task", "swim"], "'swim' is not one of"),
        (["--suite", "long"], "'long' is not one of"),
        (["--simulator", "bullet"], "no simulator 'bullet'. Known: mujoco, mjwarp, isaaclab"),
        (["--robot", "atlas"], "there is no atlas"),
        (["env.nonsense=1"], "env.nonsense"),
        (["--pass-at", "2"], "2.0 is not in the range"),
    ],
)
def test_bad_input_gives_one_line(tracker, tmp_path, words, complaint):
    done = run("--checkpoint", tracker, "--output", tmp_path / "out", "--device", "cpu", *words)
    assert done.exit_code == 2 and complaint in done.output, done.output
    assert not (tmp_path / "out" / "robustness.json").exists()


def test_the_same_policy_twice_is_refused(tracker):
    done = run("--checkpoint", tracker, "--checkpoint", tracker)
    assert done.exit_code == 2 and "names the same policy twice" in done.output


def test_a_damaged_file_gives_one_line(tmp_path):
    with pytest.raises(UserError, match="is missing"):
        write_report(tmp_path)
    (tmp_path / "robustness.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        write_report(tmp_path)
    (tmp_path / "robustness.json").write_text("{}")
    with pytest.raises(UserError, match="another version"):
        write_report(tmp_path)
