"""Layer normalisation: eps, variance, and the terms of its gradient."""

from __future__ import annotations

import numpy as np

from .registry import edited, mistake


def _norm(x, weight, bias, eps, ddof=0, outside=False, mean=True, projection=True):
    """The textbook's, written out, with each choice that ports make differently as an argument."""
    rows, C = tuple(range(x.ndim - 1)), x.shape[-1]
    centred = x - x.mean(axis=-1, keepdims=True)
    var = (centred * centred).sum(axis=-1, keepdims=True) / (C - ddof)
    std = np.sqrt(var)
    rstd = 1 / (std + eps) if outside else 1 / np.sqrt(var + eps)
    slope = rstd * rstd / std if outside else rstd**3  # -2 d rstd / d var

    def vjp(dy):
        dnormal = dy * weight
        dx = rstd * dnormal
        if mean:
            dx = dx - rstd * dnormal.mean(axis=-1, keepdims=True)
        if projection:
            along = (dnormal * centred).sum(axis=-1, keepdims=True) / (C - ddof)
            dx = dx - slope * centred * along
        return dx, (dy * centred * rstd).sum(axis=rows), dy.sum(axis=rows)

    return centred * rstd * weight + bias, vjp


@mistake(
    "eps is {other:g}",
    "layer_norm",
    "the port adds {other:g} to the variance; it should be {eps:g}",
    other=(1e-5, 1e-6, 1e-12, 0.0, 1e-8, 1e-7, 1e-4, 1e-3),
)
def other_eps(op, x, weight, bias, eps, other):
    return None if other == eps else _norm(x, weight, bias, other)


@mistake(
    "eps outside the root",
    "layer_norm",
    "the port divides by sqrt(var) + eps; it should be sqrt(var + eps)",
)
def eps_outside(op, x, weight, bias, eps):
    return _norm(x, weight, bias, eps, outside=True)


@mistake(
    "unbiased variance",
    "layer_norm",
    "the port divides the squares by C - 1 (the sample variance); it should be C",
)
def unbiased(op, x, weight, bias, eps):
    return _norm(x, weight, bias, eps, ddof=1)


@mistake(
    "unbiased variance, eps outside the root",
    "layer_norm",
    "the port divides by the sample's standard deviation (C - 1) plus eps, as torch.std would",
)
def unbiased_outside(op, x, weight, bias, eps):
    return _norm(x, weight, bias, eps, ddof=1, outside=True)


@mistake(
    "mean not subtracted",
    "layer_norm",
    "the port divides by the root of the mean square and subtracts no mean (RMSNorm)",
)
def root_mean_square(op, x, weight, bias, eps):
    rows, C = tuple(range(x.ndim - 1)), x.shape[-1]
    r = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)

    def vjp(dy):
        along = (dy * weight * x).sum(axis=-1, keepdims=True) / C
        return r * dy * weight - r**3 * x * along, (dy * x * r).sum(axis=rows), dy.sum(axis=rows)

    return x * r * weight + bias, vjp


@mistake(
    "norm without weight and bias",
    "layer_norm",
    "the port normalises and leaves the learned weight and bias out",
)
def without_affine(op, x, weight, bias, eps):
    value, vjp = _norm(x, np.ones_like(weight), np.zeros_like(bias), eps)
    return value, lambda dy: (vjp(dy)[0], None, None)


@mistake(
    "norm's gradient without the mean",
    "layer_norm",
    "in the port's backward of layer norm the term - mean(dy * weight) is missing: "
    "the mean that was subtracted depends on x too",
)
def without_mean(op, x, weight, bias, eps):
    return _norm(x, weight, bias, eps, mean=False)


@mistake(
    "norm's gradient without the variance",
    "layer_norm",
    "in the port's backward of layer norm the term - xhat * mean(dy * weight * xhat) is missing: "
    "the variance depends on x too",
)
def without_projection(op, x, weight, bias, eps):
    return _norm(x, weight, bias, eps, projection=False)


@mistake(
    "norm's gradient as of a constant scale",
    "layer_norm",
    "the port's backward of layer norm takes mean and variance as constants; both depend on x",
)
def without_both(op, x, weight, bias, eps):
    return _norm(x, weight, bias, eps, mean=False, projection=False)


@mistake(
    "norm's gradient without the weight",
    "layer_norm",
    "the port's backward of layer norm does not multiply by the learned weight",
)
def without_weight(op, x, weight, bias, eps):
    value, vjp = op(x, weight, bias, eps)
    dx = _norm(x, np.ones_like(weight), bias, eps)[1]
    return value, edited(vjp, 0, lambda _, dy: dx(dy)[0])


@mistake(
    "weight's gradient from x, not from its normal form",
    "layer_norm",
    "the port sums dy * x for the weight's gradient; it should be dy * (x - mean) / std",
)
def weight_from_x(op, x, weight, bias, eps):
    value, vjp = op(x, weight, bias, eps)
    rows = tuple(range(x.ndim - 1))
    return value, edited(vjp, 1, lambda _, dy: (dy * x).sum(axis=rows))
