"""Wrong pullbacks of ops on images, which gradcheck must reject."""

from __future__ import annotations

import numpy as np
from mutants import kernel_mutant, mutant, normal

X, W = normal(2, 3, 5, 6), normal(4, 3, 3, 3)
NORMALISED = normal(3, 2, 2, 3), normal(2), normal(2), normal(3, 2, 2, 3), "relu"


@mutant("conv2d", X, W, padding=1)
def kernel_not_turned_over(dy, vjp, x, weight):
    wrong = dy.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
    dx, dweight, _ = vjp(dy)
    turned = np.ascontiguousarray(wrong.transpose(1, 0, 2, 3))
    return vjp(turned)[0](), dweight()


@mutant("conv2d", X, W, padding=1)
def weight_turned_over(dy, vjp, x, weight):
    dx, dweight, _ = vjp(dy)
    return dx(), dweight()[:, :, ::-1, ::-1]


@mutant("conv2d", X, W, normal(4))
def bias_averaged(dy, vjp, x, weight, bias):
    dx, dweight, _ = vjp(dy)
    return dx(), dweight(), dy.mean(axis=(0, 2, 3))


@mutant("conv2d", X, normal(3, 1, 3, 3), padding=1, groups=3)
def groups_swapped(dy, vjp, x, weight):
    dx, dweight, _ = vjp(dy)
    return dx()[:, ::-1], dweight()


@kernel_mutant("conv2d", "conv2d_dx", X, W, padding=1)
def padding_forgotten(right, dy, weight, size, stride, padding, *rest):
    wide = right(dy, weight, (7, 8), stride, (0, 0), *rest)
    return wide[:, :, : size[0], : size[1]]


@kernel_mutant("conv2d", "conv2d_dx", X, W, stride=2, padding=1)
def pixels_between_strides_left_out(right, *args):
    dx = right(*args)
    dx[:, :, 1::2, 1::2] = 0
    return dx


@kernel_mutant("conv2d", "conv2d_dweight", X, W, stride=2)
def last_image_left_out(right, dy, x, *rest):
    return right(dy[:-1], x[:-1], *rest)


@mutant("conv_transpose2d", X, normal(3, 2, 2, 2), stride=2)
def axes_of_the_image_swapped(dy, vjp, x, weight):
    dx, dweight, _ = vjp(dy)
    return dx(), dweight().swapaxes(2, 3)


@mutant("unfold", X, 3, 1, 1)
def overlaps_overwritten(dy, vjp, x, *geometry):
    return (np.minimum(vjp(dy)[0], vjp(np.abs(dy))[0] / 2),)


@mutant("fold", normal(2, 4, 12), (4, 4), 2, 2)
def rows_and_columns_of_a_patch_swapped(dy, vjp, patches, *geometry):
    parts = vjp(dy)[0].reshape(2, 4, 3, 2, 2)
    return (parts.swapaxes(3, 4).reshape(patches.shape),)


@mutant("max_pool2d", X, 2)
def all_that_are_positive(dy, vjp, x, kernel):
    return (vjp(dy)[0] + (x > 1),)


@kernel_mutant("max_pool2d", "max_pool_vjp", X, 3, 2, 1)
def winners_of_the_next_window(right, dy, taps, *rest):
    return right(np.roll(dy, 1, axis=3), taps, *rest)


@mutant("avg_pool2d", X, 2)
def summed(dy, vjp, x, kernel):
    return (4 * vjp(dy)[0],)


@mutant("resize", X, (9, 4), mode="bicubic")
def nearest_instead(dy, vjp, x, size):
    rows, columns = np.arange(5) * 9 // 5, np.arange(6) * 4 // 6
    return (dy[:, :, rows[:, None], columns],)


@kernel_mutant("batch_norm", "batch_norm_vjp", *NORMALISED)
def moments_taken_for_constants(right, *args):
    return right(*args[:-1], True)


@kernel_mutant("batch_norm", "batch_norm_vjp", *NORMALISED)
def rectifier_forgotten(right, dy, x, y, mean, rstd, weight, rectify, frozen):
    return right(dy, x, y, mean, rstd, weight, False, frozen)


@mutant("batch_norm", *NORMALISED)
def residual_not_rectified(dy, vjp, *args):
    return *vjp(dy)[:3], dy
