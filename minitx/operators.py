"""Tensor as Python and NumPy see it: its shape, its value, its operators; nothing of its past.

``ops/__init__.py`` binds the operators; here they are declared for type checkers and editors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .tensor import Tensor


class Operators:
    """What Tensor inherits.  A method that is an op takes the tensor as the op's first argument."""

    __slots__ = ()
    __array_ufunc__ = None  # so that ndarray + Tensor is a Tensor

    if TYPE_CHECKING:
        data: np.ndarray
        node: Any
        requires_grad: bool
        T: Tensor
        sum: Callable[..., Tensor]
        mean: Callable[..., Tensor]
        max: Callable[..., Tensor]
        var: Callable[..., Tensor]
        reshape: Callable[..., Tensor]
        transpose: Callable[..., Tensor]
        swapaxes: Callable[[int, int], Tensor]
        astype: Callable[[Any], Tensor]

        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __lt__(self, other: Any) -> Any: ...
        def __le__(self, other: Any) -> Any: ...
        def __gt__(self, other: Any) -> Any: ...
        def __ge__(self, other: Any) -> Any: ...
        def __getitem__(self, index: Any) -> Tensor: ...

    shape = property(lambda self: self.data.shape)
    ndim = property(lambda self: self.data.ndim)
    size = property(lambda self: self.data.size)
    dtype = property(lambda self: self.data.dtype)

    def numpy(self) -> np.ndarray:
        """The value as a read-only view."""
        view = self.data.view()
        view.flags.writeable = False
        return view

    def __array__(self, dtype=None, copy=None):
        """What NumPy's functions see: the value alone, through which no gradient flows."""
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def item(self) -> Any:
        """The value of a tensor of one element as a Python number."""
        return self.data.item()

    def __float__(self) -> float:
        return float(self.data)

    def __bool__(self) -> bool:
        return bool(self.data)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len: a tensor without axes has no length")
        return len(self.data)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError(
            "Tensors are immutable: make a new one with where, concatenate or pad, "
            "or change an ndarray before it becomes a Tensor"
        )

    def __repr__(self) -> str:
        leaf = ", requires_grad=True" if self.requires_grad else ""
        past = f", op={self.node.name}" if self.node else leaf
        values = np.array2string(self.data, precision=4, threshold=20)
        return f"Tensor({values}, {self.shape}, {self.dtype}{past})"
