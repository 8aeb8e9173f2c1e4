"""The benchmark: minitx beside PyTorch on the same CPU, each in processes of its own.

    python -m tests.bench [names ...]          (from the repository's root; --help has the options)

What is measured stands in ``tasks``, how either library does it in ``ours`` and ``theirs`` (whose
models are in ``torch_language`` and ``torch_images``), and how fast the machine multiplies in
``floor``.  ``worker`` is the program that runs one of them,
``process`` holds the other end of the line to it, ``libraries`` says which there are, ``measure``
lets them take turns, ``scaling`` fits curves, ``table`` and ``picture`` show what came out.
"""
