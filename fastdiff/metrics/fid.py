"""The Frechet distance between two Gaussians fitted to features (Heusel et al. 2017).

d^2 = |m - m_ref|^2 + tr(S + S_ref - 2 sqrt(S S_ref)). With S_ref = L L', the trace of the root is the sum of the square
roots of the eigenvalues of L' S L. This matrix is symmetric, so there is no `sqrtm` and no imaginary part. L is
computed once for each reference.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np

LARGE = 512  # dimensions; from here on LAPACK's triangular product is faster


class _Moments(NamedTuple):
    n: int | None
    mean: np.ndarray
    cov: np.ndarray


class Moments(_Moments):
    """n (None where it is not known), mean (D) and covariance (D D, divided by n - 1) of features, float64."""

    @cached_property
    def factor(self) -> np.ndarray:
        """L with L L' = cov, computed once."""
        return root(self.cov)


def moments(features: np.ndarray) -> Moments:
    """features (N D) of any float type. Raises ValueError, naming the first bad image, for NaN or infinity."""
    features = np.asarray(features, dtype=np.float64)
    if len(features) < 2:
        raise ValueError(f"a covariance needs at least 2 images; {len(features)} was given")
    check_finite(features)
    return Moments(len(features), features.mean(0), np.atleast_2d(np.cov(features, rowvar=False)))


def check_finite(features: np.ndarray, first: int = 0) -> None:
    """Raise ValueError, naming the first bad image, for NaN or infinity. first: the number of the image in row 0."""
    bad = ~np.isfinite(features).all(1)
    if bad.any():
        raise ValueError(
            f"the features of image {first + bad.argmax()} are NaN or infinite ({bad.sum()} of {len(features)} are)"
        )


def root(cov: np.ndarray) -> np.ndarray:
    """A factor L (D r) with L L' = cov: by Cholesky, or from the r eigenvectors of a rank-deficient covariance."""
    try:
        return np.linalg.cholesky(cov)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(cov)
        kept = above_rounding(values)
        return vectors[:, kept] * np.sqrt(values[kept])


def above_rounding(values: np.ndarray) -> np.ndarray:
    """Which eigenvalues of a positive matrix exceed rounding errors. The square root of rounding would be large."""
    return values > max(len(values) * np.finfo(np.float64).eps * values.max(initial=0), 0)


def frechet(arm: Moments, reference: Moments) -> float:
    """Frechet distance, in squared units of the features. It equals clean-fid's."""
    return _distance(arm.mean, np.trace(arm.cov), _eigenvalues(arm.cov, reference.factor), reference)


def _eigenvalues(cov: np.ndarray, L: np.ndarray) -> np.ndarray:
    """Eigenvalues of L' S L, ascending."""
    if len(cov) < LARGE or L.shape != cov.shape or np.triu(L, 1).any():
        return np.linalg.eigvalsh(L.T @ cov @ L)
    from scipy.linalg import eigvalsh
    from scipy.linalg.lapack import dsygst

    product, _ = dsygst(cov, L, itype=2, lower=1)  # the lower half, with a quarter of the multiplications
    return eigvalsh(product, lower=True, driver="ev", overwrite_a=True, check_finite=False)


def frechet_of(features: np.ndarray, reference: Moments) -> float:
    """Frechet distance of features (N D). With fewer images than dimensions, the eigenvalues come from the Gram matrix
    X L (X L)' / (N - 1), N x N, with X the centred features. That is less work, and no zero is rooted."""
    n, dimensions = features.shape
    if n >= dimensions or n < 2:
        return frechet(moments(features), reference)
    x = np.asarray(features, dtype=np.float64)
    check_finite(x)
    mean = x.mean(0)
    x = (x - mean) / np.sqrt(n - 1)
    half = x @ reference.factor
    return _distance(mean, (x * x).sum(), np.linalg.eigvalsh(half @ half.T), reference)


def _distance(mean: np.ndarray, trace: float, values: np.ndarray, reference: Moments) -> float:
    roots = np.sqrt(values[above_rounding(values)])
    gap = mean - reference.mean
    return float(gap @ gap + trace + np.trace(reference.cov) - 2 * roots.sum())
