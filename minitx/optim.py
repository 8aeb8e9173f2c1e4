"""Optimizers over one flat buffer, learning-rate schedules, and an average of the weights.

An optimizer packs a model's trainable parameters into one array, side by side in the model's order,
and their gradients into another; parameters and gradients become views.  Clipping and a whole AdamW
step are then one pass over memory.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from . import kernels
from .nn import Module
from .nn.module import check_state
from .tensor import Tensor


def decays(name: str, parameter: Tensor) -> bool:
    """The usual choice for weight decay: matrices and tables, not biases and norms."""
    return parameter.ndim >= 2


def alike(name: str, parameter: Tensor) -> float:
    """The usual choice for learning rates: all parameters have the same."""
    return 1.0


def layerwise(
    model: Module, decay: float, blocks: str = "blocks"
) -> Callable[[str, Tensor], float]:
    """For fine-tuning: rates that shrink by ``decay`` from each layer to the one below.

    Pass it to an optimizer on ``model`` as ``lr_scale``.  What comes after the blocks, in the
    model's order, has the full rate, the last block ``decay`` of it, and so on down to what comes
    before the first block: with L blocks, decay ** (L + 1) (Clark et al. 2020, ELECTRA; as in the
    fine-tuning of BEiT and MAE).  blocks: the dotted name of the list that has them.
    Raises ValueError if there are none, or several such lists.
    """
    if not 0 < decay <= 1:
        raise ValueError(f"layerwise: decay is {decay}; expected 0 < decay <= 1")
    pattern = re.compile(rf"((?:.*\.)?{re.escape(blocks)})\.(\d+)\.")
    names = [name for name, _ in model.named_tensors()]
    found = {name: match for name in names if (match := pattern.match(name))}
    lists = sorted({match[1] for match in found.values()})
    if len(lists) != 1:
        raise ValueError(
            f"layerwise: {type(model).__name__} has {', '.join(lists) or 'nothing'} as {blocks!r}; "
            "expected the name of one list of blocks"
        )
    depth = 1 + max(int(match[2]) for match in found.values())
    above, rest = {}, depth + 1  # how many layers are above each parameter
    for name in names:
        if name in found:
            above[name], rest = depth - int(found[name][2]), 0
        else:
            above[name] = rest

    def scale(name: str, parameter: Tensor) -> float:
        if name not in above:
            raise ValueError(f"layerwise: made for a model that has no parameter {name}")
        return decay ** above[name]

    return scale


class Group(NamedTuple):
    """Parameters that stand side by side and are treated alike."""

    part: slice  # of the flat buffers
    decays: bool
    lr_scale: float  # their learning rate over that of the step


class Optimizer:
    """Base: packing, gradient norm, and state by name.

    ``data`` and ``grad``, (N,), hold the parameters that decay first, up to ``self.decayed``, then
    the others; within both, those with smaller learning rates first.  decay, lr_scale: of a name
    and its parameter, whether it decays, and its learning rate over that of the step.
    Freeze parameters and convert dtypes before; raises TypeError on mixed dtypes and ValueError on
    a model without trainable parameters.
    """

    slots: tuple[str, ...] = ()  # names of the further buffers, one number per parameter each

    def __init__(
        self,
        model: Module,
        lr: float,
        weight_decay: float,
        decay: Callable[[str, Tensor], bool] = decays,
        lr_scale: Callable[[str, Tensor], float] = alike,
    ):
        self._check(0 <= lr < math.inf, f"lr is {lr}; expected 0 or more")
        self._check(0 <= weight_decay < math.inf, f"weight_decay is {weight_decay}; expected >= 0")
        named = list(model.named_parameters())
        self._check(bool(named), f"{type(model).__name__} has no trainable parameters")
        dtypes = sorted({str(x.dtype) for _, x in named})
        if len(dtypes) > 1:
            raise TypeError(f"{type(self).__name__}: parameters mix {', '.join(dtypes)}")
        kinds = {name: (not decay(name, x), float(lr_scale(name, x))) for name, x in named}
        for name, (_, scale) in kinds.items():
            self._check(0 <= scale < math.inf, f"lr_scale of {name} is {scale}; expected >= 0")
        named.sort(key=lambda item: kinds[item[0]])  # stable: else in the model's order
        self.lr, self.weight_decay, self.steps = lr, weight_decay, 0
        self.parameters = dict(named)
        self.groups: list[Group] = []
        start = self.decayed = 0
        for (fixed, scale), members in itertools.groupby(named, lambda item: kinds[item[0]]):
            end = start + sum(x.size for _, x in members)
            self.groups.append(Group(slice(start, end), not fixed, scale))
            start, self.decayed = end, self.decayed if fixed else end
        self.data = np.concatenate([x.data.ravel() for _, x in named])
        self._grad = np.zeros_like(self.data)
        self.buffers = {slot: np.zeros_like(self.data) for slot in self.slots}
        data, grad = self.views(self.data), self.views(self._grad)
        for name, x in named:
            x.data, x.grad = data[name], grad[name]

    def _check(self, condition: bool, otherwise: str) -> None:
        if not condition:
            raise ValueError(f"{type(self).__name__}: {otherwise}")

    def views(self, buffer: np.ndarray) -> dict[str, np.ndarray]:
        """The parts of a flat buffer by their parameters' names, in the parameters' shapes."""
        ends = itertools.accumulate(x.size for x in self.parameters.values())
        return {
            name: buffer[end - x.size : end].reshape(x.shape)
            for (name, x), end in zip(self.parameters.items(), ends, strict=True)
        }

    @property
    def grad(self) -> np.ndarray:
        """All gradients, side by side, (N,)."""
        [x.grad for x in self.parameters.values()]  # zeros that were only promised are written
        return self._grad

    def zero_grad(self) -> None:
        """Set all gradients to zero, where they are.

        The zeros are written when ``grad``, a parameter's or ours, is next looked at, or never: an
        array kept from before does not show them.
        """
        for x in self.parameters.values():
            x.zero_grad()

    def grad_norm(self) -> float:
        """The Euclidean norm of all gradients, accumulated in float64."""
        return math.sqrt(kernels.sum_of_squares(self.grad))

    def step(self, lr: float | None = None, clip: float | None = None) -> float:
        """Update every parameter from its gradient.  Returns the gradients' norm.

        lr: this step's learning rate, instead of the one given to the constructor.  clip: scale the
        gradients down so that their norm is at most this (Pascanu et al. 2013).  Changes nothing,
        and raises FloatingPointError, if the norm is not finite; ValueError on a bad lr or clip;
        RuntimeError if a parameter is no longer the one that was packed.
        """
        lr = self.lr if lr is None else float(lr)
        self._check(0 <= lr < math.inf, f"lr is {lr} at step {self.steps}; expected 0 or more")
        self._check(clip is None or clip > 0, f"clip is {clip}; expected a positive norm, or None")
        for name, x in self.parameters.items():
            packed = x.grad is not None and x.grad.base is self._grad and x.data.base is self.data
            if not (packed and x.requires_grad):
                raise RuntimeError(
                    f"{type(self).__name__}.step: {name} or its gradient was replaced, or it was "
                    "frozen, since the optimizer packed it; use zero_grad(), and convert and "
                    "freeze before making the optimizer"
                )
        norm = math.sqrt(kernels.sum_of_squares(self._grad))
        if not math.isfinite(norm):
            raise FloatingPointError(f"{type(self).__name__}.step: the gradients' norm is {norm}")
        self.steps += 1
        with np.errstate(all="ignore"):  # nothing may be raised in the middle of an update
            self._update(lr, 1.0 if clip is None or norm <= clip else clip / norm)
        self._touch()
        return norm

    def _update(self, lr: float, scale: float) -> None:
        """Change ``data`` by one step, number ``self.steps``, along ``scale * grad``."""
        raise NotImplementedError(f"{type(self).__name__} does not define _update")

    def _touch(self) -> None:
        """The parameters have changed in place: a graph recorded before is out of date."""
        for x in self.parameters.values():
            x.version += 1

    def state(self) -> dict[str, np.ndarray]:
        """The buffers by name, ``<slot>.<parameter>``, and ``steps``."""
        named = {
            f"{slot}.{name}": view
            for slot, buffer in self.buffers.items()
            for name, view in self.views(buffer).items()
        }
        return named | {"steps": np.array(self.steps)}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """All or nothing: raises one ValueError with every name that does not fit."""
        own = self.state()
        given = check_state(type(self).__name__, own, state)
        for name, array in own.items():
            array[...] = given[name]
        self.steps = int(given["steps"])


class SGD(Optimizer):
    """Stochastic gradient descent with momentum.

    u = momentum * u + g;  x = x - lr * (u + weight_decay * x)
    """

    slots = ("momentum",)

    def __init__(
        self,
        model: Module,
        lr: float,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        decay: Callable[[str, Tensor], bool] = decays,
        lr_scale: Callable[[str, Tensor], float] = alike,
    ):
        self._check(0 <= momentum < 1, f"momentum is {momentum}; expected 0 <= momentum < 1")
        super().__init__(model, lr, weight_decay, decay, lr_scale)
        self.momentum = momentum

    def _update(self, lr, scale):
        u, real = self.buffers["momentum"], self.data.dtype.type
        u *= real(self.momentum)
        u += self._grad * real(scale)
        for part, decays, lr_scale in self.groups:
            x, rate = self.data[part], lr * lr_scale
            if decays:
                x -= x * real(rate * self.weight_decay)
            x -= u[part] * real(rate)


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2).

    A step shrinks a decayed parameter by lr * weight_decay, as is usual; the paper does not scale
    its lambda by the learning rate.
    """

    slots = ("m", "v")

    def __init__(
        self,
        model: Module,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        decay: Callable[[str, Tensor], bool] = decays,
        lr_scale: Callable[[str, Tensor], float] = alike,
    ):
        fit = len(betas) == 2 and all(0 <= beta < 1 for beta in betas)
        self._check(fit, f"betas are {betas}; expected two of 0 <= beta < 1")
        self._check(eps > 0, f"eps is {eps}; expected more than 0")
        super().__init__(model, lr, weight_decay, decay, lr_scale)
        self.betas, self.eps = betas, eps

    def _update(self, lr, scale):
        m, v = self.buffers["m"], self.buffers["v"]
        for part, decays, lr_scale in self.groups:
            moments, decay = (m[part], v[part]), float(self.weight_decay) if decays else 0.0
            settings = scale, lr * lr_scale, *self.betas, self.eps, decay, self.steps
            kernels.adamw(self.data[part], self._grad[part], *moments, *settings)


class EMA:
    """An exponential moving average of an optimizer's parameters (Polyak and Juditsky 1992).

    warmup: let the decay rise with the optimizer's steps t as (1 + t) / (10 + t), up to ``decay``,
    so that a short run's average soon forgets the weights it began with.
    What is no parameter, such as a batch norm's running statistics, is not averaged.
    """

    def __init__(self, optimizer: Optimizer, decay: float = 0.999, warmup: bool = False):
        if not 0 <= decay < 1:
            raise ValueError(f"EMA: decay is {decay}; expected 0 <= decay < 1")
        self.optimizer, self.decay, self.warmup = optimizer, decay, warmup
        self.average = optimizer.data.copy()

    def update(self) -> None:
        """Call after each optimizer step."""
        t = self.optimizer.steps
        decay = min(self.decay, (1 + t) / (10 + t)) if self.warmup else self.decay
        share = self.average.dtype.type(1 - decay)
        self.average += (self.optimizer.data - self.average) * share

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the model has the averaged weights."""
        saved = self.optimizer.data.copy()
        self._put(self.average)
        try:
            yield
        finally:
            self._put(saved)

    def _put(self, weights: np.ndarray) -> None:
        self.optimizer.data[...] = weights
        self.optimizer._touch()

    def state(self) -> dict[str, np.ndarray]:
        """The averaged parameters by name."""
        return self.optimizer.views(self.average)

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """All or nothing: raises one ValueError with every name that does not fit."""
        own = self.state()
        given = check_state("EMA", own, state)
        for name, array in own.items():
            array[...] = given[name]


def warmup_cosine(
    peak: float, warmup: int, total: int, floor: float = 0.0
) -> Callable[[int], float]:
    """A schedule: a line up to ``peak`` in ``warmup`` steps, then half a cosine down to ``floor``.

    The function returned takes a step, counted from 0, to its learning rate; that is ``floor`` at
    step ``total`` and after it (Loshchilov and Hutter 2017).
    """
    if not 0 <= warmup <= total or not total:
        raise ValueError(
            f"warmup_cosine: warmup {warmup} and total {total}; "
            "expected 0 <= warmup <= total, total > 0"
        )

    def rate(step: int) -> float:
        if step < warmup:
            return peak * (step + 1) / warmup
        if step >= total:
            return floor
        done = (step - warmup) / (total - warmup)
        return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * done))

    return rate


def warmup_inverse_sqrt(
    width: int, warmup: int = 4000, factor: float = 1.0
) -> Callable[[int], float]:
    """The Transformer's schedule: a line up in ``warmup`` steps, then down as 1 / sqrt(step).

    factor * width^-0.5 * min(n^-0.5, n * warmup^-1.5) at the n-th step (Vaswani et al. 2017,
    equation 3), n = step + 1.
    """
    if width < 1 or warmup < 1 or not factor > 0:
        raise ValueError(
            f"warmup_inverse_sqrt: width {width}, warmup {warmup}, factor {factor}; "
            "expected width >= 1, warmup >= 1 and factor > 0"
        )

    def rate(step: int) -> float:
        n = step + 1
        return factor * width**-0.5 * min(n**-0.5, n * warmup**-1.5)

    return rate


def constant(lr: float) -> Callable[[int], float]:
    """A schedule: the same learning rate at every step."""
    return lambda step: lr
