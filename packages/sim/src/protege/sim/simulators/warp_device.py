"""Shared parts of the backends on Warp: their device, torch's stream, and the check of arrays of fixed size."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from typing import Any

import torch
import warp as wp
from mujoco_warp import OverflowType, make_data
from torch import Tensor

from protege.core.errors import UserError

from ..engine import mujoco

CONTACTS_FULL = int(OverflowType.BROADPHASE | OverflowType.NARROWPHASE)
CONSTRAINTS_FULL = int(OverflowType.NEFC | OverflowType.NJMAX_NNZ)
CHECK_EVERY = 1000  # control steps between checks for overflow
SOLVER_SHARE = 0.6  # memory of the solver, as a share of that of Warp's data


def checked_device(simulator: str, device: str) -> torch.device:
    """The device with its full name.

    Raises:
        UserError: it does not exist, or is neither a CPU nor an NVIDIA GPU.
    """
    kind, _, index = device.partition(":")
    if kind == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if kind != "cuda" or int(index or 0) >= count:
        raise UserError(f"{simulator}: there is no device {device}; torch sees {count} CUDA GPUs", "Take --device cpu")
    return torch.device("cuda", int(index or 0))


def torch_stream(device: torch.device) -> Any:
    """A context in which Warp works on the device, in torch's current stream."""
    if device.type == "cpu":
        return wp.ScopedDevice(wp.device_from_torch(device))
    return wp.ScopedStream(wp.stream_from_torch(torch.cuda.current_stream(device)), sync_enter=False)


# Memory ------------------------------------------------------------------------------------------------------------------


def free_memory(device: torch.device) -> int:
    """Free memory of the device in bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def fitting(num_envs: int, device: torch.device, host: mujoco.MjModel, **room: int) -> Iterator[None]:
    """A block in which this number of envs is created.

    Args:
        host: the model of one env.
        room: arguments of `mujoco_warp.make_data`.

    Raises:
        UserError: the envs do not fit into the device's memory.
    """
    free = free_memory(device)
    try:
        yield
    except RuntimeError as error:
        if "Failed to allocate" not in str(error):
            raise
        raise _too_many_envs(num_envs, free, device, host, **room) from error


def _too_many_envs(num_envs: int, free: int, device: torch.device, host: mujoco.MjModel, **room: int) -> UserError:
    """The error about envs that do not fit into `free` bytes, with the number that would."""
    with wp.ScopedDevice("cpu"):
        env_bytes = (1.0 + SOLVER_SHARE) * _size(make_data(host, 1, **room))
    fit = int(free / env_bytes)
    return UserError(
        f"{num_envs} envs do not fit into the {free / 2**30:.1f} GiB that are free on {device}",
        f"Take env.num_envs={_rounded(fit)} or less" if fit else "Free some of it",
    )


def _size(data: Any) -> int:
    """Bytes of the Warp arrays in a dataclass and in its nested dataclasses."""
    parts = vars(data).values()
    arrays = sum(x.capacity for x in parts if isinstance(x, wp.array))
    return arrays + sum(_size(x) for x in parts if is_dataclass(x))


def _rounded(count: int) -> int:
    """Rounded down to the first two digits."""
    unit = 10 ** max(len(str(count)) - 2, 0)
    return count // unit * unit


class CapacityMonitor:
    """Watches for envs whose contacts or constraints exceed the arrays.

    Args:
        simulator: its name, which is also that of its part of `env`.
        overflow: MuJoCo Warp's flags, (N,) int; envs whose physics failed have none set.
        contacts: contacts per env, pooled over all envs.
        constraints: rows per env.

    Attributes:
        allowed: number of envs in which contacts may be dropped: one in a hundred.
    """

    def __init__(self, simulator: str, overflow: Tensor, contacts: int, constraints: int) -> None:
        self.simulator, self.overflow = simulator, overflow
        self.sizes = {"contacts": contacts, "constraints": constraints}
        self.allowed = len(overflow) // 100
        self._steps = 0

    def step(self) -> None:
        """Count a control step, and check at intervals."""
        self._steps += 1
        if self._steps % CHECK_EVERY == 0:
            self.check()

    def overflowed(self) -> int:
        """Number of envs that overflowed since the last `check`."""
        return int((self.overflow & (CONTACTS_FULL | CONSTRAINTS_FULL) != 0).sum())

    def check(self) -> None:
        """Raise an error if contacts are dropped in too many envs.

        Raises:
            UserError: in more envs than are allowed.
        """
        bits, count = self.overflow.clone(), self.overflowed()
        self.overflow.zero_()
        if count <= self.allowed:
            return
        what = "constraints" if bool((bits & CONSTRAINTS_FULL).any()) else "contacts"
        raise UserError(
            f"{self.simulator}: {count} of {len(bits)} envs had no room for all their {what}",
            f"Raise env.{self.simulator}.{what} (now {self.sizes[what]})",
        )
