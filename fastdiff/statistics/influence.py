"""Intervals by influence values: one float per image, from which every standard error follows.

The influence psi(x) of an image is the derivative of the metric when the arm's distribution is mixed with a point mass
at x. To first order value = truth + mean(psi), so se = sd(psi) / sqrt(n), and for two arms that share their noise
se = sd(psi_A - psi_B) / sqrt(n). The reference is taken as fixed.
"""

import math
from typing import NamedTuple

import numpy as np

from ..metrics.fid import Moments, moments, root
from ..metrics.inception_score import split_divergences

Z95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution


class Estimate(NamedTuple):
    """A value with its standard error and the ends of its 95 % interval."""

    value: float
    se: float
    low: float
    high: float


def estimate(value: float, psi: np.ndarray) -> Estimate:
    """Interval of a value from the influence values (n) of its images."""
    se = float(psi.std(ddof=1) / math.sqrt(len(psi)))
    return Estimate(value, se, value - Z95 * se, value + Z95 * se)


def difference(a: float, b: float, psi_a: np.ndarray, psi_b: np.ndarray, paired: bool) -> Estimate:
    """a - b with its interval. `paired`: image i has the same noise in both arms."""
    if not paired:
        se = math.hypot(estimate(a, psi_a).se, estimate(b, psi_b).se)
        return Estimate(a - b, se, a - b - Z95 * se, a - b + Z95 * se)
    if len(psi_a) != len(psi_b):
        raise ValueError(f"paired arms need the same images: {len(psi_a)} and {len(psi_b)} were given")
    return estimate(a - b, psi_a - psi_b)


def frechet_influence(features: np.ndarray, reference: Moments) -> np.ndarray | None:
    """psi (N) of the Frechet distance: 2 (m - m_ref)'(x - m) + (x - m)'(I - T)(x - m) - tr((I - T) S).

    T = L (L' S L)^(-1/2) L' with S the arm's covariance and L L' the reference's: the derivative of tr sqrt(S S_ref)
    is T / 2. None outside its domain: below twice as many images as feature dimensions S is (nearly) singular, and no
    interval is better than a wrong one.
    """
    n, dimensions = features.shape
    if n < 2 * dimensions:
        return None
    arm = moments(features)
    L = root(reference.cov)
    values, vectors = np.linalg.eigh(L.T @ arm.cov @ L)
    kept = values > 1e-10 * values[-1]
    half = L @ vectors[:, kept]
    T = half / np.sqrt(values[kept]) @ half.T
    rest = np.eye(dimensions) - T
    x = np.asarray(features, dtype=np.float64) - arm.mean
    quadratic = np.einsum("ni,ij,nj->n", x, rest, x, optimize=True)
    return 2 * x @ (arm.mean - reference.mean) + quadratic - np.trace(rest @ arm.cov)


def inception_score_influence(probabilities: np.ndarray, order: np.ndarray, splits: int) -> np.ndarray:
    """psi (N), in image order: of split s, IS_s (KL_i - mean KL); what p(y) contributes has mean zero within it."""
    divergences = split_divergences(probabilities, order, splits)
    n = len(probabilities)
    share = [n / (splits * len(kl)) for kl in divergences]
    psi = np.empty(n)
    psi[order] = np.concatenate([w * np.exp(kl.mean()) * (kl - kl.mean()) for w, kl in zip(share, divergences)])
    return psi
