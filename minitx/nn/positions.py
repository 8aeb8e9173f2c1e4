"""Positions as sine waves (Vaswani et al. 2017, section 3.5)."""

from __future__ import annotations

import numpy as np


def sinusoids(count: int, width: int, halves: bool = False) -> np.ndarray:
    """A sine and a cosine for each of width / 2 wavelengths, 2 pi to 10000 * 2 pi.

    -> (count, width) float64.  The two alternate, as in the paper, or with ``halves`` all sines
    stand before all cosines, as in Marian.  Raises ValueError on an odd width.
    """
    if width % 2:
        raise ValueError(f"sinusoids: width is {width}; expected an even number")
    waves = 10000.0 ** (-np.arange(0, width, 2) / width)
    angles = np.arange(count)[:, None] * waves
    both = np.stack([np.sin(angles), np.cos(angles)], axis=1 if halves else 2)
    return both.reshape(count, width)
