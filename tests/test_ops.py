"""Every op: gradients by finite differences, values against NumPy, dtypes, conventions."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import strategies_images  # noqa: F401  (registers itself)
from formulas import VALUES
from hypothesis import given, settings
from strategies import STRATEGIES, run, side_by_side

from minitx import ops
from minitx.gradcheck import gradcheck
from minitx.jit import use_kernels
from minitx.observer import Observer, observing
from minitx.ops import shape
from minitx.tensor import OPS, Tensor

pytestmark = pytest.mark.usefixtures("one_thread")

KERNELS = ["ref", "jit"]
F32 = np.float32


def is_float(x):
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def test_every_op_has_a_strategy():
    ours = {name for name, op in OPS.items() if op.__module__.startswith("minitx.")}
    assert ours == set(STRATEGIES)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_gradients_are_those_of_finite_differences(name):
    @given(STRATEGIES[name])
    def check(case):
        args, kwargs = case
        for kernels in KERNELS:
            with use_kernels(kernels):
                gradcheck(lambda *xs: run(name, xs, kwargs), *args)

    check()


# Values, by formulas that share no code with the ops


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"dropout"}))
def test_values_are_those_of_numpy(name):
    @given(STRATEGIES[name])
    def check(case):
        args, kwargs = case
        kwargs = kwargs | ({"dropout": 0.0} if name in ("attend", "self_attend") else {})
        expected = VALUES[name](*args, **kwargs)
        for kernels in KERNELS:
            with use_kernels(kernels):
                y = run(name, args, kwargs)
            assert isinstance(y, Tensor) and y.shape == np.shape(expected)
            np.testing.assert_allclose(y.data, expected, rtol=1e-11, atol=1e-13)

    check()


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_float32_stays_float32_and_no_input_is_modified(name):
    """The value, what the pullback itself returns, and the gradient."""

    @settings(max_examples=10)
    @given(STRATEGIES[name])
    def check(case):
        args, kwargs = case
        args = [x.astype(F32) if is_float(x) else x for x in args]
        args = [args[0], F32] if name == "astype" else args
        before = [np.copy(x) for x in args if is_float(x)]
        for x in filter(is_float, args):
            x.flags.writeable = False
        for kernels in KERNELS:
            tensors = [Tensor(x, requires_grad=True) if is_float(x) else x for x in args]
            with use_kernels(kernels):
                y = run(name, tensors, kwargs)
                assert y.dtype == F32
                if not y.requires_grad:  # two Python numbers
                    continue
                dy = np.ones(y.shape, F32)
                dy.flags.writeable = False
                for x, entry in zip(tensors, y.node.vjp(dy), strict=False):
                    if isinstance(x, Tensor) and entry is not None:
                        assert (entry() if callable(entry) else entry).dtype == F32
                y.backward(dy)
            for x in tensors:
                if isinstance(x, Tensor):
                    assert x.grad.dtype == F32 and x.grad.shape == x.shape
        for x, old in zip(filter(is_float, args), before, strict=True):
            np.testing.assert_array_equal(x, old)

    check()


# Conventions that finite differences cannot see


def test_relu_and_max_treat_special_values_as_numpy_does():
    x = np.array([np.nan, np.inf, -np.inf, 0.0])
    np.testing.assert_array_equal(ops.relu(x).data, [np.nan, np.inf, 0, 0])
    x = Tensor(np.array([2.0, 1.0, 2.0]), requires_grad=True)
    x.max().backward()
    np.testing.assert_array_equal(x.grad, [0.5, 0, 0.5])
    x = Tensor(np.array([-1.0, 0.0, 1.0]), requires_grad=True)
    ops.relu(x).sum().backward()
    np.testing.assert_array_equal(x.grad, [0, 0, 1])


@pytest.mark.parametrize("op,expected", [(ops.maximum, (0.5, 0, 1)), (ops.minimum, (0.5, 1, 0))])
def test_equal_arguments_share_the_gradient(op, expected):
    a = Tensor(np.array([1.0, 1.0, 2.0]), requires_grad=True)
    b = Tensor(np.array([1.0, 2.0, 1.0]), requires_grad=True)
    op(a, b).sum().backward()
    np.testing.assert_array_equal(a.grad, expected)
    np.testing.assert_array_equal(b.grad, 1 - np.array(expected))


def test_the_padding_row_gets_no_gradient():
    table = Tensor(np.ones((3, 2)), requires_grad=True)
    ops.embedding(table, [1, 2, 2, 1], padding_idx=1).sum().backward()
    np.testing.assert_array_equal(table.grad, [[0, 0], [0, 0], [2, 2]])


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_cross_entropy_with_soft_targets(smoothing):
    rng = np.random.default_rng(1)
    logits, soft = 3 * rng.normal(size=(2, 3, 4)), rng.dirichlet(np.ones(4), (2, 3))
    smooth = (1 - smoothing) * soft + smoothing / 4
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    ours = ops.soft_cross_entropy(logits, soft, smoothing).item()
    np.testing.assert_allclose(ours, -(smooth * np.log(p)).sum() / 6, rtol=1e-12)
    hard = rng.integers(0, 4, (2, 3))
    np.testing.assert_allclose(
        ops.soft_cross_entropy(logits, np.eye(4)[hard], smoothing).item(),
        ops.cross_entropy(logits, hard, label_smoothing=smoothing).item(),
        rtol=1e-12,
    )
    gradcheck(ops.soft_cross_entropy, logits, soft, smoothing)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_and_tables_add_to_the_gradient_they_have(kernels, dtype):
    """Several parts of a sum, several occurrences of a row, and one that gets no gradient."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 5, size=(20, 40))
    weight = Tensor(rng.normal(size=(9, 3)).astype(dtype), requires_grad=True)
    table = Tensor(rng.normal(size=(5, 3)).astype(dtype), requires_grad=True)
    dy = rng.normal(size=(20, 40, 9)).astype(dtype)

    def backward():
        with use_kernels(kernels):
            ops.linear(ops.embedding(table, ids, padding_idx=-1), weight).backward(dy)

    backward()
    alone = [x.grad for x in (weight, table)]
    begun = [rng.normal(size=x.shape).astype(dtype) for x in alone]
    weight.grad, table.grad = (x.copy() for x in begun)
    backward()
    for x, first, gradient in zip((weight, table), begun, alone, strict=True):
        np.testing.assert_allclose(x.grad, first + gradient, rtol=1e-5 if dtype == F32 else 1e-13)
    np.testing.assert_array_equal(table.grad[-1], begun[1][-1])
    assert not alone[1][-1].any() and alone[1][:-1].any()


def parameters(*shapes):
    """Tensors whose arrays follow each other in one buffer, as an optimizer packs them."""
    parts = [np.random.default_rng(0).normal(size=shape) for shape in shapes]
    return [Tensor(x, requires_grad=True) for x in side_by_side(parts)]


def test_what_lies_side_by_side_is_joined_without_a_copy():
    for shapes in [(2, 3), (1, 3), (4, 3)], [(3,), (1,), (2,)], [(2, 3)]:
        xs = parameters(*shapes)
        y = ops.concatenate(xs)
        np.testing.assert_array_equal(y.data, np.concatenate([x.data for x in xs]))
        assert y.data.base is xs[0].data.base and y.data.ctypes.data == xs[0].data.ctypes.data
        dy = np.arange(float(y.size)).reshape(y.shape)
        y.backward(dy)
        np.testing.assert_array_equal(np.concatenate([x.grad for x in xs]), dy)


def test_where_parts_lie_is_remembered_while_they_live():
    known = len(shape._places)
    a, b, c = parameters((2, 3), (2, 3), (2, 3))
    for xs in [a, b], [a, b], [a, b, c], [a, b]:
        y = ops.concatenate(xs).data
        np.testing.assert_array_equal(y, np.concatenate([x.data for x in xs]))
        assert np.shares_memory(y, a.data) and len(shape._places) == known + 1
    del a, xs, y
    assert len(shape._places) == known


def test_what_does_not_is_copied():
    a, b, c = (x.data for x in parameters((2, 3), (2, 3), (2, 3)))
    wide, lone = np.arange(24.0), np.lib.stride_tricks.as_strided(np.arange(9.0), (4,), (16,))
    two = wide.reshape(4, 6)[:, :3]  # of rows that are not contiguous
    for parts, axis in [
        ([b, a], 0),
        ([a, c], 0),
        ([a, a], 0),
        ([a, b], 1),
        ([a, wide[:3].reshape(1, 3)], 0),
        ([a[:, ::-1], b], 0),
        ([a.T, b.T], 1),
        ([two[:2], two[2:]], 0),
        ([lone[2:3]], 0),
        ([np.float32(wide)[:3], np.float32(wide)[3:6]], 0),
    ]:
        y = ops.concatenate(parts, axis).data
        np.testing.assert_array_equal(y, np.concatenate(parts, axis))
        assert not any(np.shares_memory(y, x) for x in parts)


@pytest.mark.parametrize("kernels", KERNELS)
def test_the_slope_of_a_fused_relu_is_zero_at_zero(kernels):
    x, weight = Tensor(np.array([[-1.0], [0.0], [2.0]]), requires_grad=True), np.ones((1, 1))
    bias = Tensor(np.zeros(1), requires_grad=True)
    with use_kernels(kernels):
        y = ops.linear(x, weight, bias, "relu")
        y.backward(np.array([[5.0], [6.0], [7.0]]))
    assert y.data.ravel().tolist() == [0, 0, 2]
    assert x.grad.ravel().tolist() == [0, 0, 7] and bias.grad.tolist() == [7]


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("activation", ["relu", "gelu", "gelu_tanh", "silu"])
def test_linear_is_its_three_parts(kernels, activation):
    """Also where a product has too few rows for blocks, and where it has several."""
    rng = np.random.default_rng(0)
    separate = {"gelu_tanh": lambda z: ops.gelu(z, "tanh")}.get(activation)
    for rows in 1, 4, 5, 30:
        xs = [rng.normal(size=shape) for shape in ((2, rows, 7), (9, 7), (9,))]
        dy, found = rng.normal(size=(2, rows, 9)), []
        with use_kernels(kernels):
            for fused in True, False:
                x, weight, bias = (Tensor(x, requires_grad=True) for x in xs)
                if fused:
                    y = ops.linear(x, weight, bias, activation)
                else:
                    y = (separate or getattr(ops, activation))(x @ weight.T + bias)
                y.backward(dy)
                found.append([y.data, x.grad, weight.grad, bias.grad])
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernels", KERNELS)
def test_softmax_of_a_row_without_choices_is_zero(kernels):
    x = Tensor(np.array([[-np.inf, -np.inf], [-np.inf, 3.0]]), requires_grad=True)
    with use_kernels(kernels):
        y = ops.softmax(x)
        y.backward(np.array([[1.0, 2.0], [3.0, 4.0]]))
    np.testing.assert_array_equal(y.data, [[0, 0], [0, 1]])
    np.testing.assert_array_equal(x.grad, 0)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("p", [0.0, 0.1, 0.6])
def test_dropout_zeroes_a_share_and_keeps_the_mean(kernels, p):
    x = Tensor(np.ones((200, 100)), requires_grad=True)
    with use_kernels(kernels):
        y = ops.dropout(x, p, np.random.default_rng(0))
        y.backward(np.ones(y.shape))
    assert abs((y.data == 0).mean() - p) < 0.01
    np.testing.assert_allclose(y.data[y.data != 0], 1 / (1 - p))
    np.testing.assert_array_equal(x.grad, y.data)


def test_both_kernels_drop_the_same_elements():
    results = []
    for kernels in KERNELS:
        with use_kernels(kernels):
            results.append(ops.dropout(np.ones((7, 9)), 0.4, np.random.default_rng(5)).data)
    np.testing.assert_array_equal(*results)


def test_sums_of_float32_are_accumulated_in_float64():
    x = np.full((1 << 18, 3), 0.1, F32)
    for y in (ops.sum(x, axis=0) / len(x), ops.mean(x, axis=0)):
        np.testing.assert_allclose(y.data, F32(0.1), rtol=1e-7)


def test_reductions_of_integers_follow_numpy():
    x = np.arange(6, dtype=np.int32).reshape(2, 3)
    assert ops.sum(x).item() == 15 and ops.sum(x).dtype == x.sum().dtype
    assert ops.mean(x).item() == 2.5 and ops.max(x, axis=0).data.tolist() == [3, 4, 5]


def test_reductions_over_empty_axes_have_gradients():
    x = Tensor(np.zeros((0, 3)), requires_grad=True)
    for y in (x.sum(axis=1), x.mean(axis=1), x.var(axis=1), x.max(axis=1), x.sum()):
        y.backward(np.zeros(y.shape))
    assert x.grad.shape == (0, 3)


def test_a_wrong_user_op_is_named():
    y = Tensor(np.ones((2, 3)), requires_grad=True).sum(axis=0)
    y.node.vjp = lambda dy: (np.ones((3, 2)),)
    with pytest.raises(ValueError, match=r"^sum: its pullback .*\(3, 2\).*\(2, 3\)"):
        y.backward(np.ones(3))


def test_arrays_given_by_name_get_gradients():
    x, w = Tensor(np.ones((1, 1, 2, 2)), requires_grad=True), Tensor(np.ones(2), requires_grad=True)
    ops.layer_norm(x, bias=np.ones(2), weight=w).backward(np.ones((1, 1, 2, 2)))
    assert w.grad.shape == (2,)
    bias = Tensor(np.ones((1, 1, 2, 2)), requires_grad=True)
    ops.attend(x, x, v=x, bias=bias).backward(np.ones((1, 1, 2, 2)))
    assert bias.grad.shape == (1, 1, 2, 2)
    assert (ops.attend(x, x, x, mask=np.ones((1, 1, 2, 2)) > 2).data == 0).all()


@pytest.mark.parametrize("exponent", [0, 1, 2, np.array([0.0, 1.0, 2.0])])
def test_powers_of_zero_have_their_derivative(exponent):
    x = Tensor(np.zeros(3), requires_grad=True)
    (x**exponent).backward(np.ones(3))
    np.testing.assert_array_equal(x.grad, np.equal(exponent, 1) * np.ones(3))


SIZES_ONLY = {  # ops whose pullbacks need of x its size alone
    "astype": lambda x: ops.astype(x, np.float32),
    "avg_pool2d": lambda x: ops.avg_pool2d(x, 2),
    "concatenate": lambda x: ops.concatenate([x, x], axis=1),
    "getitem": lambda x: x[:, [0, 0]],
    "max_pool2d": lambda x: ops.max_pool2d(x, 2),
    "mean": lambda x: x.mean(axis=2),
    "pad": lambda x: ops.pad(x, 1),
    "reshape": lambda x: x.transpose(3, 2, 1, 0).reshape(-1),  # a copy
    "sum": lambda x: x.sum(),
    "unfold": lambda x: ops.unfold(x, 2),
}


@pytest.mark.parametrize("name", sorted(SIZES_ONLY))
def test_a_pullback_keeps_no_array_for_its_size(name):
    x = Tensor(np.ones((2, 3, 4, 4)), requires_grad=True) * 2.0
    seen = weakref.ref(x.data)
    y = SIZES_ONLY[name](x)
    del x
    assert seen() is None
    y.backward(np.ones(y.shape))


@pytest.mark.parametrize("kernels", KERNELS)
def test_a_product_does_not_keep_its_value(kernels):
    x, weight = Tensor(np.ones((7, 5)), requires_grad=True), Tensor(np.ones((6, 5)))
    with use_kernels(kernels):
        for product in (lambda: ops.linear(x, weight)), (lambda: x @ weight.numpy().T):
            y = product()
            owner = y.data
            while owner.base is not None:
                owner = owner.base
            seen, node = weakref.ref(owner), y.node
            del y, owner
            assert node is not None and seen() is None


@pytest.mark.parametrize("kernels", KERNELS)
def test_a_slope_is_overwritten_only_where_nobody_needs_it_again(kernels):
    x = Tensor(np.random.default_rng(0).normal(size=(7, 5)), requires_grad=True)
    weight, dy = Tensor(np.eye(5), requires_grad=True), np.full((7, 5), 2.0)
    for function in (lambda: ops.linear(x, weight, None, "gelu")), (lambda: ops.gelu(x)):
        with use_kernels(kernels):
            x.grad = None
            y = function()
            y.backward(dy, keep_graph=True)
            first = x.grad.copy()
            with observing(Observer()):
                y.backward(dy, keep_graph=True)
                function().backward(dy)
            y.backward(dy)
            np.testing.assert_allclose(x.grad, 4 * first, rtol=1e-14)


def test_a_pullback_that_failed_does_not_run_on_what_it_has_overwritten():
    x, weight = Tensor(np.ones((3, 4)), requires_grad=True), Tensor(np.eye(4), requires_grad=True)
    y = ops.linear(x, weight, None, "gelu")
    weight.grad = np.zeros((2, 2))  # of another shape
    with pytest.raises(ValueError):
        y.backward(np.ones((3, 4)))
    weight.grad = None
    with pytest.raises(RuntimeError, match="freed"):
        y.backward(np.ones((3, 4)))
