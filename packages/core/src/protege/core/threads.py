"""The default number of threads of a process."""

import os
from pathlib import Path

MAX_TORCH_THREADS = 8
"""More threads mostly wait for each other: the networks are small, and physics needs the cores."""
CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def available_cores() -> int:
    """Number of cores that this process may use, from its CPU affinity and its container's limit."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        return limited(cores, CPU_LIMIT.read_text())
    except OSError:  # not in a container, or not Linux
        return cores


def limited(cores: int, cpu_max: str) -> int:
    """Number of cores under a cgroup's limit.

    Args:
        cores: without the limit.
        cpu_max: contents of `cpu.max`: CPU time per period and the period, µs; `max` for no limit.
    """
    quota, _, period = cpu_max.partition(" ")
    return min(cores, max(1, -(-int(quota) // int(period)))) if quota.isdigit() else cores


def torch_threads(num_threads: int) -> int:
    """Number of torch threads for `run.num_threads`; 0 means the available cores, but at most eight."""
    return num_threads or min(available_cores(), MAX_TORCH_THREADS)
