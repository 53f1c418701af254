"""Processes many files in parallel, in one process per core; results keep the order of the files."""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

from protege.core.robots.robot import Robot
from protege.core.threads import available_cores

FILES_PER_PROCESS = 4
"""Least number of files per process, which takes seconds to start."""


def in_order[X, Y](work: Callable[[X], Y], items: Iterable[X], count: int, robot: Robot) -> Iterator[Y]:
    """The result of `work` for each item.

    Args:
        work: a function of a module; it, its arguments and its results are sent between processes.
        items: consumed a few at a time, not all at once.
        count: number of items; a few are processed in this process.
        robot: its folder is made known to the other processes.
    """
    processes = min(available_cores(), count // FILES_PER_PROCESS)
    if processes < 2:
        yield from map(work, items)
        return
    from ..robots import folder_of

    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(processes, context, _begin, (robot, folder_of(robot))) as pool:
        waiting = deque[Future[Y]]()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 2 * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _begin(robot: Robot, folder: Path | None) -> None:
    import torch

    from ..robots import remember

    torch.set_num_threads(1)
    remember(robot, folder)
