"""The hooks of .pre-commit-config.yaml: they are `make lint`'s checks, run by the project's own environment."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / ".pre-commit-config.yaml"
[LOCAL] = yaml.safe_load(CONFIG.read_text())["repos"]  # one entry: no foreign repository
COMMANDS = [hook["entry"].split() for hook in LOCAL["hooks"]]
CLEAN, UNCLEAN = '"""A module."""\n\nNUMBER = 1\n', '"""A module."""\nimport os\nNUMBER=1\n'


def test_the_hooks_need_nothing_but_the_environment():
    assert LOCAL["repo"] == "local"
    for hook, (program, *_) in zip(LOCAL["hooks"], COMMANDS, strict=True):
        assert hook["language"] == "system"
        assert program.startswith(".venv/bin/") and Path(sys.prefix, "bin", Path(program).name).is_file(), program


def test_the_hooks_are_the_checks_of_make_lint():
    lines = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert lines is not None
    wanted = {without_options(line.split()[1:]) for line in lines[1].splitlines()}
    assert {without_options([Path(program).name, *rest]) for program, *rest in COMMANDS} == wanted


def without_options(words: list[str]) -> tuple[str, ...]:
    """A command's words without its options and without `.`, the folder; but `--check`, which changes what it does."""
    return tuple(word for word in words if word != "." and (not word.startswith("-") or word == "--check"))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the hooks, the environment and one module."""
    for name in (".pre-commit-config.yaml", "pyproject.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "module.py").write_text(CLEAN)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    return tmp_path


def hooks_on(repository: Path, module: str) -> subprocess.CompletedProcess[str]:
    (repository / "module.py").write_text(module)
    subprocess.run(["git", "add", "module.py", ".pre-commit-config.yaml"], cwd=repository, check=True)
    cache = {"PRE_COMMIT_HOME": str(repository / "cache"), "RUFF_NO_CACHE": "true"}
    command = [str(Path(sys.prefix, "bin", "pre-commit")), "run", "--all-files"]
    return subprocess.run(command, cwd=repository, env={**os.environ, **cache}, capture_output=True, text=True)


def test_a_clean_file_passes_and_another_does_not(repository: Path):
    passed = hooks_on(repository, CLEAN)
    assert passed.returncode == 0 and passed.stdout.count("Passed") == 2, passed.stdout + passed.stderr
    failed = hooks_on(repository, UNCLEAN)
    assert failed.returncode == 1 and failed.stdout.count("Failed") == 2, failed.stdout
    assert (
        "F401" in failed.stdout and (repository / "module.py").read_text() == UNCLEAN
    )  # it reports, and changes nothing


def test_the_import_rules_hold_by_the_hook():
    [command] = [words for words in COMMANDS if words[0].endswith("lint-imports")]
    program = str(Path(sys.prefix, "bin", "lint-imports"))
    done = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "0 broken" in done.stdout
