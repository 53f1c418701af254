"""Names of devices: which there are, and whether torch can compute there."""

import re

import torch

from ..errors import UserError, shown

DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]{1,3})?", re.ASCII)


def usable_device(device: str, key: str) -> str:
    """A device's name as it was, if torch can compute there.

    Args:
        device: `cpu`, `cuda` or `cuda:1`.
        key: the option or the config key to blame.

    Raises:
        UserError: it is no such name, or the machine has no such GPU.
    """
    if device == "auto" or not DEVICE.fullmatch(device):
        raise UserError(f"{key} is {shown(device)!r}", "Take cpu, cuda or, of several GPUs, cuda:1")
    kind, _, index = device.partition(":")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError(f"{key} is {device}, but torch sees no GPU", f"Take {key}=cpu")
    if index and int(index) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise UserError(
            f"{key} is {device}, but the last GPU that torch sees is cuda:{last}", f"Take {key}=cuda:{last}"
        )
    return device
