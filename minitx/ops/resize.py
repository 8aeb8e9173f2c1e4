"""Images of another size."""

from __future__ import annotations

from .. import kernels
from ..tensor import op
from .checks import check_image, pair


@op
def resize(x, size, mode="bilinear"):
    """The image in ``size`` (H', W') pixels.  x: (B, C, H, W) -> (B, C, H', W')

    mode: "bilinear", "bicubic" (a = -0.75) or "nearest"; corners are not aligned, and nothing is
    smoothed before it shrinks.  Raises ValueError on another mode, or a size less than 1.
    """
    check_image("resize", x)
    size = pair("resize", "size", size)
    if mode not in kernels.FILTERS:
        known = ", ".join(map(repr, kernels.FILTERS))
        raise ValueError(f"resize: mode is {mode!r}; expected one of {known}")
    if 0 in x.shape[2:]:
        raise ValueError(f"resize: x {x.shape}; expected an image of one pixel at least")
    down, right = (
        kernels.resize_matrix(old, new, mode).astype(x.dtype)
        for old, new in zip(x.shape[2:], size, strict=True)
    )

    def vjp(dy):
        return (kernels.matmul(down.T, kernels.matmul(dy, right)),)

    return kernels.matmul(kernels.matmul(down, x), right.T), vjp
