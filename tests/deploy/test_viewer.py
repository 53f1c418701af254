"""`protege deploy view`."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import viser
from click.testing import CliRunner
from waiting import PATIENCE

from protege.deploy.cli.main import main
from protege.deploy.viewer.serve import Viewer, free_port


def test_a_port_in_use_is_a_one_line_error(exported: Path) -> None:
    assert free_port("127.0.0.1", 0) > 0
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = CliRunner().invoke(main, ["view", str(exported), "--port", str(port), "--seconds", "0.1"])
    assert done.exit_code == 2 and done.output.count("\n") == 1
    assert (
        f"error: cannot listen on 127.0.0.1, port {port} (Address already in use). Choose another --port" in done.output
    )


def test_view_serves_for_the_given_time_on_loopback_only(exported: Path) -> None:
    done = CliRunner().invoke(main, ["view", str(exported), "--port", "0", "--seconds", "0.5"])
    assert done.exit_code == 0, done.output
    [line] = done.output.splitlines()
    assert line.startswith("http://127.0.0.1:") and line.endswith(" (Ctrl-C ends it)")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_viewer_and_deletes_its_folder(
    exported: Path, tmp_path: Path, number: signal.Signals
) -> None:
    code = "from protege.deploy.cli.main import main; main()"
    words = [sys.executable, "-c", code, "view", str(exported), "--port", "0"]
    where = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(words, env=where, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as viewer:
        assert viewer.stdout is not None and viewer.stdout.readline().startswith("http://")
        assert list(tmp_path.glob("protege-viewer-*"))
        viewer.send_signal(number)
        _, output = viewer.communicate(timeout=PATIENCE)
    assert viewer.returncode == 0 and "Traceback" not in output
    assert not list(tmp_path.glob("protege-viewer-*"))


def test_a_client_that_does_not_answer_gets_no_words_after_the_end(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """viser's thread writes on standard output when its last connection has ended, here 10 s after the viewer."""
    started = set(threading.enumerate())
    with socket.socket() as client, Viewer({"tiny": exported}, port=0) as viewer:
        client.connect(("127.0.0.1", viewer._server.get_port()))
        client.sendall(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            + f"Sec-WebSocket-Protocol: viser-v{viser.__version__}\r\n\r\n".encode()
        )
        assert client.recv(12) == b"HTTP/1.1 101"
    server = [thread for thread in set(threading.enumerate()) - started if "ThreadPool" not in thread.name]
    assert server == [] and capsys.readouterr().out == ""


def test_bad_exports_are_one_line_errors(exported: Path, tmp_path: Path) -> None:
    (tmp_path / exported.name).mkdir()
    for folders, message in (
        ([tmp_path], "policy.json does not exist"),
        ([exported, tmp_path / exported.name], "two of the exports have the same name"),
    ):
        done = CliRunner().invoke(main, ["view", *map(str, folders), "--port", "0"])
        assert done.exit_code == 2 and done.output.count("\n") == 1 and message in done.output
