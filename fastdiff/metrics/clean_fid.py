"""clean-fid's Inception-v3 as an extractor. Its weights, its resize and its features are used; the distance is ours."""

import os
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ..files import sha256, write
from ..weights.download import fetch
from .extractor import Extractor, ExtractorCard, Features, check_pixels, register

MODES = ("clean", "legacy_pytorch", "legacy_tensorflow")
# clean-fid looks for its weights here. The path is fixed in its code.
TORCHSCRIPT = Path("/tmp" if os.name != "nt" else ".") / "inception-2015-12-05.pt"
PYTORCH = "pt_inception-2015-12-05-6726825d.pth"
URLS = {
    TORCHSCRIPT.name: "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
    PYTORCH: "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/" + PYTORCH,
}
SMALLEST = 80_000_000  # bytes; both files have more than 90 MB, so a smaller one is a truncated download


def weights_path(mode: str) -> Path:
    import torch

    return TORCHSCRIPT if mode != "legacy_pytorch" else Path(torch.hub.get_dir()) / "checkpoints" / PYTORCH


def pinned(card: ExtractorCard) -> str:
    """The sha256 of the weights that clean-fid will load. Missing weights are downloaded.

    The digest is part of every key and record, because TorchScript weights are code in a folder that every user can
    write to, and nobody publishes their digest. The file name of pytorch-fid's weights holds the first digits.
    Raises FileNotFoundError, naming the file and its place, where they cannot be downloaded. Raises ValueError for a
    truncated file, and for another digest than the card's.
    """
    path = weights_path(card.mode)
    if not path.exists():
        try:
            fetched, _ = fetch(URLS[path.name], card.sha256, card.name)
            with open(fetched, "rb") as source:
                write(path, lambda file: shutil.copyfileobj(source, file))
        except OSError as error:  # ConnectionError is one
            raise _missing(path, error) from error
    _whole(path)
    digest = sha256(path)
    told = PYTORCH.rpartition("-")[2].removesuffix(".pth") if path.name == PYTORCH else ""
    known = (card.sha256 or told).strip().lower()
    if not digest.startswith(known):
        raise ValueError(f"{path} has sha256 {digest}, but {known} is known; delete it to fetch it again")
    return digest


def _whole(path: Path) -> None:
    if path.exists() and path.stat().st_size < SMALLEST:
        size = path.stat().st_size
        raise ValueError(f"{path} is truncated ({size} bytes); delete it and fetch {URLS[path.name]} again")


def _missing(path: Path, error: OSError) -> FileNotFoundError:
    reason = error.__cause__ or error  # the message of `fetch` names its own cache
    return FileNotFoundError(
        f"clean-fid's Inception-v3 is not at {path} and cannot be downloaded ({reason}); fetch {URLS[path.name]} on"
        " another machine and put it there"
    )


def build_resize(mode: str):
    """clean-fid's resize: uint8 (H W 3) -> float32 (299 299 3) in 0 .. 255. In mode `legacy_tensorflow` it returns the
    image as it is, because that network resizes itself."""
    from cleanfid.resize import build_resizer

    with warnings.catch_warnings():  # in mode `legacy_pytorch` clean-fid silences every warning of the process
        return build_resizer(mode)


@register("clean_fid")
class CleanFidExtractor(Extractor):
    """2048 features of images resized to 299 x 299 by clean-fid in the card's mode. No class probabilities.

    Grey images become three equal channels. threads: images resized at once; the features do not depend on it.
    Raises FileNotFoundError, naming the file and its place, where the weights are missing and cannot be downloaded.
    Raises ValueError where they do not have the card's sha256.
    """

    def __init__(self, card: ExtractorCard, device: str = "cpu", threads: int | None = None):
        import torch
        from cleanfid.features import build_feature_extractor

        path = weights_path(card.mode)
        _whole(path)
        if card.sha256:
            pinned(card)
        missing = not path.exists()
        try:
            self.network = build_feature_extractor(card.mode, torch.device(device), use_dataparallel=False)
        except OSError as error:  # URLError is one
            raise _missing(path, error) from error
        if missing and path.exists():
            raise ValueError(f"{path} has been fetched only now: run again to make its sha256 part of the key")
        self.resize, self.device, self.batch = build_resize(card.mode), torch.device(device), card.batch
        self.threads = threads or os.cpu_count() or 1

    def __call__(self, pixels: np.ndarray) -> Features:
        features = self.features(pixels).astype(np.float16)
        return Features(features, np.zeros((len(features), 0), np.float32))

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Features float32 (N 2048), as the network computes them, of pixels uint8 (N C H W)."""
        return features_of(self.network, self.resize, pixels, self.batch, self.device, self.threads)

    @classmethod
    def dimensions(cls, card: ExtractorCard) -> int:
        return 2048

    @classmethod
    def check(cls, card: ExtractorCard) -> None:
        if card.mode not in MODES:
            raise ValueError(f"metrics.mode '{card.mode}' is not one of: {', '.join(MODES)}")

    @classmethod
    def digest(cls, card: ExtractorCard) -> str | None:
        try:
            return pinned(card)
        except FileNotFoundError:  # a cell can still be described; building the extractor raises this error
            return card.sha256

    @classmethod
    def look_for_weights(cls, card: ExtractorCard) -> None:
        pinned(card)  # building the network would let clean-fid download by itself, and torchvision print warnings


def features_of(
    network: Any, resize: Any, pixels: np.ndarray, batch: int, device: Any = "cpu", threads: int = 1
) -> np.ndarray:
    """Features float32 (N D) of pixels uint8 (N C H W). network: (B 3 299 299) -> (B D). resize: `build_resize`."""
    import torch

    check_pixels(pixels)
    if pixels.shape[1] not in (1, 3):
        raise ValueError(f"images have {pixels.shape[1]} channels; clean-fid's Inception-v3 takes 1 or 3")
    parts = []
    with ThreadPoolExecutor(threads) as pool, torch.inference_mode():
        for part in np.split(pixels, range(batch, len(pixels), batch)):
            channels_last = np.repeat(part, 3 // part.shape[1], axis=1).transpose(0, 2, 3, 1)
            resized = np.stack(list(pool.map(resize, channels_last))).transpose(0, 3, 1, 2)
            resized = np.ascontiguousarray(resized, np.float32)
            parts.append(network(torch.from_numpy(resized).to(device)).float().cpu().numpy())
    return np.concatenate(parts)
