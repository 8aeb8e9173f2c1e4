"""The safetensors file format: named arrays, and nothing that could be executed.

    8 bytes             N, the length of the header, little-endian
    N bytes             JSON in UTF-8, padded with spaces:
                        {"__metadata__": {str: str, ...},
                         name: {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
    the rest            the arrays' bytes, little-endian, C order, without holes or overlaps

The reader trusts nothing: the header is checked against the file's size before a tensor is
allocated.  Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections import Counter
from collections.abc import Mapping
from reprlib import repr as shorten
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from .atomic import atomic_write
from .errors import CheckpointError

# Widest first: data written in this order is aligned without padding, which the format forbids.
_DTYPES: dict[str, np.dtype] = {
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
    "C64": np.dtype("<c8"),
    "F32": np.dtype("<f4"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "BF16": np.dtype("<u2"),  # the upper half of a float32; NumPy has no such type
    "F16": np.dtype("<f2"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_WRITTEN = {dtype: code for code, dtype in _DTYPES.items() if code != "BF16"}
_RANK = {code: rank for rank, code in enumerate(_DTYPES)}
_MAX_HEADER = 100_000_000  # bytes
_MAX_AXES = 64  # NumPy's limit


def save_safetensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write `tensors` to `path`, atomically; equal content gives equal bytes.

    Strides and byte order of the arrays are free.  In the file they stand widest type first, then
    by name, so that each is aligned.  Raises CheckpointError, before anything is written, for a
    name or metadata that is not text and for a dtype that the format does not have.
    """
    arrays = {name: np.asarray(value) for name, value in tensors.items()}
    codes = {name: _code(path, name, array) for name, array in arrays.items()}
    order = sorted(arrays, key=lambda name: (_RANK[codes[name]], name))
    header: dict[str, Any] = {}
    if metadata:
        _check_metadata(path, metadata)
        header["__metadata__"] = dict(sorted(metadata.items()))
    begin = 0
    for name in order:
        end = begin + arrays[name].nbytes
        shape = list(arrays[name].shape)
        header[name] = {"dtype": codes[name], "shape": shape, "data_offsets": [begin, end]}
        begin = end
    try:
        raw = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise CheckpointError(f"{path}: a name or metadata is not valid Unicode: {error}") from None
    raw += b" " * (-len(raw) % 8)
    with atomic_write(path) as file:
        file.write(len(raw).to_bytes(8, "little"))
        file.write(raw)
        for name in order:
            file.write(np.ascontiguousarray(arrays[name], dtype=_DTYPES[codes[name]]).data)


def load_safetensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read every array of a safetensors file, in the order of its data.

    The arrays are writeable and own their memory.  BF16 comes as float32, exactly.
    Raises CheckpointError for a file that breaks the format in any way.
    """
    with open(path, "rb") as file:
        entries, _ = _read_header(path, file)
        return {entry.name: _read_tensor(path, file, entry) for entry in entries}


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read the free text entries (`__metadata__`) of a safetensors file; {} if there are none.

    Raises CheckpointError as `load_safetensors` does, save for what only the data can show.
    """
    with open(path, "rb") as file:
        _, metadata = _read_header(path, file)
    return metadata


def read_dtypes(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read what types the tensors of a safetensors file have there: name -> "F32", "BF16", ...

    Raises CheckpointError as `load_safetensors` does, save for what only the data can show.
    """
    with open(path, "rb") as file:
        entries, _ = _read_header(path, file)
    return {entry.name: entry.code for entry in entries}


class _Entry(NamedTuple):
    name: str
    code: str
    shape: tuple[int, ...]
    begin: int
    end: int


def _code(path: Any, name: Any, array: np.ndarray) -> str:
    if not isinstance(name, str) or name == "__metadata__":
        raise CheckpointError(f"{path}: a tensor's name must be text, not {name!r}")
    code = _WRITTEN.get(array.dtype.newbyteorder("<"))
    if code is None:
        raise CheckpointError(
            f"{path}: tensor {name!r} has dtype {array.dtype}, which safetensors cannot hold; "
            f"convert it to one of {', '.join(str(dtype) for dtype in _WRITTEN)}"
        )
    return code


def _check_metadata(path: Any, metadata: Any) -> None:
    texts = [*metadata.keys(), *metadata.values()] if isinstance(metadata, Mapping) else [None]
    if not all(isinstance(text, str) for text in texts):
        raise CheckpointError(f"{path}: metadata must map text to text, got {shorten(metadata)}")


def _read_header(path: Any, file: BinaryIO) -> tuple[list[_Entry], dict[str, str]]:
    """Read and check everything before the data: the entries in the order of their data, metadata.

    Afterwards `file` stands at the first byte of the first entry.
    """
    size = os.fstat(file.fileno()).st_size
    if size < 8:
        raise CheckpointError(f"{path}: a safetensors file has at least 8 bytes, this one {size}")
    length = int.from_bytes(file.read(8), "little")
    if length > min(size - 8, _MAX_HEADER):
        raise CheckpointError(
            f"{path}: a header of {length} bytes is announced, but {size - 8} bytes follow and "
            f"{_MAX_HEADER} are allowed; the file is truncated or not safetensors"
        )
    header = _parse(path, file.read(length))
    metadata = header.pop("__metadata__", {})
    _check_metadata(path, metadata)

    room = size - 8 - length
    entries = [_check_entry(path, name, info, room) for name, info in header.items()]
    entries.sort(key=lambda entry: (entry.begin, entry.end))
    position = 0
    for entry in entries:
        if entry.begin != position:
            what = "overlaps" if entry.begin < position else "leaves a hole after"
            raise CheckpointError(
                f"{path}: tensor {entry.name!r} begins at byte {entry.begin} of the data and "
                f"{what} the tensor before it, which ends at {position}"
            )
        position = entry.end
    if position != room:
        raise CheckpointError(f"{path}: {room - position} bytes follow the last tensor, expected 0")
    return entries, metadata


def _parse(path: Any, raw: bytes) -> dict[str, Any]:
    if raw[:1] != b"{":
        raise CheckpointError(f"{path}: a header begins with '{{', this one with {raw[:1]!r}")
    try:
        header = json.loads(raw.decode(), object_pairs_hook=_unique)
        for text in header:
            text.encode()  # JSON can spell half a surrogate pair, which is no text
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: the header is not JSON in UTF-8: {error}") from None
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        key, times = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {key!r} appears {times} times")
    return table


def _check_entry(path: Any, name: str, info: Any, room: int) -> _Entry:
    where = f"{path}: tensor {name!r}"
    if not isinstance(info, dict) or info.keys() != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(
            f"{where} is described by {shorten(info)}, expected dtype, shape and data_offsets"
        )
    code, shape, offsets = info["dtype"], info["shape"], info["data_offsets"]
    if not isinstance(code, str) or code not in _DTYPES:
        raise CheckpointError(
            f"{where} has dtype {shorten(code)}, expected one of {', '.join(_DTYPES)}"
        )
    if not _are_sizes(shape) or len(shape) > _MAX_AXES:
        raise CheckpointError(
            f"{where} has shape {shorten(shape)}, expected at most {_MAX_AXES} integers >= 0"
        )
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise CheckpointError(
            f"{where} has data_offsets {shorten(offsets)}, expected [begin, end], 0 <= begin <= end"
        )
    begin, end = offsets
    if end > room:
        raise CheckpointError(
            f"{where} ends at byte {end} of the data, but the file has {room}; is it truncated?"
        )
    # NumPy multiplies up the other axes even where one is zero.
    if math.prod(n for n in shape if n) * _DTYPES[code].itemsize > sys.maxsize:
        raise CheckpointError(f"{where} has shape {shorten(shape)}, more than memory can address")
    needed = math.prod(shape) * _DTYPES[code].itemsize
    if end - begin != needed:
        raise CheckpointError(
            f"{where} has {end - begin} bytes, but {code} of shape {shape} takes {needed}"
        )
    return _Entry(name, code, tuple(shape), begin, end)


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


def _read_tensor(path: Any, file: BinaryIO, entry: _Entry) -> np.ndarray:
    array = np.empty(entry.shape, _DTYPES[entry.code])
    raw = array.reshape(-1).view(np.uint8)
    count = file.readinto(raw.data)  # type: ignore[attr-defined]
    if count != raw.size:
        raise CheckpointError(
            f"{path}: tensor {entry.name!r} has {raw.size} bytes, but only {count} could be read"
        )
    if entry.code == "BOOL" and raw.max(initial=0) > 1:
        raise CheckpointError(f"{path}: tensor {entry.name!r} is BOOL, but has bytes above 1")
    if entry.code == "BF16":
        wide = np.empty(entry.shape, np.float32)
        np.left_shift(array, 16, out=wide.view(np.uint32), dtype=np.uint32)
        return wide
    return array.astype(array.dtype.newbyteorder("="), copy=False)
