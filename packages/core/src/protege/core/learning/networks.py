"""The networks that all policies use: MLPs, a token transformer, a running normaliser.

A *token set* is a tensor (N, S, F) of S tokens per env and, if some may be absent, a mask (N, S) that is True for present tokens.
Set sizes are (S, F).
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import at_most_entries, within
from ..errors import UserError
from ..robots.traced import traced

TokenSet = tuple[Tensor, Tensor | None]
"""Features (N, S, F), and which tokens are present (N, S), or None if all are."""


MAX_WEIGHTS = 500e6
"""Fifty times the largest preset. With gradients and optimizer moments this takes 8 GB."""


def check_transformer(sizes: Any, key: str) -> None:
    """Check the sizes latent_dim, ff_size, num_layers and num_heads of a `TokenTransformer`.

    Raises:
        UserError: a size is invalid.
    """
    within(1, 8192, sizes, key, "latent_dim", "ff_size")
    within(1, 64, sizes, key, "num_layers", "num_heads")
    if sizes.latent_dim % sizes.num_heads:
        raise UserError(
            f"{key}.latent_dim must be a multiple of {key}.num_heads; {sizes.latent_dim} is not one of {sizes.num_heads}",
            "Change one",
        )
    weights = sizes.num_layers * (4 * sizes.latent_dim**2 + 2 * sizes.latent_dim * sizes.ff_size)
    if weights > MAX_WEIGHTS:
        raise UserError(
            f"{key}.num_layers, {key}.latent_dim and {key}.ff_size make {weights / 1e6:,.0f} million weights",
            f"Take fewer or smaller layers, up to {MAX_WEIGHTS / 1e6:,.0f} million",
        )


def check_units(sizes: Any, key: str, *names: str) -> None:
    """Check config fields that list hidden layers of MLPs.

    Raises:
        UserError: a size is invalid.
    """
    at_most_entries(16, sizes, key, *names)
    within(1, 8192, sizes, key, *names)


class PaddedLinear(nn.Linear):
    """A linear layer whose compiled products on a GPU have sizes that are multiples of eight.

    Products of bfloat16 matrices of other sizes take up to four times as long there.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        if input.is_cuda and torch.compiler.is_compiling() and not traced():
            return padded_linear(input, self.weight, self.bias)
        return super().forward(input)


def padded_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`torch.nn.functional.linear` of matrices that are padded with zeros to multiples of eight rows and columns."""
    outputs, inputs = weight.shape
    rows, columns = -outputs % 8 if outputs > 8 else 0, -inputs % 8
    if not rows and not columns:
        return F.linear(x, weight, bias)
    bias = None if bias is None else F.pad(bias, (0, rows))
    return F.linear(F.pad(x, (0, columns)), F.pad(weight, (0, columns, 0, rows)), bias)[..., :outputs]


def mlp(sizes: Sequence[int], output_scale: float | None = None, layer_norm: bool = False) -> nn.Sequential:
    """Linear layers with GELU between them, sizes[0] -> ... -> sizes[-1].

    Args:
        output_scale: gain of the last layer's orthogonal initialisation, with zero bias; None for torch's default.
        layer_norm: normalise each hidden layer before its GELU (Ba et al. 2016, arXiv 1607.06450).
    """
    layers: list[nn.Module] = []
    for i, (size_in, size_out) in enumerate(pairwise(sizes)):
        if i:
            layers += [nn.LayerNorm(size_in), nn.GELU()] if layer_norm else [nn.GELU()]
        layers.append(PaddedLinear(size_in, size_out))
    if output_scale is not None:
        _init_output(layers[-1], output_scale)
    return nn.Sequential(*layers)


def _init_output(layer: nn.Module, scale: float) -> None:
    assert isinstance(layer, nn.Linear)
    if scale:
        nn.init.orthogonal_(layer.weight, scale)
    else:
        nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


class RunningNormalizer(nn.Module):
    """Normalises features by the running mean and variance of all batches passed to `update`.

    Before the first update values are unscaled. Results are clamped to +-`LIMIT`.
    """

    LIMIT = 5.0
    EPSILON = 1e-4  # bounds the scale of features that hardly vary (in m, rad)

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("var", torch.ones(size))
        self.register_buffer("count", torch.zeros(()))
        self.retained = 1.0  # share of the count at `reset` that later updates retained

    def forward(self, x: Tensor) -> Tensor:
        """(..., size) -> (..., size)."""
        scale = (self.var + self.EPSILON).rsqrt()
        return torch.addcmul(-self.mean * scale, x, scale).clamp(-self.LIMIT, self.LIMIT)

    @torch.no_grad()
    def update(self, x: Tensor, weight: Tensor | None = None, memory: float = 1.0) -> None:
        """Merge the moments of a batch into the running ones (Chan et al. 1979, pairwise update).

        Args:
            x: (..., size).
            weight: (...) 0 for rows to ignore, else 1; None for all rows.
            memory: share of the past count that is retained; below 1 old data is gradually forgotten.
        """
        self.count.mul_(memory)
        self.retained *= memory
        rows = x.reshape(-1, x.shape[-1])
        ones = rows.new_ones(len(rows)) if weight is None else weight.reshape(-1).to(rows.dtype)
        if weight is not None:
            rows = rows.masked_fill((ones == 0).unsqueeze(-1), 0.0)  # zero times NaN is NaN
        count = ones.sum()
        size = count.clamp_min(1.0)
        mean = ones @ rows / size
        var = ones @ (rows - mean).square() / size
        self.merge(count, mean, var)

    @torch.no_grad()
    def merge(self, count: Tensor, mean: Tensor, var: Tensor) -> None:
        """Merge the moments of `count` rows, () or (1,); mean and var (size,)."""
        total = (self.count + count).clamp_min(1.0)
        delta = mean - self.mean
        share = count / total
        # With count 0 the old variance must not contribute: it means "unscaled" and comes from no data.
        self.var.copy_(torch.where(count > 0, self.var * (self.count / total) + var * share, self.var))
        self.var.add_(delta.square() * share * (self.count / total))
        self.mean.add_(delta * share)
        self.count.add_(count.view(()))

    def moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """Count (1,), mean and variance (size,)."""
        return self.count.view(1), self.mean, self.var

    def reset(self) -> tuple[Tensor, Tensor, Tensor]:
        """Discard all moments. Returns the old ones for `restore`."""
        past = self.count.clone(), self.mean.clone(), self.var.clone()
        self.count.zero_()
        self.mean.zero_()
        self.var.fill_(1.0)
        self.retained = 1.0
        return past

    def restore(self, past: tuple[Tensor, Tensor, Tensor]) -> None:
        """Restore the moments from before `reset`, with the forgetting of updates since then applied to the count."""
        count, mean, var = past
        self.count.copy_(count * self.retained)
        self.mean.copy_(mean)
        self.var.copy_(var)


FEW_TOKENS = 8  # up to this number of tokens, fused sums of products are faster than matrix products


def attend(q: Tensor, k: Tensor, v: Tensor, present: Tensor | None) -> Tensor:
    """Scaled dot-product attention: (N, H, Q, D), (N, H, S, D) twice, (N, 1, 1, S) bool or None -> (N, H, Q, D)."""
    if q.is_cuda:  # its attention kernels use tiles of 64 tokens or more, mostly empty with a dozen tokens
        return attend_few(q, k, v, present)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=present)


def attend_few(q: Tensor, k: Tensor, v: Tensor, present: Tensor | None) -> Tensor:
    """`attend` in elementary operations."""
    product = sum_of_products if k.shape[2] <= FEW_TOKENS else torch.matmul
    scores = product(q, k.transpose(2, 3)) / q.shape[-1] ** 0.5
    if present is not None:
        scores = scores.masked_fill(~present, -torch.inf)
    return product(scores.softmax(-1), v)


def sum_of_products(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product: (..., Q, D), (..., D, S) -> (..., Q, S)."""
    return (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(-2)


class TransformerBlock(nn.Module):
    """Pre-norm self-attention and feed-forward block (Xiong et al. 2020, arXiv 2002.04745)."""

    def __init__(self, latent_dim: int, ff_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(latent_dim)
        self.query = nn.Linear(latent_dim, latent_dim)
        self.key = nn.Linear(latent_dim, latent_dim)
        self.value = nn.Linear(latent_dim, latent_dim)
        self.out = nn.Linear(latent_dim, latent_dim)
        self.ff_norm = nn.LayerNorm(latent_dim)
        self.ff = mlp([latent_dim, ff_size, latent_dim])

    def forward(self, x: Tensor, present: Tensor | None, num_queries: int) -> Tensor:
        """Update the first `num_queries` tokens by attending to all present ones.

        Args:
            x: (N, S, D).
            present: (N, 1, 1, S) bool, tokens to attend to; None for all.

        Returns:
            (N, num_queries, D).
        """
        normed = self.attention_norm(x)
        q, k, v = self.query(normed[:, :num_queries]), self.key(normed), self.value(normed)
        q, k, v = (y.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for y in (q, k, v))
        seen = attend(q, k, v, present)
        x = x[:, :num_queries] + self.out(seen.transpose(1, 2).flatten(2))
        return x + self.ff(self.ff_norm(x))

    def traced(self, x: Tensor, bias: Tensor) -> Tensor:
        """`forward` of all tokens for an exported graph: one matrix product computes queries, keys and values.

        Args:
            x: (N S, D), so that no product with weights needs a reshape.
            bias: (N, 1, 1, S) of the attention scores: 0 where a token is present, else minus infinity.
        """
        size, tokens = self.out.in_features, bias.shape[3]
        per_head, sets = size // self.num_heads, (self.query, self.key, self.value)
        weight, offset = torch.cat([layer.weight for layer in sets]), torch.cat([layer.bias for layer in sets])
        together = F.linear(self.attention_norm(x), weight, offset)
        q, k, v = together.reshape(-1, tokens, len(sets), self.num_heads, per_head).permute(2, 0, 3, 1, 4).unbind()
        seen = (q @ k.transpose(2, 3) * per_head**-0.5 + bias).softmax(-1) @ v
        x = x + self.out(seen.transpose(1, 2).reshape(-1, size))
        return x + self.ff(self.ff_norm(x))

    def traced_readout(self, x: Tensor, bias: Tensor) -> Tensor:
        """`forward` of the first token only, (N, D), for an exported graph, with a tenth of the arithmetic.

        With one query q, the score of token x is q · (K x) = (Kᵀ q) · x, and the output is V (Σ p x): neither keys nor values of
        single tokens are needed. The bias of the keys adds the same to all scores, so softmax ignores it. Arguments: see `traced`.
        """
        size, heads, tokens = self.out.in_features, self.num_heads, bias.shape[3]
        per_head = size // heads
        normed = self.attention_norm(x).reshape(-1, tokens, size)
        # Heads are the batch dimension, (H, N, ...), so that the transposed weights (H, d, D) are constants of the graph.
        q = self.query(normed[:, 0]).reshape(-1, heads, per_head).transpose(0, 1)
        key_query = (q @ self.key.weight.view(heads, per_head, size)).transpose(0, 1)
        mean_token = (key_query @ normed.transpose(1, 2) * per_head**-0.5 + bias[:, 0]).softmax(-1) @ normed
        seen = mean_token.transpose(0, 1) @ self.value.weight.view(heads, per_head, size).transpose(1, 2)
        seen = seen.transpose(0, 1).reshape(-1, size) + self.value.bias
        x = x.reshape(-1, tokens, size)[:, 0] + self.out(seen)
        return x + self.ff(self.ff_norm(x))


class TokenTransformer(nn.Module):
    """A transformer over token sets that returns the final state of the first token, the readout.

    The last block computes only the readout token, because the others are not used.

    Args:
        sizes: (S, F) of each token set, the readout token's set (S = 1) first.
        added: sets of one token that are added to the readout token through a layer initialised to zero, instead of being
            separate tokens. Adding one to a trained network does not change its output (as in ControlNet, Zhang et al. 2023).
    """

    def __init__(
        self,
        sizes: Mapping[str, tuple[int, int]],
        latent_dim: int,
        ff_size: int,
        num_layers: int,
        num_heads: int,
        added: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.tokens = [name for name in sizes if name not in added]
        self.added = list(added)
        self.encoders = nn.ModuleDict()
        self.positions = nn.ParameterDict()
        for name, (tokens, features) in sizes.items():
            scale = 0.0 if name in added else None
            self.encoders[name] = mlp([features, latent_dim, latent_dim], output_scale=scale)
            if name not in added:
                self.positions[name] = nn.Parameter(0.02 * torch.randn(tokens, latent_dim))
        self.blocks = nn.ModuleList(TransformerBlock(latent_dim, ff_size, num_heads) for _ in range(num_layers))
        self.norm = nn.LayerNorm(latent_dim)

    def forward(self, sets: Mapping[str, TokenSet]) -> Tensor:
        """Token sets by name -> (N, latent_dim)."""
        x = torch.cat([self._encoded(name, sets[name][0]) for name in self.tokens], dim=1)
        x = x + torch.cat([self.positions[name] for name in self.tokens])
        if self.added:
            extra = sum(_masked(self.encoders[name](sets[name][0]), sets[name][1]) for name in self.added)
            x = torch.cat([x[:, :1] + extra, x[:, 1:]], dim=1)
        present = self._present(sets)
        if traced():
            no_bias = x.new_zeros(1, 1, 1, sum(len(self.positions[name]) for name in self.tokens))
            bias = no_bias if present is None else no_bias.masked_fill(~present, -torch.inf)
            *inner, last = (block for block in self.blocks if isinstance(block, TransformerBlock))
            x = x.reshape(-1, self.norm.normalized_shape[0])
            for block in inner:
                x = block.traced(x, bias)
            return self.norm(last.traced_readout(x, bias))
        for i, block in enumerate(self.blocks):
            x = block(x, present, num_queries=1 if i == len(self.blocks) - 1 else x.shape[1])
        return self.norm(x[:, 0])

    def _encoded(self, name: str, x: Tensor) -> Tensor:
        """Encode a token set, (N, S, F) -> (N, S, D); in an exported graph as rows (N S, F)."""
        encoder = self.encoders[name]
        if not traced():
            return encoder(x)
        features = next(layer.in_features for layer in encoder.modules() if isinstance(layer, nn.Linear))
        return encoder(x.reshape(-1, features)).reshape(-1, len(self.positions[name]), self.norm.normalized_shape[0])

    def _present(self, sets: Mapping[str, TokenSet]) -> Tensor | None:
        chosen = [sets[name] for name in self.tokens]
        if all(mask is None for _, mask in chosen):
            return None
        masks = [x.new_ones(x.shape[:2], dtype=torch.bool) if mask is None else mask for x, mask in chosen]
        return torch.cat(masks, dim=1)[:, None, None]


class SetMLP(nn.Module):
    """An MLP over all features of all sets; absent tokens are zeros.

    The first layer has one matrix per set and sums their outputs. This equals a layer on the concatenation, but sets can be added
    to a trained network.

    Args:
        sizes: (S, F) of each token set.
        units: hidden and output sizes.
        output_scale, layer_norm: see `mlp`.
    """

    def __init__(
        self,
        sizes: Mapping[str, tuple[int, int]],
        units: Sequence[int],
        output_scale: float | None = None,
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        self.inputs = nn.ModuleDict({name: PaddedLinear(s * f, units[0], bias=False) for name, (s, f) in sizes.items()})
        self.bias = nn.Parameter(torch.zeros(units[0]))
        self.norm = nn.LayerNorm(units[0]) if layer_norm else nn.Identity()
        self.rest = mlp(units, output_scale, layer_norm)

    def forward(self, sets: Mapping[str, TokenSet]) -> Tensor:
        """Token sets by name -> (N, units[-1])."""
        hidden = sum(layer(_masked(*sets[name]).flatten(1)) for name, layer in self.inputs.items())
        return self.rest(F.gelu(self.norm(hidden + self.bias)))


def _masked(x: Tensor, present: Tensor | None) -> Tensor:
    """(N, S, F), (N, S) -> (N, S, F), zeros where absent."""
    return x if present is None else x * present.unsqueeze(-1).to(x.dtype)
