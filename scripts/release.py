"""Makes a package's release: its version, a commit and a tag, such as core-v0.2.0. `make release` calls it.

    python scripts/release.py core 0.2.0 --dry-run

CHANGELOG.md must have a section of the release, such as `## core 0.2.0 (2026-12-01)`; its text becomes the tag's message.
"""

import re
import subprocess
from pathlib import Path

import click

from protege.core.cli.group import OneLineError
from protege.core.errors import UserError

VERSION_LINE = re.compile(r'^((?:__)?version(?:__)? = )"(.*)"$', re.MULTILINE)


def parsed(version: str) -> tuple[int, ...]:
    """Numbers of a version, which compare as versions do.

    Raises:
        UserError: it is not three numbers.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise UserError(f"{version} is not a version", "Give three numbers, such as 0.2.0")
    return tuple(map(int, version.split(".")))


def section(changelog: str, package: str, version: str) -> str:
    """The changelog's section of a release: `## core 0.2.0 (date)`, or `## 0.2.0 (...)` of all packages.

    Raises:
        UserError: it is missing or empty.
    """
    heading = rf"^## (?:{package} )?{re.escape(version)} \([^\n]*\)\n(.*?)(?=^## |\Z)"
    found = re.search(heading, changelog, re.MULTILINE | re.DOTALL)
    if found is None or not found[1].strip():
        remedy = f"Move what is released from Unreleased to a section: ## {package} {version} (DATE)"
        raise UserError(f"CHANGELOG.md says nothing of {package} {version}", remedy)
    return found[1].strip()


def version_in(file: Path) -> str:
    """The version that a pyproject.toml or an `__init__.py` states.

    Raises:
        UserError: it states none.
    """
    found = VERSION_LINE.search(file.read_text())
    if found is None:
        raise UserError(f"{file} states no version", 'Add a line version = "0.1.0", in Python __version__ = "0.1.0"')
    return found[2]


def git(root: Path, *words: str) -> str:
    """Output of a git command in the repository."""
    return subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def release(root: Path, package: str, version: str, *, dry_run: bool) -> list[str]:
    """Write the version, commit and tag; returns what is done, one line each.

    Args:
        root: the repository, without uncommitted changes of tracked files.
        package: core, sim, teachers, distill or deploy.
        version: not below the package's present one.
        dry_run: only check, and return what would be done.

    Raises:
        UserError: something is missing; nothing has been changed then.
    """
    project = root / "packages" / package / "pyproject.toml"
    module = root / f"packages/{package}/src/protege/{package}/__init__.py"
    if not project.is_file():
        names = ", ".join(sorted(path.parent.name for path in root.glob("packages/*/pyproject.toml")))
        raise UserError(f"there is no package {package}", f"Choose among {names}")
    tag, files = f"{package}-v{version}", (project, module)
    present, stated = version_in(project), version_in(module)
    if present != stated:
        raise UserError(f"{project} says {present}, {module} says {stated}", "Write the same version into both")
    if parsed(version) < parsed(present):
        raise UserError(f"{package} is at {present} already", f"Give a version above {present}")
    message = section((root / "CHANGELOG.md").read_text(), package, version)
    if git(root, "tag", "--list", tag):
        raise UserError(f"the tag {tag} exists", "Give a higher version")
    if changed := git(root, "status", "--porcelain", "--untracked-files=no"):
        raise UserError(f"uncommitted changes: {changed.splitlines()[0].strip()}", "Commit them first")
    steps = []
    if version != present:
        steps = [f"{file.relative_to(root)}: version {present} becomes {version}" for file in files]
        steps += [f"commit: Release {package} {version}"]
    if steps and not dry_run:
        for file in files:
            file.write_text(VERSION_LINE.sub(rf'\g<1>"{version}"', file.read_text(), count=1))
        git(root, "commit", "--quiet", "--message", f"Release {package} {version}", *map(str, files))
    if not dry_run:
        git(
            root,
            "tag",
            "--annotate",
            tag,
            "--cleanup",
            "whitespace",
            "--message",
            f"protege-{package} {version}\n\n{message}",
        )
    return [*steps, f"tag: {tag}"]


@click.command()
@click.argument("package")
@click.argument("version")
@click.option("--dry-run", is_flag=True, help="check, say what would be done, and change nothing")
def main(package: str, version: str, dry_run: bool) -> None:
    """Release VERSION of PACKAGE: core, sim, teachers, distill or deploy."""
    try:
        done = release(Path(__file__).parents[1], package, version, dry_run=dry_run)
    except UserError as error:
        raise OneLineError(error) from error
    click.echo("\n".join(done))
    if not dry_run:
        click.echo("Send it: git push --follow-tags")


if __name__ == "__main__":
    main()
