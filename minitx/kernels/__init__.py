"""Kernels: pure functions of arrays, each with its pullback ``<name>_vjp``.

Where it pays they have a compiled twin (see jit.py).  They trust shapes and dtypes; ops check them.
"""

from .activation import ACTIVATIONS, activate, activate_vjp
from .attention import attend, attend_dbias, attend_vjp, probabilities
from .batch_norm import batch_norm, batch_norm_vjp, channel_moments
from .conv import conv2d, conv2d_dweight, conv2d_dx
from .decode import decode
from .dropout import dropout
from .embedding import embedding_vjp
from .linalg import FEW_ROWS, einsum, linear, matmul
from .norm import layer_norm, layer_norm_vjp
from .optimizer import adamw, sum_of_squares
from .patches import fold, unfold, windows_of
from .performer import (
    linear_attend,
    linear_attend_vjp,
    positive_features,
    positive_features_vjp,
)
from .pool import max_pool, max_pool_vjp, window_sums, window_sums_vjp
from .resize import FILTERS, resize_matrix
from .softmax import cross_entropy, cross_entropy_vjp, log_softmax, softmax, softmax_vjp
from .sums import add, column_sums

__all__ = [
    "ACTIVATIONS",
    "FEW_ROWS",
    "FILTERS",
    "activate",
    "activate_vjp",
    "adamw",
    "add",
    "attend",
    "attend_dbias",
    "attend_vjp",
    "batch_norm",
    "batch_norm_vjp",
    "channel_moments",
    "column_sums",
    "conv2d",
    "conv2d_dweight",
    "conv2d_dx",
    "cross_entropy",
    "cross_entropy_vjp",
    "decode",
    "dropout",
    "einsum",
    "embedding_vjp",
    "fold",
    "layer_norm",
    "layer_norm_vjp",
    "linear",
    "linear_attend",
    "linear_attend_vjp",
    "log_softmax",
    "matmul",
    "max_pool",
    "max_pool_vjp",
    "positive_features",
    "positive_features_vjp",
    "probabilities",
    "resize_matrix",
    "softmax",
    "softmax_vjp",
    "sum_of_squares",
    "unfold",
    "window_sums",
    "window_sums_vjp",
    "windows_of",
]
