"""Installs what some tests need and pip cannot provide: OpenGL without a window, and a browser.

`make test` runs this file first. It tries to install what is missing and prints what it could not install. Tests that need it are
then skipped for the same reason; with `pytest --require gl --require browser`, as in CI, they fail.
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
SOFTWARE_RENDERING = [
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
]
DOWNLOAD_TIMEOUT = 300.0  # s


def launch(playwright: "Playwright") -> "Browser":
    """A headless Chromium with software rendering: one on the search path, else the one that Playwright downloaded.

    Raises:
        UserError: there is none, or none starts.
    """
    from playwright.sync_api import Error

    reason = ""
    for path in (*filter(None, map(shutil.which, BROWSERS)), None):
        try:
            return playwright.chromium.launch(executable_path=path, args=SOFTWARE_RENDERING)
        except Error as error:
            reason = error.message.splitlines()[0].removeprefix("BrowserType.launch: ")
    raise UserError(f"no browser starts ({reason})", "apt install chromium, or playwright install chromium")


def missing(name: str) -> str:
    """The reason why `gl` or `browser` cannot be used here; empty if it can."""
    try:
        if name == "browser":
            from playwright.sync_api import sync_playwright

            with sync_playwright() as playwright:
                launch(playwright).close()
        else:
            from protege.sim.gl import make_context  # importing it opens OpenGL

            make_context(64, 64).free()
    except (UserError, ImportError) as error:
        return str(error)
    return ""


def install_commands(name: str) -> Iterator[tuple[str, ...]]:
    """Commands that may install it: Playwright's download, then the package manager if the user is root."""
    if name in PLAYWRIGHT:
        yield PLAYWRIGHT[name]
    if os.geteuid() == 0 and shutil.which("apt-get"):
        script = f"apt-get update && apt-get install --yes --no-install-recommends {' '.join(APT[name])}"
        yield "env", "DEBIAN_FRONTEND=noninteractive", "sh", "-c", script


def install(name: str) -> None:
    """Install it if it is missing, and print the outcome."""
    # OpenGL is looked up only once per process, so each check runs in a separate process.
    check = [sys.executable, __file__, name]
    for command in install_commands(name):
        if subprocess.run(check, capture_output=True).returncode == 0:
            return
        click.echo(f"{name}: missing, trying {'apt-get' if 'sh' in command else 'playwright install'}")
        try:
            subprocess.run(command, capture_output=True, timeout=DOWNLOAD_TIMEOUT)
        except subprocess.TimeoutExpired:
            click.echo(f"{name}: gave up after {DOWNLOAD_TIMEOUT:.0f} s")
    result = subprocess.run(check, capture_output=True, text=True)
    if result.returncode:
        click.echo(f"{name}: {result.stdout.strip()}. The tests that need it are skipped")


@click.command()
@click.argument("name", type=click.Choice([*APT]), required=False)
def main(name: str | None) -> None:
    """Install what is missing; with a NAME, only print why it cannot be used, and exit with code 1."""
    if name:
        reason = missing(name)
        click.echo(reason)
        sys.exit(bool(reason))
    for each in APT:
        install(each)


if __name__ == "__main__":
    main()
