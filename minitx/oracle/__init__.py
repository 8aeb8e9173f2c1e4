"""Golden bundles: a model's numbers written down, to check other programs against."""

from .bundle import Bundle, BundleError, Node

__all__ = ["Bundle", "BundleError", "Node"]
