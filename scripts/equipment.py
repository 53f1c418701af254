"""What some tests need and pip cannot install: OpenGL that draws without a window, and a browser.

`make test` runs this file first. It tries to install what is missing and names what it cannot get. Tests that need it are then
skipped with the same reason; with `pytest --require gl --require browser`, as in CI, they fail.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from protege.core.errors import UserError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

APT = {"gl": ("libegl1", "libegl-mesa0", "libgl1-mesa-dri", "libosmesa6"), "browser": ("chromium",)}
PLAYWRIGHT = {"browser": (sys.executable, "-m", "playwright", "install", "--only-shell", "chromium")}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SOFTWARE = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking"]
PATIENCE = 300.0  # s, for one download


def launch(playwright: "Playwright") -> "Browser":
    """A headless Chromium that draws in software: one on the search path, else the one that Playwright downloaded.

    Raises:
        UserError: if there is none, or none starts.
    """
    from playwright.sync_api import Error

    reason = ""
    for path in (*filter(None, map(shutil.which, BROWSERS)), None):
        try:
            return playwright.chromium.launch(executable_path=path, args=SOFTWARE)
        except Error as error:
            reason = error.message.splitlines()[0].removeprefix("BrowserType.launch: ")
    raise UserError(f"no browser starts ({reason})", "apt install chromium, or playwright install chromium")


def missing(name: str) -> str:
    """Why `gl` or `browser` cannot be used here; empty where it can."""
    try:
        if name == "browser":
            from playwright.sync_api import sync_playwright

            with sync_playwright() as playwright:
                launch(playwright).close()
        else:
            from protege.sim.gl import make_context  # it opens OpenGL as soon as it is imported

            make_context(64, 64).free()
    except (UserError, ImportError) as error:
        return str(error)
    return ""


def ways(name: str) -> Iterator[tuple[str, ...]]:
    """Commands that may install it: Playwright's own download, then, for root, the package manager."""
    if name in PLAYWRIGHT:
        yield PLAYWRIGHT[name]
    if os.geteuid() == 0 and shutil.which("apt-get"):
        install = f"apt-get update && apt-get install --yes --no-install-recommends {' '.join(APT[name])}"
        yield "env", "DEBIAN_FRONTEND=noninteractive", "sh", "-c", install


def bring(name: str) -> None:
    """Install it if it is missing, and say how that went."""
    # A process looks for OpenGL once and remembers: each look is in a process of its own.
    look = [sys.executable, __file__, name]
    for command in ways(name):
        if subprocess.run(look, capture_output=True).returncode == 0:
            return
        click.echo(f"{name}: missing, trying {'apt-get' if 'sh' in command else 'playwright install'}")
        try:
            subprocess.run(command, capture_output=True, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            click.echo(f"{name}: gave up after {PATIENCE:.0f} s")
    left = subprocess.run(look, capture_output=True, text=True)
    if left.returncode:
        click.echo(f"{name}: {left.stdout.strip()}. The tests that need it are skipped")


@click.command()
@click.argument("name", type=click.Choice([*APT]), required=False)
def main(name: str | None) -> None:
    """Install what is missing; with a NAME, only say why it cannot be used, with exit code 1."""
    if name:
        reason = missing(name)
        click.echo(reason)
        sys.exit(bool(reason))
    for each in APT:
        bring(each)


if __name__ == "__main__":
    main()
