"""`--robot FILE`: a custom robot in every command, and its policies when the file is missing, moved or changed."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from biped import write
from click.testing import CliRunner, Result
from tiny_runs import TINY, TRACKER, protege

from protege.core.errors import UserError
from protege.core.motions import Clip, save_clip
from protege.core.runs.checkpoint import load
from protege.core.runs.evaluation import evaluation_env
from protege.core.runs.load_policy import load_policy
from protege.sim.cli import main
from protege.sim.plugin import plugin
from protege.sim.robots import get_robot, has_robot
from protege.sim.robots.model_file import read_robot

EPISODES = ["--num-episodes", 2, "--num-envs", 2, "--device", "cpu", "--simulator", "mujoco"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the robot's files, a clip of it and `results/biped_tracker`, which was trained with both."""
    folder = tmp_path_factory.mktemp("own_robot")
    robot = read_robot(write(folder / "robot"))
    (folder / "robot" / "training.yaml").write_text("env: {track: {termination_distance: 0.3}}\n")
    time = np.arange(60) / 30.0
    joints = 0.1 * np.sin(np.pi * time)[:, None] * [1.0, -1.0, 1.0, -1.0]
    place, upright = np.tile([0.0, 0.0, robot.root_height], (60, 1)), np.tile([1.0, 0.0, 0.0, 0.0], (60, 1))
    save_clip(folder / "bow.npy", Clip("bow", time, place, upright, joints, robot.joint_names, robot.name), robot)
    result = train_on(folder, folder, folder / "robot" / "robot.yaml", 1)
    assert result.exit_code == 0, result.output
    return folder


def train_on(folder: Path, clips: Path, robot: Path, iterations: int) -> Result:
    """Begin or go on with the run in a folder; the clip's path is a part of its config."""
    where = (
        "--results-dir",
        folder / "results",
        "--experiment-name",
        "biped_tracker",
        "--motion-file",
        clips / "bow.npy",
    )
    return protege("core", "train", TRACKER, *where, "--robot", robot, "--max-iterations", iterations, *TINY)


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    """The same, to be changed, in another place: the path in the run's config leads to the first one's robot."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return tmp_path


def sim(*words: object) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.stdout


# Names and files -------------------------------------------------------------------------------------------------------------


def test_a_path_is_a_robot_and_a_word_is_a_name(tmp_path, monkeypatch):
    path = write(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert get_robot("mine/robot.yaml") == get_robot("mine/") == get_robot(str(path)) == read_robot(path)
    assert has_robot("mine/robot.yaml") and has_robot("g1") and not has_robot("mine") and not has_robot("none.yaml")
    with pytest.raises(UserError, match=r"no robot 'mine'\. Known: g1, smpl; or give the path of a robot\.yaml"):
        get_robot("mine")
    with pytest.raises(UserError, match=r"there is no robot file none\.yaml\. Give a robot\.yaml"):
        get_robot("none.yaml")
    write(tmp_path / "mine", ('kp="200"', 'kp="300"'))
    assert get_robot("mine/robot.yaml").joints[0].stiffness == 300.0  # read anew


def test_settings_beside_the_file_and_the_robots_own_name_count(folder):
    settings = plugin.robot_settings(str(folder / "robot" / "robot.yaml"))
    assert settings == ("biped", {"env": {"track": {"termination_distance": 0.3}}})
    (run,) = (folder / "results").iterdir()
    saved = load(run)
    assert saved.robot == "biped" and saved.config["env"]["track"]["termination_distance"] == 0.3


def test_presets_name_runs_by_the_robots_own_name(tmp_path):
    path = write(tmp_path / "mine")
    result = protege("core", "train", TRACKER, "--robot", path, "--results-dir", tmp_path / "results")
    assert result.exit_code == 2 and "no clip at data/motions/biped_humanoid_walk.npy" in result.output


def test_settings_that_are_no_parts_are_refused(tmp_path):
    path = write(tmp_path)
    (tmp_path / "training.yaml").write_text("[1, 2]\n")
    with pytest.raises(UserError, match=r"training\.yaml holds no parts\. Write e\.g\. env:"):
        plugin.robot_settings(str(path))


def test_commands_of_sim_take_a_file(folder):
    path, clip = folder / "robot" / "robot.yaml", folder / "bow.npy"
    assert [line.split()[0] for line in sim("robots", path).splitlines()] == [
        "joint",
        *get_robot(str(path)).joint_names,
    ]
    assert '<mujoco model="biped">' in sim("robots", path, "--mjcf")
    assert "verdict" in sim("motions", "inspect", clip, "--robot", path)
    rows = sim("motions", "list", "--robot", path, "--folder", folder).splitlines()
    assert [row.split()[:2] for row in rows if row.startswith("bow.npy")] == [["bow.npy", "biped"]]
    result = CliRunner().invoke(main, ["motions", "inspect", str(clip)])
    assert (
        "bow.npy is a clip of the robot biped, which is not installed. Add --robot with its robot.yaml" in result.stderr
    )


# Its policies ----------------------------------------------------------------------------------------------------------------


def test_a_policy_is_evaluated_and_exported_where_the_robots_file_is_gone(copy):
    run = copy / "results" / "biped_tracker"
    loaded = load_policy(run)
    described = loaded.checkpoint.described_robot()
    gone = replace(
        loaded.checkpoint, config={**loaded.config, "run": {**loaded.config["run"], "robot": "gone/robot.yaml"}}
    )
    for robot_name in (None, "biped"):
        env = evaluation_env(
            replace(loaded, checkpoint=gone), "track", num_envs=2, seed=0, robot=robot_name, device="cpu"
        )
        assert env.robot == described == read_robot(copy / "robot" / "robot.yaml")
        env.close()
    result = protege("deploy", "export", "--checkpoint", run, "--output", copy / "onnx")
    assert result.exit_code == 0, result.output
    assert '<mujoco model="biped">' in (copy / "onnx" / "robot.xml").read_text()


def test_a_file_that_has_moved_is_the_same_robot(copy, folder):
    moved = (copy / "robot").rename(copy / "moved") / "robot.yaml"
    run = copy / "results" / "biped_tracker"
    result = protege("evaluate", "--checkpoint", run, "--robot", moved, *EPISODES)
    assert result.exit_code == 0, result.output
    result = train_on(copy, folder, moved, 2)
    assert result.exit_code == 0, result.output
    assert load(run / "last.ckpt").iteration == 2


def test_a_file_that_has_changed_is_refused_with_the_first_difference(copy, folder):
    path, run = copy / "robot" / "robot.yaml", copy / "results" / "biped_tracker"
    model = path.with_name("biped.xml")
    model.write_text(model.read_text().replace('kp="200"', 'kp="300"'))
    evaluated = protege("evaluate", "--checkpoint", run, "--robot", path, *EPISODES)
    trained = train_on(copy, folder, path, 2)
    for result in (evaluated, trained):
        assert result.exit_code == 2
        assert "drives another biped than there is now: joint left_hip has stiffness 300.0, not 200.0" in result.output
    result = protege("evaluate", "--checkpoint", run, "--robot", "g1", *EPISODES)
    assert "drives the robot biped, not g1. Take --robot biped" in result.output
