"""Feature extractors: uint8 images -> features and class probabilities. A third party's module can add one.

An extractor is a subclass of `Extractor` in the registry `EXTRACTORS`, under the name that `metrics.kind` gives:

    class Mine(Extractor):
        def __init__(self, card, device="cpu", threads=None): ...     # card.weights, card.settings
        def __call__(self, pixels): return Features(features, probabilities)
        @classmethod
        def dimensions(cls, card): return 768

    EXTRACTORS["mine"] = Mine
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from ..files import locate, sha256

if TYPE_CHECKING:
    from .cards import ImageMetrics


class Features(NamedTuple):
    """features (N D), float16, or float32 (N 1) for scores of images and their prompts. probabilities float32
    (N classes), or (N 0) where the extractor has none."""

    features: np.ndarray
    probabilities: np.ndarray


class Extractor(ABC):
    """Computes the features of images. Features of an image must not depend on the other images.

    classifies: whether it gives class probabilities, from which the Inception score is computed.
    """

    classifies: ClassVar[bool] = False

    @abstractmethod
    def __init__(self, card: "ImageMetrics", device: str = "cpu", threads: int | None = None):
        """Load the weights of a card. threads: of the CPU, for work outside the network; None: one per core."""

    @abstractmethod
    def __call__(self, pixels: np.ndarray) -> Features:
        """pixels uint8 (N C H W), 0 .. 255."""

    @classmethod
    @abstractmethod
    def dimensions(cls, card: "ImageMetrics") -> int:
        """Number of features of an image. No weights are read."""

    @classmethod
    def check(cls, card: "ImageMetrics") -> None:
        """Raise ValueError, with the valid values, for a knob of the card that this extractor does not accept."""
        return None

    @classmethod
    def digest(cls, card: "ImageMetrics") -> str | None:
        """sha256 of the weights, for the key. None where the card has no weights or they are not on this machine."""
        return card.sha256 if card.weights is None or card.sha256 else sha256(locate(card.weights))

    @classmethod
    def look_for_weights(cls, card: "ImageMetrics") -> None:
        """Raise FileNotFoundError or ValueError where the weights are missing, or have another digest than the card."""
        cls(card.resolved())


EXTRACTORS: dict[str, type[Extractor]] = {}


class ClassifierExtractor(Extractor):
    """The embedded digit classifier: features before its last activation, and class probabilities."""

    classifies = True

    def __init__(self, card: "ImageMetrics", device: str = "cpu", threads: int | None = None):
        import torch

        from ..weights.checkpoints import read_checkpoint
        from .classifier import Classifier

        state, _ = read_checkpoint(card.weights, card.sha256)
        self.network, self.device, self.batch = Classifier(**card.arch), torch.device(device), card.batch
        self.network.load_state_dict(state)
        self.network.eval().requires_grad_(False).to(self.device)

    def __call__(self, pixels: np.ndarray) -> Features:
        import torch

        check_pixels(pixels)
        parts = []
        with torch.inference_mode():
            for part in np.split(pixels, range(self.batch, len(pixels), self.batch)):
                features, logits = self.network(torch.from_numpy(part).to(self.device).float() / 255)
                parts.append((features.half().cpu().numpy(), logits.double().softmax(1).float().cpu().numpy()))
        return Features(*(np.concatenate(arrays) for arrays in zip(*parts)))

    @classmethod
    def dimensions(cls, card: "ImageMetrics") -> int:
        return (card.arch or {}).get("features", 64)


EXTRACTORS["classifier"] = ClassifierExtractor


def check_pixels(pixels: np.ndarray) -> None:
    """Raise ValueError for anything but uint8 (N C H W)."""
    if pixels.dtype != np.uint8 or pixels.ndim != 4:
        raise ValueError(f"images are {pixels.dtype} of shape {pixels.shape}; give uint8 of shape (N C H W)")
