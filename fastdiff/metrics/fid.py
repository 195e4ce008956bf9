"""The Frechet distance between two Gaussians fitted to features (Heusel et al. 2017).

d^2 = |m - m_ref|^2 + tr(S + S_ref - 2 sqrt(S S_ref)). With S_ref = L L', the trace of the root is the sum of the roots
of the eigenvalues of L' S L, which is symmetric: no `sqrtm`, no imaginary part, and L is computed once a reference.
"""

from typing import NamedTuple

import numpy as np


class Moments(NamedTuple):
    """n, mean (D) and covariance (D D, divided by n - 1) of features, float64."""

    n: int
    mean: np.ndarray
    cov: np.ndarray


def moments(features: np.ndarray) -> Moments:
    """features (N D) of any float type. Raises ValueError, naming the first bad image, on NaN or infinity."""
    features = np.asarray(features, dtype=np.float64)
    if len(features) < 2:
        raise ValueError(f"a covariance needs at least 2 images; {len(features)} was given")
    bad = ~np.isfinite(features).all(1)
    if bad.any():
        raise ValueError(
            f"the features of image {bad.argmax()} are NaN or infinite ({bad.sum()} of {len(features)} are)"
        )
    return Moments(len(features), features.mean(0), np.atleast_2d(np.cov(features, rowvar=False)))


def root(cov: np.ndarray) -> np.ndarray:
    """A factor L with L L' = cov, also of a rank-deficient covariance."""
    try:
        return np.linalg.cholesky(cov)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(cov)
        return vectors * np.sqrt(values.clip(0))


def frechet(arm: Moments, reference: Moments) -> float:
    """Frechet distance, in squared units of the features; the same number as clean-fid's."""
    L = root(reference.cov)
    roots = np.sqrt(np.linalg.eigvalsh(L.T @ arm.cov @ L).clip(0))
    gap = arm.mean - reference.mean
    return float(gap @ gap + np.trace(arm.cov) + np.trace(reference.cov) - 2 * roots.sum())
