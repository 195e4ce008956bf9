"""The metrics as `torchmetrics.Metric` classes: update with blocks of images, then compute.

The state of each metric is one array of features or probabilities, with image i in row i, and the number of times each
image was seen. Adding the states of several processes or blocks (`merge_state`, or torchmetrics' own reduction) puts
every row in its place. The value is therefore the same, to the last digit, in any order and on any number of processes.
In a `MetricCollection` list FID, KID and PRDC of the same images in one compute group: they share one state.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from .clip_score import clip_score
from .fid import Moments, frechet, moments
from .inception_score import inception_score, shuffled
from .kid import between, kid_value, within
from .prdc import Counts, K, counts


class _Images(Metric):
    """Keeps n rows of `width` values. dtype: of the rows; the values are computed in float64.

    Memory: n width values. 50,000 x 2048 features in float16 take 205 MB.
    """

    is_differentiable = False
    full_state_update = False
    called = "features"

    def __init__(self, n: int, width: int, dtype: torch.dtype, **kwargs):
        super().__init__(**kwargs)
        self.add_state("rows", torch.zeros((n, width), dtype=dtype), dist_reduce_fx="sum")
        self.add_state("seen", torch.zeros(n, dtype=torch.int64), dist_reduce_fx="sum")

    def _keep(self, values, images) -> None:
        n, width = self.rows.shape
        numbers = np.ascontiguousarray(images)
        if numbers.shape != (len(values),) or numbers.min(initial=0) < 0 or numbers.max(initial=0) >= n:
            raise ValueError(f"{len(values)} images need as many numbers in 0 .. {n - 1}")
        numbers = torch.as_tensor(numbers, device=self.device)
        values = values if isinstance(values, Tensor) else np.ascontiguousarray(values)  # torch has no negative strides
        x = torch.as_tensor(values, device=self.device)
        if x.ndim != 2 or x.shape[1] != width:
            raise ValueError(f"{self.called} are {tuple(x.shape)}; (B {width}) is expected")
        bad = ~x.isfinite().all(1)
        if bad.any():
            first, count = int(numbers[bad].min()), int(bad.sum())
            raise ValueError(f"the {self.called} of image {first} are NaN or infinite ({count} of {len(x)} are)")
        self.rows.index_add_(0, numbers, x.to(self.rows.dtype))
        self.seen.index_add_(0, numbers, torch.ones_like(numbers))

    def kept(self) -> np.ndarray:
        """The rows (n width). Raises ValueError unless each image was seen once."""
        wrong = (self.seen != 1).cpu().numpy()
        if wrong.any():
            i = int(wrong.argmax())
            raise ValueError(f"image {i} was seen {int(self.seen[i])} times; each of the {len(wrong)} is needed once")
        return self.rows.cpu().numpy()

    def _value(self, value) -> Tensor:
        return torch.as_tensor(value, dtype=torch.float64, device=self.device)


class _OfFeatures(_Images):
    def update(self, features, images) -> None:
        """features (B D), array or tensor. images (B): the number of each image, in 0 .. n - 1."""
        self._keep(features, images)


class FID(_OfFeatures):
    """Frechet distance of n images to a reference."""

    higher_is_better = False

    def __init__(self, reference: Moments, n: int, dtype: torch.dtype = torch.float32, **kwargs: Any):
        super().__init__(n, len(reference.mean), dtype, **kwargs)
        self.reference = reference

    def compute(self) -> Tensor:
        return self._value(frechet(moments(self.kept()), self.reference))


class InceptionScore(_Images):
    """Inception score of n images. order: a permutation of 0 .. n - 1, by default the benchmark's shuffle."""

    higher_is_better = True
    called = "probabilities"

    def __init__(
        self, n: int, classes: int, splits: int = 10, order: np.ndarray | None = None,
        dtype: torch.dtype = torch.float32, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(n, classes, dtype, **kwargs)
        if n < splits:
            raise ValueError(f"{n} images cannot be cut into {splits} splits; lower splits or give more images")
        self.order, self.splits = shuffled(n) if order is None else np.asarray(order), splits
        if not np.array_equal(np.sort(self.order), np.arange(n)):
            raise ValueError(f"the order is no permutation of 0 .. {n - 1}")

    def update(self, probabilities: Any, images: Any) -> None:
        """probabilities (B classes), array or tensor. images (B): the number of each image, in 0 .. n - 1."""
        self._keep(probabilities, images)

    def compute(self) -> Tensor:
        return self._value(inception_score(self.kept(), self.order, self.splits))


class KID(_OfFeatures):
    """Kernel distance of n images to reference features (M D), over all pairs.

    reference_within: `kid.within(reference).mean()`, where it is known. After compute(), `means` holds the mean kernel
    of each image with the other images and with the reference, (n) each.
    """

    higher_is_better = False

    def __init__(
        self, reference: np.ndarray, n: int, dtype: torch.dtype = torch.float32,
        reference_within: float | None = None, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(n, np.shape(reference)[1], dtype, **kwargs)
        self.reference, self.reference_within = np.asarray(reference), reference_within
        self.means: tuple[np.ndarray, np.ndarray] | None = None

    def compute(self) -> Tensor:
        features = self.kept()
        own = within(self.reference).mean() if self.reference_within is None else self.reference_within
        self.means = within(features), between(features, self.reference)
        return self._value(kid_value(*self.means, own))


class PRDC(_OfFeatures):
    """Precision, recall, density and coverage of n images: compute() gives the four by name.

    reference: features (M D). reference_radii: `prdc.radii(reference, k)`, where they are known. After compute(),
    `counts` holds the `prdc.Counts` that the values come from.
    """

    higher_is_better = True

    def __init__(
        self, reference: np.ndarray, n: int, k: int = K, closed: bool = True, dtype: torch.dtype = torch.float32,
        reference_radii: np.ndarray | None = None, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(n, np.shape(reference)[1], dtype, **kwargs)
        self.reference, self.reference_radii, self.k, self.closed = np.asarray(reference), reference_radii, k, closed
        self.counts: Counts | None = None

    def compute(self) -> dict[str, Tensor]:
        self.counts = counts(self.kept(), self.reference, self.k, self.closed, self.reference_radii)
        return {name: self._value(value) for name, value in self.counts.values()._asdict().items()}


class CLIPScore(_OfFeatures):
    """Mean CLIP score of n images, from the score of each (B 1) that `ClipScoreExtractor` gives."""

    higher_is_better = True
    called = "scores"

    def __init__(self, n: int, dtype: torch.dtype = torch.float32, **kwargs: Any):
        super().__init__(n, 1, dtype, **kwargs)

    def compute(self) -> Tensor:
        value, _ = clip_score(self.kept())
        return self._value(value)
