"""One small student, exported once."""

from pathlib import Path

import pytest
from students import STUDENT_TOKENS, actor_critic, enliven, env_config, make_env, save

from protege.deploy.export.export import export


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a student with every token set."""
    env = make_env(env_config())
    policy, parts = actor_critic(env.obs_shapes, STUDENT_TOKENS)
    return save(tmp_path_factory.mktemp("run") / "last.ckpt", "student", enliven(policy, env), env, parts)


@pytest.fixture(scope="session")
def exported(student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `protege-deploy export` makes of it."""
    return export(student, tmp_path_factory.mktemp("deploy") / "student")


@pytest.fixture(scope="session")
def walker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped student, exported: it walks."""
    return export("zoo:student", tmp_path_factory.mktemp("walker") / "student")
