"""All kernels compiled ahead, so that the first training step need not wait for them.

What is compiled is what a small training step calls: nothing here knows a kernel's arguments.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import ops
from .jit import Compiled, use_kernels
from .models import GPT, GPTConfig, ResNet, ResNetConfig
from .optim import AdamW
from .tensor import Tensor


def exercise(dtype: Any) -> list[np.ndarray]:
    """One training step of a tiny model of each kind.

    Returns losses and gradients, which both forms of the kernels must agree on.
    """
    return [*_on_text(dtype), *_on_images(dtype)]


def _on_text(dtype: Any) -> list[np.ndarray]:
    """A GPT with everything on, and the ops that it lacks."""
    B, T, V, C = 8, 48, 103, 32  # the largest product is just large enough to be cut into blocks
    config = GPTConfig(V, T, 2, 2, C, dropout=0.1, window=8, cross_attention=True)
    model = GPT(config).astype(dtype)
    optimizer = AdamW(model, 1e-3)
    rng = np.random.default_rng(0)
    text, encoded = rng.integers(0, V, (B, T + 1)), rng.normal(size=(B, 5, C)).astype(dtype)
    states = ops.softmax(ops.gelu(Tensor(encoded, requires_grad=True)))
    loss = model.loss(
        text[:, :-1],
        text[:, 1:],
        mask=text[:, :-1] > 9,
        encoded=states,
        encoded_mask=rng.random((B, 5)) < 0.7,
    )
    loss.backward()
    grad = optimizer.grad.copy()
    optimizer.step()
    optimizer.zero_grad()
    model.generate(text[:1, :3], 2)  # products of few rows have a kernel of their own
    large = Tensor(np.ones(1 << 14, dtype))
    ops.add(large, large)  # smaller sums are NumPy's
    return [loss.data, grad]


def _on_images(dtype: Any) -> list[np.ndarray]:
    """A ResNet whose images are large enough to be pooled, and a performer on their windows."""
    config = ResNetConfig((1, 1), False, classes=3, channels=1, stem=4, widths=(4, 6))
    model = ResNet(config).astype(dtype)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(6, 1, 24, 24)).astype(dtype)
    loss = model.loss(images, np.arange(6) % 3)
    loss.backward()
    windows = ops.unfold(Tensor(images, requires_grad=True), 3, stride=2, padding=1)
    features = ops.positive_features(windows, windows)
    pairs = features.reshape(*features.shape[:2], -1, 1)[:, :, :2]
    attended = ops.linear_attend(pairs, windows)
    attended.backward(attended.data)
    return [loss.data, *(x.grad for x in model.parameters() if x.grad is not None)]


@contextlib.contextmanager
def watched(tell: Callable[[str, float, bool], None]) -> Iterator[None]:
    """Within the block, ``tell(name, seconds, anew)`` whenever a kernel has become ready to run.

    anew: it was compiled, not found in the cache.
    """
    compile_ = Compiled._compile

    def compile_and_tell(self: Compiled, signature: tuple) -> Callable:
        hits, begun = self.dispatcher.stats.cache_hits, time.perf_counter()
        before = sum(hits.values())
        entry = compile_(self, signature)
        name = self.dispatcher.py_func.__name__.strip("_").removesuffix("_jit")
        tell(name, time.perf_counter() - begun, sum(hits.values()) == before)
        return entry

    Compiled._compile = compile_and_tell  # type: ignore[method-assign]
    try:
        yield
    finally:
        Compiled._compile = compile_  # type: ignore[method-assign]


def warm_up(dtypes: list[Any], tell: Callable[[str, float], None]) -> tuple[int, int]:
    """Compile every kernel for these dtypes, ``tell(name, seconds)`` after each.

    Returns how many were compiled, and how many were in the cache before.  A kernel that this
    process has used already is not among them.
    """
    ready = []

    def count(name: str, seconds: float, anew: bool) -> None:
        ready.append(anew)
        if anew:
            tell(f"{name} {dtype}", seconds)

    with watched(count), use_kernels("jit"):
        for dtype in map(np.dtype, dtypes):
            exercise(dtype)
    return sum(ready), len(ready) - sum(ready)
