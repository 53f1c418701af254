"""Who started this process, and as which of how many: torchrun, SLURM's srun, or a user, alone."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Launch:
    """A process among those that were started together.

    Attributes:
        rank: 0 to size - 1.
        size: processes on all machines.
        local_rank: 0 to local_size - 1.
        local_size: processes on this machine; 0 if the launcher does not say.
        by: `torchrun`, `slurm`, or empty for a process that was started alone.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    by: str = ""


def launch() -> Launch:
    """What the environment says of this process. A group of one is no group."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        names, by = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"), "torchrun"
    elif "SLURM_STEP_NUM_TASKS" in os.environ:  # srun's; a batch script itself, or a shell in an allocation, has none
        names, by = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"), "slurm"
    else:
        return Launch()
    rank, size, local_rank, local_size = (int(os.environ.get(name, "0")) for name in names)
    return Launch(rank, size, local_rank, local_size, by) if size > 1 else Launch()
