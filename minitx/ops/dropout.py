"""Dropout."""

from __future__ import annotations

from .. import kernels
from ..tensor import op
from .checks import check_floating, check_probability, draw_key


@op
def dropout(x, p, rng):
    """Zero each element with probability ``p``, scale the others by 1 / (1 - p).

    Srivastava et al. 2014.  ``rng``: the numpy.random.Generator to draw from.
    """
    check_floating("dropout", x)
    check_probability("dropout", p)
    key = draw_key("dropout", rng)
    return kernels.dropout(x, float(p), key), lambda dy: (kernels.dropout(dy, float(p), key),)
