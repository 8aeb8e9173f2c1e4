"""What an op was given, as JSON that can be given to it again.

Numbers, text, None, booleans and lists stand for themselves; all else is an object with one key:

    {"tensor": name}           an array of the bundle
    {"tuple": [...]}           {"slice": [start, stop, step]}         {"ellipsis": true}
    {"number": "inf"}          an infinity or "nan", for which JSON has no word
    {"dtype": "float64"}       NumPy's
    {"generator": {"state": ..., "first": n}}   a Generator of NumPy's before it was drawn from, and
                               the first 64-bit number it gives: the key of a dropout mask
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def encode(x: Any, name_of: Callable[[np.ndarray, str], str], place: str) -> Any:
    """``x`` as JSON.  name_of(array, place): the name to keep an array under.

    Raises TypeError on what has no form in JSON.
    """
    if isinstance(x, np.ndarray):
        return {"tensor": name_of(x, place)}
    if isinstance(x, np.generic):
        x = x.item()
    if isinstance(x, float) and not math.isfinite(x):
        return {"number": str(x)}
    if x is None or isinstance(x, bool | int | float | str):
        return x
    if x is Ellipsis:
        return {"ellipsis": True}
    if isinstance(x, slice):
        parts = x.start, x.stop, x.step
        return {"slice": [encode(part, name_of, place) for part in parts]}
    if isinstance(x, list | tuple):
        items = [encode(item, name_of, f"{place}/{i}") for i, item in enumerate(x)]
        return items if isinstance(x, list) else {"tuple": items}
    if isinstance(x, np.random.Generator):
        first = copy.deepcopy(x).integers(0, 2**64, dtype=np.uint64)
        return {"generator": {"state": x.bit_generator.state, "first": int(first)}}
    if isinstance(x, np.dtype) or (isinstance(x, type) and issubclass(x, np.generic)):
        return {"dtype": np.dtype(x).name}
    raise TypeError(f"dump: {place} is {x!r:.80}, a {type(x).__name__}, which JSON cannot hold")


def decode(x: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The inverse.  Raises KeyError on a tensor that is not among ``arrays``."""
    if isinstance(x, list):
        return [decode(item, arrays) for item in x]
    if not isinstance(x, dict):
        return x
    ((kind, content),) = x.items()
    if kind == "tensor":
        return arrays[content]
    if kind == "tuple":
        return tuple(decode(item, arrays) for item in content)
    if kind == "slice":
        return slice(*(decode(part, arrays) for part in content))
    if kind == "ellipsis":
        return Ellipsis
    if kind == "number":
        return float(content)
    if kind == "dtype":
        return np.dtype(content)
    if kind == "generator":
        bits = getattr(np.random, content["state"]["bit_generator"])()
        bits.state = content["state"]
        return np.random.Generator(bits)
    raise ValueError(f"bundle: {kind!r} is no kind of value")


def tensors_in(x: Any) -> list[str]:
    """The names of all tensors that an encoded value refers to."""
    if isinstance(x, dict):
        return [x["tensor"]] if "tensor" in x else [n for y in x.values() for n in tensors_in(y)]
    return [name for item in x for name in tensors_in(item)] if isinstance(x, list) else []
