"""An npz file of images."""

from pathlib import Path

import numpy as np

from ..files import npz_headers, read_npz


def digest(path: Path) -> str:
    raise ValueError(f"{path} is a folder; data of kind npz is one file")


def read(path: Path, channels: int, size: int) -> tuple[np.ndarray, np.ndarray | None]:
    """pixels uint8 (N C H W), labels int64 (N) or None. Raises ValueError for an npz that does not fit the card."""
    headers = npz_headers(path)  # an npz that does not fit is refused before its arrays are read
    if "images" not in headers:
        raise ValueError(f"{path} has no array 'images'; it holds: {', '.join(sorted(headers)) or 'nothing'}")
    shape, dtype = headers["images"]
    if dtype != np.uint8:
        raise ValueError(f"'images' in {path} is {dtype}; uint8 in 0 .. 255 is needed")
    if len(shape) not in (3, 4):
        raise ValueError(f"'images' in {path} has shape {shape}; (N, H, W) or (N, H, W, C) is needed")
    made = (*shape[3:], *shape[1:3]) if len(shape) == 4 else (1, *shape[1:])
    if made != (channels, size, size):
        raise ValueError(f"images in {path} are {made}, but the card says {(channels, size, size)}")
    labelled = "labels" in headers
    if labelled:
        _fitting(path, *headers["labels"], shape[0])
    arrays = read_npz(path, ["images", "labels"] if labelled else ["images"])
    pixels = arrays["images"]
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
    labels = arrays["labels"] if labelled else None
    if labelled and len(labels) and (labels.min() < 0 or labels.max() > np.iinfo(np.int64).max):
        raise ValueError(f"'labels' in {path} are {labels.min()} .. {labels.max()}; classes count from 0")
    return np.ascontiguousarray(pixels), labels.astype(np.int64) if labelled else None


def _fitting(path: Path, shape: tuple, dtype: np.dtype, images: int) -> None:
    if len(shape) == 1 and shape[0] != images:
        raise ValueError(f"{path} has {images} images but {shape[0]} labels")
    if len(shape) != 1 or dtype.kind not in "iu":
        raise ValueError(f"'labels' in {path} has shape {shape} and type {dtype}; whole numbers (N) are needed")
