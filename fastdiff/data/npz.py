"""One npz of images."""

from pathlib import Path

import numpy as np

from ..files import read_npz


def digest(path: Path) -> str:
    raise ValueError(f"{path} is a folder; data of kind npz is one file")


def read(path: Path, channels: int, size: int) -> tuple[np.ndarray, np.ndarray | None]:
    """pixels uint8 (N C H W), labels int64 (N) or None. Raises ValueError for an npz that does not fit the card."""
    arrays = read_npz(path)
    if "images" not in arrays:
        raise ValueError(f"{path} has no array 'images'; it holds: {', '.join(sorted(arrays)) or 'nothing'}")
    pixels = arrays["images"]
    if pixels.dtype != np.uint8:
        raise ValueError(f"'images' in {path} is {pixels.dtype}; uint8 in 0 .. 255 is needed")
    if pixels.ndim not in (3, 4):
        raise ValueError(f"'images' in {path} has shape {pixels.shape}; (N, H, W) or (N, H, W, C) is needed")
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
    if pixels.shape[1:] != (channels, size, size):
        raise ValueError(f"images in {path} are {pixels.shape[1:]}, but the card says {(channels, size, size)}")
    labels = arrays.get("labels")
    if labels is not None and len(labels) != len(pixels):
        raise ValueError(f"{path} has {len(pixels)} images but {len(labels)} labels")
    return np.ascontiguousarray(pixels), None if labels is None else labels.astype(np.int64)
