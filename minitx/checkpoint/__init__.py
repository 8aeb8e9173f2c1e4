"""Named arrays on disk: safetensors and npz files, written atomically and read with suspicion.

`save` and `load` choose the format by the path's suffix.  The tables between our parameter names
and official checkpoints' are made with `minitx.checkpoint.names`; whole folders of transformers
are read and written by models that are `Pretrained`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from .atomic import atomic_write
from .errors import CheckpointError
from .names import official
from .npz import load_npz, save_npz
from .pretrained import Pretrained, PretrainedWarning
from .safetensors import load_safetensors, read_dtypes, read_metadata, save_safetensors

__all__ = [
    "CheckpointError",
    "Pretrained",
    "PretrainedWarning",
    "atomic_write",
    "load",
    "load_npz",
    "load_safetensors",
    "official",
    "read_dtypes",
    "read_metadata",
    "save",
    "save_npz",
    "save_safetensors",
]


def save(
    path: str | os.PathLike[str],
    tensors: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write `tensors` to `path`, a `.safetensors` or `.npz` file; only the former holds metadata.

    The file changes completely or not at all.  Raises CheckpointError for another suffix and for
    what the format cannot hold.
    """
    if _suffix(path) == ".safetensors":
        save_safetensors(path, tensors, metadata)
    elif metadata:
        raise CheckpointError(f"{path}: npz files hold no metadata; write .safetensors instead")
    else:
        save_npz(path, tensors)


def load(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read every array of `path`, a `.safetensors` or `.npz` file.

    Raises CheckpointError for another suffix and for a damaged file.
    """
    return load_safetensors(path) if _suffix(path) == ".safetensors" else load_npz(path)


def _suffix(path: str | os.PathLike[str]) -> str:
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in (".safetensors", ".npz"):
        raise CheckpointError(f"{path}: expected a path that ends in .safetensors or .npz")
    return suffix
