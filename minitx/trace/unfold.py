"""The named intermediates of a kernel's reference: what its variables held when it returned."""

from __future__ import annotations

import os
import pathlib
import sys
from typing import Any

import numpy as np

_KERNELS = str(pathlib.Path(__file__).parents[1] / "kernels") + os.sep


class Unfolding:
    """Within the block, collect every array that a function of ``minitx/kernels`` names, in order.

    ``arrays`` has them as ``function.variable``, without ``_ref``; arguments are left out.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def __enter__(self) -> Unfolding:
        self._before = sys.getprofile()
        sys.setprofile(self._look)
        return self

    def __exit__(self, *error: Any) -> None:
        sys.setprofile(self._before)

    def _look(self, frame: Any, event: str, argument: Any) -> None:
        code = frame.f_code
        if event != "return" or not code.co_filename.startswith(_KERNELS):
            return
        function = code.co_name.removesuffix("_ref").strip("_<>")
        given = code.co_varnames[: code.co_argcount]
        for name, x in frame.f_locals.items():
            known = any(x is other for other in self.arrays.values())
            if isinstance(x, np.ndarray) and name not in given and not known:
                self.arrays.setdefault(f"{function}.{name}", x)
