"""CIFAR-10 and CIFAR-100 in their binary version, as it is when unpacked.

A record is the label, one byte (for CIFAR-100 the coarse, then the fine one), and a 32x32 picture:
1,024 bytes of red, of green and of blue, row by row.
Format: https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
_PIXELS = 3 * 32 * 32
_FILES = {
    10: {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]},
    100: {"train": ["train.bin"], "test": ["test.bin"]},
}
_FOLDERS = {10: "cifar-10-batches-bin", 100: "cifar-100-binary"}


def read_cifar10(
    folder: str | os.PathLike[str], part: str = "train"
) -> tuple[np.ndarray, np.ndarray]:
    """Images, (N, 3, 32, 32) uint8, and labels, (N,) int64, indices into CIFAR10_CLASSES.

    folder: has data_batch_1.bin and so on, or the folder cifar-10-batches-bin.  part: "train" or
    "test".  Raises FileNotFoundError, or ValueError if a file is damaged.
    """
    labels, images = _read("read_cifar10", Path(folder), part, 10, labels=1)
    return images, _checked("read_cifar10", labels[:, 0], 10)


def read_cifar100(
    folder: str | os.PathLike[str], part: str = "train", coarse: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Images, (N, 3, 32, 32) uint8, and labels, (N,) int64, of 100 classes, or 20 coarse ones.

    folder: has train.bin and test.bin, or the folder cifar-100-binary.  part: "train" or "test".
    Raises FileNotFoundError, or ValueError if a file is damaged.
    """
    labels, images = _read("read_cifar100", Path(folder), part, 100, labels=2)
    coarse_labels = _checked("read_cifar100", labels[:, 0], 20)
    fine_labels = _checked("read_cifar100", labels[:, 1], 100)
    return images, coarse_labels if coarse else fine_labels


def _read(
    what: str, folder: Path, part: str, classes: int, labels: int
) -> tuple[np.ndarray, np.ndarray]:
    if part not in _FILES[classes]:
        raise ValueError(f"{what}: part is {part!r}; expected 'train' or 'test'")
    if (folder / _FOLDERS[classes]).is_dir():
        folder = folder / _FOLDERS[classes]
    blocks = []
    for name in _FILES[classes][part]:
        path = folder / name
        if path.with_suffix("").is_file() and not path.is_file():
            raise ValueError(
                f"{what}: {folder} has the Python version, whose files are pickles and may run "
                "anything; download the binary version"
            )
        if not path.is_file():
            raise FileNotFoundError(
                f"{what}: there is no file {path}; name the folder of the unpacked binary version"
            )
        blocks.append(_records(what, path, labels))
    records = np.concatenate(blocks)
    return records[:, :labels], records[:, labels:].reshape(-1, 3, 32, 32)


def _records(what: str, path: Path, labels: int) -> np.ndarray:
    raw = np.fromfile(path, np.uint8)
    if not raw.size or raw.size % (labels + _PIXELS):
        other = 3 - labels
        fits = raw.size and raw.size % (other + _PIXELS) == 0
        remedy = f"it looks like CIFAR-{10**other}" if fits else "it was cut, download it again"
        raise ValueError(
            f"{what}: {path} has {raw.size} bytes, which are no whole records of "
            f"{labels + _PIXELS}; {remedy}"
        )
    return raw.reshape(-1, labels + _PIXELS)


def _checked(what: str, labels: np.ndarray, classes: int) -> np.ndarray:
    if labels.max() >= classes:
        raise ValueError(
            f"{what}: record {labels.argmax()} has the label {labels.max()}, expected below "
            f"{classes}; the files are damaged or of another data set"
        )
    return labels.astype(np.int64)
