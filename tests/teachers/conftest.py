"""Zoos for several test files."""

import shutil
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from zoos import METRICS, RECIPE

from protege.teachers import zoo as z


@pytest.fixture(scope="session")
def stocked(tiny_tracker: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zoo of one entry, `tiny`; not to be changed."""
    folder = tmp_path_factory.mktemp("zoo")
    z.add(folder, "tiny", tiny_tracker, RECIPE, METRICS)
    return folder


@pytest.fixture
def copied(stocked: Path, tmp_path: Path) -> Path:
    """A copy of the zoo that tests may change."""
    return Path(shutil.copytree(stocked, tmp_path / "copied"))


@pytest.fixture
def served(copied: Path) -> Iterator[str]:
    """The URL of `copied`, served over HTTP from this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(copied))) as server:
        thread = Thread(target=partial(server.serve_forever, poll_interval=0.01))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
