"""A program: runs every kernel at 1, 2 and 4 threads and prints which differ by a bit.

Started by test_kernels.py with ``NUMBA_NUM_THREADS=4``, which holds for a whole process.
"""

from __future__ import annotations

import itertools

import numba
import numpy as np

from minitx import kernels as K
from minitx import set_threads
from minitx.jit import KERNELS

MATRICES = [  # (M, K) @ (K, N), some with leading axes that broadcast
    ((1, 1100), (1100, 1000)),
    ((4, 1100), (1100, 1000)),
    ((5, 4000), (4000, 300)),
    ((1030, 33), (33, 40)),
    ((300, 257), (257, 190)),
    ((129, 100), (100, 300)),
    ((3, 130, 70), (70, 200)),
    ((3, 1, 130, 70), (2, 70, 90)),
]


def matrix_pairs(normal):
    for a, b in MATRICES:
        yield normal(*a), normal(*b)
        yield normal(*a).swapaxes(-1, -2).copy().swapaxes(-1, -2), normal(*b)
        yield normal(*a), normal(*b[:-2], *b[:-3:-1]).swapaxes(-1, -2)


def layers(normal):
    """Every activation, with a bias and without, of many rows and of few."""
    for activation, bias, rows in itertools.product(range(5), (None, normal(200)), (1000, 3)):
        yield normal(rows, 67), normal(200, 67), bias, activation
    yield normal(1200, 300).T, normal(1200, 67).T, normal(67), 2


def attention(normal, rng):
    q, k, v = normal(2, 3, 150, 13), normal(2, 3, 170, 13), normal(2, 3, 170, 13)
    mask, bias = rng.random((2, 1, 1, 170)) < 0.7, normal(1, 3, 150, 170)
    for causal, window, p in (False, 0, 0.0), (True, 0, 0.1), (True, 40, 0.0):
        options = mask, bias, causal, window, 0.3, p, np.uint64(7)
        y, lse = K.attend.ref(q, k, v, *options)
        yield (q, k, v, *options), (normal(2, 3, 150, 13), q, k, v, y, lse, *options)
        few = q[:, :, :3], k, v, mask, bias[:, :, :3], *options[2:]  # queries
        yield few, (normal(2, 3, 3, 13), *few[:3], *K.attend.ref(*few), *few[3:])


def convolutions(normal):
    """dy, x and weight, and the options of ``conv2d``."""
    for B, C, O, size, kernel, stride, padding, groups in [  # noqa: E741
        (5, 20, 30, (19, 21), (3, 3), (1, 1), (1, 1), 1),
        (3, 40, 70, (4, 4), (3, 3), (1, 1), (1, 1), 1),
        (3, 3, 14, (60, 35), (7, 7), (2, 2), (3, 3), 1),
        (3, 12, 18, (20, 15), (3, 2), (1, 2), (0, 1), 3),
        (2, 3, 20, (24, 36), (6, 6), (6, 6), (0, 0), 1),
    ]:
        x, weight = normal(B, C, *size), normal(O, C // groups, *kernel)
        options = stride, padding, (1, 1), groups
        yield normal(*K.conv2d.ref(x, weight, *options).shape), x, weight, options


def pooling(normal):
    x, geometry = normal(3, 5, 30, 31), ((3, 3), (2, 2), (1, 1))
    y, taps = K.max_pool.ref(x, *geometry)
    return (x, *geometry), (y, taps, x.shape[2:], *geometry)


def decoding(normal):
    """The twentieth token of three, by a block with a norm first, and with one last."""
    shapes = (64,), (64,), (192, 64), (192,), (64, 64), (64,)
    shapes += (64,), (64,), (300, 64), (300,), (64, 300), (64,)
    x, weights = normal(3, 64), tuple(normal(*shape) for shape in shapes)
    caches = normal(3, 4, 50, 16), normal(3, 4, 50, 16)
    return [(x, weights, *caches, 20, first, 2, 1e-5, 0, 0.25) for first in (True, False)]


def cases(name, dtype):
    """Arguments, several blocks of work each."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.normal(size=shape).astype(dtype)

    dy, x, weight = normal(1000, 67), normal(1000, 67), normal(67)
    targets = np.where(rng.random(1000) < 0.1, -100, rng.integers(0, 67, size=1000))
    loss = x, targets, -100, 0.1
    param, grad, m, v = normal(4, 50_000) ** 2
    image, channels = normal(5, 7, 19, 21), normal(4, 7)
    performer = normal(7, 90, 2, 33) ** 2, normal(7, 90, 70), 1e-8
    windows = (3, 2), (2, 1), (1, 1), (1, 2)  # kernel, stride, padding, dilation
    return {
        "activate": lambda: [(x, activation) for activation in range(5)],
        "activate_vjp": lambda: [(dy, x)],
        "adamw": lambda: [(param, grad, m, v, 1.0, 1e-3, 0.9, 0.999, 1e-8, 0.1, 3)],
        "add": lambda: [(grad, v)],
        "attend": lambda: [forward for forward, _ in attention(normal, rng)],
        "attend_vjp": lambda: [backward for _, backward in attention(normal, rng)],
        "batch_norm": lambda: [(image, *channels, more, True) for more in (None, 2 * image)],
        "batch_norm_vjp": lambda: [(image, -image, image, *channels[:3], True, False)],
        "channel_moments": lambda: [(image,)],
        "column_sums": lambda: [(x,)],
        "conv2d": lambda: [(x, w, *options) for _, x, w, options in convolutions(normal)],
        "conv2d_dweight": lambda: [
            (dy, x, w.shape[2:], *options)
            for dy, x, w, options in convolutions(normal)
            if options[-1] == 1  # in groups it is NumPy's
        ],
        "conv2d_dx": lambda: [
            (dy, w, x.shape[2:], *options) for dy, x, w, options in convolutions(normal)
        ],
        "cross_entropy": lambda: [loss],
        "cross_entropy_vjp": lambda: [
            (dy[:, 0], *loss[:2], K.cross_entropy.ref(*loss)[1], -100, 0.1)
        ],
        "decode": lambda: decoding(normal),
        "dropout": lambda: [(x, 0.3, np.uint64(5))],
        "embedding_vjp": lambda: [(dy, np.abs(targets), 101)],
        "fold": lambda: [(K.unfold.ref(image, *windows), (19, 21), *windows)],
        "layer_norm": lambda: [(x, weight, weight, 1e-5)],
        "layer_norm_vjp": lambda: [(dy, x, weight, *K.layer_norm.ref(x, weight, weight, 1e-5)[1:])],
        "linear": lambda: layers(normal),
        "linear_attend": lambda: [performer],
        "linear_attend_vjp": lambda: [
            (performer[1], *performer[:2], *K.linear_attend.ref(*performer))
        ],
        "matmul": lambda: matrix_pairs(normal),
        "max_pool": lambda: [pooling(normal)[0]],
        "max_pool_vjp": lambda: [pooling(normal)[1]],
        "positive_features": lambda: [(x[:, :32], x)],
        "positive_features_vjp": lambda: [(dy[:, :32], x, x[:, :32])],
        "softmax": lambda: [(x,)],
        "softmax_vjp": lambda: [(dy, K.softmax.ref(x))],
        "sum_of_squares": lambda: [(grad,)],
        "unfold": lambda: [(image, *windows)],
    }[name]()


def result(kernel, args, threads):
    """Every byte that the kernel makes, and every one that it may have changed."""
    set_threads(threads)
    args = [x.copy(order="K") if isinstance(x, np.ndarray) else x for x in args]
    out = kernel.jit(*args)
    assert numba.get_num_threads() == threads
    outputs = out if isinstance(out, tuple) else (out,)
    arrays = [np.asarray(x) for x in outputs if x is not None]
    return [x.tobytes() for x in (*arrays, *args) if isinstance(x, np.ndarray)]


def main():
    differing = []
    for name, kernel in KERNELS.items():
        for dtype in np.float32, np.float64:
            for args in cases(name, dtype):
                one, two, four = (result(kernel, args, threads) for threads in (1, 2, 4))
                if not one == two == four:
                    differing.append((name, dtype.__name__, [np.shape(x) for x in args]))
    print(differing)


if __name__ == "__main__":
    main()
