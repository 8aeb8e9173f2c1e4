"""NumPy's own container: a zip of `.npy` members, read without trusting it.

`numpy.load` believes what it is told: a header of a hundred bytes may announce an array of a
terabyte, and a name may appear twice.  Here every size is checked before anything is allocated:
the shape against its member of the zip, the members against the file.
Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import math
import os
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.lib import format as npy

from .atomic import atomic_write
from .errors import CheckpointError

_KINDS = "biufcSU"  # booleans, numbers and text: what needs no pickle
_HEADER_READERS: dict[Any, Any] = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
}
# How many bytes may come out for one that went in: deflate spends >= 2 bits on <= 258 bytes.
_EXPANSION = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}
_CHUNK = 1 << 20  # bytes


def save_npz(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write `arrays` to `path`, atomically and uncompressed, in the given order.

    Equal arrays in equal order give equal bytes, and `numpy.load` reads them.  Raises
    CheckpointError, before anything is written, for a name that a zip cannot hold and for arrays
    of anything but booleans, numbers and text.
    """
    members = {_member_name(path, name): np.asarray(value) for name, value in arrays.items()}
    for member, array in members.items():
        _check_dtype(f"{path}: array {member[:-4]!r}", array.dtype)
    with atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
        for member, array in members.items():
            undated = zipfile.ZipInfo(member)
            with archive.open(undated, "w", force_zip64=True) as stream:
                npy.write_array(stream, np.asarray(array, order="C"), allow_pickle=False)


def load_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read every array of an npz file, compressed or not, in the order of the file.

    The arrays are writeable, own their memory and have this machine's byte order.  Raises
    CheckpointError for a damaged zip, a name that appears twice, arrays of objects, and sizes that
    disagree.
    """
    with open(path, "rb") as file, _blaming(f"{path}"), zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        _check_members(path, members, os.fstat(file.fileno()).st_size)
        arrays = {}
        for member in members:
            name = member.filename[:-4]
            where = f"{path}: array {name!r}"
            with _blaming(where), archive.open(member) as stream:
                arrays[name] = _read_array(where, stream, member.file_size)
        return arrays


@contextmanager
def _blaming(where: str) -> Iterator[None]:
    """Turn the dozen errors that zipfile and numpy raise for senseless bytes into our one."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"{where} cannot be read: {error!r:.300}") from error


def _member_name(path: Any, name: Any) -> str:
    try:
        if "\0" not in name and len(name.encode()) < 65_000:  # a zip has 16 bits for the length
            return name + ".npy"
    except (TypeError, AttributeError, UnicodeEncodeError):
        pass
    raise CheckpointError(
        f"{path}: an array's name must be text without NUL, below 65,000 bytes, not {name!r:.80}"
    )


def _check_dtype(where: str, dtype: np.dtype) -> None:
    if dtype.kind not in _KINDS or dtype.itemsize == 0:
        raise CheckpointError(f"{where} has dtype {dtype}, expected booleans, numbers or text")


def _check_members(path: Any, members: list[zipfile.ZipInfo], size: int) -> None:
    for name, times in Counter(member.filename for member in members).items():
        if times > 1:
            raise CheckpointError(f"{path}: the member {name!r} appears {times} times")
        if not name.endswith(".npy"):
            raise CheckpointError(f"{path}: the member {name!r} is no array, expected *.npy")
    for member in members:
        if member.file_size > member.compress_size * _EXPANSION.get(member.compress_type, 0):
            raise CheckpointError(
                f"{path}: the member {member.filename!r} claims to unpack {member.compress_size} "
                f"bytes to {member.file_size}, which neither a stored nor a deflated one can"
            )
    claimed = sum(member.compress_size for member in members)
    if claimed > size:
        raise CheckpointError(f"{path}: the members claim {claimed} bytes, the file has {size}")


def _read_array(where: str, stream: Any, member_size: int) -> np.ndarray:
    version = npy.read_magic(stream)
    if version not in _HEADER_READERS:
        raise CheckpointError(f"{where} has npy version {version}, expected (1, 0) or (2, 0)")
    shape, fortran_order, dtype = _HEADER_READERS[version](stream)
    _check_dtype(where, dtype)
    size = math.prod(shape) * dtype.itemsize
    if size != member_size - stream.tell():
        raise CheckpointError(
            f"{where} has {member_size - stream.tell()} bytes, "
            f"but {dtype} of shape {shape} takes {size}"
        )
    array = np.empty(shape, dtype, order="F" if fortran_order else "C")
    raw = array.reshape(-1, order="A").view(np.uint8)
    filled = 0
    while filled < size:
        count = stream.readinto(raw[filled : filled + _CHUNK])
        if count == 0:
            raise CheckpointError(f"{where} has {size} bytes, but only {filled} could be read")
        filled += count
    if dtype.kind == "b" and raw.max(initial=0) > 1:
        raise CheckpointError(f"{where} is boolean, but has bytes above 1")
    return array.astype(dtype.newbyteorder("="), copy=False)
