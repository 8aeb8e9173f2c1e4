"""Optimizers over one flat buffer, learning-rate schedules, and an average of the weights.

An optimizer packs a model's trainable parameters into one array, side by side in the model's order,
and their gradients
into another; parameters and gradients become views.  Clipping and a whole AdamW step are then one
pass over memory.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from . import kernels
from .nn import Module
from .tensor import Tensor


def decays(name: str, parameter: Tensor) -> bool:
    """The usual choice for weight decay: matrices and tables, not biases and norms."""
    return parameter.ndim >= 2


class Optimizer:
    """Base: packing, gradient norm, and state by name.

    The buffers ``data`` and ``grad`` (N,) hold the decayed parameters first, up to
    ``self.decayed``, then the others.
    """

    slots: tuple[str, ...] = ()  # names of the further buffers, one number per parameter each

    def __init__(
        self,
        model: Module,
        lr: float,
        weight_decay: float,
        decay: Callable[[str, Tensor], bool] = decays,
    ):
        named = list(model.named_parameters())
        if not named:
            raise ValueError(
                f"{type(self).__name__}: {type(model).__name__} has no trainable parameters"
            )
        dtypes = {x.dtype for _, x in named}
        if len(dtypes) > 1:
            raise TypeError(
                f"{type(self).__name__}: parameters mix {', '.join(sorted(map(str, dtypes)))}"
            )
        groups = [[(n, x) for n, x in named if decay(n, x) is want] for want in (True, False)]
        self.lr, self.weight_decay, self.steps = lr, weight_decay, 0
        self.parameters = dict(groups[0] + groups[1])
        self.decayed = sum(x.size for _, x in groups[0])
        self.data = np.concatenate([x.data.ravel() for x in self.parameters.values()])
        self.grad = np.zeros_like(self.data)
        self.buffers = {slot: np.zeros_like(self.data) for slot in self.slots}
        for name, x in self.parameters.items():
            x.data = self._view(self.data, name)
            x.grad = self._view(self.grad, name)

    def _view(self, buffer: np.ndarray, name: str) -> np.ndarray:
        """The part of a flat buffer that belongs to a parameter, in its shape."""
        start = 0
        for other, x in self.parameters.items():
            if other == name:
                return buffer[start : start + x.size].reshape(x.shape)
            start += x.size
        raise KeyError(name)

    def zero_grad(self) -> None:
        self.grad.fill(0)

    def grad_norm(self) -> float:
        """The Euclidean norm of all gradients, accumulated in float64."""
        return math.sqrt(kernels.sum_of_squares(self.grad))

    def step(self, lr: float | None = None, clip: float | None = None) -> float:
        """Update every parameter from its gradient.  Returns the gradients' norm.

        lr: this step's learning rate, instead of the one given to the constructor.  clip: scale the
        gradients down so that their norm is at most this (Pascanu et al. 2013).  Raises
        FloatingPointError, and changes nothing, if the norm is not finite.
        """
        for name, x in self.parameters.items():
            if x.grad is None or x.grad.base is not self.grad or x.data.base is not self.data:
                raise RuntimeError(
                    f"{type(self).__name__}.step: {name} or its gradient was replaced since the optimizer packed it; "
                    "use zero_grad(), and convert dtypes before making the optimizer"
                )
        norm = self.grad_norm()
        if not math.isfinite(norm):
            raise FloatingPointError(
                f"{type(self).__name__}.step: the norm of the gradients is {norm}"
            )
        scale = min(1.0, clip / norm) if clip and norm else 1.0
        self.steps += 1
        self._update(self.lr if lr is None else lr, scale)
        for x in self.parameters.values():
            x.version += 1
        return norm

    def _update(self, lr: float, scale: float) -> None:
        raise TypeError(f"{type(self).__name__} does not define _update")

    def state(self) -> dict[str, np.ndarray]:
        """The buffers by name, ``<slot>.<parameter>``, and ``steps``."""
        named = {
            f"{s}.{n}": self._view(b, n) for s, b in self.buffers.items() for n in self.parameters
        }
        return named | {"steps": np.array(self.steps)}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """All or nothing: raises one ValueError with every name that is missing, unexpected or
        misshapen.
        """
        own = self.state()
        problems = [f"missing {name}" for name in own.keys() - state.keys()]
        problems += [f"unexpected {name}" for name in state.keys() - own.keys()]
        shared = own.keys() & state.keys()
        problems += [
            f"{name} has shape {state[name].shape}, expected {own[name].shape}"
            for name in shared
            if state[name].shape != own[name].shape
        ]
        if problems:
            raise ValueError(
                "\n  ".join([f"{type(self).__name__}: the state does not fit:", *sorted(problems)])
            )
        for name, array in own.items():
            array[...] = state[name]
        self.steps = int(state["steps"])


class SGD(Optimizer):
    """Stochastic gradient descent with momentum: u = momentum * u + g;  x -= lr * (u + weight_decay
    * x).
    """

    slots = ("momentum",)

    def __init__(
        self,
        model: Module,
        lr: float,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        decay=decays,
    ):
        super().__init__(model, lr, weight_decay, decay)
        self.momentum = momentum

    def _update(self, lr, scale):
        u, real = self.buffers["momentum"], self.data.dtype.type
        u *= real(self.momentum)
        u += self.grad * real(scale)
        self.data[: self.decayed] *= real(1 - lr * self.weight_decay)
        self.data -= u * real(lr)


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2)."""

    slots = ("m", "v")

    def __init__(
        self,
        model: Module,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        decay: Callable[[str, Tensor], bool] = decays,
    ):
        super().__init__(model, lr, weight_decay, decay)
        self.betas, self.eps = betas, eps

    def _update(self, lr, scale):
        for part, weight_decay in (
            (slice(self.decayed), self.weight_decay),
            (slice(self.decayed, None), 0.0),
        ):
            data, grad, m, v = (
                b[part] for b in (self.data, self.grad, self.buffers["m"], self.buffers["v"])
            )
            kernels.adamw(
                data,
                grad,
                m,
                v,
                scale,
                float(lr),
                *self.betas,
                self.eps,
                float(weight_decay),
                self.steps,
            )


class EMA:
    """An exponential moving average of an optimizer's parameters (Polyak and Juditsky 1992)."""

    def __init__(self, optimizer: Optimizer, decay: float = 0.999):
        if not 0 <= decay < 1:
            raise ValueError(f"EMA: decay is {decay}; expected 0 <= decay < 1")
        self.optimizer, self.decay = optimizer, decay
        self.average = optimizer.data.copy()

    def update(self) -> None:
        """Call after each optimizer step."""
        self.average += (self.optimizer.data - self.average) * self.average.dtype.type(
            1 - self.decay
        )

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the model has the averaged weights."""
        saved = self.optimizer.data.copy()
        self.optimizer.data[...] = self.average
        try:
            yield
        finally:
            self.optimizer.data[...] = saved

    def state(self) -> dict[str, np.ndarray]:
        """The averaged parameters by name."""
        return {
            name: self.optimizer._view(self.average, name) for name in self.optimizer.parameters
        }

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """All or nothing: raises ValueError if the names or shapes are not the parameters'."""
        own = self.state()
        if {n: x.shape for n, x in own.items()} != {n: x.shape for n, x in state.items()}:
            raise ValueError(
                "EMA: the state's names or shapes are not those of the model's parameters"
            )
        for name, array in own.items():
            array[...] = state[name]


def warmup_cosine(
    peak: float, warmup: int, total: int, floor: float = 0.0
) -> Callable[[int], float]:
    """A schedule: linear from 0 to ``peak`` over ``warmup`` steps, then half a cosine down to
    ``floor`` at ``total``.

    The function returned takes a step, counted from 0, to its learning rate (Loshchilov and Hutter
    2017).
    """
    if not 0 <= warmup <= total or not total:
        raise ValueError(
            f"warmup_cosine: warmup {warmup}, total {total}; expected 0 <= warmup <= total, total > 0"
        )

    def rate(step: int) -> float:
        if step < warmup:
            return peak * (step + 1) / warmup
        done = min(1.0, (step - warmup) / max(1, total - warmup))
        return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * done))

    return rate


def constant(lr: float) -> Callable[[int], float]:
    """A schedule: the same learning rate at every step."""
    return lambda step: lr
