"""Data to train on: text and its windows, language tasks, pictures, and ways to vary them.

The texts ship with Python, the digits with this package; nothing is ever downloaded.
"""

from .augment import (
    channel_statistics,
    compose,
    mixup,
    normalize,
    one_hot,
    random_affine,
    random_color,
    random_crop,
    random_erasing,
    random_flip,
    random_shift,
    scaled,
)
from .batches import Batches
from .cifar import CIFAR10_CLASSES, read_cifar10, read_cifar100
from .dates import (
    DATE_CHARACTERS,
    DATE_VOCAB,
    DateFormat,
    date_batch,
    date_formats,
    date_ids,
    date_text,
    dates,
    numbers_only,
)
from .digits import digits, few_labels, stratified_split
from .encoded import Encoded, EncodedSpans, TaskBatches, encode, encode_documents, spans_in_text
from .folder import read_image_folder
from .following import Choices, choice_overlap, docstring_choices, docstring_pairs
from .idx import read_idx, read_mnist
from .labelled import (
    Labelled,
    bag_of_words,
    docstring_packages,
    majority_baseline,
    word_overlap,
)
from .passages import Passages, following_passages, library_passages, without
from .scenes import Scenes, boxes_of, scenes
from .shuffled import Shuffled
from .spans import (
    Spans,
    exact_and_f1,
    first_return,
    most_frequent_place,
    named_return,
    return_spans,
)
from .tagged import (
    NAME_TAGS,
    Tagged,
    most_frequent_tag,
    most_frequent_tag_between,
    python_tags,
    tag_source,
)
from .text import Windows, python_topics, read_text, split

__all__ = [
    "Batches",
    "CIFAR10_CLASSES",
    "Choices",
    "DATE_CHARACTERS",
    "DATE_VOCAB",
    "DateFormat",
    "Encoded",
    "EncodedSpans",
    "Labelled",
    "NAME_TAGS",
    "Passages",
    "Scenes",
    "Shuffled",
    "Spans",
    "Tagged",
    "TaskBatches",
    "Windows",
    "bag_of_words",
    "boxes_of",
    "channel_statistics",
    "choice_overlap",
    "compose",
    "date_batch",
    "date_formats",
    "date_ids",
    "date_text",
    "dates",
    "digits",
    "docstring_choices",
    "docstring_packages",
    "docstring_pairs",
    "encode",
    "encode_documents",
    "exact_and_f1",
    "few_labels",
    "first_return",
    "following_passages",
    "library_passages",
    "majority_baseline",
    "mixup",
    "most_frequent_place",
    "most_frequent_tag",
    "most_frequent_tag_between",
    "named_return",
    "normalize",
    "numbers_only",
    "one_hot",
    "python_tags",
    "python_topics",
    "random_affine",
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
    "return_spans",
    "scaled",
    "scenes",
    "spans_in_text",
    "split",
    "stratified_split",
    "tag_source",
    "without",
    "word_overlap",
]
