"""Releases of packages: version in both files, commit and tag; a refused release changes nothing."""

import subprocess
from pathlib import Path

import pytest
import release as script
from click.testing import CliRunner
from release import release

from protege.core.errors import UserError

ROOT = Path(__file__).parents[1]
PACKAGES = ("core", "sim", "teachers", "distill", "deploy")
CHANGELOG = """# Changelog

## Unreleased

- More.

## core 0.2.0 (2026-12-01)

### Added

- A thing.

## 0.1.0 (all five packages)

The first release.
"""


def files(root: Path, package: str) -> tuple[Path, Path]:
    return root / f"packages/{package}/pyproject.toml", root / f"packages/{package}/src/protege/{package}/__init__.py"


def git(root: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose packages are at 0.1.0, and a changelog of two releases."""
    for package in PACKAGES:
        for source, target in zip(files(ROOT, package), files(tmp_path, package), strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(script.VERSION_LINE.sub(r'\g<1>"0.1.0"', source.read_text(), count=1))
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "config", "user.name", "a maintainer")
    git(tmp_path, "config", "user.email", "maintainer@example.org")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "Begin")
    return tmp_path


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_states_one_version(package: str):
    project, module = files(ROOT, package)
    assert script.version_in(project) == script.version_in(module)


def test_a_release_changes_the_version_commits_and_tags(repository: Path):
    done = release(repository, "core", "0.2.0", dry_run=False)
    assert done[-2:] == ["commit: Release core 0.2.0", "tag: core-v0.2.0"]
    assert [script.version_in(file) for file in files(repository, "core")] == ["0.2.0", "0.2.0"]
    assert [script.version_in(file) for file in files(repository, "sim")] == ["0.1.0", "0.1.0"]
    assert git(repository, "log", "-1", "--format=%s") == "Release core 0.2.0"
    changed = git(repository, "show", "--stat", "--format=", "HEAD")
    assert "2 files changed, 2 insertions(+), 2 deletions(-)" in changed
    assert (
        git(repository, "tag", "--list", "--format=%(contents)", "core-v0.2.0")
        == "protege-core 0.2.0\n\n### Added\n\n- A thing."
    )
    assert git(repository, "rev-list", "-1", "core-v0.2.0") == git(repository, "rev-parse", "HEAD")


@pytest.mark.parametrize("package", PACKAGES)
def test_the_present_version_is_tagged_as_it_is(repository: Path, package: str):
    before = git(repository, "rev-parse", "HEAD")
    assert release(repository, package, "0.1.0", dry_run=False) == [f"tag: {package}-v0.1.0"]
    assert git(repository, "rev-parse", "HEAD") == before == git(repository, "rev-list", "-1", f"{package}-v0.1.0")


def test_a_dry_run_says_the_same_and_changes_nothing(repository: Path):
    said, before = release(repository, "core", "0.2.0", dry_run=True), git(repository, "rev-parse", "HEAD")
    assert git(repository, "status", "--porcelain") == git(repository, "tag") == ""
    assert git(repository, "rev-parse", "HEAD") == before
    assert release(repository, "core", "0.2.0", dry_run=False) == said


@pytest.mark.parametrize(
    ("package", "version", "words"),
    [
        ("cores", "0.2.0", "there is no package cores. Choose among core, deploy, distill, sim, teachers"),
        ("core", "0.0.9", "core is at 0.1.0 already"),
        ("core", "1", "1 is not a version"),
        ("sim", "0.2.0", "says nothing of sim 0.2.0"),
    ],
)
def test_what_is_missing_is_said(repository: Path, package: str, version: str, words: str):
    with pytest.raises(UserError, match=words):
        release(repository, package, version, dry_run=False)
    assert git(repository, "status", "--porcelain") == git(repository, "tag") == ""


def test_uncommitted_changes_and_a_used_tag_are_refused(repository: Path):
    project, module = files(repository, "core")
    module.write_text(module.read_text() + "\n")
    with pytest.raises(UserError, match=r"uncommitted changes: .*__init__\.py"):
        release(repository, "core", "0.2.0", dry_run=False)
    git(repository, "checkout", "--quiet", ".")
    project.write_text(project.read_text().replace('version = "0.1.0"', 'version = "0.1.1"'))
    with pytest.raises(UserError, match=r"says 0\.1\.1, .* says 0\.1\.0"):
        release(repository, "core", "0.2.0", dry_run=False)
    git(repository, "checkout", "--quiet", ".")
    release(repository, "core", "0.2.0", dry_run=False)
    with pytest.raises(UserError, match=r"the tag core-v0\.2\.0 exists"):
        release(repository, "core", "0.2.0", dry_run=False)


def test_the_command_of_make_release_ends_with_one_line():
    refused = CliRunner().invoke(script.main, ["core", "99.0.0", "--dry-run"])
    assert refused.exit_code == 2 and refused.output.count("\n") == 1
    assert refused.output.startswith("error: CHANGELOG.md says nothing of core 99.0.0. Move what is released")
