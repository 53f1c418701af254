"""Locks of folders, held by real processes: one process at a time, and released when it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from protege.core.errors import UserError
from protege.core.runs.lock import locked

HOLDER = """
import sys, time
from pathlib import Path
from protege.core.runs.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""

COUNTER = """
import sys
from pathlib import Path
from protege.core.errors import UserError
from protege.core.runs.lock import locked
folder, counter = Path(sys.argv[1]), Path(sys.argv[2])
done = 0
while done < 50:
    try:
        with locked(folder):
            counter.write_text(str(int(counter.read_text()) + 1))
        done += 1
    except UserError:
        pass
"""


def python(text: str, *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", text, *map(str, words)], stdout=subprocess.PIPE, text=True)


def test_a_second_process_is_refused_with_the_owners_name(tmp_path):
    folder = tmp_path / "results" / "a"
    with locked(folder):
        owner = json.loads((folder / ".lock").read_text())
        assert (owner["pid"], owner["host"]) == (os.getpid(), socket.gethostname())
        words = rf"a is in use by process {os.getpid()} on .*, since 20.*kill {os.getpid()}"
        with pytest.raises(UserError, match=words) as error, locked(folder):
            raise AssertionError("two owners")
        assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []  # nothing was put into the folder


def test_files_in_the_folder_are_not_removed(tmp_path):
    with locked(tmp_path / "a"):
        (tmp_path / "a" / "file").write_text("")
    with locked(tmp_path / "a"):
        pass
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["file"]


def test_a_killed_owners_lock_is_released(tmp_path):
    with python(HOLDER, tmp_path) as process:
        assert process.stdout and process.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=rf"in use by process {process.pid} on"), locked(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
    assert (tmp_path / ".lock").is_file()  # its file is left, its lock is not
    with locked(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_many_short_processes_never_hold_the_lock_together(tmp_path):
    (tmp_path / "counter").write_text("0")
    processes = [python(COUNTER, tmp_path / "folder", tmp_path / "counter") for _ in range(3)]
    assert [process.communicate() and process.returncode for process in processes] == [0, 0, 0]
    assert (tmp_path / "counter").read_text() == "150"
    assert not (tmp_path / "folder" / ".lock").exists()


def test_a_moved_lock_file_does_not_block_the_folder(tmp_path):
    with locked(tmp_path / "a"):
        (tmp_path / "a").rename(tmp_path / "b")
        with locked(tmp_path / "a"):
            other = (tmp_path / "a" / ".lock").read_text()
            assert Path(tmp_path / "b" / ".lock").is_file() and other
    assert not (tmp_path / "a").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/a \(Not a directory\)"), locked(tmp_path / "file" / "a"):
        pass
