"""Differentiable functions of tensors, and the table that makes some of them Tensor's methods."""

from ..tensor import Tensor
from .activation import gelu, relu, sigmoid, silu, tanh
from .arithmetic import (
    absolute,
    add,
    astype,
    cos,
    divide,
    exp,
    log,
    maximum,
    minimum,
    multiply,
    negative,
    power,
    sin,
    sqrt,
    subtract,
)
from .attention import attend, self_attend
from .conv import conv2d, conv_transpose2d
from .dropout import dropout
from .embedding import embedding
from .linalg import einsum, linear, matmul
from .loss import cross_entropy, soft_cross_entropy
from .norm import batch_norm, layer_norm
from .patches import fold, unfold
from .performer import linear_attend, positive_features
from .pool import avg_pool2d, max_pool2d
from .reduce import max, mean, sum, var
from .resize import resize
from .shape import (
    broadcast_to,
    concatenate,
    getitem,
    pad,
    reshape,
    stack,
    swapaxes,
    transpose,
    where,
)
from .softmax import log_softmax, softmax

# fmt: off
__all__ = [
    "absolute", "add", "astype", "attend", "avg_pool2d", "batch_norm", "broadcast_to",
    "concatenate", "conv2d", "conv_transpose2d", "cos", "cross_entropy", "divide", "dropout",
    "einsum", "embedding", "exp", "fold", "gelu", "getitem", "layer_norm", "linear",
    "linear_attend", "log", "log_softmax", "matmul", "max", "max_pool2d", "maximum", "mean",
    "minimum", "multiply", "negative", "pad", "positive_features", "power", "relu", "reshape",
    "resize", "self_attend", "sigmoid", "silu", "sin", "soft_cross_entropy", "softmax", "sqrt",
    "stack", "subtract", "sum", "swapaxes", "tanh", "transpose", "unfold", "var", "where",
]
# fmt: on


def _compare(name):
    """NumPy's comparison of values: a plain array of booleans."""

    def compare(self, other):
        return getattr(self.data, name)(other.data if isinstance(other, Tensor) else other)

    return compare


# fmt: off
METHODS = {
    "__add__": add, "__radd__": lambda self, other: add(other, self),
    "__sub__": subtract, "__rsub__": lambda self, other: subtract(other, self),
    "__mul__": multiply, "__rmul__": lambda self, other: multiply(other, self),
    "__truediv__": divide, "__rtruediv__": lambda self, other: divide(other, self),
    "__pow__": power, "__rpow__": lambda self, other: power(other, self),
    "__matmul__": matmul, "__rmatmul__": lambda self, other: matmul(other, self),
    "__neg__": negative, "__abs__": absolute, "__getitem__": getitem,
    "sum": sum, "mean": mean, "var": var, "max": max,
    "reshape": reshape, "transpose": transpose, "swapaxes": swapaxes,
    "T": property(transpose), "astype": astype,
    "__eq__": _compare("__eq__"), "__ne__": _compare("__ne__"), "__lt__": _compare("__lt__"),
    "__le__": _compare("__le__"), "__gt__": _compare("__gt__"), "__ge__": _compare("__ge__"),
    "__hash__": object.__hash__,
}
# fmt: on

for _name, _method in METHODS.items():
    setattr(Tensor, _name, _method)
