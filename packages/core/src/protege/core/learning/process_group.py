"""Ranks: processes that train one policy together, one for each GPU, on any number of machines.

Every rank has worlds and draws of its own. What is learned is the same on all of them, bit for bit: they begin with the first one's
weights, average their gradients before each step, and pool what normalisers and advantages are made of. Lightning Fabric forms
the group under torchrun or SLURM; it is imported by ranks only. A process that was started alone is a `World` of one rank, in
which nothing is sent or copied.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import nan
from statistics import fmean
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..errors import UserError
from ..launcher import Launch, launch
from ..runs.config import RunConfig
from ..threads import available_cores
from .networks import RunningNormalizer


class World:
    """The ranks as one of them sees them. All of them have to make the same calls in the same order.

    Attributes:
        rank: of this process; the first one, 0, writes and speaks.
        size: number of ranks.
        device: what this rank computes on, and what it sends.
    """

    def __init__(self, place: Launch | None = None, device: torch.device | str = "cpu") -> None:
        self.place = place or Launch()
        self.rank, self.size = self.place.rank, self.place.size
        self.device = torch.device(device)

    @classmethod
    def join(cls, run: RunConfig) -> "World":
        """Form the group of the ranks that were started with this process; see `launcher.launch`.

        Raises:
            UserError: Fabric is not installed, or what was started does not fit the machine.
        """
        place = launch()
        if place.size == 1:
            return cls()
        kind, _, index = run.torch_device().partition(":")
        if index:
            raise UserError(f"run.device is {run.device}, but each rank has a GPU of its own", "Take run.device=cuda")
        if not place.local_size:
            raise UserError("srun does not say how many ranks a machine has", "Give sbatch --ntasks-per-node")
        if kind == "cuda" and place.local_size > torch.cuda.device_count():
            raise UserError(
                f"{place.local_size} ranks on a machine, of whose GPUs each sees {torch.cuda.device_count()}",
                "Start one for each GPU; under SLURM let all see all: --gres=gpu:N, not --gpus-per-task",
            )
        try:
            from lightning_fabric import Fabric
            from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
            from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
        except ImportError as error:
            raise UserError("several ranks need Lightning Fabric", "pip install 'protege-core[ddp]'") from error
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        fabric = Fabric(
            accelerator=kind,
            devices=place.local_size,
            num_nodes=place.size // place.local_size,
            strategy="ddp",
            plugins=[TorchElasticEnvironment() if place.by == "torchrun" else SLURMEnvironment()],
        )
        with _talk():
            fabric.launch()
        return cls(place, fabric.device)

    def close(self) -> None:
        """Leave the group."""
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()

    @property
    def first(self) -> bool:
        """Whether this rank is the one that writes and speaks."""
        return self.rank == 0

    def seed(self, seed: int) -> int:
        """This rank's own: far from its neighbours', which an evaluation or a user's next run takes. The first one's is `seed`."""
        return seed + 1_000_003 * self.rank

    def settings(self, run: RunConfig) -> RunConfig:
        """A run's settings with the seed, the device and the share of the machine's cores that this rank's worlds have."""
        if self.size == 1:
            return run
        cores = max(1, available_cores() // self.place.local_size)
        seed, device = self.seed(run.seed), str(self.device)
        return replace(run, seed=seed, device=device, num_threads=run.num_threads or cores)

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.size > 1:
            with _talk():
                dist.barrier()

    def sum(self, x: Tensor) -> Tensor:
        """Sum over the ranks, any shape; x itself, changed in place."""
        if self.size > 1:
            with _talk():
                dist.all_reduce(x)
        return x

    def mean(self, x: Tensor) -> Tensor:
        """Mean over the ranks, any shape; x itself, changed in place."""
        return self.sum(x).div_(self.size) if self.size > 1 else x

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Give every rank the mean of their tensors, in place."""
        if self.size > 1:
            for x in tensors:
                self.mean(x)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every rank the mean of their gradients, in one message. A NaN of one is then a NaN of all."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = self.mean(torch.cat([x.flatten() for x in gradients]))
        for gradient, part in zip(gradients, flat.split([x.numel() for x in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def share(self, module: nn.Module) -> None:
        """Give every rank the first one's parameters and buffers."""
        if self.size > 1:
            with _talk():
                for x in module.state_dict().values():
                    dist.broadcast(x, 0)

    @contextmanager
    def pooling(self, module: nn.Module) -> Iterator[None]:
        """While this is open the module's normalisers see this rank's data only; after it they have seen that of all ranks."""
        if self.size == 1:
            yield
            return
        normalizers = [x for x in module.modules() if isinstance(x, RunningNormalizer)]
        past = [x.start_afresh() for x in normalizers]
        yield
        fresh = torch.cat([torch.cat(x.moments()) for x in normalizers])
        rows = [torch.empty_like(fresh) for _ in range(self.size)]
        with _talk():
            dist.all_gather(rows, fresh)
        sizes = [size for x in normalizers for size in (1, len(x.mean), len(x.mean))]
        moments = [row.split(sizes) for row in rows]
        for i, (normalizer, before) in enumerate(zip(normalizers, past, strict=True)):
            normalizer.go_back(before)
            for pieces in moments:
                normalizer.merge(*pieces[3 * i : 3 * i + 3])

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, in the order of the ranks, on every rank. Tensors come on the CPU."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with _talk():
            dist.all_gather_object(values, _on_cpu(value))
        return values

    def gather_to_first(self, value: Any) -> list[Any]:
        """`gather` for the first rank; the others get nothing."""
        if self.size == 1:
            return [value]
        values = [None] * self.size if self.first else None
        with _talk():
            dist.gather_object(_on_cpu(value), values)
        return values or []

    def rows(self, table: dict[str, Tensor]) -> dict[str, Tensor]:
        """The rows of all ranks' tables: columns (E, ...) with the same names, E as it comes, on each rank's device."""
        if self.size == 1:
            return table
        tables = self.gather(table)
        return {key: torch.cat([one[key] for one in tables]).to(x.device) for key, x in table.items()}

    def metrics(self, metrics: dict[str, float]) -> dict[str, float]:
        """Means over the ranks that have the metric."""
        if self.size == 1:
            return metrics
        tables = self.gather(metrics)
        names = dict.fromkeys(name for table in tables for name in table)
        return {name: _mean([table[name] for table in tables if name in table]) for name in names}


ALONE = World()
"""The world of a process that was started alone."""


def _mean(values: list[float]) -> float:
    return nan if any(x != x for x in values) else fmean(values)


def _on_cpu(value: Any) -> Any:
    """Plain data with its tensors on the CPU: another rank must not open this one's GPU to read them."""
    if isinstance(value, dict):
        return {key: _on_cpu(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_on_cpu(item) for item in value)
    return value.detach().cpu() if isinstance(value, Tensor) else value


@contextmanager
def _talk() -> Iterator[None]:
    """Messages between ranks: what breaks here is that one of them is gone."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"another rank is gone ({reason})", "Look for its error; the same command goes on from last.ckpt"
        ) from error
