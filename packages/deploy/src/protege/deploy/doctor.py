"""The runtime's checks for `protege doctor`. They are plain tuples, because the runtime does not need protege-core."""

import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

EXTRAS = {
    "export": ("onnx", "export to ONNX"),
    "view": ("viser", "the live viewer"),
    "tensorrt": ("torch_tensorrt", "export to TensorRT"),
}
"""Optional parts of protege-deploy: the module that each adds, and its purpose."""


def check_deploy() -> Iterator[tuple[str, str, str, str]]:
    """ONNX Runtime and its execution providers, optional parts, and whether a loop may run at real-time priority."""
    if find_spec("onnxruntime") is None:
        remedy = 'pip install "protege-deploy[cpu]" (or [gpu])'
        yield "onnxruntime", "broken", "not installed: exported policies cannot run", remedy
    else:
        import onnxruntime

        providers = ", ".join(onnxruntime.get_available_providers())
        yield "onnxruntime", "ok", f"{onnxruntime.__version__}: {providers}", ""
    for extra, (module, purpose) in EXTRAS.items():
        if find_spec(module) is None:
            yield extra, "absent", f"{module} is not installed: {purpose}", f'pip install "protege-deploy[{extra}]"'
        else:
            yield extra, "ok", f"{module} {_version(module)}: {purpose}", ""
    if _may_be_real_time():
        yield "real-time priority", "ok", "permitted: protege deploy run --fifo PRIORITY", ""
    else:
        remedy = "Add `USER - rtprio 80` to /etc/security/limits.conf, or run as root"
        yield "real-time priority", "absent", "not permitted: deadlines may be missed on a busy machine", remedy


def _may_be_real_time() -> bool:
    """Whether the system grants this process SCHED_FIFO. It is tried and undone."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        return False
    os.sched_setscheduler(0, *before)
    return True


def _version(module: str) -> str:
    try:
        return version(module.replace("_", "-"))
    except PackageNotFoundError:
        return ""
