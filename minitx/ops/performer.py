"""The performer: features, and attention that is linear in the length (Choromanski et al. 2020)."""

from __future__ import annotations

from .. import kernels
from ..tensor import op
from .checks import check_floating


@op
def positive_features(along, x):
    """exp(along - |x|^2 / 2) / sqrt(m): features whose products stand for exp(q k).

    along: (..., m), the products of x, (..., C), with m directions -> (..., m).  Over normal
    directions the mean of these products is exp(q k) (Choromanski et al. 2020, lemma 1).
    Raises ValueError on shapes that do not fit.
    """
    if not (along.ndim == x.ndim > 0 and along.shape[:-1] == x.shape[:-1] and along.shape[-1]):
        raise ValueError(
            f"positive_features: along {along.shape}, x {x.shape}; expected (..., m) and (..., C), "
            "m > 0"
        )
    check_floating("positive_features", along, x)
    y = kernels.positive_features(along, x)
    return y, lambda dy: kernels.positive_features_vjp(dy, x, y)


@op
def linear_attend(features, v, eps=1e-8):
    """Attention whose weights are products of features: q (k^T v) / (q . sum(k) + eps).

    features: (B, T, 2, m), of queries and of keys, v: (B, T, C) -> (B, T, C).  A position's query
    sees all T keys.  The cost grows with T, not with its square: what keys and values add up to
    is made first (Choromanski et al. 2020, section 2.2; Katharopoulos et al. 2020, equation 5).
    Raises ValueError on other shapes.
    """
    if not (features.ndim == 4 and v.ndim == 3 and features.shape[:3] == (*v.shape[:2], 2)):
        raise ValueError(
            f"linear_attend: features {features.shape}, v {v.shape}; "
            "expected (B, T, 2, m) and (B, T, C)"
        )
    check_floating("linear_attend", features, v)
    y, *sums = kernels.linear_attend(features, v, float(eps))
    return y, lambda dy: kernels.linear_attend_vjp(dy, features, v, y, *sums)
