"""Read a golden bundle with Python alone: check it, and print every tensor.

    python demos/read_bundle.py golden/gpt2

Neither minitx nor NumPy is needed.  It prints name, dtype, shape and CRC-32, as read_bundle.c does;
``read`` gives the numbers.  The format is described in minitx/oracle/FORMAT.md.  The exit code is
1, after a message, if anything is not as the manifest says.
"""

import hashlib
import json
import math
import struct
import sys
import zlib

# NumPy's name of a dtype -> safetensors' name, and that of Python's struct.
DTYPES = {
    "float64": ("F64", "d"),
    "float32": ("F32", "f"),
    "int64": ("I64", "q"),
    "int32": ("I32", "i"),
    "uint64": ("U64", "Q"),
    "uint32": ("U32", "I"),
    "int16": ("I16", "h"),
    "uint16": ("U16", "H"),
    "int8": ("I8", "b"),
    "uint8": ("U8", "B"),
    "bool": ("BOOL", "?"),
}


def read(stem):
    """Name -> (shape, tuple of all numbers, last axis fastest), and the manifest.

    Raises ValueError on a damaged bundle.
    """
    with open(f"{stem}.json", encoding="utf-8") as file:
        manifest = json.load(file)
    if (manifest["format"], manifest["version"]) != ("minitx golden bundle", 1):
        raise ValueError("the manifest is not one of a bundle, version 1")
    with open(f"{stem}.safetensors", "rb") as file:
        data = file.read()
    check("the file", data, manifest["file"])
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:begin])
    header.pop("__metadata__", None)
    expected = manifest["tensors"]
    if header.keys() != expected.keys():
        raise ValueError("the file has other tensors than the manifest")
    arrays = {}
    for name, info in header.items():
        start, stop = (begin + offset for offset in info["data_offsets"])
        code, letter = DTYPES[expected[name]["dtype"]]
        if info["dtype"] != code or info["shape"] != expected[name]["shape"]:
            raise ValueError(f"{name}: dtype or shape differs from the manifest's")
        check(name, data[start:stop], expected[name])
        numbers = struct.unpack(f"<{math.prod(info['shape'])}{letter}", data[start:stop])
        arrays[name] = tuple(info["shape"]), numbers
    return arrays, manifest


def check(name, data, expected):
    """The bytes are of the length and have the sums that the manifest says."""
    if len(data) != expected["bytes"]:
        raise ValueError(f"{name}: {len(data)} bytes, expected {expected['bytes']}")
    if f"{zlib.crc32(data):08x}" != expected["crc32"]:
        raise ValueError(f"{name}: its CRC-32 differs")
    if hashlib.sha256(data).hexdigest() != expected["sha256"]:
        raise ValueError(f"{name}: its SHA-256 differs")


def main():
    if len(sys.argv) != 2:
        sys.exit("read_bundle: expected one argument, a bundle's path without a suffix")
    try:
        _, manifest = read(sys.argv[1])
    except (ValueError, KeyError, TypeError, struct.error, OSError) as error:
        sys.exit(
            f"read_bundle: {error!r}" if isinstance(error, KeyError) else f"read_bundle: {error}"
        )
    for name, x in manifest["tensors"].items():
        print(name, x["dtype"], f"({', '.join(map(str, x['shape']))})", x["crc32"])


if __name__ == "__main__":
    main()
