"""Image sets as uint8 arrays with a digest, a split and a value range. No torch here."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from .files import locate, read_npz, sha256

SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class DataCard:
    """What an image set is. `train` images come first: they train, give the FID reference and the score norms.

    kind: npz (arrays `images` uint8 (N H W) or (N H W C), optionally `labels` (N)) or folder (png and jpg files in
    name order; a file's parent folder is its class). size and channels: what images must be, or are made (`folder`:
    shorter side resized with Pillow's bicubic filter, then centre crop). held_out: images at the end, never used.
    value_range: what pixel 0 and 255 become for the network. sha256: checked when given, recorded always.
    """

    name: str
    kind: str
    path: str
    size: int
    channels: int
    held_out: int = 0
    sha256: str | None = None
    value_range: tuple[float, float] = (-1.0, 1.0)
    origin: str = field(default="", compare=False)
    licence: str = field(default="", compare=False)

    def __post_init__(self):
        if self.kind not in ("folder", "npz"):
            raise ValueError(f"data kind '{self.kind}' is not one of: folder, npz")
        if len(self.value_range) != 2:
            raise ValueError(f"data value_range {list(self.value_range)} needs two numbers, of pixel 0 and 255")
        low, high = self.value_range
        if not low < high:
            raise ValueError(f"data value_range [{low}, {high}] must ascend")
        object.__setattr__(self, "value_range", (float(low), float(high)))

    def resolved(self) -> "DataCard":
        """The card with its digest filled in and checked against the files: what keys may be made of."""
        path = locate(self.path)
        found = sha256(path) if path.is_file() else _folder_digest(path)
        if self.sha256 and found != self.sha256:
            raise ValueError(
                f"{path} has sha256 {found[:12]}..., but the card of '{self.name}' says {self.sha256[:12]}..."
            )
        return replace(self, sha256=found)

    def identity(self) -> dict:
        """What pixels and labels depend on; never the path."""
        rule = {"resize": "pillow-bicubic-shorter-side-centre-crop"} if self.kind == "folder" else {}
        kept = {"sha256": self.sha256, "size": self.size, "channels": self.channels, "held_out": self.held_out}
        return kept | {"value_range": list(self.value_range)} | rule


@dataclass(frozen=True)
class Images:
    """pixels uint8 (N C H W), labels int64 (N) or None."""

    pixels: np.ndarray
    labels: np.ndarray | None

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, which) -> "Images":
        return Images(self.pixels[which], None if self.labels is None else self.labels[which])

    def label_of(self, indices: np.ndarray) -> np.ndarray | None:
        """Label of generated image i = label i of the data (data beginning again where it ends)."""
        return None if self.labels is None else self.labels[np.asarray(indices) % len(self)]


def load(card: DataCard) -> tuple[Images, Images]:
    """Training split and held-out split of a card."""
    path = locate(card.path)
    images = _from_folder(path, card) if card.kind == "folder" else _from_npz(path, card)
    split = len(images) - card.held_out
    if split < 2:
        raise ValueError(f"{path} holds {len(images)} images; with held_out={card.held_out} too few are left")
    return images[:split], images[split:]


def _from_npz(path: Path, card: DataCard) -> Images:
    arrays = read_npz(path)
    if "images" not in arrays:
        raise ValueError(f"{path} has no array 'images'; it holds: {', '.join(sorted(arrays)) or 'nothing'}")
    pixels = arrays["images"]
    if pixels.dtype != np.uint8:
        raise ValueError(f"'images' in {path} is {pixels.dtype}; uint8 in 0 .. 255 is needed")
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
    if pixels.shape[1:] != (card.channels, card.size, card.size):
        raise ValueError(
            f"images in {path} are {pixels.shape[1:]}, but the card says {(card.channels, card.size, card.size)}"
        )
    labels = arrays.get("labels")
    if labels is not None and len(labels) != len(pixels):
        raise ValueError(f"{path} has {len(pixels)} images but {len(labels)} labels")
    return Images(np.ascontiguousarray(pixels), None if labels is None else labels.astype(np.int64))


def _files(path: Path) -> list[Path]:
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise FileNotFoundError(f"no png or jpg file in {path}")
    return files


def _folder_digest(path: Path) -> str:
    import hashlib

    digest = hashlib.sha256()
    for file in _files(path):
        digest.update(f"{file.relative_to(path)} {sha256(file)}\n".encode())
    return digest.hexdigest()


def _from_folder(path: Path, card: DataCard) -> Images:
    files = _files(path)
    classes = sorted({file.parent for file in files})
    pixels = np.stack([_open(file, card.size, card.channels) for file in files])
    labels = np.array([classes.index(file.parent) for file in files]) if len(classes) > 1 else None
    return Images(pixels, labels)


def _open(file: Path, size: int, channels: int) -> np.ndarray:
    """One image as uint8 (C size size): shorter side resized (Pillow, bicubic), then cropped about the centre."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as opened:
            image = opened.convert("L" if channels == 1 else "RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{file} is not a readable image ({error}); mend or remove it") from error
    if image.size != (size, size):
        scale = size / min(image.size)
        image = image.resize([max(size, round(side * scale)) for side in image.size], Image.Resampling.BICUBIC)
        left, top = ((side - size) // 2 for side in image.size)
        image = image.crop((left, top, left + size, top + size))
    array = np.asarray(image)
    return array[None] if channels == 1 else array.transpose(2, 0, 1)
