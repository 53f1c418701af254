"""How many threads a process should take if nobody says so."""

import os
from pathlib import Path

MAX_TORCH_THREADS = 8
"""More threads spend their time waiting for each other: the networks are small, and physics takes the cores anyway."""
CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def available_cores() -> int:
    """The cores that this process may use: those it is bound to, and no more than its container is allowed."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        return limited(cores, CPU_LIMIT.read_text())
    except OSError:  # no container, or another system than Linux
        return cores


def limited(cores: int, cpu_max: str) -> int:
    """Cores under a cgroup's limit, `cpu.max`: microseconds of all cores together in a period, and the period; or `max`."""
    quota, _, period = cpu_max.partition(" ")
    return min(cores, max(1, -(-int(quota) // int(period)))) if quota.isdigit() else cores


def torch_threads(num_threads: int) -> int:
    """For `run.num_threads`, where 0 leaves it to the machine: the available cores, eight at most."""
    return num_threads or min(available_cores(), MAX_TORCH_THREADS)
