"""Metrics cards: what is measured, with which extractor, and under which name a value is filed.

| card | compares | metrics |
|---|---|---|
| `ImageMetrics` | generated images with reference images | fid, is, kid, precision, recall, density, coverage |
| `PromptMetrics` | each generated image with its prompt | clip_score |
| `LikelihoodBound` | the network with held-out images; nothing is generated | nll |
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from ..files import locate, sha256
from ..knobs import build
from .extractor import EXTRACTORS, Extractor

LOWER = ("feature_distance", "fid", "kid", "largest_difference", "nll")  # lower is better
HIGHER = ("clip_score", "coverage", "density", "is", "precision", "psnr", "recall", "ssim")  # higher is better
JUDGED = ("fid", "clip_score", "nll")  # cells are compared by one of these; each cell has exactly one


class MetricsCard:
    """What all cards answer. Cards are frozen dataclasses with at least `name` and `kind`.

    generates_images: whether the cell generates images. needs_reference: whether they are compared with reference
    images. needs_prompts: whether the extractor gets the prompt of each image. extractor: its name in a protocol.
    dimensions: number of features of an image; an interval needs a number of images in proportion to it.
    """

    generates_images: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = False
    needs_prompts: ClassVar[bool] = False
    name: str
    kind: str

    @property
    def extractor(self) -> str:
        return self.name

    @property
    def dimensions(self) -> int:
        return 1

    def resolved(self) -> "MetricsCard":
        """The card with the digests of all files that a value depends on."""
        return self

    def as_recorded(self, identity: dict) -> "MetricsCard":
        """The card with the digests of a record. identity: `identity()` as it was then. No file is looked at."""
        return self

    def look_for_files(self) -> None:
        """Raise FileNotFoundError or ValueError where a file is missing or is not the card's."""

    def check(self, cell: Any) -> None:
        """Raise ValueError for a cell that cannot be measured by this card."""

    def protocol(self, metric: str, n: int, *words: str) -> str:
        """Name of a value, as fid[mnist-classifier,n=1000]. words: what else the value depends on."""
        return f"{metric}[{','.join([self.extractor, *words, f'n={n}'])}]"

    def extractor_identity(self) -> dict:
        """What features depend on."""
        raise ValueError(f"metrics={self.name} has no extractor: choose metrics=mnist_classifier or clean_fid")

    def identity(self) -> dict:
        """What values depend on."""
        raise NotImplementedError


@dataclass(frozen=True)
class ImageMetrics(MetricsCard):
    """Generated images against reference images, by features of an extractor.

    kind: a name in `EXTRACTORS`. weights, sha256: file of the extractor's weights and its digest. arch, mode, settings:
    the extractor's own knobs (arch of `classifier`, mode of `clean_fid`, settings of a third party's). is_splits:
    splits of the Inception score. batch: images per call of the extractor. reference: an npz file of statistics
    (`metrics.reference`) that replaces the statistics of the data's images.
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
    settings: dict | None = None

    needs_reference = True

    def __post_init__(self):
        if self.kind not in EXTRACTORS:
            menu = ", ".join(sorted({*EXTRACTORS.names(), *_OTHERS}))
            raise ValueError(f"metrics kind '{self.kind}' is not one of: {menu}")
        self.extractor_class.check(self)

    @property
    def extractor_class(self) -> type[Extractor]:
        return EXTRACTORS.get(self.kind)

    @property
    def extractor(self) -> str:
        """`mnist-classifier`, `clean,inception-v3`."""
        return ",".join(filter(None, (self.mode, self.name)))

    @property
    def dimensions(self) -> int:
        return self.extractor_class.dimensions(self)

    def resolved(self) -> "ImageMetrics":
        return replace(self, sha256=self.extractor_class.digest(self), reference_sha256=self._reference_digest())

    def _reference_digest(self) -> str | None:
        if self.reference is None:
            return None
        found = sha256(locate(self.reference))
        if self.reference_sha256 not in (None, found):
            raise ValueError(f"{self.reference} has sha256 {found}, not metrics.reference_sha256")
        return found

    def as_recorded(self, identity: dict) -> "ImageMetrics":
        return replace(self, sha256=identity.get("sha256"), reference_sha256=identity.get("reference"))

    def look_for_files(self) -> None:
        self.extractor_class.look_for_weights(self)

    def check(self, cell: Any) -> None:
        n = cell.budget.n
        if self.extractor_class.classifies and n < self.is_splits:
            raise ValueError(f"budget.n is {n}; metrics.is_splits={self.is_splits} needs at least as many images")

    def protocol(self, metric: str, n: int, *words: str) -> str:
        own = [f"splits={self.is_splits}"] if metric == "is" else []
        if metric == "fid" and self.reference is not None:
            own = [f"reference={Path(self.reference).stem}@{self.reference_sha256[:8]}"]
        return super().protocol(metric, n, *own, *words)

    def extractor_identity(self) -> dict:
        settings = {} if self.settings is None else {"settings": self.settings}
        return {"extractor": self.extractor, "sha256": self.sha256} | settings

    def identity(self) -> dict:
        given = {} if self.reference is None else {"reference": self.reference_sha256}
        return self.extractor_identity() | {"is_splits": self.is_splits} | given


@dataclass(frozen=True)
class PromptMetrics(MetricsCard):
    """CLIP score of each generated image and its prompt. weights: a folder, or a name on the Hugging Face hub."""

    name: str
    kind: str = "clip"
    weights: str | None = None
    sha256: str | None = None

    needs_prompts = True

    def resolved(self) -> "PromptMetrics":
        from .clip_score import pinned

        return replace(self, sha256=pinned(self))

    def as_recorded(self, identity: dict) -> "PromptMetrics":
        return replace(self, sha256=identity.get("sha256"))

    def look_for_files(self) -> None:
        self.resolved()

    def extractor_identity(self) -> dict:
        return {"extractor": self.extractor, "sha256": self.sha256}

    def identity(self) -> dict:
        return self.extractor_identity() | {"metric": "clip_score"}


@dataclass(frozen=True)
class LikelihoodBound(MetricsCard):
    """The variational bound on held-out images, in bits per dimension (`fastdiff.analytic.likelihood_bound`)."""

    name: str = "nll"
    kind: str = "nll"

    generates_images = False

    def check(self, cell: Any) -> None:
        from ..analytic.likelihood_bound import check

        check(cell)
        if cell.device.compile != "none":
            raise ValueError("metrics=nll takes batches of any size, and graphs have one: use device.compile=none")

    def protocol(self, metric: str, n: int, *words: str) -> str:
        return f"{metric}[bits/dim,n={n}]"

    def identity(self) -> dict:
        return {"metric": "nll"}


_OTHERS = {"clip": PromptMetrics, "nll": LikelihoodBound}


def metrics_card(conf: dict) -> MetricsCard:
    """The group conf/metrics as a plain dict -> its card. Raises ValueError for an unknown kind or knob."""
    kind = conf.get("kind")
    return build(_OTHERS.get(kind, ImageMetrics) if isinstance(kind, str) else ImageMetrics, conf, "metrics")


def build_extractor(card: MetricsCard, device: str = "cpu", threads: int | None = None) -> Extractor:
    """The extractor of a card, with its weights loaded. Raises ValueError for a card without an extractor."""
    if isinstance(card, PromptMetrics):
        from .clip_score import ClipScoreExtractor

        return ClipScoreExtractor(card, device)
    if not isinstance(card, ImageMetrics):
        raise ValueError(
            f"metrics={card.name} looks at no generated images: choose metrics=mnist_classifier or clean_fid"
        )
    return card.extractor_class(card, device, threads)


def sign(name: str) -> int:
    """1 where lower is better, -1 where higher is better. sign(name) * value is a loss.

    name: of a metric or of a value, as `fid` or `clip_score[ViT-B/32,n=5000]`. Raises ValueError for another metric.
    """
    metric = name.partition("[")[0]
    if metric not in (*LOWER, *HIGHER):
        raise ValueError(f"metric '{metric}' is not one of: {', '.join(sorted((*LOWER, *HIGHER)))}")
    return 1 if metric in LOWER else -1


def words(name: str) -> str:
    """`lower is better` or `higher is better`."""
    return "lower is better" if sign(name) > 0 else "higher is better"


def judged_by(values: Mapping[str, Any]) -> str:
    """The name of the value that cells are compared by. values: of a quality record, by protocol."""
    return next(name for name, value in values.items() if value.metric in JUDGED)
