"""Checks of free memory before large allocations. A process that allocates too much is killed without an error message."""

from pathlib import Path

from .errors import UserError

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def available() -> float:
    """Free memory of the machine or container in bytes; infinite if the system does not report it."""
    free = [float("inf")]
    try:
        lines = dict(line.split(":") for line in MEMINFO.read_text().splitlines())
        free.append(1024.0 * float(lines["MemAvailable"].split()[0]))
    except (OSError, KeyError, ValueError):
        pass
    try:
        limit, used = ((CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        free.append(float(limit) - float(used))  # `max` means no limit and raises ValueError
    except (OSError, ValueError):
        pass
    return min(free)


def require(each: float, count: int, what: str, remedy: str, fixed: float = 0.0) -> None:
    """Check that `count` items of `each` bytes and `fixed` further bytes fit into free memory.

    Args:
        what: name of the items, for the message.
        remedy: with `{}` for the number of items that fit.

    Raises:
        UserError: they do not fit.
    """
    free, need = available(), fixed + count * each
    if need > free:
        fit = max(0, int((free - fixed) / each))
        raise UserError(f"{what} take {need / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free", remedy.format(fit))
