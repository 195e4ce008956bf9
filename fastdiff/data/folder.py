"""A folder of png and jpg files. Its sub-folders are classes."""

import hashlib
from pathlib import Path

import numpy as np

from ..files import sha256

SUFFIXES = (".png", ".jpg", ".jpeg")


def digest(path: Path) -> str:
    """sha256 of the files' names and contents."""
    found = hashlib.sha256()
    for file in _files(path):
        found.update(f"{file.relative_to(path)} {sha256(file)}\n".encode())
    return found.hexdigest()


def read(path: Path, channels: int, size: int) -> tuple[np.ndarray, np.ndarray | None]:
    """pixels uint8 (N C H W); labels int64 (N), or None for one class. Raises ValueError for a damaged image."""
    files = _files(path)
    classes = sorted({file.parent for file in files})
    pixels = np.stack([_open(file, size, channels) for file in files])
    labels = np.array([classes.index(file.parent) for file in files]) if len(classes) > 1 else None
    return pixels, labels


def _files(path: Path) -> list[Path]:
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise FileNotFoundError(f"no png or jpg file in {path}")
    return files


def _open(file: Path, size: int, channels: int) -> np.ndarray:
    """One image as uint8 (C size size): the shorter side is resized (Pillow, bicubic), then the centre is cropped."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as opened:
            image = opened.convert("L" if channels == 1 else "RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{file} is not a readable image ({error}); repair or remove it") from error
    if image.size != (size, size):
        scale = size / min(image.size)
        image = image.resize([max(size, round(side * scale)) for side in image.size], Image.Resampling.BICUBIC)
        left, top = ((side - size) // 2 for side in image.size)
        image = image.crop((left, top, left + size, top + size))
    array = np.asarray(image)
    return array[None] if channels == 1 else array.transpose(2, 0, 1)
