"""Loads a checkpoint's weights into a policy, and its states into optimizer, environment and trainer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from ..learning.process_group import ProcessGroup
from .checkpoint import CRITIC_PREFIX, Checkpoint
from .checkpoint_checks import check_layout

MALFORMED = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)
"""Exceptions of torch and Python for an invalid state. Layouts are compared before."""


def load_weights(policy: Any, checkpoint: Checkpoint, path: Path) -> None:
    """Load a checkpoint's weights into a policy; see `check_weights`. The policy keeps its critic if the checkpoint has none."""
    check_weights(policy, checkpoint, path)
    policy.load_state_dict({**critic_missing(policy, checkpoint), **checkpoint.model})


def critic_missing(policy: Any, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The policy's own critic by tensor names, if the checkpoint is a release without one; else empty."""
    if any(name.startswith(CRITIC_PREFIX) for name in checkpoint.model):
        return {}
    return {name: x for name, x in policy.state_dict().items() if name.startswith(CRITIC_PREFIX)}


def check_weights(policy: Any, checkpoint: Checkpoint, path: Path) -> None:
    """Compare a checkpoint's weights with a policy's, which may be on the device `meta`. The whole critic may be missing.

    Raises:
        UserError: tensors are missing, or have another shape or type.
    """
    mine, other = policy.state_dict(), checkpoint.model
    needed = mine.keys() - critic_missing(policy, checkpoint).keys()
    wrong = [name for name in mine if name in needed and (name not in other or not _fits(other[name], mine[name]))]
    wrong += [name for name in other if name not in mine]
    if wrong:
        raise UserError(
            f"{path} holds a policy of another shape ({wrong[0]} and {len(wrong) - 1} more tensors differ)",
            "Use the model sizes and tokens in its config, or another checkpoint",
        )


def _fits(other: Tensor, mine: Tensor) -> bool:
    return (other.shape, other.is_floating_point()) == (mine.shape, mine.is_floating_point())


def of_rank(saved: Checkpoint, path: Path, group: ProcessGroup) -> dict[str, Any]:
    """This rank's training state from a checkpoint.

    Raises:
        UserError: the run had another number of ranks.
    """
    training = dict(saved.training)
    ranks: list[dict[str, Any]] = training.pop("ranks", [{}])
    if len(ranks) != group.size:
        raise UserError(
            f"{path} is of a run on {_ranks(len(ranks))}, not {group.size}",
            f"Start {_ranks(len(ranks))}, or begin anew from its weights: "
            f"--checkpoint {path} and another --experiment-name",
        )
    return training | ranks[group.rank]


def _ranks(count: int) -> str:
    return f"{count} rank" + "s" * (count > 1)


def restore(parts: Mapping[str, Any], training: Mapping[str, Any], path: Path) -> None:
    """Load the state of each part, and of torch's CPU random number generator.

    Args:
        parts: objects with `state_dict` and `load_state_dict` by name; `policy` is skipped.
        training: their states by name, and `rng`.
        path: of the checkpoint, for the message.

    Raises:
        UserError: a state is missing or invalid.
    """
    for name in [*(name for name in parts if name != "policy"), "rng"]:
        if name not in training:
            raise _malformed(path, name, "it is missing")
        try:
            if name == "rng":
                check_layout(training[name], torch.get_rng_state(), name)
                torch.set_rng_state(training[name])
            else:
                _load(name, parts[name], training[name])
        except MALFORMED as error:
            raise _malformed(path, name, str(error).splitlines()[0] if str(error) else type(error).__name__) from error


def _load(name: str, part: Any, state: Any) -> None:
    if isinstance(part, torch.optim.Optimizer):
        _check_optimizer(part, state)
    elif name != "env":  # the env's layout depends on its tasks: it checks its state itself
        check_layout(state, part.state_dict(), name)
    part.load_state_dict(state)


def _check_optimizer(optimizer: torch.optim.Optimizer, state: Any) -> None:
    """Check an optimizer's state against its parameters. Parameters without an update so far have no state."""
    mine = optimizer.state_dict()
    check_layout({**state, "state": {}}, {**mine, "state": {}}, "optimizer")
    if len(state["param_groups"]) != len(mine["param_groups"]):
        raise ValueError(f"optimizer.param_groups has {len(state['param_groups'])} entries")
    for i, (saved, own) in enumerate(zip(state["param_groups"], mine["param_groups"], strict=True)):
        check_layout(saved, own, f"optimizer.param_groups[{i}]")
        if saved["params"] != own["params"]:
            raise ValueError(f"optimizer.param_groups[{i}] is of other parameters")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for i, moments in state["state"].items():
        like = torch.empty_like(parameters[i], device="cpu")
        adam = {"step": torch.tensor(0.0), "exp_avg": like, "exp_avg_sq": like}
        check_layout(moments, mine["state"].get(i) or adam, f"optimizer.state[{i}]")


def _malformed(path: Path, name: str, why: str) -> UserError:
    return UserError(
        f"{path} is damaged: the state of its {name} ({why})",
        f"Begin anew from its weights: --checkpoint {path} and another --experiment-name",
    )
