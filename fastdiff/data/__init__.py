"""Image sets as uint8 arrays with a digest, a split and a value range. No torch here."""

from dataclasses import dataclass, field, replace

import numpy as np

from ..weights.download import fetch
from . import cifar10, folder, imagenet64, npz

KINDS = {"cifar10_archive": cifar10, "folder": folder, "imagenet64_npz": imagenet64, "npz": npz}


@dataclass(frozen=True)
class DataCard:
    """An image set. Training images come first; they also give the FID reference and the score norms.

    kind: one of
      npz: arrays `images` uint8 (N H W) or (N H W C), optionally `labels` (N);
      folder: png and jpg files in name order; the parent folder is the class; the shorter side is resized with Pillow's
        bicubic filter, then the centre is cropped;
      cifar10_archive: the official binary archive, training batches first, then the test batch;
      imagenet64_npz: a folder with the ten official training batches.
    path: a file, a folder, or the URL of a file (`fastdiff.weights.download`). size, channels: of the images; those of
    a folder are converted. held_out: number of images at the end that are never used. value_range: values of pixel 0
    and 255 for the network. sha256: checked if given, always recorded. labels: of generated images. With `data`, image
    i gets label i of the data. With `uniform`, labels are drawn uniformly from all classes by the seed (Karras et al.
    2022, latent-diffusion), for sets that are sorted by class.
    """

    name: str
    kind: str
    path: str
    size: int
    channels: int
    held_out: int = 0
    sha256: str | None = None
    value_range: tuple[float, float] = (-1.0, 1.0)
    labels: str = "data"
    origin: str = field(default="", compare=False)
    licence: str = field(default="", compare=False)

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"data kind '{self.kind}' is not one of: {', '.join(KINDS)}")
        if len(self.value_range) != 2:
            raise ValueError(f"data value_range {list(self.value_range)} needs two numbers, for pixel 0 and 255")
        if self.labels not in ("data", "uniform"):
            raise ValueError(f"data labels '{self.labels}' is not one of: data, uniform")
        low, high = self.value_range
        if not low < high:
            raise ValueError(f"data value_range [{low}, {high}] must ascend")
        object.__setattr__(self, "value_range", (float(low), float(high)))

    def resolved(self) -> "DataCard":
        """The card with its sha256 filled in and checked against the files; only such a card may go into a key."""
        path, found = fetch(self.path, self.sha256, self.name)
        if found is None:
            found = KINDS[self.kind].digest(path)
            if self.sha256 is not None and self.sha256.strip().lower() != found:
                raise ValueError(f"{path} has sha256 {found}, but the card of '{self.name}' says {self.sha256}")
        return replace(self, sha256=found)

    def identity(self) -> dict:
        """Everything that pixels and labels depend on; never the path."""
        rule = {"resize": "pillow-bicubic-shorter-side-centre-crop"} if self.kind == "folder" else {}
        rule |= {"labels": self.labels} if self.labels != "data" else {}
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
        """Labels of generated images: image i has label i of the data, modulo the number of images."""
        return None if self.labels is None else self.labels[np.asarray(indices) % len(self)]


def load(card: DataCard) -> tuple[Images, Images]:
    """Training split and held-out split of a card. Raises as `fetch`, and ValueError for files of another kind."""
    path, _ = fetch(card.path, card.sha256, card.name)
    images = Images(*KINDS[card.kind].read(path, card.channels, card.size))
    split = len(images) - card.held_out
    if split < 2:
        raise ValueError(f"{path} has {len(images)} images; held_out={card.held_out} leaves too few for training")
    return images[:split], images[split:]
