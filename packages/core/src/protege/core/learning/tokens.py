"""Network inputs: observations as normalised token sets."""

from collections.abc import Iterable, Mapping, Sequence
from math import prod

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..observations import joint_errors
from .networks import RunningNormalizer, TokenSet

_FULL_STATE = {"proprioception": 1, "history": 2, "poses": 3, "masked_poses": 3}
ONBOARD_TOKENS = {name: "onboard" if name == "proprioception" else f"onboard_{name}" for name in _FULL_STATE}
"""For each token set, the one that an actor with onboard sensors reads instead."""
_FULL_STATE_NAME = {onboard: name for name, onboard in ONBOARD_TOKENS.items()}

RANKS = _FULL_STATE | {ONBOARD_TOKENS[name]: rank for name, rank in _FULL_STATE.items()} | {"joint_errors": 1}
"""Number of dimensions, without the leading N, of the observations of these token sets. All other sets are commands."""

NO_COMMANDS = {*RANKS, "reference_joint_pos", "reference_joint_vel", "pose_mask"}
"""Observations that are not commands. An environment also has one for each modality (`protege.core.tasks.Modality`)."""


class Tokenizer(nn.Module):
    """Converts observations to normalised token sets, and holds the normalisers.

    `history` is normalised like `proprioception`, and `masked_poses` like `poses`, also for onboard sensors (`ONBOARD_TOKENS`).
    Commands and masked poses include their mask as features and are zero where it is False.

    Args:
        obs_shapes: shapes of the observations without the leading N.
        tokens: the token sets that will be used.
    """

    def __init__(self, obs_shapes: Mapping[str, Sequence[int]], tokens: Iterable[str]) -> None:
        super().__init__()
        self.sizes: dict[str, tuple[int, int]] = {}
        self.normalizers = nn.ModuleDict()
        needed: dict[str, None] = {}
        for token in dict.fromkeys(tokens):
            needed |= dict.fromkeys(_observations(token))
            self.sizes[token], key = _token_size(token, obs_shapes), _normalized_as(token)
            if key not in self.normalizers:
                shape = self.sizes[token] if key == "joint_errors" else obs_shapes[key]
                self.normalizers[key] = RunningNormalizer(prod(shape[1:] if RANKS.get(key) == 3 else shape))
        self.obs_keys = list(needed)

    def forward(self, obs: Mapping[str, Tensor], token: str) -> TokenSet:
        key = _normalized_as(token)
        normalizer, kind = self.normalizers[key], _FULL_STATE_NAME.get(token, token)
        if kind in ("proprioception", "joint_errors"):
            return normalizer(_observed(obs, token)).unsqueeze(1), None
        if kind == "history":
            return normalizer(obs[token]), None
        if kind == "poses":
            return normalizer(obs[token].flatten(2)), None
        if kind == "masked_poses":
            visible = obs["pose_mask"]
            x = normalizer(obs[key].flatten(2)).unflatten(2, (visible.shape[2], -1))
            mask = visible.to(x.dtype)
            return torch.cat([(x * mask.unsqueeze(-1)).flatten(2), mask], dim=-1), visible.any(-1)
        present = obs[f"{token}_mask"].unsqueeze(1)
        mask = present.to(obs[token].dtype)
        return torch.cat([normalizer(obs[token].flatten(1)) * mask, mask], dim=-1).unsqueeze(1), present

    def noise_shapes(self, tokens: Iterable[str]) -> dict[str, tuple[int, int]]:
        """(S, F) of the token sets that have no mask: proprioception and the reference, but not commands."""
        noisy_sets = {"proprioception", "history", "poses", "joint_errors"}
        return {name: self.sizes[name] for name in tokens if _FULL_STATE_NAME.get(name, name) in noisy_sets}

    def update(self, obs: Mapping[str, Tensor], weight: Tensor | None = None) -> None:
        """Update the normalisers with a batch.

        Args:
            obs: observations (M, ...).
            weight: (M,) 0 for rows to ignore, else 1.
        """
        for key, normalizer in self.normalizers.items():
            assert isinstance(normalizer, RunningNormalizer)
            x, rows = _observed(obs, key), weight
            if key not in NO_COMMANDS:
                commanded = obs[f"{key}_mask"]
                rows = commanded if weight is None else commanded * weight
                x = x.flatten(1)
            elif RANKS[key] == 3:
                x = x.flatten(2)
                rows = None if weight is None else weight.unsqueeze(1).expand(x.shape[:2])
            normalizer.update(x, rows)


def noisy(sets: Mapping[str, TokenSet], noise: float, draws: Mapping[str, Tensor]) -> dict[str, TokenSet]:
    """Add noise to some token sets.

    Args:
        noise: standard deviation, in units of each feature's own.
        draws: standard normal numbers for the sets that get noise, see `Tokenizer.noise_shapes`.
    """
    return {name: (x + noise * draws[name] if name in draws else x, shown) for name, (x, shown) in sets.items()}


def _normalized_as(token: str) -> str:
    """The observation whose normaliser a token set uses."""
    kind = _FULL_STATE_NAME.get(token, token)
    alike = {"history": "proprioception", "masked_poses": "poses"}.get(kind, kind)
    return ONBOARD_TOKENS[alike] if token in _FULL_STATE_NAME else alike


def _observed(obs: Mapping[str, Tensor], key: str) -> Tensor:
    """An observation by its key, or one computed from several."""
    return joint_errors(*(obs[name] for name in _observations(key))) if key == "joint_errors" else obs[key]


def _observations(token: str) -> list[str]:
    """Keys of the observations that a token set is computed from."""
    if token == "joint_errors":
        return ["proprioception", "reference_joint_pos", "reference_joint_vel"]
    if token not in NO_COMMANDS:
        return [token, f"{token}_mask"]
    kind, key = _FULL_STATE_NAME.get(token, token), _normalized_as(token)
    return {"masked_poses": [key, "pose_mask"], "history": [token, key]}.get(kind, [token])


def _token_size(token: str, obs_shapes: Mapping[str, Sequence[int]]) -> tuple[int, int]:
    """(S, F) of a token set."""
    known = [
        *_FULL_STATE,
        "joint_errors",
        *(name for name in obs_shapes if name not in NO_COMMANDS and f"{name}_mask" in obs_shapes),
    ]
    if token not in known and token not in _FULL_STATE_NAME:
        raise UserError(f"model.tokens: there is no token set {token!r}", f"Choose among {', '.join(known)}.")
    missing = [key for key in _observations(token) if key not in obs_shapes]
    if missing:
        raise UserError(
            f"model.tokens: the environment does not observe {', '.join(missing)}",
            f"Remove {_FULL_STATE_NAME.get(token, token)!r}.",
        )
    if token == "joint_errors":
        return 1, 2 * obs_shapes["reference_joint_pos"][0]
    shape = obs_shapes[_observations(token)[0]]
    if len(shape) != RANKS.get(token, len(shape)) or not len(shape):
        raise UserError(
            f"observations: {token} has the shape {tuple(shape)}", f"It has {RANKS.get(token, 1)} dimensions"
        )
    if token not in RANKS:
        return 1, prod(shape) + 1
    if RANKS[token] < 3:
        return (1, shape[0]) if RANKS[token] == 1 else (shape[0], shape[1])
    frames, bodies, features = shape
    return frames, bodies * (features + token.endswith("masked_poses"))
