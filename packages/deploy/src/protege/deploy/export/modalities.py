"""The modalities of a policy as `policy.json` describes them. Needs core."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from protege.core.errors import UserError
from protege.core.learning.tokens import RANKS
from protege.core.runs.config import from_dict
from protege.core.tasks import modalities, tasks

from ..policy.metadata import CommandRange, TensorSpec


def command_inputs(tokens: Collection[str], obs_shapes: Mapping[str, Sequence[int]]) -> dict[str, list[TensorSpec]]:
    """The model's inputs of each modality that the policy's environment had, by its name.

    Args:
        tokens: the token sets that its actor reads. A modality that is not among them has no inputs.
        obs_shapes: shapes of the observations without the leading N.

    Returns:
        in the order of the columns of `command_mask`; nothing if the policy reads none.

    Raises:
        UserError: it reads one that no installed package offers.
    """
    known = {name: modality for name, modality in modalities().items() if name in obs_shapes}
    if missing := [token for token in tokens if token not in known and token not in RANKS]:
        raise UserError(f"the policy is commanded by {missing[0]}, a task that is not installed", "Install its package")
    if not set(tokens) & set(known):
        return {}
    specs = {name: known[name].inputs(tuple(obs_shapes[name])) if name in tokens else () for name in known}
    return {
        name: [TensorSpec(x.name, x.dtype, list(x.shape), x.unit, x.frame, x.description) for x in several]
        for name, several in specs.items()
    }


def command_mask(names: Collection[str]) -> TensorSpec:
    """The input that states which of these modalities are commanded."""
    *others, last = names
    listed = f"{', '.join(others)} and {last}" if others else last
    return TensorSpec("command_mask", "bool", [len(names)], "1", "", f"whether {listed} are commanded")


def trained_ranges(env: Mapping[str, Any], names: Collection[str]) -> dict[str, CommandRange]:
    """The ranges that the training drew its commands from.

    Args:
        env: the environment's part of a checkpoint's config.
        names: of the modalities that the policy reads.

    Returns:
        by kind of command; none of a task whose parameters the config does not state.
    """
    found = {}
    for task in tasks().values():
        if task.modality is not None and task.modality.name in names and task.config_key in env:
            params = getattr(from_dict({task.config_key: task.config_class}, env), task.config_key)
            found |= task.command_ranges(params)
    return {kind: CommandRange(float(low), float(high), unit) for kind, (low, high, unit) in found.items()}
