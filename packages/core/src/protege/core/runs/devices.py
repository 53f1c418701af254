"""Names of devices, and checks that torch can use them."""

import re

from ..errors import UserError, shown

DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]{1,3})?", re.ASCII)


def usable_device(device: str, key: str) -> str:
    """Return the name of a device if torch can use it.

    Args:
        device: `cpu`, `cuda` or `cuda:1`.
        key: option or config key, for the message.

    Raises:
        UserError: the name is invalid, or the machine has no such GPU.
    """
    if device == "auto" or not DEVICE.fullmatch(device):
        raise UserError(f"{key} is {shown(device)!r}", "Take cpu, cuda or, of several GPUs, cuda:1")
    kind, _, index = device.partition(":")
    if kind == "cuda" and not sees_gpu():
        raise UserError(f"{key} is {device}, but torch sees no GPU", f"Take {key}=cpu")
    if index and int(index) > (last := _num_gpus() - 1):
        raise UserError(
            f"{key} is {device}, but the last GPU that torch sees is cuda:{last}", f"Take {key}=cuda:{last}"
        )
    return device


# Torch is imported where it is needed: it takes seconds, and the options of `--help` come from the config's dataclasses.


def sees_gpu() -> bool:
    """Whether torch sees a GPU."""
    import torch

    return torch.cuda.is_available()


def _num_gpus() -> int:
    import torch

    return torch.cuda.device_count()
