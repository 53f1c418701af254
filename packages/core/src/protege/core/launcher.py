"""How this process was launched: by torchrun or SLURM's srun as one of several ranks, or alone."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Launch:
    """This process's place among those that were launched together.

    Attributes:
        rank: 0 to size - 1.
        size: number of processes on all machines.
        local_rank: 0 to local_size - 1.
        local_size: number of processes on this machine; 0 if the launcher does not set it.
        by: `torchrun`, `slurm`, or empty for a process that was launched alone.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    by: str = ""


def launch() -> Launch:
    """Read the launch from environment variables. A single process counts as launched alone."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        names, by = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"), "torchrun"
    elif "SLURM_STEP_NUM_TASKS" in os.environ:  # set by srun, not in a batch script or a shell in an allocation
        names, by = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"), "slurm"
    else:
        return Launch()
    rank, size, local_rank, local_size = (int(os.environ.get(name, "0")) for name in names)
    return Launch(rank, size, local_rank, local_size, by) if size > 1 else Launch()
