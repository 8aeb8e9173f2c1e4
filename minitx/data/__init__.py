"""Data to train on: text and its windows, labelled tasks, pictures, and ways to vary them.

The texts ship with Python, the digits with this package; nothing is ever downloaded.
"""

from .augment import (
    channel_statistics,
    compose,
    mixup,
    normalize,
    one_hot,
    random_color,
    random_crop,
    random_erasing,
    random_flip,
    random_shift,
    scaled,
)
from .batches import Batches
from .cifar import CIFAR10_CLASSES, read_cifar10, read_cifar100
from .digits import digits, few_labels, stratified_split
from .folder import read_image_folder
from .idx import read_idx, read_mnist
from .labelled import (
    Labelled,
    bag_of_words,
    docstring_packages,
    majority_baseline,
    word_overlap,
)
from .passages import Passages, following_passages, library_passages
from .scenes import Scenes, boxes_of, scenes
from .shuffled import Shuffled
from .text import Windows, python_topics, read_text, split

__all__ = [
    "Batches",
    "CIFAR10_CLASSES",
    "Labelled",
    "Passages",
    "Scenes",
    "Shuffled",
    "Windows",
    "bag_of_words",
    "boxes_of",
    "channel_statistics",
    "compose",
    "digits",
    "docstring_packages",
    "few_labels",
    "following_passages",
    "library_passages",
    "majority_baseline",
    "mixup",
    "normalize",
    "one_hot",
    "python_topics",
    "random_color",
    "random_crop",
    "random_erasing",
    "random_flip",
    "random_shift",
    "read_cifar10",
    "read_cifar100",
    "read_idx",
    "read_image_folder",
    "read_mnist",
    "read_text",
    "scaled",
    "scenes",
    "split",
    "stratified_split",
    "word_overlap",
]
