"""A program: what kernels do in a forked child, before and after the parent used them, and spawned.

Started by test_jit.py.  Prints a line for each: the form that ran, and whether it was right.
"""

from __future__ import annotations

import multiprocessing
import os
import warnings

import numpy as np

from minitx import kernels as K
from minitx.jit import chosen


def answer():
    a, b = np.random.default_rng(0).normal(size=(2, 130, 130))
    right = np.allclose(K.matmul(a, b), a @ b) and np.allclose(K.softmax(a), K.softmax.ref(a))
    return chosen(), right


def in_child(kind):
    with multiprocessing.get_context(kind).Pool(1) as pool:
        return pool.apply(answer)


def main():
    warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, of forking beside threads
    print("forked before", *in_child("fork"))
    print("here", *answer())
    print("forked after", *in_child("fork"))
    child = os.fork()
    if child == 0:
        os._exit(0 if answer() == ("ref", True) else 1)
    print("forked by hand", os.waitpid(child, 0)[1])
    print("spawned", *in_child("spawn"))
    print("here", *answer())


if __name__ == "__main__":
    main()
