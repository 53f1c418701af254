"""Commands as processes that are forked from one that has imported torch, because that import takes seconds.

`python forked_commands.py ADDRESS` is the server. Programs that `link` makes hand their words, folder, environment and files to
it, wait, and exit as the command did.
"""

import atexit
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as to:
    to.connect({address!r})
    request = json.dumps([[os.path.basename(sys.argv[0]), *sys.argv[1:]], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(to, [len(request).to_bytes(4, "little")], [0, 1, 2])
    to.sendall(request)
    sys.exit(int.from_bytes(to.recv(1) or bytes([255]), "little"))
"""


def link(folder: Path, address: str) -> None:
    """Write Protégé's programs into a folder."""
    folder.mkdir()
    for script in entry_points(group="console_scripts"):
        if script.name.startswith("protege"):
            program = folder / script.name
            program.write_text(CLIENT.format(python=sys.executable, address=address))
            program.chmod(0o755)


@contextmanager
def server(address: Path) -> Iterator[str]:
    """A running server; its address."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    process = subprocess.Popen([sys.executable, __file__, str(address)], env=environment)
    while not address.exists():
        assert process.poll() is None
        time.sleep(0.05)
    try:
        yield str(address)
    finally:
        process.terminate()
        process.wait()


def answer(connection: socket.socket) -> None:
    """Run a command in a new process, and send its exit code to the client."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, files, _, _ = socket.recv_fds(connection, 4, 3)
    request = b""
    while len(request) < int.from_bytes(head, "little"):
        request += connection.recv(1 << 16)
    command = os.fork()
    if command:
        code = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
        connection.sendall(bytes([code % 256]))
        os._exit(0)
    connection.close()
    for target, file in enumerate(files):
        os.dup2(file, target)
        os.close(file)
    sys.stdin, sys.stdout, sys.stderr = (open(n, mode, closefd=False) for n, mode in enumerate("rww"))  # noqa: SIM115
    words, folder, environment = json.loads(request)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = words
    [script] = entry_points(group="console_scripts", name=words[0])
    code: object = 1
    try:
        code = script.load()()
    except SystemExit as ending:
        code = ending.code
    finally:
        if sys.exception():
            traceback.print_exc()
        atexit._run_exitfuncs()  # freeing all modules would take a third of a second
        sys.stdout.flush()
        os._exit(code if isinstance(code, int) else code is not None)


def main(address: str) -> None:
    ours = (
        "core.cli.umbrella",
        "core.runs.experiments",
        "sim.env",
        "teachers.experiments",
        "distill.experiment",
        "distill.cli",
    )
    for module in ("mujoco", "torch._dynamo", "torch.distributed.fsdp", *(f"protege.{name}" for name in ours)):
        import_module(module)
    gc.freeze()  # else every process copies what it collects
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{address}.new")
    listener.listen()
    Path(f"{address}.new").rename(address)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            answer(connection)
        connection.close()


if __name__ == "__main__":
    main(sys.argv[1])
