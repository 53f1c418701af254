"""Networks: the running normaliser against NumPy, masks, and layers added to a trained network."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from protege.core.learning.networks import (
    FEW_TOKENS,
    RunningNormalizer,
    SetMLP,
    TokenSet,
    TokenTransformer,
    attend_few,
    mlp,
    padded_linear,
)

SIZES = {"body": (1, 5), "frames": (3, 4), "command": (1, 2)}


def token_sets(n: int = 6, seed: int = 0) -> dict[str, TokenSet]:
    """Of the sizes above: all frames but some are there, the command in every other row."""
    g = torch.Generator().manual_seed(seed)
    x = {name: torch.randn(n, s, f, generator=g) for name, (s, f) in SIZES.items()}
    frames = torch.rand(n, 3, generator=g) < 0.5
    frames[0] = False
    command = (torch.arange(n) % 2 == 0).unsqueeze(1)
    return {"body": (x["body"], None), "frames": (x["frames"], frames), "command": (x["command"], command)}


def transformer(sizes=SIZES, added=(), num_layers: int = 2) -> TokenTransformer:
    return TokenTransformer(sizes, latent_dim=16, ff_size=32, num_layers=num_layers, num_heads=2, added=added)


def randomized(module: nn.Module) -> nn.Module:
    """Set all parameters to random values, so that none is zero."""
    with torch.no_grad():
        for p in module.parameters():
            p.normal_(0.0, 0.3)
    return module


# RunningNormalizer


@settings(max_examples=40)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=5), st.booleans(), st.integers(0, 1000))
def test_moments_are_those_of_all_weighted_rows(batches, weighted, seed):
    rng = np.random.default_rng(seed)
    normalizer, seen = RunningNormalizer(3), []
    for rows in batches:
        x = rng.normal(2.0, 3.0, (rows, 3))
        weight = rng.integers(0, 2, rows) if weighted else np.ones(rows)
        seen.append(x[weight > 0])
        given_weight = torch.from_numpy(weight).float() if weighted else None
        normalizer.update(torch.from_numpy(x).float(), given_weight)
    counted = np.concatenate(seen)
    assert normalizer.count == len(counted)
    if len(counted):
        np.testing.assert_allclose(normalizer.mean, counted.mean(0), atol=1e-4)
        np.testing.assert_allclose(normalizer.var, counted.var(0), rtol=1e-3, atol=1e-4)


def test_rows_without_weight_are_ignored_even_if_nan():
    x = torch.tensor([[1.0], [3.0], [float("nan")], [float("inf")]])
    normalizer = RunningNormalizer(1)
    normalizer.update(x, torch.tensor([1.0, 1.0, 0.0, 0.0]))
    assert (normalizer.mean.item(), normalizer.var.item(), normalizer.count.item()) == (2.0, 1.0, 2.0)
    normalizer.update(x, torch.zeros(4))
    assert (normalizer.mean.item(), normalizer.var.item(), normalizer.count.item()) == (2.0, 1.0, 2.0)


def test_old_data_is_forgotten_with_memory_below_one():
    old, new = torch.tensor([[0.0], [2.0], [4.0], [6.0]]), torch.tensor([[10.0], [12.0]])
    normalizer = RunningNormalizer(1)
    normalizer.update(old)
    normalizer.update(new, memory=0.5)
    # Half of four old rows and two new ones: as if 1 and 5, of variance 4 + 1, were joined by 10 and 12.
    rows, weight = np.array([0.0, 2.0, 4.0, 6.0, 10.0, 12.0]), np.array([0.5] * 4 + [1.0] * 2)
    mean = np.average(rows, weights=weight)
    assert normalizer.count == 4.0
    assert normalizer.mean.item() == pytest.approx(mean)
    assert normalizer.var.item() == pytest.approx(np.average((rows - mean) ** 2, weights=weight))


def test_values_are_centred_scaled_and_clamped():
    normalizer = RunningNormalizer(2)
    x = torch.tensor([[0.5, -1.0], [100.0, -100.0]])
    assert torch.allclose(normalizer(x), torch.tensor([[0.5, -1.0], [5.0, -5.0]]), atol=1e-4)  # nothing seen yet
    normalizer.update(torch.tensor([[1.0, 7.0], [5.0, 7.0]]))
    y = normalizer(torch.tensor([[5.0, 7.0], [-1.0, 7.001]]))
    # Mean 3, deviation 2; and a feature that never varied, 1 mm off, scaled by the floor 1 / 0.01.
    assert torch.allclose(y, torch.tensor([[1.0, 0.0], [-2.0, 0.1]]), atol=1e-3)


def test_any_leading_shape_gives_the_same_moments():
    x = torch.randn(4, 5, 3)
    flat, deep = RunningNormalizer(3), RunningNormalizer(3)
    weight = (torch.rand(4, 5) < 0.5).float()
    flat.update(x.reshape(20, 3), weight.reshape(20))
    deep.update(x, weight)
    assert torch.equal(flat.mean, deep.mean) and torch.equal(flat.var, deep.var)
    assert torch.equal(flat(x[0, 0]), deep(x)[0, 0])


# TokenTransformer


@pytest.mark.parametrize("added", [(), ("command",)])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_the_transformer_ignores_absent_tokens(added, num_layers):
    network = randomized(transformer(added=added, num_layers=num_layers))
    sets = token_sets()
    other = dict(sets)
    for name in ("frames", "command"):
        x, present = sets[name]
        assert present is not None
        other[name] = (torch.where(present.unsqueeze(-1), x, 100.0 * torch.randn_like(x)), present)
    assert torch.equal(network(sets), network(other))


def test_an_absent_token_equals_no_token():
    network = randomized(transformer())
    sets = token_sets()
    frames = sets["frames"][0]
    one_missing = torch.tensor([[True, False, True]]).expand(6, 3)
    masked = network({**sets, "frames": (frames, one_missing)})
    smaller = transformer({**SIZES, "frames": (2, 4)})
    state = dict(network.state_dict())
    state["positions.frames"] = state["positions.frames"][[0, 2]]
    smaller.load_state_dict(state)
    everyone = torch.ones(6, 2, dtype=torch.bool)
    assert torch.allclose(masked, smaller({**sets, "frames": (frames[:, [0, 2]], everyone)}), atol=1e-5)


def test_present_tokens_affect_the_output():
    network = randomized(transformer())
    sets = token_sets()
    for name in SIZES:
        x, present = sets[name]
        changed = network({**sets, name: (x + 1.0, present)})
        rows = torch.ones(6, dtype=torch.bool) if present is None else present.any(1)
        assert ((changed - network(sets)).abs().amax(1) > 1e-4).tolist() == rows.tolist(), name


def test_no_mask_equals_a_mask_of_ones():
    network = randomized(transformer())
    sets = token_sets()
    ones = {name: (x, torch.ones(x.shape[:2], dtype=torch.bool)) for name, (x, _) in sets.items()}
    bare = {name: (x, None) for name, (x, _) in sets.items()}
    assert torch.allclose(network(ones), network(bare), atol=1e-5)


def test_an_envs_output_does_not_depend_on_other_envs():
    network = randomized(transformer())
    sets = token_sets()
    alone = {name: (x[2:3], None if present is None else present[2:3]) for name, (x, present) in sets.items()}
    assert torch.allclose(network(sets)[2:3], network(alone), atol=1e-5)


def test_an_added_set_initially_has_no_effect_but_a_gradient():
    network = transformer(added=("command",))
    sets = token_sets()
    x, present = sets["command"]
    before = network(sets)
    assert torch.equal(before, network({**sets, "command": (x + 5.0, present)}))
    network(sets).square().sum().backward()
    last = network.encoders["command"][-1]
    assert last.weight.grad.abs().sum() > 0.0
    with torch.no_grad():
        last.weight.normal_()
    moved = (network(sets) - before).abs().amax(1) > 1e-4
    assert moved.tolist() == [True, False] * 3  # only where it is present


def test_attention_is_softmax_of_scaled_products():
    """One block with one head, in elementary operations."""
    network = randomized(TokenTransformer({"body": (1, 5), "frames": (3, 4)}, 8, 16, num_layers=1, num_heads=1))
    sets = {name: x for name, x in token_sets().items() if name in ("body", "frames")}
    block = network.blocks[0]
    tokens = torch.cat([network.encoders[k](sets[k][0]) + network.positions[k] for k in ("body", "frames")], dim=1)
    normed = block.attention_norm(tokens)
    scores = block.query(normed[:, :1]) @ block.key(normed).transpose(1, 2) / 8**0.5
    frames = sets["frames"][1]
    assert frames is not None
    scores[:, 0, 1:][~frames] = -torch.inf
    out = tokens[:, :1] + block.out(scores.softmax(-1) @ block.value(normed))
    out = out + block.ff(block.ff_norm(out))
    assert torch.allclose(network(sets), network.norm(out[:, 0]), atol=1e-5)


# SetMLP and mlp


def flat_features(sets: dict[str, TokenSet]) -> Tensor:
    parts = [x if present is None else x * present.unsqueeze(-1) for x, present in sets.values()]
    return torch.cat([x.flatten(1) for x in parts], dim=1)


@pytest.mark.parametrize("tokens", [5, FEW_TOKENS, FEW_TOKENS + 4])
@pytest.mark.parametrize("masked", [False, True])
def test_attend_few_and_its_gradients_match_torch(tokens, masked):
    torch.manual_seed(0)
    present = None
    if masked:
        present = torch.rand(6, 1, 1, tokens) < 0.5
        present[..., 0] = True
    results = []
    for attention in (attend_few, lambda q, k, v, mask: F.scaled_dot_product_attention(q, k, v, attn_mask=mask)):
        torch.manual_seed(1)
        q, k, v = (torch.randn(6, 2, n, 8, requires_grad=True) for n in (3, tokens, tokens))
        seen = attention(q, k, v, present)
        seen.square().sum().backward()
        results.append((seen, q.grad, k.grad, v.grad))
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


def test_a_set_mlp_is_an_mlp_over_all_features():
    network = randomized(SetMLP(SIZES, [16, 8, 2]))
    sets = token_sets()
    weight = torch.cat([layer.weight for layer in network.inputs.values()], dim=1)
    hidden = F.gelu(F.linear(flat_features(sets), weight, network.bias))
    expected = network.rest[2](F.gelu(network.rest[0](hidden)))
    assert torch.allclose(network(sets), expected, atol=1e-5)


def test_a_set_mlp_ignores_absent_tokens():
    network = randomized(SetMLP(SIZES, [16, 2]))
    sets = token_sets()
    x, present = sets["command"]
    assert present is not None
    hidden = torch.where(present.unsqueeze(-1), x, 7.0)
    assert torch.equal(network(sets), network({**sets, "command": (hidden, present)}))


def test_mlp_layers_and_output_scale():
    names = [type(layer).__name__ for layer in mlp([3, 4, 5, 2])]
    assert names == ["PaddedLinear", "GELU", "PaddedLinear", "GELU", "PaddedLinear"]
    last = mlp([3, 4, 2], output_scale=0.01)[-1]
    assert isinstance(last, nn.Linear)
    assert torch.allclose(last.weight @ last.weight.T, 1e-4 * torch.eye(2), atol=1e-8) and not last.bias.any()
    zero = mlp([3, 4, 2], output_scale=0.0)
    assert not zero(torch.randn(5, 3)).any()


def test_layers_are_normalised_before_their_activation():
    """By hand: each hidden layer has mean 0 and variance 1 over its units, then a scale, a shift and GELU."""

    def normalised(x: Tensor, norm: nn.Module) -> Tensor:
        standard = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
        return standard * norm.get_parameter("weight") + norm.get_parameter("bias")

    net, sets = SetMLP(SIZES, [7, 6, 3], layer_norm=True), token_sets()
    randomized(net)
    first, norm, last = net.rest[0], net.rest[1], net.rest[3]
    features = flat_features(sets)
    weight = torch.cat([net.inputs[name].get_parameter("weight") for name in SIZES], dim=1)
    hidden = F.gelu(normalised(features @ weight.T + net.bias, net.norm))
    torch.testing.assert_close(net(sets), last(F.gelu(normalised(first(hidden), norm))))


@pytest.mark.parametrize(("inputs", "outputs"), [(247, 150), (16, 9), (3, 1), (8, 16)])
def test_padding_changes_neither_a_product_nor_its_gradients(inputs, outputs):
    g = torch.Generator().manual_seed(0)
    shapes = (2, 5, inputs), (outputs, inputs), (outputs,)
    plain = [torch.randn(*shape, generator=g, dtype=torch.float64, requires_grad=True) for shape in shapes]
    padded = [x.detach().clone().requires_grad_() for x in plain]
    for function, arguments in ((F.linear, plain), (padded_linear, padded)):
        function(*arguments).square().sum().backward()
    torch.testing.assert_close(padded_linear(*padded), F.linear(*plain))
    for mine, theirs in zip(padded, plain, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)
