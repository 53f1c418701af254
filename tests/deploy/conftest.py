"""One small student of each robot, exported once; `student` and `exported` are SMPL's."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from students import ROBOT, STUDENT_TOKENS, actor_critic, enliven, env_config, make_env, save

from protege.core.robots.robot import Robot
from protege.deploy.export.export import export
from protege.sim.robots import get_robot


@pytest.fixture(scope="session")
def student_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Robot], Path]:
    """Makes a checkpoint of a student with every token set."""

    @cache
    def make(robot: Robot) -> Path:
        env = make_env(env_config(robot=robot), robot)
        policy, parts = actor_critic(env.obs_shapes, STUDENT_TOKENS, robot)
        return save(tmp_path_factory.mktemp("run") / "last.ckpt", "student", enliven(policy, env), env, parts)

    return make


@pytest.fixture(scope="session")
def student(student_of: Callable[[Robot], Path]) -> Path:
    return student_of(ROBOT)


@pytest.fixture(scope="session")
def exported(student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `protege-deploy export` makes of it."""
    return export(student, tmp_path_factory.mktemp("deploy") / "student")


@pytest.fixture(scope="session")
def each_student(student_of: Callable[[Robot], Path], robot: Robot) -> Path:
    """The student of each robot in turn."""
    return student_of(robot)


@pytest.fixture(scope="session")
def each_exported(each_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `protege-deploy export` makes of it."""
    return export(each_student, tmp_path_factory.mktemp("deploy") / "student")


@pytest.fixture(scope="session")
def onboard_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """Makes a student with onboard sensors of a robot by name: its checkpoint, and what is exported of it."""

    @cache
    def make(name: str) -> tuple[Path, Path]:
        robot = get_robot(name)
        env = make_env(env_config(robot=robot), robot, "onboard")
        policy, parts = actor_critic(env.obs_shapes, STUDENT_TOKENS, robot, sensors="onboard")
        path = save(tmp_path_factory.mktemp("run") / "last.ckpt", "student", enliven(policy, env), env, parts)
        return path, export(path, tmp_path_factory.mktemp("deploy") / "onboard")

    return make


@pytest.fixture(scope="session")
def each_onboard(onboard_of: Callable[[str], tuple[Path, Path]], robot: Robot) -> tuple[Path, Path]:
    """That of each robot in turn."""
    return onboard_of(robot.name)


@pytest.fixture(scope="session")
def walker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped student, exported: it walks."""
    return export("zoo:student", tmp_path_factory.mktemp("walker") / "student")
