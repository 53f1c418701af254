"""How much memory is left, asked before much of it is taken: a process that takes too much is killed without a word."""

from pathlib import Path

from .errors import UserError

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def available() -> float:
    """Bytes of the machine's memory, or of this container's, that can still be taken; infinite where the system does not say."""
    free = [float("inf")]
    try:
        lines = dict(line.split(":") for line in MEMINFO.read_text().splitlines())
        free.append(1024.0 * float(lines["MemAvailable"].split()[0]))
    except (OSError, KeyError, ValueError):
        pass
    try:
        limit, used = ((CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        free.append(float(limit) - float(used))  # `max`, no limit, is no number
    except (OSError, ValueError):
        pass
    return min(free)


def require(each: float, count: int, what: str, remedy: str, fixed: float = 0.0) -> None:
    """Whether `count` things of `each` bytes fit beside `fixed` bytes that are there in any case.

    Args:
        what: takes the memory, for the message.
        remedy: with `{}` where the number that fits stands.

    Raises:
        UserError: they do not.
    """
    free, need = available(), fixed + count * each
    if need > free:
        fit = max(0, int((free - fixed) / each))
        raise UserError(f"{what} take {need / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free", remedy.format(fit))
