"""The metrics as `torchmetrics.Metric`s: states that are sums, so that batches, processes and blocks add up exactly.

Feed each image once, by `update`, on whatever process has it; then add the states (`merge_state`, or torchmetrics' own
reduction over processes), then `compute`. In a `MetricCollection` pass `compute_groups=False`: two metrics whose states
are equal after the first batch would be taken for one.
"""

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from .fid import Moments, check_finite, frechet
from .inception_score import shuffled
from .kid import kid, kid_subsets
from .prdc import K, prdc


class _Sums(Metric):
    is_differentiable = False
    full_state_update = False

    def _add(self, name: str, *shape: int, dtype: torch.dtype = torch.float64) -> None:
        self.add_state(name, torch.zeros(shape, dtype=dtype), dist_reduce_fx="sum")

    def _value(self, value) -> Tensor:
        return torch.as_tensor(value, dtype=torch.float64, device=self.device)


class FID(_Sums):
    """Frechet distance to a reference. Memory O(D^2) whatever the number of images.

    States, float64, with z = x - m_ref, so that nothing cancels: count, total = sum z (D), outer = sum z z' (D D).
    m = m_ref + total / n, S = (outer - total total' / n) / (n - 1).
    """

    higher_is_better = False

    def __init__(self, reference: Moments, **kwargs):
        super().__init__(**kwargs)
        self.reference = reference
        dimensions = len(reference.mean)
        self._add("count")
        self._add("total", dimensions)
        self._add("outer", dimensions, dimensions)

    def update(self, features) -> None:
        """features (B D) of any float type. Raises ValueError, naming the first bad image of those seen here."""
        x = torch.as_tensor(_rows(features), device=self.device).double()
        if x.ndim != 2 or x.shape[1] != len(self.total):
            raise ValueError(f"features are {tuple(x.shape)}, the reference has {len(self.total)} dimensions")
        check_finite(x.cpu().numpy(), int(self.count))
        z = x - self._value(self.reference.mean)
        self.count = self.count + len(z)
        self.total = self.total + z.sum(0)
        self.outer = torch.addmm(self.outer, z.T, z)

    def moments(self) -> Moments:
        """Those of all images so far."""
        n = int(self.count)
        if n < 2:
            raise ValueError(f"a covariance needs at least 2 images; {n} was given")
        total = self.total.cpu().numpy()
        cov = (self.outer.cpu().numpy() - np.outer(total, total / n)) / (n - 1)
        return Moments(n, self.reference.mean + total / n, cov)

    def compute(self) -> Tensor:
        return self._value(frechet(self.moments(), self.reference))


class InceptionScore(_Sums):
    """Inception score of n images cut into splits in a given order. Memory O(splits x classes).

    order: a permutation of 0 .. n - 1, by default the benchmark's shuffle; image i's split follows from its place
    there. States, float64, by split: counts, totals = sum p (splits classes), negentropy = sum p log p. The mean
    divergence of a split is negentropy / count - sum_y m_y log m_y with m = totals / count.
    """

    higher_is_better = True

    def __init__(self, n: int, classes: int, splits: int = 10, order: np.ndarray | None = None, **kwargs):
        super().__init__(**kwargs)
        if n < splits:
            raise ValueError(f"{n} images cannot be cut into {splits} splits; lower splits or give more images")
        order = shuffled(n) if order is None else np.asarray(order)
        if not np.array_equal(np.sort(order), np.arange(n)):
            raise ValueError(f"the order is no permutation of 0 .. {n - 1}")
        self.split = np.empty(n, int)
        for i in range(splits):
            self.split[order[i * n // splits : (i + 1) * n // splits]] = i
        self._add("counts", splits)
        self._add("totals", splits, classes)
        self._add("negentropy", splits)

    def update(self, probabilities, images) -> None:
        """probabilities (B classes); images (B): their numbers in 0 .. n - 1."""
        p = torch.as_tensor(_rows(probabilities), device=self.device).double()
        split = torch.as_tensor(self.split[_numbers(images, len(p), len(self.split))], device=self.device)
        negentropy = torch.xlogy(p, p).sum(1)
        self.counts = self.counts.index_add(0, split, torch.ones_like(negentropy))
        self.totals = self.totals.index_add(0, split, p)
        self.negentropy = self.negentropy.index_add(0, split, negentropy)

    def compute(self) -> Tensor:
        """Raises ValueError unless each split has all its images."""
        wanted = np.bincount(self.split)
        if not np.array_equal(self.counts.cpu().numpy(), wanted):
            raise ValueError(
                f"{int(self.counts.sum())} images were seen of {wanted.sum()}, each of which is needed once"
            )
        mean = self.totals / self.counts[:, None]
        return (self.negentropy / self.counts - torch.xlogy(mean, mean).sum(1)).exp().mean()


class _Kept(_Sums):
    """Features by image number in one array (n D): adding arrays puts every image at its place, whoever saw it.

    Memory n D values of `dtype` (float16, as extractors' features are kept: 205 MB for 50,000 x 2048).
    """

    def __init__(self, reference: np.ndarray, n: int, dtype: torch.dtype = torch.float32, **kwargs):
        super().__init__(**kwargs)
        self.reference = np.asarray(reference)
        self._add("features", n, self.reference.shape[1], dtype=dtype)
        self._add("seen", n, dtype=torch.int64)

    def update(self, features, images) -> None:
        """features (B D); images (B): their numbers in 0 .. n - 1."""
        numbers = torch.as_tensor(_numbers(images, len(features), len(self.seen)), device=self.device)
        x = torch.as_tensor(_rows(features), device=self.device)
        bad = ~x.isfinite().all(1)
        if bad.any():
            first, count = int(numbers[bad].min()), int(bad.sum())
            raise ValueError(f"the features of image {first} are NaN or infinite ({count} of {len(x)} are)")
        self.features = self.features.index_add(0, numbers, x.to(self.features.dtype))
        self.seen = self.seen.index_add(0, numbers, torch.ones_like(numbers))

    def kept(self) -> np.ndarray:
        """Features (n D). Raises ValueError unless each image was seen once."""
        wrong = (self.seen != 1).cpu().numpy()
        if wrong.any():
            i = int(wrong.argmax())
            raise ValueError(f"image {i} was seen {int(self.seen[i])} times; each of the {len(wrong)} is needed once")
        return self.features.cpu().numpy()


class KID(_Kept):
    """Kernel distance: the full-sample estimate, or with `subsets` the mean over that many seeded subsets of `size`."""

    higher_is_better = False

    def __init__(self, reference, n: int, subsets: int | None = None, size: int = 1000, seed: int = 2020, **kwargs):
        super().__init__(reference, n, **kwargs)
        self.draws = None if subsets is None else (subsets, size, seed)

    def compute(self) -> Tensor:
        features = self.kept()
        if self.draws is None:
            return self._value(kid(features, self.reference))
        return self._value(kid_subsets(features, self.reference, *self.draws).mean())


class PRDC(_Kept):
    """Precision, recall, density and coverage: compute() gives the four by name."""

    higher_is_better = True

    def __init__(self, reference, n: int, k: int = K, closed: bool = True, **kwargs):
        super().__init__(reference, n, **kwargs)
        self.k, self.closed = k, closed

    def compute(self) -> dict[str, Tensor]:
        found = prdc(self.kept(), self.reference, self.k, self.closed)
        return {name: self._value(value) for name, value in found._asdict().items()}


def _rows(values):
    """A tensor as it is, an array without the negative strides that torch does not know."""
    return values if isinstance(values, Tensor) else np.ascontiguousarray(values)


def _numbers(images, wanted: int, n: int) -> np.ndarray:
    numbers = np.ascontiguousarray(images)
    if numbers.shape != (wanted,) or numbers.min(initial=0) < 0 or numbers.max(initial=0) >= n:
        raise ValueError(f"{wanted} images need as many numbers in 0 .. {n - 1}")
    return numbers
