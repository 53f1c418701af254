"""A child process receives its parent's signals and does not outlive it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHILD = """
import os, signal, sys, time
from pathlib import Path
heard = Path(sys.argv[1])
def hear(number, frame):
    heard.write_text(signal.Signals(number).name)
    raise SystemExit(130)
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, hear)
print(os.getpid(), flush=True)
time.sleep(60 if len(sys.argv) < 3 else 0.5)
"""

PARENT = """
import sys
from protege.core.runs.child import run_child
print(*run_child([sys.executable, "-c", *sys.argv[1:]]), flush=True)
"""


def start(*words: object, nohup: bool = False) -> tuple[subprocess.Popen[str], int]:
    """A parent and its child's pid."""

    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)

    command = [sys.executable, "-c", PARENT, CHILD, *map(str, words)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=ignore)
    assert parent.stdout
    return parent, int(parent.stdout.readline())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_forwarded_and_the_child_chooses_its_exit_code(tmp_path, number):
    parent, _ = start(tmp_path / "heard")
    parent.send_signal(number)
    assert parent.communicate()[0] == "130 True\n"
    assert (tmp_path / "heard").read_text() == number.name


def test_ctrl_c_comes_from_the_terminal_to_both(tmp_path):
    parent, child = start(tmp_path / "heard")
    for pid in (parent.pid, child):
        os.kill(pid, signal.SIGINT)
    assert parent.communicate()[0] == "130 True\n"
    assert (tmp_path / "heard").read_text() == "SIGINT"


def test_under_nohup_a_hangup_stops_neither_process(tmp_path):
    parent, _ = start(tmp_path / "heard", "soon", nohup=True)
    parent.send_signal(signal.SIGHUP)
    assert parent.communicate()[0] == "0 False\n"
    assert not (tmp_path / "heard").exists()


def test_a_killed_parent_stops_its_child(tmp_path):
    parent, child = start(tmp_path / "heard")
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    wait_until(lambda: (tmp_path / "heard").exists() and has_ended(child))
    assert (tmp_path / "heard").read_text() == "SIGTERM"


def test_a_child_ended_by_a_signal_has_a_shells_exit_code():
    from protege.core.runs.child import run_child

    for number in (signal.SIGKILL, signal.SIGTERM):
        assert run_child(["sh", "-c", f"kill -{int(number)} $$"]) == (128 + number, False)


def test_children_run_at_the_same_time_under_their_names(tmp_path, capfd):
    """Each waits for the other's file. Their lines begin with their names, and a failure stops no other."""
    from protege.core.runs.child import run_children

    meet = "touch $NAME; while ! [ -e $OTHER ]; do sleep 0.01; done; echo met $OTHER; printf 'loud \\377\\n' >&2; exit $CODE"
    names = [("a", "b", "3"), ("b", "a", "0")]
    environments = {
        name: {"NAME": str(tmp_path / name), "OTHER": str(tmp_path / other), "CODE": code}
        for name, other, code in names
    }
    assert run_children({name: ["sh", "-c", meet] for name in "ab"}, environments) == ([3, 0], False)
    printed = capfd.readouterr().out.splitlines()
    loud = "loud \ufffd"  # a byte that is not UTF-8
    lines = [f"a: met {tmp_path / 'b'}", f"a: {loud}", f"b: met {tmp_path / 'a'}", f"b: {loud}"]
    assert sorted(printed) == sorted(lines)


def test_a_signal_is_forwarded_to_all_children(tmp_path):
    program = PARENT.replace("run_child", "run_children").replace(
        '[sys.executable, "-c", *sys.argv[1:]]', '{x: [sys.executable, "-c", sys.argv[1], x] for x in sys.argv[2:]}, {}'
    )
    files = [tmp_path / "a", tmp_path / "b"]
    command = [sys.executable, "-c", program, CHILD, *map(str, files)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout and {parent.stdout.readline().partition(": ")[0] for _ in files} == set(map(str, files))
    parent.send_signal(signal.SIGTERM)
    assert parent.communicate()[0] == "[130, 130] True\n"
    assert [file.read_text() for file in files] == ["SIGTERM", "SIGTERM"]


FOLLOWER = """
import sys
from pathlib import Path
from protege.core.runs.child import wait_for_start
print("ready", flush=True)
Path(sys.argv[2]).touch()
wait_for_start(lambda: False)
print("led" if Path(sys.argv[1]).exists() else "alone")
"""


@pytest.mark.parametrize(("code", "wanted"), [(0, ["ready", "led"]), (3, ["ready"])])
def test_a_follower_gets_ready_and_starts_when_all_others_have_succeeded(tmp_path, capfd, code, wanted):
    from protege.core.runs.child import run_children

    mark, ready = tmp_path / "mark", tmp_path / "ready"
    # The leader ends when the follower is ready, whose line this process has then printed.
    lead = f"while ! [ -e {ready} ]; do sleep 0.01; done; touch {mark}; exit {code}"
    follower = [sys.executable, "-c", FOLLOWER, str(mark), str(ready)]
    commands = {"a": ["sh", "-c", "true"], "b": ["sh", "-c", lead], "c": follower}
    ended = code and 128 + signal.SIGTERM
    assert run_children(commands, {}, ["c"]) == ([0, code, ended], False)
    assert capfd.readouterr().out.splitlines() == [f"c: {line}" for line in wanted]


def test_a_stopped_follower_does_not_wait(tmp_path, monkeypatch):
    from protege.core.runs.child import START_FILE, wait_for_start

    wait_for_start(lambda: True)  # follows nobody
    monkeypatch.setenv(START_FILE, str(tmp_path / "start"))
    with pytest.raises(SystemExit) as stop:
        wait_for_start(lambda: True)
    assert stop.value.code == 130
    (tmp_path / "start").touch()
    wait_for_start(lambda: True)


def has_ended(pid: int) -> bool:
    """Whether a process has ended, even if its new parent has not reaped it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_until(true) -> None:
    end = time.monotonic() + 20.0
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
