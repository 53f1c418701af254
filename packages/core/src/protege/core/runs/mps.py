"""Several processes on one GPU: through NVIDIA's Multi-Process Service (MPS) their kernels run at the same time.

Without MPS the processes take turns on the GPU, and a small kernel leaves most of it idle.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which

CONTROL = "nvidia-cuda-mps-control"
"""The program that starts and ends MPS. It comes with the driver."""
PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
"""Environment variables: folders through which processes reach MPS, and of its logs."""
DEFAULT_PIPES = Path("/tmp/nvidia-mps")
PROBE = """
import ctypes
cuda, context = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p()
raise SystemExit(cuda.cuInit(0) or cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0))
"""
"""A program that creates a context on its first GPU, and fails if it cannot."""


@contextmanager
def shared_gpu() -> Iterator[dict[str, str]]:
    """Share this process's first GPU among processes that are started in this context.

    MPS is started for this user and ended afterwards. It is optional: nothing is started if it is not installed, if it does not
    work, or if it already runs.

    Yields:
        environment variables for these processes; empty without MPS.
    """
    if which(CONTROL) is None or PIPES in os.environ or (DEFAULT_PIPES / "control").exists():
        yield {}
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    with tempfile.TemporaryDirectory(prefix="protege-mps-", ignore_cleanup_errors=True) as folder:
        # Processes count the GPUs of their server, so its only one is number 0.
        connection = {PIPES: folder, LOGS: folder}
        if not _control(["-d"], connection | {"CUDA_VISIBLE_DEVICES": visible}):
            yield {}
            return
        try:
            inside = connection | {"CUDA_VISIBLE_DEVICES": "0"}
            yield inside if _succeeds([sys.executable, "-c", PROBE], inside) else {}
        finally:
            _control([], connection, "quit\n")


def _control(options: list[str], variables: dict[str, str], text: str = "") -> bool:
    return _succeeds([CONTROL, *options], variables, text)


def _succeeds(words: list[str], variables: dict[str, str], text: str = "") -> bool:
    """Whether a command ends with exit code 0 within half a minute."""
    silent = subprocess.DEVNULL  # a pipe would stay open as long as the server that the command starts
    try:
        done = subprocess.run(
            words, env={**os.environ, **variables}, input=text.encode(), stdout=silent, stderr=silent, timeout=30.0
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
