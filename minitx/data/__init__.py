"""Data to train on: text and its windows, labelled tasks, pictures, and ways to vary them.

The texts ship with Python, the digits with this package; nothing is ever downloaded.
"""

from .cifar import CIFAR10_CLASSES, read_cifar10, read_cifar100
from .digits import digits, few_labels, stratified_split
from .folder import read_image_folder
from .idx import read_idx, read_mnist
from .labelled import (
    Labelled,
    bag_of_words,
    docstring_packages,
    majority_baseline,
)
from .scenes import Scenes, boxes_of, scenes
from .shuffled import Shuffled
from .text import Windows, python_topics, read_text, split

__all__ = [
    "CIFAR10_CLASSES",
    "Labelled",
    "Scenes",
    "Shuffled",
    "Windows",
    "bag_of_words",
    "boxes_of",
    "digits",
    "docstring_packages",
    "few_labels",
    "majority_baseline",
    "python_topics",
    "read_cifar10",
    "read_cifar100",
    "read_idx",
    "read_image_folder",
    "read_mnist",
    "read_text",
    "scenes",
    "split",
    "stratified_split",
]
