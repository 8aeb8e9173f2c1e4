"""IDX files, the format of MNIST and its like (Fashion-MNIST, EMNIST, KMNIST), plain or gzipped.

Two zero bytes, one for the kind of number, one for how many axes; the length of each axis as a
big-endian 32-bit number; then the numbers, big-endian, the last axis fastest.
Format: http://yann.lecun.com/exdb/mnist/
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import IO, cast

import numpy as np

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_PARTS = {"train": "train", "test": "t10k|test"}  # what the files call them
_EXPANSION = 1032  # the most bytes that deflate makes of one


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in an IDX file of any kind and shape, in this machine's byte order.

    Whether it is gzipped is seen from its bytes, not its name.  Nothing is allocated before the
    sizes in the header are compared with the file.  Raises FileNotFoundError, or ValueError if the
    file is damaged or no IDX file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"read_idx: there is no file {path}; check the path")
    size = path.stat().st_size
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not zipped:
            return _read(path, file, size)
        try:
            with gzip.open(file) as stream:
                return _read(path, cast(IO[bytes], stream), size * _EXPANSION)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(
                f"read_idx: {path}, {size} bytes, is a damaged gzip file ({error}); "
                "download it again"
            ) from None


def read_mnist(
    folder: str | os.PathLike[str], part: str = "train"
) -> tuple[np.ndarray, np.ndarray]:
    """Images, (N, 1, H, W) uint8, and labels, (N,) int64, of MNIST or a data set in its form.

    folder: has the files as they were downloaded, such as train-images-idx3-ubyte.gz and
    train-labels-idx1-ubyte.gz.  part: "train", or "test", which MNIST names t10k.
    Raises FileNotFoundError, or ValueError if the files are damaged or do not belong together.
    """
    if part not in _PARTS:
        raise ValueError(f"read_mnist: part is {part!r}; expected 'train' or 'test'")
    paths = [_find(Path(folder), part, kind) for kind in ("images", "labels")]
    images, labels = map(read_idx, paths)
    for path, array, axes in zip(paths, (images, labels), (3, 1), strict=True):
        if array.ndim != axes or array.dtype != np.uint8:
            raise ValueError(
                f"read_mnist: {path} holds {array.dtype} of shape {array.shape}, expected bytes "
                f"along {axes} axes; images and labels may have been swapped"
            )
    if len(images) != len(labels):
        raise ValueError(
            f"read_mnist: {len(images)} images in {paths[0]}, but {len(labels)} labels in "
            f"{paths[1]}; take both from one download"
        )
    return images[:, None], labels.astype(np.int64)  # N H W -> N 1 H W


def _read(path: Path, stream: IO[bytes], most: int) -> np.ndarray:
    """most: how many bytes the stream can have."""
    start = stream.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _DTYPES:
        raise ValueError(
            f"read_idx: {path} begins with the bytes {start.hex(' ') or 'of an empty file'}, an "
            "IDX file with 00 00, 08 to 0e for the kind of number, and the number of axes; "
            "check that it is the file you mean, or download it again"
        )
    dtype, axes = np.dtype(_DTYPES[start[2]]), start[3]
    header = stream.read(4 * axes)
    shape = tuple(int(n) for n in np.frombuffer(header[: len(header) // 4 * 4], ">u4"))
    size = math.prod(shape) * dtype.itemsize
    said = f"{path} announces {dtype.name} of shape {shape}, {size} bytes after its header"
    if len(header) < 4 * axes:
        raise ValueError(f"read_idx: {path} ends within its header of {axes} axes; download again")
    if size > most:
        raise ValueError(f"read_idx: {said}, which is more than the file can have; download again")
    raw = stream.read(size + 1)
    if len(raw) != size:
        came = f"only {len(raw)}" if len(raw) < size else "more"
        raise ValueError(f"read_idx: {said}, but has {came}; it was cut or changed, download again")
    return np.frombuffer(raw, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def _find(folder: Path, part: str, kind: str) -> Path:
    if not folder.is_dir():
        raise FileNotFoundError(f"read_mnist: there is no folder {folder}; check the path")
    names = _PARTS[part].split("|")
    found = [
        path
        for path in sorted(folder.iterdir())  # x before x.gz
        for name in names
        if f"{name}-{kind}" in path.name and "idx" in path.name and path.is_file()
    ]
    if not found:
        raise FileNotFoundError(
            f"read_mnist: {folder} has no file such as {names[0]}-{kind}-idx"
            f"{3 if kind == 'images' else 1}-ubyte.gz; put the downloaded files there"
        )
    others = [path for path in found[1:] if path.name != f"{found[0].name}.gz"]
    if others:
        raise ValueError(
            f"read_mnist: {folder} has both {found[0].name} and {others[0].name}; "
            "keep each data set in a folder of its own"
        )
    return found[0]
