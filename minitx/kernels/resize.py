"""Images of another size: along each axis a pixel is a weighted sum of old ones, so a matrix."""

from __future__ import annotations

import functools

import numpy as np

_A = -0.75  # of the cubic, Keys 1981: its slope one pixel away from the centre


def _linear(distance):
    return np.maximum(0, 1 - np.abs(distance))


def _cubic(distance):
    d = np.abs(distance)
    near = (_A + 2) * d**3 - (_A + 3) * d**2 + 1
    far = _A * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


FILTERS = {"bilinear": (_linear, 1), "bicubic": (_cubic, 2), "nearest": (None, 0)}  # and radius


@functools.lru_cache(64)
def resize_matrix(old, new, mode):
    """(new, old) float64, of which each row sums to 1.

    Pixels are areas, not points: the centre of new pixel i lies at (i + 1/2) old / new - 1/2
    (``align_corners=False``).  Beyond the border the outermost pixel repeats; "nearest" takes the
    old pixel in which the new one begins.
    """
    matrix = np.zeros((new, old))
    weight, radius = FILTERS[mode]
    place = np.arange(new)
    if weight is None:
        matrix[place, place * old // new] = 1
    else:
        centre = (place + 0.5) * old / new - 0.5
        first = np.floor(centre).astype(int)
        for k in range(1 - radius, radius + 1):
            at = np.clip(first + k, 0, old - 1)
            np.add.at(matrix, (place, at), weight(centre - (first + k)))
    matrix.flags.writeable = False
    return matrix
