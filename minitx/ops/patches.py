"""Images as sequences of patches, and back."""

from __future__ import annotations

from .. import kernels
from ..tensor import op
from .checks import check_floating, check_image, check_windows, pair


@op
def unfold(x, kernel, stride=1, padding=0, dilation=1):
    """All windows of an image, in reading order.  x: (B, C, H, W) -> (B, L, C * kh * kw)

    A window's values are ordered channel, row, column; the padding is of zeros.  Each option is a
    number or a pair (down, right).  Raises ValueError on another shape, or if no window fits.
    """
    check_image("unfold", x)
    geometry = check_windows("unfold", x.shape, kernel, stride, padding, dilation)
    size = x.shape[2:]
    return kernels.unfold(x, *geometry), lambda dy: (kernels.fold(dy, size, *geometry),)


@op
def fold(patches, size, kernel, stride=1, padding=0, dilation=1):
    """Each pixel is the sum of what windows have there; the transpose of ``unfold``.

    patches: (B, L, C * kh * kw), size: (H, W) -> (B, C, H, W)
    Raises ValueError unless the patches are as many and as long as ``unfold`` makes them.
    """
    size = pair("fold", "size", size)
    check_floating("fold", patches)
    geometry = check_windows("fold", size, kernel, stride, padding, dilation)
    rows, columns = kernels.windows_of(size, *geometry)
    values = geometry[0][0] * geometry[0][1]
    if patches.ndim != 3 or patches.shape[1] != rows * columns or patches.shape[2] % values:
        expected = f"(B, {rows * columns}, C * {values})"
        raise ValueError(f"fold: patches {patches.shape} for an image {size}; expected {expected}")
    y = kernels.fold(patches, size, *geometry)
    return y, lambda dy: (kernels.unfold(dy, *geometry),)
