"""Wrong pullbacks, each a mistake that people make: gradcheck must reject every one.

A mutant is an op (or a kernel) with its value intact and its pullback spoilt.  Each stands beside
the op it spoils and arguments with which the op itself passes.
"""

from __future__ import annotations

import mutants_attention  # noqa: F401  (its mutants register themselves)
import mutants_images  # noqa: F401
import numpy as np
import pytest
from mutants import MUTANTS, Mutant, kernel_mutant, mutant, normal
from strategies import Seed, run

from minitx import kernels, tensor
from minitx.gradcheck import GradientError, gradcheck
from minitx.jit import use_kernels
from minitx.tensor import OPS

# Arithmetic


@mutant("add", normal(3), normal(3))
def dropped_branch(dy, vjp, a, b):
    return dy, None


@mutant("subtract", normal(3), normal(3))
def wrong_sign(dy, vjp, a, b):
    return dy, dy


@mutant("multiply", normal(3), normal(3))
def factor_1_001(dy, vjp, a, b):
    return 1.001 * dy * b, dy * a


@mutant("multiply", normal(3), normal(3))
def swapped_factors(dy, vjp, a, b):
    return dy * a, dy * b


@mutant("divide", normal(3), 2 + normal(3) ** 2)
def divisor_not_squared(dy, vjp, a, b):
    return dy / b, -dy * a / b


@mutant("power", normal(3) ** 2, 3.0)
def exponent_not_lowered(dy, vjp, a, b):
    return dy * b * a**b, None


@mutant("sqrt", normal(3) ** 2)
def missing_half(dy, vjp, x):
    return (dy / np.sqrt(x),)


@mutant("cos", normal(3))
def missing_minus(dy, vjp, x):
    return (dy * np.sin(x),)


@mutant("maximum", normal(5), normal(5))
def both_get_all(dy, vjp, a, b):
    return dy, dy


@mutant("tanh", normal(3))
def forgotten_square(dy, vjp, x):
    return (dy * (1 - np.tanh(x)),)


@mutant("silu", normal(3))
def missing_product_rule(dy, vjp, x):
    return (dy / (1 + np.exp(-x)),)


@mutant("relu", normal(8))
def shifted_mask(dy, vjp, x):
    return (dy * np.roll(x > 0, 1),)


@mutant("relu", normal(8))
def no_mask(dy, vjp, x):
    return (dy,)


@kernel_mutant("gelu", "activate", normal(3, 4))
def slope_of_the_other_gelu(right, x, activation):
    return right(x, activation)[0], right(x, kernels.ACTIVATIONS.index("gelu_tanh"))[1]


# Broadcasting, reductions, shapes


def _broadcasting(title, wrong):
    def spoil(monkeypatch):
        right = tensor.unbroadcast

        def unbroadcast(gradient, shape):
            return right(gradient, shape) if gradient.shape == shape else wrong(gradient, shape)

        monkeypatch.setattr(tensor, "unbroadcast", unbroadcast)

    MUTANTS.append(Mutant(title, "add", (normal(3, 4), normal(1, 4)), {}, spoil))


_broadcasting("missing_unbroadcast", lambda g, shape: g[:1])
_broadcasting("unbroadcast_by_mean", lambda g, shape: g.mean(axis=0, keepdims=True))


@mutant("broadcast_to", normal(3, 1), (3, 3))
def sum_over_the_wrong_axis(dy, vjp, x, shape):
    return (dy.sum(axis=0)[:, None],)


@mutant("sum", normal(3, 3), axis=0)
def stretched_along_the_wrong_axis(dy, vjp, x):
    return (np.broadcast_to(dy[:, None], x.shape),)


@mutant("mean", normal(3, 4), axis=1)
def forgotten_count(dy, vjp, x):
    return (np.broadcast_to(dy[:, None], x.shape),)


@mutant("var", 1 + normal(3, 4), axis=1)
def not_centred(dy, vjp, x):
    return (dy[:, None] * 2 * x / 4,)


@mutant("var", normal(3, 4), axis=1, ddof=1)
def biased_count(dy, vjp, x):
    return (vjp(dy)[0] * 3 / 4,)


@mutant("max", normal(3, 4), axis=1)
def shared_by_all(dy, vjp, x):
    return (np.broadcast_to(dy[:, None] / 4, x.shape),)


@mutant("reshape", normal(2, 3), (3, 2))
def fortran_order(dy, vjp, x, shape):
    return (dy.reshape(x.shape, order="F"),)


@mutant("transpose", normal(2, 2, 2), (1, 2, 0))
def order_not_inverted(dy, vjp, x, axes):
    return (dy.transpose(axes),)


@mutant("swapaxes", normal(3, 3), 0, 1)
def not_swapped_back(dy, vjp, x, i, j):
    return (dy,)


@mutant("getitem", normal(4), np.array([1, 1, 2]))
def assigned_instead_of_added(dy, vjp, x, index):
    dx = np.zeros_like(x)
    dx[index] = dy
    return (dx,)


@mutant("concatenate", normal(2, 3), normal(2, 3), axis=0)
def split_by_turns(dy, vjp, *xs):
    return dy[::2], dy[1::2]


@mutant("concatenate", normal(2, 3), normal(2, 3), axis=1)
def split_in_the_wrong_order(dy, vjp, *xs):
    return vjp(dy)[::-1]


@mutant("stack", normal(3, 3), normal(3, 3), axis=1)
def unstacked_transposed(dy, vjp, *xs):
    return tuple(g.T for g in vjp(dy))


@mutant("pad", normal(3), (1, 2), value=0.0)
def cut_one_too_late(dy, vjp, x, width):
    return (dy[2:5],)


@mutant("where", normal(5) > 0, normal(5), normal(5))
def other_branch(dy, vjp, condition, a, b):
    return None, dy * ~condition, dy * condition


# Products and lookup


@mutant("matmul", normal(3, 3), normal(3, 3))
def product_not_transposed(dy, vjp, a, b):
    return dy @ b, a.T @ dy


@mutant("matmul", normal(2, 3, 3), normal(3, 3))
def last_of_the_batch_alone(dy, vjp, a, b):
    return dy @ b.T, a[-1].T @ dy[-1]


@mutant("einsum", "ij,jk->ki", normal(3, 3), normal(3, 3))
def cotangent_not_transposed(dy, vjp, subscripts, a, b):
    return None, dy @ b.T, a.T @ dy


@mutant("linear", normal(4, 3), normal(3, 3), normal(3))
def weight_transposed(dy, vjp, x, weight, bias):
    return dy @ weight, x.T @ dy, dy.sum(axis=0)


@mutant("linear", normal(4, 3), normal(3, 3), normal(3))
def bias_left_out(dy, vjp, x, weight, bias):
    return dy @ weight, dy.T @ x, None


for _activation in kernels.ACTIVATIONS[1:]:
    LINEAR = normal(4, 3), normal(3, 3), normal(3), _activation

    @kernel_mutant("linear", "activate_vjp", *LINEAR)
    def slope_dropped(right, dy, slope):
        return right(dy, np.ones_like(slope))

    @kernel_mutant("linear", "linear", *LINEAR)
    def slope_at_the_result(right, x, weight, bias, activation):
        y, _ = right(x, weight, bias, activation)
        return y, kernels.activate(y - 0.5, activation)[1]

    @kernel_mutant("linear", "activate_vjp", *LINEAR)
    def slope_missing_in_the_bias(right, dy, slope):
        return right(dy, slope)[0], dy.sum(axis=0)

    @kernel_mutant("linear", "activate_vjp", *LINEAR)
    def last_row_for_the_bias(right, dy, slope):
        dz, _ = right(dy, slope)
        return dz, dz[-1]


@kernel_mutant("linear", "column_sums", normal(4, 3), normal(3, 3), normal(3))
def mean_for_the_bias(right, dy):
    return right(dy) / len(dy)


@kernel_mutant("embedding", "embedding_vjp", normal(4, 2), np.array([1, 1, 3]))
def last_occurrence_wins(right, dy, ids, count, _=None):
    dtable = np.zeros((count, dy.shape[1]))
    dtable[ids] = dy
    return dtable


@kernel_mutant("embedding", "embedding_vjp", normal(4, 2), np.array([1, 1, 3]))
def rows_off_by_one(right, dy, ids, count, _=None):
    return right(dy, (ids + 1) % count, count)


@mutant("dropout", normal(5, 5), 0.5, Seed(0))
def a_new_mask_in_backward(dy, vjp, x, p, rng):
    return (kernels.dropout(dy, p, np.uint64(1)),)


@mutant("dropout", normal(5, 5), 0.5, Seed(0))
def not_rescaled(dy, vjp, x, p, rng):
    return (vjp(dy)[0] * (1 - p),)


# Softmax, layer norm, cross-entropy


@kernel_mutant("softmax", "softmax_vjp", normal(3, 4))
def diagonal_alone(right, dy, y):
    return y * dy


@kernel_mutant("softmax", "softmax_vjp", normal(3, 4))
def softmax_of_the_other_axis(right, dy, y):
    return y * (dy - (dy * y).sum(axis=0, keepdims=True))


@mutant("softmax", normal(3, 4))
def zero_as_under_a_sum(dy, vjp, x):
    return (np.zeros_like(x),)


@mutant("log_softmax", normal(3, 4))
def probabilities_forgotten(dy, vjp, x):
    return (dy - dy.mean(axis=-1, keepdims=True),)


LAYER_NORM = normal(3, 4), normal(4), normal(4)


@kernel_mutant("layer_norm", "layer_norm_vjp", *LAYER_NORM)
def missing_mean(right, dy, x, weight, mean, rstd):
    dx, dweight, dbias = right(dy, x, weight, mean, rstd)
    return dx + (dy * weight).mean(-1, keepdims=True) * rstd, dweight, dbias


@kernel_mutant("layer_norm", "layer_norm_vjp", *LAYER_NORM)
def missing_projection(right, dy, x, weight, mean, rstd):
    dxhat = dy * weight
    _, dweight, dbias = right(dy, x, weight, mean, rstd)
    return (dxhat - dxhat.mean(-1, keepdims=True)) * rstd, dweight, dbias


@kernel_mutant("layer_norm", "layer_norm_vjp", *LAYER_NORM)
def weight_left_out_of_the_input(right, dy, x, weight, mean, rstd):
    _, dweight, dbias = right(dy, x, weight, mean, rstd)
    return right(dy, x, np.ones_like(weight), mean, rstd)[0], dweight, dbias


@kernel_mutant("layer_norm", "layer_norm_vjp", *LAYER_NORM)
def weight_by_the_input_itself(right, dy, x, weight, mean, rstd):
    dx, _, dbias = right(dy, x, weight, mean, rstd)
    return dx, (dy * x).sum(axis=0), dbias


LABELS = normal(4, 3), np.array([0, 2, -1, 1])


@kernel_mutant("cross_entropy", "cross_entropy_vjp", *LABELS, ignore_index=-1)
def ignored_target_counts(right, dlosses, logits, targets, lse, ignore_index, smoothing):
    return right(dlosses, logits, targets % 3, lse, -100, smoothing)


@kernel_mutant("cross_entropy", "cross_entropy_vjp", *LABELS, ignore_index=-1, label_smoothing=0.1)
def smoothing_forgotten(right, dlosses, logits, targets, lse, ignore_index, smoothing):
    return right(dlosses, logits, targets, lse, ignore_index, 0.0)


@mutant("cross_entropy", *LABELS, ignore_index=-1)
def mean_over_ignored_ones_too(dy, vjp, logits, targets):
    return (vjp(dy)[0] * 3 / 4,)


# The tests

KNOWN = dict(OPS), dict(vars(kernels)), tensor.unbroadcast


@pytest.fixture(autouse=True)
def reference_kernels():
    with use_kernels("ref"):
        yield


def check(mutant):
    gradcheck(lambda *xs: run(mutant.name, xs, mutant.options), *mutant.args)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.name}-{m.title}")
def test_gradcheck_rejects(mutant, monkeypatch):
    check(mutant)
    mutant.spoil(monkeypatch)
    with pytest.raises(GradientError):
        check(mutant)


def test_the_mutants_are_many_and_leave_no_trace():
    assert len(MUTANTS) >= 50
    assert (dict(OPS), dict(vars(kernels)), tensor.unbroadcast) == KNOWN
