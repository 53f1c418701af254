"""Each wheel works when it is installed alone in an empty environment."""

import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from uuid import uuid4

import pytest
from uv import find_uv_bin

ROOT = Path(__file__).parents[1]
PACKAGES = ["core", "sim", "teachers", "distill", "deploy"]


def run(*command: str | Path) -> str:
    done = subprocess.run([str(c) for c in command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The five wheels, and the locked versions of everything else as constraints."""
    folder = tmp_path_factory.mktemp(uuid4().hex)  # uv caches by path, so the path must be new
    for package in PACKAGES:
        run(find_uv_bin(), "build", "--quiet", "--wheel", "--package", f"protege-{package}", "--out-dir", folder)
    locked = ["--frozen", "--extra", "cpu", "--no-dev", "--no-emit-workspace", "--no-hashes"]
    run(find_uv_bin(), "export", "--quiet", *locked, "--output-file", folder / "constraints.txt")
    return folder


@pytest.fixture(scope="module")
def install(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes an environment with one requirement and its dependencies, once; returns its folder of commands."""

    @cache
    def make(requirement: str) -> Path:
        env = tmp_path_factory.mktemp("env") / "env"
        run(find_uv_bin(), "venv", "--quiet", "--python", "3.12", env)
        # Links instead of copies, because torch alone has gigabytes. Usually `uv sync` has filled the cache.
        links = ["--link-mode", "symlink", "--find-links", str(wheels), "--constraint", str(wheels / "constraints.txt")]
        command = [find_uv_bin(), "pip", "install", "--quiet", "--python", str(env), *links, requirement]
        if subprocess.run([*command, "--offline"], cwd=ROOT, capture_output=True).returncode:
            run(*command)
        return env / "bin"

    return make


@pytest.mark.parametrize("package", PACKAGES)
def test_a_wheel_works_alone(package: str, wheels: Path, install: Callable[[str], Path]) -> None:
    bin = install(f"protege-{package}")
    version = next(wheels.glob(f"protege_{package}-*.whl")).name.split("-")[1]
    assert run(bin / f"protege-{package}", "--help").startswith("Usage: ")
    assert version in run(bin / f"protege-{package}", "--version")
    assert version == run(bin / "python", "-c", f"import protege.{package} as p; print(p.__version__)").strip()
    assert list(bin.parent.glob(f"lib/python*/site-packages/protege/{package}/py.typed"))  # PEP 561


def test_the_umbrella_command_lists_installed_packages(install: Callable[[str], Path]) -> None:
    alone = run(install("protege-core") / "protege", "--help").split("Commands:")[1].split()
    assert "pipeline" in alone and not {"distill", "evaluate"} & set(alone)
    several = run(install("protege-distill") / "protege", "--help").split("Commands:")[1].split()
    assert {"core", "sim", "teachers", "distill", "evaluate", "pipeline"} <= set(several) and "deploy" not in several


def test_the_runtime_needs_no_torch(install: Callable[[str], Path]) -> None:
    """The loop and the interfaces of deploy run without torch and core."""
    program = """
import importlib.util
import protege.deploy.runtime, protege.deploy.policy.metadata, protege.deploy.cli.main, protege.deploy.motions.clips
print([name for name in ("torch", "onnx", "protege.core") if importlib.util.find_spec(name)])
"""
    assert run(install("protege-deploy[cpu,mujoco]") / "python", "-c", program).strip() == "[]"
