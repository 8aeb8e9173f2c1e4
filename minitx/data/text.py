"""Text for language models: where to get some, and how to cut it into training windows.

A language model reads T ids and predicts, at each of them, the next one.  So a window is T + 1
consecutive ids: all but the last are the inputs, all but the first are the targets.  Training
draws windows at random places; validation walks through the text once, window by window.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np


def python_topics() -> str:
    """The help texts that ship with Python (what `help("assert")` prints), one long string.

    The values of `pydoc_data.topics.topics`, in the order of their keys, an empty line between
    two articles.  No download, but each Python release has its own text: measured,

        3.10.13   458,995 characters, 104 distinct
        3.11.7    465,048 characters, 103 distinct
        3.12.1    492,233 characters, 104 distinct
        3.13.0    510,664 characters, 104 distinct

    so losses compare only between runs on the same release.  Raises ImportError where a
    stripped-down Python lacks the texts.
    """
    return "\n".join(help_topics().values())


def help_topics() -> dict[str, str]:
    """The same help texts one by one, by topic, in the order of their keys.

    Raises ImportError where a stripped-down Python lacks them.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise ImportError(
            "python_topics: this Python was installed without its help texts (pydoc_data); "
            "install the full standard library, or use read_text with a file of your own"
        ) from None
    return dict(sorted(topics.items()))


def read_text(path: str | os.PathLike[str]) -> str:
    """The contents of a UTF-8 file, line ends as "\\n", without a byte-order mark.

    Raises FileNotFoundError, IsADirectoryError, or ValueError if the file is empty or not UTF-8.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"read_text: {path} is a folder; name one text file in it")
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"read_text: there is no file {path} (looked in {Path.cwd()}); check the path"
        ) from None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"read_text: {path} is not UTF-8: byte 0x{raw[error.start]:02x} at offset "
            f"{error.start} ({error.reason}); save the file as UTF-8 first"
        ) from None
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if not text:
        raise ValueError(f"read_text: {path} is empty; name a file that has some text")
    return text


def split(ids: Any, held_out: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Cut (N,) ids into (train, validation); the last `held_out` of them are for validation.

    The end and not a random choice: text from between training passages is no fresh test.
    Both parts are views.  Raises TypeError or ValueError, also if a part would be empty.
    """
    ids = _checked_ids("split", ids)
    if isinstance(held_out, bool) or not isinstance(held_out, Real):
        raise TypeError(f"split: held_out must be a share such as 0.1, got {held_out!r}")
    if not 0 < held_out < 1:
        raise ValueError(f"split: held_out must lie between 0 and 1, got {held_out}")
    validation = round(len(ids) * float(held_out))
    train = len(ids) - validation
    if train == 0 or validation == 0:
        raise ValueError(
            f"split: holding out {held_out} of {len(ids)} ids leaves {train} to train on and "
            f"{validation} to validate on; both need some, so use more text or another share"
        )
    return ids[:train], ids[train:]


class Windows:
    """Batches of windows over (N,) ids: `batch` draws at random, `cover` walks through once.

    Every batch is a pair (inputs, targets), both (B, T) int64 with T = `context`, and
    `targets[b, t]` is the id that follows `inputs[b, t]` in the text.
    """

    def __init__(self, ids: Any, context: int, batch_size: int):
        """Raises TypeError or ValueError, also if the text is shorter than one window."""
        ids = _checked_ids("Windows", ids)
        context = whole("Windows: context", context)
        batch_size = whole("Windows: batch_size", batch_size)
        if len(ids) < context + 1:
            raise ValueError(
                f"Windows: the text has {len(ids)} ids, one window needs {context + 1} "
                f"(context {context} and the target after it); use more text or less context"
            )
        self.ids = ids
        self.context = context
        self.batch_size = batch_size

    def batch(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """`batch_size` windows; each place where one fits is equally likely, repeats allowed."""
        check_generator("Windows.batch", rng)
        return self._at(rng.integers(len(self.ids) - self.context, size=self.batch_size))

    def cover(self, limit: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Consecutive windows from the start of the text, at most `limit` batches of them.

        Each target is scored exactly once, except the first id (nothing precedes it) and fewer
        than `context` ids at the end that fill no window.  The last batch may have fewer rows.
        """
        starts = np.arange(0, len(self.ids) - self.context, self.context)
        if limit is not None:
            starts = starts[: whole("Windows.cover: limit", limit) * self.batch_size]
        firsts = range(0, len(starts), self.batch_size)
        return (self._at(starts[first : first + self.batch_size]) for first in firsts)

    def _at(self, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        places = starts[:, None] + np.arange(self.context)  # B T
        return self.ids[places].astype(np.int64), self.ids[places + 1].astype(np.int64)


def whole(what: str, value: Any, least: int = 1) -> int:
    """`value` as an int; TypeError if it is no whole number, ValueError if below `least`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{what} must be a whole number, got {value!r}")
    if value < least:
        raise ValueError(f"{what} must be at least {least}, got {value}")
    return int(value)


def check_generator(what: str, rng: Any) -> None:
    """TypeError unless `rng` is a NumPy Generator: no draw here depends on global state."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"{what}: rng must be a numpy.random.Generator, got {type(rng).__name__}; "
            "make one with numpy.random.default_rng(seed)"
        )


def _checked_ids(what: str, ids: Any) -> np.ndarray:
    array = np.asarray(ids)
    if array.ndim != 1:
        raise ValueError(
            f"{what}: ids must have one axis, got shape {array.shape}; "
            "encode the text to one long row of ids"
        )
    if array.dtype.kind not in "iu" or not np.can_cast(array.dtype, np.int64):
        raise TypeError(
            f"{what}: ids must be integers that fit int64, got dtype {array.dtype}; "
            "encode the text with a tokenizer"
        )
    return array
