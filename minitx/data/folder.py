"""Pictures as people have them: a folder for each class, with PNG and JPEG files in it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from .text import whole

SUFFIXES = (".png", ".jpg", ".jpeg")


def read_image_folder(
    folder: str | os.PathLike[str], size: int
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Images, (N, 3, S, S) uint8, labels, (N,) int64, and the names of the classes.

    folder: its folders are the classes, by name; what they hold, at any depth, are the examples.
    Pictures are turned upright as their camera noted, scaled to cover ``size`` x ``size`` pixels,
    cut at the centre, and converted to RGB; all stay in memory.  Hidden files and files of other
    suffixes are passed over.
    Raises ImportError without Pillow, FileNotFoundError, or ValueError where a class has no
    pictures or a picture cannot be read.
    """
    size = whole("read_image_folder: size", size)
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise ImportError(
            "read_image_folder: pictures are read with Pillow, which is not installed; "
            "pip install pillow"
        ) from None
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"read_image_folder: there is no folder {folder}; check the path")
    classes = [x for x in sorted(folder.iterdir()) if x.is_dir() and not x.name.startswith(".")]
    if not classes:
        raise ValueError(
            f"read_image_folder: {folder} has no folders; make one for each class and move its "
            "pictures there"
        )
    found = [_pictures(x) for x in classes]
    for x, paths in zip(classes, found, strict=True):
        if not paths:
            raise ValueError(
                f"read_image_folder: {x} has no pictures ({', '.join(SUFFIXES)}); remove the "
                "folder, or convert what is in it"
            )
    images = np.empty((sum(map(len, found)), 3, size, size), np.uint8)
    for i, path in enumerate(path for paths in found for path in paths):
        images[i] = _read(path, size)
    labels = np.repeat(np.arange(len(found)), [len(paths) for paths in found])
    return images, labels, tuple(x.name for x in classes)


def _pictures(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def _read(path: Path, size: int) -> np.ndarray:
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(picture).convert("RGB")
            fitted = ImageOps.fit(upright, (size, size), Image.Resampling.BICUBIC)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"read_image_folder: {path}, {path.stat().st_size} bytes, is no picture that can be "
            f"read ({error}); replace or remove it"
        ) from None
    return np.asarray(fitted).transpose(2, 0, 1)  # H W C -> C H W
