"""Golden bundles: a model's numbers written down, to check other programs against."""

from .bundle import Bundle, BundleError, Node
from .dump import dump

__all__ = ["Bundle", "BundleError", "Node", "dump"]
