"""The one error of this package: a file, or a table of names, is not what it should be."""

from __future__ import annotations


class CheckpointError(ValueError):
    """A checkpoint cannot be read, written or matched; the message says where and why."""
