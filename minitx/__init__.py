"""minitx: transformers end to end, on a small autograd engine over NumPy arrays.

import minitx as mx

x = mx.Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
mx.softmax(x @ x.T).var().backward()
x.grad
"""

from __future__ import annotations

from . import coretype  # noqa: F401  (before anything loads NumPy)

# isort: split
import importlib
from typing import TYPE_CHECKING, Any

from . import nn, ops, optim
from .flops import count_multiply_adds
from .gradcheck import gradcheck
from .jit import use_kernels
from .memory import keep_freed_memory
from .observer import Observer, no_grad, observing
from .ops import *  # noqa: F403
from .report import report
from .tensor import Tensor, op
from .threads import get_threads, release_blas, set_threads
from .trace import explain_nan, trace

if TYPE_CHECKING:
    from . import checkpoint, data, models, oracle, text, train

__version__ = "0.1.0"
keep_freed_memory()

# fmt: off
__all__ = [
    "Observer", "Tensor", "checkpoint", "count_multiply_adds", "data", "explain_nan", "get_threads",
    "gradcheck", "models", "nn", "no_grad", "observing", "op", "ops", "optim", "oracle",
    "release_blas", "report", "set_threads", "text", "trace", "train", "use_kernels", *ops.__all__,
]
# fmt: on


def __getattr__(name: str) -> Any:
    """The larger packages are loaded when first asked for: half of all there is to load."""
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
