"""Golden bundles: a model's numbers written down, to check other programs against.

bundle = dump("golden/gpt2", model, {"inputs": ids, "targets": targets})
diff = compare(bundle, arrays)          # of a port, by the bundle's names
for found in investigate(diff):
    print(found.node, found.cause)
"""

from .bundle import Bundle, BundleError, Node
from .diagnose import Diagnosis, investigate
from .diff import Diff, compare
from .dump import dump
from .port import PortError

__all__ = [
    "Bundle",
    "BundleError",
    "Diagnosis",
    "Diff",
    "Node",
    "PortError",
    "compare",
    "dump",
    "investigate",
]
