"""1,797 handwritten digits that come with the package, and how to part them by class.

Optical Recognition of Handwritten Digits (Alpaydin and Kaynak 1998), CC BY 4.0; see
digits_licence.txt.  Each pixel counts, from 0 to 16, the ink in a 4x4 block of a 32x32 bitmap.
The 13 writers are not told apart, so the same hands are on both sides of any split: what a model
scores on held-out digits says little about writers it has never seen.
"""

from __future__ import annotations

from importlib import resources
from numbers import Real
from typing import Any

import numpy as np

from .text import whole


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images, (1797, 1, 8, 8) float32 from 0 (paper) to 1 (ink), and labels, (1797,) int64."""
    with (
        resources.files(__package__).joinpath("digits.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        images, labels = arrays["images"], arrays["labels"]
    return images[:, None] / np.float32(16), labels.astype(np.int64)  # N H W -> N 1 H W


def stratified_split(
    labels: Any, held_out: float = 0.2, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Part examples at random, class by class: (train, held out), sorted int64 indices.

    labels: (N,) integers.  held_out: the share of every class that is held out, rounded.
    Raises TypeError or ValueError, also if a class would be missing on one side.
    """
    held = _draw("stratified_split", "held_out", labels, held_out, seed)
    train = np.setdiff1d(np.arange(len(labels)), held)
    missing = np.setdiff1d(labels, np.asarray(labels)[train])
    if missing.size:
        raise ValueError(
            f"stratified_split: holding out {held_out} leaves nothing of class {missing[0]} to "
            "train on; hold out less, or find more examples of it"
        )
    return train, held


def few_labels(labels: Any, share: float = 0.1, seed: int = 0) -> np.ndarray:
    """The examples whose labels one may look at, a ``share`` of every class: sorted int64 indices.

    labels: (N,) integers.  At least one example per class; with the same seed, a larger share
    contains a smaller one.  Raises TypeError or ValueError.
    """
    return _draw("few_labels", "share", labels, share, seed)


def _draw(what: str, name: str, labels: Any, share: float, seed: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 1 or not labels.size or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{what}: labels have shape {labels.shape}, dtype {labels.dtype}; expected integers "
            "along one axis, not empty"
        )
    if isinstance(share, bool) or not isinstance(share, Real):
        raise TypeError(f"{what}: {name} must be a share such as 0.1, got {share!r}")
    if not 0 < share < 1:
        raise ValueError(f"{what}: {name} must lie between 0 and 1, got {share}")
    rng = np.random.default_rng(whole(f"{what}: seed", seed, 0))
    order = rng.permutation(len(labels))
    members = [order[labels[order] == label] for label in np.unique(labels)]
    return np.sort(np.concatenate([m[: max(1, round(len(m) * float(share)))] for m in members]))
