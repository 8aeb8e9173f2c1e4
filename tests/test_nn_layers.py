"""Attention against its formula and its cache, both orders of a block, all layers' gradients."""

from __future__ import annotations

import numpy as np
import pytest

from minitx import ops
from minitx.gradcheck import gradcheck
from minitx.jit import use_kernels
from minitx.kernels import ACTIVATIONS
from minitx.nn import (
    MLP,
    Block,
    Dropout,
    DropPath,
    Embedding,
    Encoder,
    KVCache,
    LayerNorm,
    Linear,
    MultiHeadAttention,
)
from minitx.observer import no_grad
from minitx.tensor import Tensor

both_kernels = pytest.mark.parametrize("kernels", ["ref", "jit"])


# ---- attention ---------------------------------------------------------------------------------


def formula(layer, x, context=None, mask=True, causal=False):
    """Attention in plain NumPy, the scores whole."""
    (B, T, C), H = x.shape, layer.heads
    source = x if context is None else context
    S = source.shape[1]
    q, k, v = (
        (y @ part.weight.data.T + (0 if part.bias is None else part.bias.data))
        .reshape(B, -1, H, C // H)
        .transpose(0, 2, 1, 3)
        for part, y in ((layer.query, x), (layer.key, source), (layer.value, source))
    )
    scale = (C // H) ** -0.5 if layer.scale is None else layer.scale
    distance = np.arange(T)[:, None] + S - T - np.arange(S)  # how far a key lies behind
    seen = np.broadcast_to(mask, (B, H, T, S)) & ((distance >= 0) | (not causal))
    seen = seen & ((distance < layer.window) | (not layer.window))
    scores = np.where(seen, scale * (q @ k.swapaxes(-1, -2)), -np.inf)
    p = np.exp(scores - scores.max(-1, keepdims=True))
    y = (p / p.sum(-1, keepdims=True)) @ v
    return y.transpose(0, 2, 1, 3).reshape(B, T, C) @ layer.output.weight.data.T + (
        layer.output.bias.data
    )


def attention(rng, **options):
    """A layer in float64 in which every weight and bias matters."""
    return randomised(MultiHeadAttention(6, 2, rng, **options), rng)


def randomised(module, rng):
    for x in module.astype(np.float64).parameters():
        x.data = x.data + rng.normal(0, 0.5, x.shape)
    return module


@both_kernels
@pytest.mark.parametrize(
    ("options", "call"),
    [
        ({}, {}),
        ({}, {"causal": True}),
        ({"bias": False, "scale": 1.0}, {"causal": True}),
        ({"window": 2}, {"causal": True}),
        ({}, {"mask": "keys"}),
        ({}, {"mask": "full", "causal": True}),
        ({"context_width": 5}, {"context": "other"}),
        ({"context_width": 5}, {"context": "other", "mask": "keys"}),
    ],
)
def test_attention_equals_its_formula(options, call, kernels):
    rng = np.random.default_rng(0)
    layer, x = attention(rng, **options), rng.standard_normal((2, 4, 6))
    context = rng.standard_normal((2, 3, 5)) if "context" in call else None
    S = 4 if context is None else 3
    mask = np.ones((2, 1, 1, S), bool)
    if call.get("mask") == "keys":
        mask[1, ..., 1] = False
    elif call.get("mask") == "full":
        mask = np.broadcast_to(
            np.tril(rng.random((2, 2, 4, 4)) < 0.5) | np.eye(4, dtype=bool), (2, 2, 4, 4)
        )
    causal = call.get("causal", False)
    expected = formula(layer, x, context, mask, causal)
    with use_kernels(kernels):
        given = mask if "mask" in call else None
        ours = layer(Tensor(x), None if context is None else Tensor(context), given, causal)
    np.testing.assert_allclose(ours.data, expected, rtol=0, atol=1e-12)


@both_kernels
@pytest.mark.parametrize("window", [0, 3])
@pytest.mark.parametrize("chunks", [[1] * 7, [7], [3, 1, 3], [6, 1], [2, 5]])
def test_cached_attention_equals_the_full_pass(chunks, window, kernels):
    rng = np.random.default_rng(1)
    layer, x = attention(rng, window=window), Tensor(rng.standard_normal((2, 7, 6)))
    with use_kernels(kernels), no_grad():
        full = layer(x, causal=True).data
        cache, start, parts = KVCache(9), 0, []
        for length in chunks:
            part = x[:, start : start + length]
            parts.append(layer(part, causal=True, cache=cache).data)
            start += length
    assert cache.length == 7
    np.testing.assert_allclose(np.concatenate(parts, axis=1), full, rtol=0, atol=1e-13)


@both_kernels
def test_a_context_is_projected_once_and_not_looked_at_again(kernels):
    rng = np.random.default_rng(2)
    layer, x = attention(rng), Tensor(rng.standard_normal((2, 3, 6)))
    context = Tensor(rng.standard_normal((2, 4, 6)))
    mask = np.array([[1, 1, 0, 1], [1, 1, 1, 1]], bool)[:, None, None, :]
    with use_kernels(kernels), no_grad():
        full = layer(x, context, mask).data
        cache = KVCache(4)
        parts = [layer(x[:, :1], context, mask, cache=cache).data]
        parts += [layer(x[:, t : t + 1], context * 0, mask, cache=cache).data for t in (1, 2)]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), full, rtol=0, atol=1e-13)
    with pytest.raises(RuntimeError, match="use no_grad"):
        layer(x, context, cache=cache)


def test_a_cache_goes_on_with_the_rows_asked_for():
    cache, rng = KVCache(3), np.random.default_rng(3)
    k, v = rng.standard_normal((2, 3, 2, 2, 4))
    cache.append(k, v)
    cache.reorder(np.array([2, 0, 2]))
    keys, values = cache.append(k[:, :, :1], v[:, :, :1])
    np.testing.assert_array_equal(keys[:, :, :2], k[[2, 0, 2]])
    np.testing.assert_array_equal(values[:, :, :2], v[[2, 0, 2]])
    np.testing.assert_array_equal(keys[:, :, 2:], k[:, :, :1])


def test_a_cache_overflows_with_an_error_and_keeps_what_it_has():
    cache = KVCache(3)
    k = np.ones((1, 2, 2, 4), np.float32)
    keys, _ = cache.append(k, 2 * k)
    assert keys.shape == (1, 2, 2, 4)
    with pytest.raises(ValueError, match="4 positions do not fit its capacity of 3"):
        cache.append(k, k)
    with pytest.raises(ValueError, match="make a new cache"):
        cache.append(np.ones((2, 2, 1, 4), np.float32), np.ones((2, 2, 1, 4), np.float32))
    with pytest.raises(ValueError, match="make a new cache"):
        cache.append(k[:, :, :1].astype(np.float64), k[:, :, :1].astype(np.float64))
    keys, values = cache.append(3 * k[:, :, :1], 4 * k[:, :, :1])
    assert cache.length == 3
    assert keys[0, 0, :, 0].tolist() == [1, 1, 3] and values[0, 0, :, 0].tolist() == [2, 2, 4]


def test_an_overflow_allocates_nothing():
    cache = KVCache(10**12)
    cache.capacity = 1
    with pytest.raises(ValueError, match="capacity"):
        cache.append(np.ones((1, 1, 2, 1)), np.ones((1, 1, 2, 1)))
    assert cache.keys.size == 0


def test_a_cache_has_no_gradient():
    layer = attention(np.random.default_rng(0))
    with pytest.raises(RuntimeError, match="use no_grad"):
        layer(Tensor(np.ones((1, 1, 6))), cache=KVCache(2))


@pytest.mark.parametrize("bias", [True, False])
def test_query_key_and_value_are_joined_without_a_copy(bias):
    """As they were made, so that training without an optimizer of ours has it, too."""
    layer = MultiHeadAttention(6, 2, np.random.default_rng(0), bias=bias)
    parts = layer.query, layer.key, layer.value
    for tensors in [[part.weight for part in parts], [part.bias for part in parts if bias]]:
        if tensors:
            joined = ops.concatenate(tensors).data
            assert all(np.shares_memory(joined, x.data) for x in tensors)
            np.testing.assert_array_equal(joined, np.concatenate([x.data for x in tensors]))


# ---- layers ------------------------------------------------------------------------------------


def test_layers_start_as_documented():
    rng = np.random.default_rng(0)
    linear, table, norm = Linear(300, 200, rng), Embedding(300, 200, rng, std=0.5), LayerNorm(7)
    assert linear.weight.shape == (200, 300) and linear.weight.dtype == np.float32
    assert abs(linear.weight.data.std() - 0.02) < 2e-4 and not linear.bias.data.any()
    assert table.weight.shape == (300, 200) and abs(table.weight.data.std() - 0.5) < 5e-3
    assert (norm.weight.data == 1).all() and (norm.bias.data == 0).all()


def test_dropout_acts_in_training_only_and_scales_what_it_keeps():
    x = Tensor(np.ones((100, 100), np.float32))
    dropout = Dropout(0.25, np.random.default_rng(0))
    y = dropout(x).data
    assert set(np.unique(y)) == {0, np.float32(1 / 0.75)} and abs((y == 0).mean() - 0.25) < 0.02
    assert dropout.eval()(x) is x
    assert Dropout(0.0, np.random.default_rng(0))(x) is x


FUNCTIONS = {
    "identity": lambda x: x,
    "relu": ops.relu,
    "gelu": ops.gelu,
    "gelu_tanh": lambda x: ops.gelu(x, "tanh"),
    "silu": ops.silu,
}


@both_kernels
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_mlp_is_down_of_the_activation_of_up(name, kernels):
    rng = np.random.default_rng(2)
    mlp, x = randomised(MLP(3, 5, rng, name), rng), Tensor(rng.standard_normal((2, 3)))
    with use_kernels(kernels):
        up = x @ mlp.up.weight.T + mlp.up.bias
        expected = FUNCTIONS[name](up) @ mlp.down.weight.T + mlp.down.bias
        np.testing.assert_allclose(mlp(x).data, expected.data, rtol=0, atol=1e-14)


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("norm_first", [False, True])
def test_the_block_in_both_orders(norm_first, cross):
    rng = np.random.default_rng(3)
    block = randomised(Block(6, 2, rng, norm_first=norm_first, cross_attention=cross), rng)
    x, context = Tensor(rng.standard_normal((2, 3, 6))), Tensor(rng.standard_normal((2, 4, 6)))
    mask, context_mask = np.ones((2, 1, 1, 3), bool), np.ones((2, 1, 1, 4), bool)
    mask[0, ..., 2] = context_mask[1, ..., 0] = False

    def attend(y):
        return block.attention(y, mask=mask, causal=True)

    def attend_across(y):
        return block.cross_attention(y, context, context_mask)

    y = x
    parts = [(block.norm1, attend), (block.norm2, block.mlp)]
    if cross:
        parts.insert(1, (block.cross_norm, attend_across))
    for norm, f in parts:
        y = y + f(norm(y)) if norm_first else norm(y + f(y))
    ours = block(x, mask, True, *((context, context_mask) if cross else ()))
    np.testing.assert_array_equal(ours.data, y.data)
    if cross:  # a decoder without an encoder leaves the second attention out
        assert not np.array_equal(block(x, mask, True).data, ours.data)


def test_drop_path_drops_whole_examples_in_training_only():
    x = Tensor(np.ones((1000, 2, 3), np.float32))
    drop_path = DropPath(0.25, np.random.default_rng(0))
    y = drop_path(x).data
    assert y.dtype == np.float32 and set(np.unique(y)) == {0, np.float32(1 / 0.75)}
    assert (y == y[:, :1, :1]).all() and abs((y == 0).mean() - 0.25) < 0.03
    assert drop_path.eval()(x) is x
    block = Block(6, 2, np.random.default_rng(1), drop_path=0.5)
    x = Tensor(np.random.default_rng(2).standard_normal((32, 3, 6), np.float32))
    skipped = (block(x).data == x.data).all(axis=(1, 2))
    assert 2 <= skipped.sum() <= 16  # a quarter skips both branches
    with pytest.raises(ValueError, match="DropPath: probability is 1; expected 0 <= p < 1"):
        DropPath(1, np.random.default_rng(0))


@pytest.mark.parametrize("norm_first", [False, True])
def test_the_encoder_is_its_blocks_in_turn_and_shows_what_they_look_at(norm_first):
    rng = np.random.default_rng(3)
    blocks = [Block(6, 2, rng, norm_first=norm_first, window=2, dropout=0.5) for _ in range(2)]
    encoder = randomised(Encoder(blocks, LayerNorm(6) if norm_first else None), rng).eval()
    x, mask = Tensor(rng.standard_normal((2, 4, 6))), MASK
    first = blocks[0](x, mask, True)
    second = blocks[1](first, mask, True)
    expected = [x, first, encoder.norm(second) if norm_first else second]
    states = encoder.states(x, mask, True)
    for ours, state in zip(states, expected, strict=True):
        np.testing.assert_array_equal(ours.data, state.data)
    np.testing.assert_array_equal(encoder(x, mask, True).data, states[-1].data)
    maps = encoder.train().probabilities(x, mask, True)
    assert encoder.training and len(maps) == 2
    for block, state, weights in zip(blocks, [x, first], maps, strict=True):
        y, layer = block.norm1(state) if norm_first else state, block.attention
        value = y.data @ layer.value.weight.data.T + layer.value.bias.data  # B T (H D)
        heads = weights @ value.reshape(2, 4, 2, 3).swapaxes(1, 2)  # B H T D
        output = layer.output(Tensor(heads.swapaxes(1, 2).reshape(2, 4, 6))).data
        attended = layer.eval()(y, mask=mask, causal=True).data
        np.testing.assert_allclose(output, attended, rtol=0, atol=1e-13)
        assert not weights[0, :, :, 3].any() and not weights[:, :, 0, 1:].any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda rng: MultiHeadAttention(6, 4, rng), "width 6 cannot be divided among 4 heads"),
        (lambda rng: MultiHeadAttention(6, 0, rng), "among 0 heads"),
        (lambda rng: MLP(2, 2, rng, "step"), "unknown activation 'step'; expected one of iden"),
        (lambda rng: Linear(2, 2, rng, activation="tanh"), "Linear: unknown activation 'tanh'"),
        (
            lambda rng: Block(4, 2, rng)(
                Tensor(np.ones((1, 1, 4))), context=Tensor(np.ones((1, 1, 4)))
            ),
            "built without cross_attention",
        ),
    ],
)
def test_bad_arguments_get_one_clear_error(make, message):
    with pytest.raises(ValueError, match=message):
        make(np.random.default_rng(0))


MASK = np.array([[1, 1, 1, 0], [0, 1, 1, 1]], bool)[:, None, None, :]  # B 1 1 S
LAYERS = {
    "linear": (lambda rng: Linear(3, 4, rng), {}),
    "linear without bias": (lambda rng: Linear(3, 4, rng, bias=False), {}),
    "layer norm": (lambda rng: LayerNorm(5), {}),
    **{f"mlp {name}": (lambda rng, n=name: MLP(4, 6, rng, n), {}) for name in ACTIVATIONS},
    "attention": (lambda rng: MultiHeadAttention(6, 2, rng), {"mask": MASK}),
    "causal attention": (lambda rng: MultiHeadAttention(6, 3, rng, window=2), {"causal": True}),
    "block": (lambda rng: Block(6, 2, rng), {"mask": MASK, "causal": True}),
    "encoder": (
        lambda rng: Encoder([Block(6, 2, rng) for _ in range(2)], LayerNorm(6)),
        {"mask": MASK},
    ),
    "post-norm block": (lambda rng: Block(6, 2, rng, norm_first=False, hidden=5), {}),
}


@both_kernels
@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_every_layer(name, kernels):
    rng = np.random.default_rng(4)
    make, options = LAYERS[name]
    layer = randomised(make(rng), rng)
    width = next(x.shape[-1] for x in layer.parameters())
    x = rng.standard_normal((2, 4, width))
    with use_kernels(kernels):
        report = gradcheck(lambda x: layer(x, **options), x, parameters=layer)
    assert report.checks.keys() == {"x"} | dict(layer.named_parameters()).keys()


@both_kernels
def test_gradients_of_embedding_dropout_and_cross_attention(kernels):
    rng = np.random.default_rng(5)
    table = randomised(Embedding(5, 3, rng), rng)
    block = randomised(Block(6, 2, rng, dropout=0.3, cross_attention=True), rng)
    x, context = rng.standard_normal((2, 3, 6)), rng.standard_normal((2, 4, 6))

    def dropped(x, context):
        block.dropout.rng.bit_generator.state = np.random.default_rng(6).bit_generator.state
        return block(x, causal=True, context=context, context_mask=MASK)

    with use_kernels(kernels):
        gradcheck(table, np.array([[0, 3, 3], [1, 0, 0]]))
        report = gradcheck(dropped, x, context, parameters=block)
    assert len(report.checks) == 2 + len(block.parameters())
