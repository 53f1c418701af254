"""The process group: the ranks, one per GPU, that train one policy together, on any number of machines.

Every rank has its own environments and random numbers. The weights are identical on all ranks, bit for bit: ranks start from the
first rank's weights, average their gradients before each step, and pool the moments of normalisers and advantages. A process
that was launched alone is a group of one rank, in which nothing is sent or copied.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import nan
from statistics import fmean
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..errors import UserError
from ..launcher import Launch, launch
from .networks import RunningNormalizer


class ProcessGroup:
    """A rank's view of the group. All ranks must make the same calls in the same order.

    Attributes:
        rank: of this process; rank 0 writes files and prints.
        size: number of ranks.
        local_size: number of ranks on this machine.
        device: of this rank's computations and messages.
    """

    def __init__(self, place: Launch | None = None, device: torch.device | str = "cpu") -> None:
        place = place or Launch()
        self.rank, self.size, self.local_size = place.rank, place.size, place.local_size
        self.device = torch.device(device)

    @classmethod
    def join(cls, device: str) -> "ProcessGroup":
        """Join the group of the ranks that were launched with this process; see `launcher.launch`.

        Args:
            device: `cpu`, or `cuda` for the GPU whose index is this rank's number on its machine.

        Raises:
            UserError: the launch does not fit the machine.
        """
        place = launch()
        kind, _, index = device.partition(":")
        if index:
            raise UserError(f"run.device is {device}, but each rank has a GPU of its own", "Take run.device=cuda")
        if not place.local_size:
            raise UserError("srun does not say how many ranks a machine has", "Give sbatch --ntasks-per-node")
        if kind == "cuda" and place.local_size > torch.cuda.device_count():
            raise UserError(
                f"{place.local_size} ranks on a machine, of whose GPUs each sees {torch.cuda.device_count()}",
                "Start one for each GPU; under SLURM let all see all: --gres=gpu:N, not --gpus-per-task",
            )
        if place.by == "slurm":
            _find_first_rank()
        gpu = torch.device(kind, place.local_rank) if kind == "cuda" else None
        if gpu:
            torch.cuda.set_device(gpu)
        with _connection_errors():
            dist.init_process_group("nccl" if gpu else "gloo", rank=place.rank, world_size=place.size, device_id=gpu)
        return cls(place, gpu or "cpu")

    def close(self) -> None:
        """Leave the group."""
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()

    @property
    def first(self) -> bool:
        """Whether this rank is the one that writes files and prints."""
        return self.rank == 0

    def seed(self, seed: int) -> int:
        """This rank's seed. The first rank's is `seed`; the others' are far from it, because another run may use `seed + 1`."""
        return seed + 1_000_003 * self.rank

    def wait(self) -> None:
        """Wait until all ranks have reached this call."""
        if self.size > 1:
            with _connection_errors():
                dist.barrier()

    def sum(self, x: Tensor) -> Tensor:
        """Sum x over the ranks, in place; any shape."""
        if self.size > 1:
            with _connection_errors():
                dist.all_reduce(x)
        return x

    def mean(self, x: Tensor) -> Tensor:
        """Average x over the ranks, in place; any shape."""
        return self.sum(x).div_(self.size) if self.size > 1 else x

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Average tensors over the ranks, in place and in one message. A NaN of one rank reaches all ranks."""
        if self.size > 1 and (tensors := list(tensors)):
            flat = self.mean(torch.cat([x.flatten() for x in tensors]))
            for x, part in zip(tensors, flat.split([x.numel() for x in tensors]), strict=True):
                x.copy_(part.view_as(x))

    def broadcast(self, module: nn.Module) -> None:
        """Copy the first rank's parameters and buffers to all ranks."""
        if self.size > 1:
            with _connection_errors():
                for x in module.state_dict().values():
                    dist.broadcast(x, 0)

    @contextmanager
    def pooling(self, module: nn.Module) -> Iterator[None]:
        """In this context the module's normalisers collect this rank's data; at its end the data of all ranks is merged."""
        if self.size == 1:
            yield
            return
        normalizers = [x for x in module.modules() if isinstance(x, RunningNormalizer)]
        past = [x.reset() for x in normalizers]
        yield
        fresh = torch.cat([torch.cat(x.moments()) for x in normalizers])
        rows = [torch.empty_like(fresh) for _ in range(self.size)]
        with _connection_errors():
            dist.all_gather(rows, fresh)
        sizes = [size for x in normalizers for size in (1, len(x.mean), len(x.mean))]
        moments = [row.split(sizes) for row in rows]
        for i, (normalizer, before) in enumerate(zip(normalizers, past, strict=True)):
            normalizer.restore(before)
            for pieces in moments:
                normalizer.merge(*pieces[3 * i : 3 * i + 3])

    def gather(self, value: Any) -> list[Any]:
        """Gather the values of all ranks on every rank, in the order of the ranks. Tensors are on the CPU."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with _connection_errors():
            dist.all_gather_object(values, _on_cpu(value))
        return values

    def gather_to_first(self, value: Any) -> list[Any]:
        """Gather the values of all ranks on the first rank; the others get an empty list."""
        if self.size == 1:
            return [value]
        values = [None] * self.size if self.first else None
        with _connection_errors():
            dist.gather_object(_on_cpu(value), values)
        return values or []

    def gather_rows(self, table: dict[str, Tensor]) -> dict[str, Tensor]:
        """Concatenate the tables of all ranks: columns (E, ...) of the same names, where E may differ, on this rank's device."""
        if self.size == 1:
            return table
        tables = self.gather(table)
        return {key: torch.cat([one[key] for one in tables]).to(x.device) for key, x in table.items()}

    def mean_metrics(self, metrics: dict[str, float]) -> dict[str, float]:
        """Average each metric over the ranks that have it."""
        if self.size == 1:
            return metrics
        tables = self.gather(metrics)
        names = dict.fromkeys(name for table in tables for name in table)
        return {name: _mean([table[name] for table in tables if name in table]) for name in names}


SINGLE_PROCESS = ProcessGroup()
"""The group of a process that was launched alone."""


def _find_first_rank() -> None:
    """Set the address of rank 0 for torch: the first machine of the SLURM step, and a port derived from the job's number."""
    nodes = re.sub(r"\[(\w+)[^]]*\]", r"\1", os.environ["SLURM_STEP_NODELIST"])  # gpu[03-05,9],cpu1 -> gpu03,cpu1
    os.environ.setdefault("MASTER_ADDR", nodes.split(",")[0])
    os.environ.setdefault("MASTER_PORT", str(15_000 + int(os.environ["SLURM_JOB_ID"]) % 10_000))


def _mean(values: list[float]) -> float:
    return nan if any(x != x for x in values) else fmean(values)


def _on_cpu(value: Any) -> Any:
    """Move the tensors in plain data to the CPU, so that other ranks do not access this rank's GPU to read them."""
    if isinstance(value, dict):
        return {key: _on_cpu(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_on_cpu(item) for item in value)
    return value.detach().cpu() if isinstance(value, Tensor) else value


@contextmanager
def _connection_errors() -> Iterator[None]:
    """Turn a communication error into a UserError: another rank has stopped."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"another rank is gone ({reason})", "Look for its error; the same command goes on from last.ckpt"
        ) from error
