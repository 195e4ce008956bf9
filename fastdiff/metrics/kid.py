"""The Kernel Inception Distance (Binkowski et al. 2018): the unbiased squared MMD with k(x, y) = (x.y / D + 1)^3.

KID = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j), x the arm, y the reference.
It is unbiased at any n and can be negative. All computation is in float64.
"""

import numpy as np

from .fid import check_finite

BLOCK = 2**22  # kernel values held at once: 32 MB


def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """k of each pair (N M) of features (N D) and (M D)."""
    base = x @ y.T / x.shape[1] + 1
    return base * base * base  # numpy's power takes many times as long


def within(features: np.ndarray) -> np.ndarray:
    """mean_{j != i} k(x_i, x_j) of each image (N). Of a reference, keep its mean: every KID against it needs it.

    N^2 D / 2 multiplications; memory O(N + D) beside the features. Raises ValueError for fewer than two images.
    """
    x = _checked(features)
    n, sums = len(x), np.zeros(len(x))
    rows = max(1, BLOCK // n)
    for start in range(0, n, rows):
        part = np.asarray(x[start : start + rows], np.float64)
        for first in range(start, n, rows):  # each pair of blocks once, because k is symmetric
            block = kernel(part, part if first == start else np.asarray(x[first : first + rows], np.float64))
            if first == start:
                np.fill_diagonal(block, 0)
            else:
                sums[first : first + rows] += block.sum(0)
            sums[start : start + rows] += block.sum(1)
    return sums / (n - 1)


def between(features: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """mean_j k(x_i, y_j) of each image (N) with the reference's features (M D)."""
    x, y = _checked(features), _checked(reference)
    sums = np.zeros(len(x))
    rows = max(1, BLOCK // max(len(x), len(y)))
    for start in range(0, len(x), rows):
        part = np.asarray(x[start : start + rows], np.float64)
        for first in range(0, len(y), rows):
            sums[start : start + rows] += kernel(part, np.asarray(y[first : first + rows], np.float64)).sum(1)
    return sums / len(y)


def kid(features: np.ndarray, reference: np.ndarray, reference_within: float | None = None) -> float:
    """The estimate over all pairs. It depends on no seed and on no order.

    features (N D), reference (M D) of any float type. reference_within: `within(reference).mean()`, where it is known.
    """
    if reference_within is None:
        reference_within = within(reference).mean()
    return kid_value(within(features), between(features, reference), reference_within)


def kid_value(own: np.ndarray, other: np.ndarray, reference_within: float) -> float:
    """KID from `within` (n) and `between` (n) of the arm's features."""
    return float(own.mean() + reference_within - 2 * other.mean())


def kid_subsets(
    features: np.ndarray, reference: np.ndarray, subsets: int = 100, size: int = 1000, seed: int = 2020
) -> np.ndarray:
    """The same estimate on `subsets` random subsets of `size` images of each side (subsets). Papers print the mean.

    As in torch-fidelity and clean-fid, RandomState(seed) draws the arm's subset, then the reference's, without
    replacement. Their spread is no standard error of the mean: subsets overlap, and it does not shrink with n.
    """
    x, y = _checked(features), _checked(reference)
    size = min(size, len(x), len(y))
    random = np.random.RandomState(seed)
    values = []
    for _ in range(subsets):
        a = np.asarray(x[random.choice(len(x), size, replace=False)], np.float64)
        b = np.asarray(y[random.choice(len(y), size, replace=False)], np.float64)
        own, other, cross = kernel(a, a), kernel(b, b), kernel(a, b)
        pairs = own.sum() - np.trace(own) + other.sum() - np.trace(other)
        values.append(pairs / (size * (size - 1)) - 2 * cross.mean())
    return np.array(values)


def _checked(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features)
    if len(features) < 2:
        raise ValueError(f"KID compares pairs of images and needs at least 2; {len(features)} was given")
    check_finite(features)
    return features
