"""Images -> features -> metrics: what an extractor is, and the embedded one."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from ..files import locate, sha256


@dataclass(frozen=True)
class MetricsCard:
    """Which extractor stands behind the quality numbers.

    kind: `classifier` (a safetensors file with its architecture in `arch`) or `clean_fid` (clean-fid's Inception-v3 in
    one of its modes) or `clip` (scores of images and their prompts, by a CLIP in the folder or of the hub's name
    `weights`). is_splits: splits of the Inception Score. batch: images per call of the extractor. Or `nll`: no
    extractor and no generated images, but the variational bound on held-out images (`fastdiff.analytic.likelihood_bound`).
    reference: an npz with statistics of reference images (`metrics.reference`), in place of those of the data's.
    """

    name: str
    kind: str
    weights: str | None = None
    sha256: str | None = None
    arch: dict | None = None
    mode: str | None = None
    is_splits: int = 10
    batch: int = 250
    reference: str | None = None
    reference_sha256: str | None = None

    def __post_init__(self):
        if self.kind not in ("classifier", "clean_fid", "clip", "nll"):
            raise ValueError(f"metrics kind '{self.kind}' is not one of: classifier, clean_fid, clip, nll")
        modes = ("clean", "legacy_pytorch", "legacy_tensorflow")
        if self.kind == "clean_fid" and self.mode not in modes:
            raise ValueError(f"metrics.mode '{self.mode}' is not one of: {', '.join(modes)}")
        if self.reference is not None and self.kind not in ("classifier", "clean_fid"):
            raise ValueError(f"metrics={self.name} is scored against no reference statistics; leave reference out")

    def resolved(self) -> "MetricsCard":
        """The card with the digests of its weights and of its reference filled in."""
        return replace(self, sha256=self._weights_digest(), reference_sha256=self._reference_digest())

    def _weights_digest(self) -> str | None:
        if self.kind == "clean_fid":
            from .clean_fid import pinned

            try:
                return pinned(self)
            except FileNotFoundError:  # nothing is scored then (`CleanFidExtractor`), but a cell can be described
                return self.sha256
        if self.prompted:
            from .clip_score import pinned

            return pinned(self)
        return self.sha256 if self.weights is None or self.sha256 else sha256(locate(self.weights))

    def _reference_digest(self) -> str | None:
        if self.reference is None:
            return None
        found = sha256(locate(self.reference))
        if self.reference_sha256 not in (None, found):
            raise ValueError(f"{self.reference} has sha256 {found}, not metrics.reference_sha256")
        return found

    @property
    def bound(self) -> bool:
        """Whether the quality number is a likelihood bound: nothing is generated then."""
        return self.kind == "nll"

    @property
    def prompted(self) -> bool:
        """Whether images are scored against their prompts, one by one: there is no reference then."""
        return self.kind == "clip"

    @property
    def dimensions(self) -> int:
        """Of the features that a value comes from: how many images an interval needs follows from it."""
        return {"classifier": (self.arch or {}).get("features", 64), "clean_fid": 2048}.get(self.kind, 1)

    @property
    def extractor(self) -> str:
        """How the extractor is named in a protocol: `mnist-classifier`, `clean,inception-v3`."""
        return ",".join(filter(None, (self.mode, self.name)))

    def protocol(self, metric: str, n: int, *said: str) -> str:
        """Name of a quality value: fid[mnist-classifier,n=1000], nll[bits/dim,n=1000]. said: what else counts."""
        if self.bound:
            return f"{metric}[bits/dim,n={n}]"
        splits = [f"splits={self.is_splits}"] if metric == "is" else []
        given = []
        if metric == "fid" and self.reference is not None:
            given = [f"reference={Path(self.reference).stem}@{self.reference_sha256[:8]}"]
        return f"{metric}[{','.join([self.extractor, *splits, *given, *said, f'n={n}'])}]"

    def extractor_identity(self) -> dict:
        """What features depend on."""
        return {"extractor": self.extractor, "sha256": self.sha256}

    def identity(self) -> dict:
        """What quality values depend on."""
        if self.bound:
            return {"metric": "nll"}
        if self.prompted:
            return self.extractor_identity() | {"metric": "clip_score"}
        given = {} if self.reference is None else {"reference": self.reference_sha256}
        return self.extractor_identity() | {"is_splits": self.is_splits} | given


class Features(NamedTuple):
    """features float16 (N D), or scores float32 (N 1) of images beside their prompts; probabilities float32
    (N classes), or (N 0) when the extractor has none."""

    features: np.ndarray
    probabilities: np.ndarray


class Extractor(Protocol):
    def __call__(self, pixels: np.ndarray) -> Features:
        """pixels uint8 (N C H W), 0 .. 255; where the card is `prompted`, then the N prompts of the images."""


class ClassifierExtractor:
    """The embedded digit classifier: features before its last activation, and class probabilities."""

    def __init__(self, card: MetricsCard, device="cpu"):
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


def check_pixels(pixels: np.ndarray) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 4:
        raise ValueError(f"images are {pixels.dtype} of shape {pixels.shape}; uint8 (N C H W) is needed")


def build_extractor(card: MetricsCard, device="cpu") -> Extractor:
    """Raises ValueError for metrics without an extractor."""
    if card.bound:
        raise ValueError("metrics=nll looks at no generated images: choose metrics=mnist_classifier or clean_fid")
    if card.kind == "classifier":
        return ClassifierExtractor(card, device)
    if card.prompted:
        from .clip_score import ClipScoreExtractor

        return ClipScoreExtractor(card, device)
    from .clean_fid import CleanFidExtractor

    return CleanFidExtractor(card, device)
