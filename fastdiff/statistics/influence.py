"""Intervals by influence values: one or two floats per image, from which every standard error follows.

The influence psi(x) of an image is the derivative of the metric when the arm's distribution is mixed with a point mass
at x. To first order value = truth + mean(psi), so se = sd(psi) / sqrt(n), and for two arms that share their noise
se = sd(psi_A - psi_B) / sqrt(n). The reference is taken as fixed.

To second order: psi is computed where the n images are, not where infinitely many would be, and so n se^2 is
s^2 + c / n on average, while the value varies by s^2 + c / (2 n) (Efron & Stein 1981: the jackknife's variance counts
the quadratic part twice). Where the arm comes near the reference s vanishes, and first-order standard errors are up to
sqrt(2) too large. delta(x), half the change of psi(x) from one half of the images to the other, varies by c / n between
images, so that n se^2 = max(var(psi) - var(delta) / 2, var(psi) / 4); with differences of arms as above.
"""

import math
from typing import NamedTuple

import numpy as np

from ..metrics.fid import Moments, moments
from ..metrics.inception_score import split_divergences

Z95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution
ENOUGH = 3.9  # images a feature dimension: the least at which intervals were seen to keep their promise (250 of 64)

FEW = 100  # images: the same for KID, precision, recall, density, coverage


class Estimate(NamedTuple):
    """A value with its standard error and the ends of its 95 % interval."""

    value: float
    se: float
    low: float
    high: float


def standard_error(psi: np.ndarray) -> float:
    """Of a value, from the influence values (n) of its images, or (2 n) with delta below psi."""
    return _error(*_squares(psi))


def _squares(psi: np.ndarray) -> tuple[float, float]:
    """var(psi) / n and var(delta) / n, 0 where there is no delta."""
    first, second = (psi, None) if psi.ndim == 1 else psi
    return first.var(ddof=1) / len(first), 0.0 if second is None else second.var(ddof=1) / len(second)


def _error(first: float, second: float) -> float:
    return math.sqrt(max(first - second / 2, first / 4))


def estimate(value: float, psi: np.ndarray) -> Estimate:
    """Interval of a value from the influence values, (n) or (2 n), of its images."""
    se = standard_error(psi)
    return Estimate(value, se, value - Z95 * se, value + Z95 * se)


def difference(a: float, b: float, psi_a: np.ndarray, psi_b: np.ndarray, paired: bool) -> Estimate:
    """a - b with its interval. `paired`: image i has the same noise in both arms.

    Where one arm has no delta (a record of an older version) neither is used, and the interval is too wide if anything.
    """
    if not paired:
        se = _error(*(one + other for one, other in zip(_squares(psi_a), _squares(psi_b))))
        return Estimate(a - b, se, a - b - Z95 * se, a - b + Z95 * se)
    if psi_a.shape[-1] != psi_b.shape[-1]:
        raise ValueError(
            f"paired arms need the same images: {psi_a.shape[-1]} and {psi_b.shape[-1]} were given; compare at equal n"
        )
    if psi_a.ndim != psi_b.ndim:
        psi_a, psi_b = first_order(psi_a), first_order(psi_b)
    return estimate(a - b, psi_a - psi_b)


def first_order(psi: np.ndarray) -> np.ndarray:
    """psi (n) without delta."""
    return psi if psi.ndim == 1 else psi[0]


def correlation(psi_a: np.ndarray, psi_b: np.ndarray) -> float:
    """r of the influence values of paired arms: an interval is sqrt(1 - r) times as wide as without pairing. 1 where
    the arms are identical, nan where one of them does not vary."""
    a, b = first_order(psi_a), first_order(psi_b)
    if np.array_equal(a, b):
        return 1.0
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale else math.nan


def outside(n: int, dimensions: int) -> str | None:
    """Why there is no interval, where there is none; None where there is one."""
    least = math.ceil(ENOUGH * dimensions)
    if n >= least:
        return None
    return f"no interval: {n} images are too few for a covariance of {dimensions} features; at least {least} are needed"


def few(n: int) -> str | None:
    """The same of a metric that is a mean over pairs of images, whatever their dimension."""
    return None if n >= FEW else f"no interval: {n} images are too few; at least {FEW} are needed"


def frechet_expansion(features: np.ndarray, reference: Moments) -> np.ndarray | None:
    """psi and delta (2 N) of the Frechet distance to a fixed reference.

    psi(x) = 2 (m - m_ref)'(x - m) + (x - m)'(I - T)(x - m) - tr((I - T) S)

    T = L (L' S L)^(-1/2) L' with S the arm's covariance and L L' the reference's: the derivative of tr sqrt(S S_ref)
    is T / 2. delta, of mean zero, is its derivative in the direction of half the difference of the images of even and
    of odd number, dm and dS: 2 dm' T (x - m) - (x - m)' dT (x - m), less its mean. With L' S L = U diag(q^2) U' and
    E = U' L' dS L U, dT = -L U [E_ij / (q_i q_j (q_i + q_j))] U' L' (the divided differences of q^-1).

    None outside its domain (`outside`): no interval is better than a wrong one.
    """
    n, dimensions = features.shape
    if outside(n, dimensions):
        return None
    arm = moments(features)
    L = reference.factor
    values, vectors = np.linalg.eigh(L.T @ arm.cov @ L)
    kept = values > 1e-10 * values[-1]
    q, turned = np.sqrt(values[kept]), L @ vectors[:, kept]
    T = turned / q @ turned.T
    rest = np.eye(dimensions) - T
    x = np.asarray(features, dtype=np.float64) - arm.mean
    psi = 2 * x @ (arm.mean - reference.mean) + _quadratic(x, rest) - np.trace(rest @ arm.cov)

    sign = np.where(np.arange(n) % 2, -1.0, 1.0)
    dm, dS = sign @ x / n, (sign[:, None] * x).T @ x / n
    back = vectors[:, kept].T @ L.T
    dT = -turned @ (back @ dS @ back.T / (np.outer(q, q) * np.add.outer(q, q))) @ turned.T
    delta = 2 * x @ (T @ dm) - _quadratic(x, dT)
    return np.stack([psi, delta - delta.mean()])


def _quadratic(x: np.ndarray, form: np.ndarray) -> np.ndarray:
    """x' form x of every row (N)."""
    return np.einsum("nd,nd->n", x @ form, x)


def inception_score_influence(probabilities: np.ndarray, order: np.ndarray, splits: int) -> np.ndarray:
    """psi (N), in image order: of split s, IS_s (KL_i - mean KL); what p(y) contributes has mean zero within it."""
    divergences = split_divergences(probabilities, order, splits)
    n = len(probabilities)
    share = [n / (splits * len(kl)) for kl in divergences]
    psi = np.empty(n)
    psi[order] = np.concatenate([w * np.exp(kl.mean()) * (kl - kl.mean()) for w, kl in zip(share, divergences)])
    return psi
