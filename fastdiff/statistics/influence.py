"""Intervals from influence values: one or two numbers per image give every standard error.

The influence psi(x) of an image is the derivative of the metric when the arm's distribution is mixed with a point mass
at x. To first order value = truth + mean(psi). So se = sd(psi) / sqrt(n), and se = sd(psi_A - psi_B) / sqrt(n) for two
arms that share their noise. The reference is taken as fixed.

Second order: psi is computed from the same n images. Therefore n se^2 is s^2 + c / n on average, but the value varies
by s^2 + c / (2 n) (Efron & Stein 1981: the jackknife's variance counts the quadratic part twice). Near the reference s
vanishes, and first-order standard errors are up to sqrt(2) too large. delta(x) is half the change of psi(x) from one
half of the images to the other. It varies by c / n between images, which gives the correction
n se^2 = max(var(psi) - var(delta) / 2, var(psi) / 4), for differences of arms too.

Precision, recall, density and coverage: with T the value of n images and T_i the value without image i,
psi_i = (n - 1) (T - T_i) less its mean, the delete-one jackknife (Efron & Stein 1981). It is exact for precision and
density, which are means. For recall and coverage its variance is an upper bound on average (docs/statistics.md).
"""

import math
from typing import NamedTuple

import numpy as np

from ..metrics.fid import Moments, moments
from ..metrics.inception_score import split_divergences
from ..metrics.prdc import Counts

Z95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution
ENOUGH = 3.9  # images per feature dimension: fewest at which the coverage of intervals was verified (250 images of 64)
FEW = 100  # images: the same for KID, precision, recall, density, coverage


class Estimate(NamedTuple):
    """A value with its standard error and the ends of its 95 % interval."""

    value: float
    se: float
    low: float
    high: float


def standard_error(psi: np.ndarray) -> float:
    """Standard error of a value. psi: influence values (n) of its images, or (2 n) with psi and delta as rows."""
    return _error(*_squares(psi))


def _squares(psi: np.ndarray) -> tuple[float, float]:
    """var(psi) / n and var(delta) / n; the second is 0 where there is no delta."""
    first, second = (psi, None) if psi.ndim == 1 else psi
    return first.var(ddof=1) / len(first), 0.0 if second is None else second.var(ddof=1) / len(second)


def _error(first: float, second: float) -> float:
    return math.sqrt(max(first - second / 2, first / 4))


def estimate(value: float, psi: np.ndarray) -> Estimate:
    """Interval of a value. psi: influence values of its images, (n) or (2 n)."""
    se = standard_error(psi)
    return Estimate(value, se, value - Z95 * se, value + Z95 * se)


def difference(a: float, b: float, psi_a: np.ndarray, psi_b: np.ndarray, paired: bool) -> Estimate:
    """a - b with its interval. paired: image i has the same noise in both arms.

    Where one arm has no delta (in a record of an older version), neither delta is used. The interval is then too wide
    rather than too narrow.
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
    """psi (n), without delta."""
    return psi if psi.ndim == 1 else psi[0]


def correlation(psi_a: np.ndarray, psi_b: np.ndarray) -> float:
    """Correlation r of the influence values of paired arms. Pairing makes an interval sqrt(1 - r) times as wide.
    1 where the arms are identical, nan where one of them does not vary."""
    a, b = first_order(psi_a), first_order(psi_b)
    if np.array_equal(a, b):
        return 1.0
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale else math.nan


def outside(n: int, dimensions: int) -> str | None:
    """The reason why the Frechet distance has no interval, or None where it has one."""
    least = math.ceil(ENOUGH * dimensions)
    if n >= least:
        return None
    return f"no interval: {n} images are too few for a covariance of {dimensions} features; at least {least} are needed"


def few(n: int) -> str | None:
    """`outside` for metrics that compare all pairs of images. The number of features does not matter."""
    return None if n >= FEW else f"no interval: {n} images are too few; at least {FEW} are needed"


def frechet_expansion(features: np.ndarray, reference: Moments) -> np.ndarray | None:
    """psi and delta (2 N) of the Frechet distance to a fixed reference.

    psi(x) = 2 (m - m_ref)'(x - m) + (x - m)'(I - T)(x - m) - tr((I - T) S)

    T = L (L' S L)^(-1/2) L' with S the arm's covariance and L L' the reference's: the derivative of tr sqrt(S S_ref)
    is T / 2. dm and dS are half the difference between the images of even and of odd number. delta is the derivative of
    psi in that direction: 2 dm' T (x - m) - (x - m)' dT (x - m), less its mean. With L' S L = U diag(q^2) U' and
    E = U' L' dS L U, dT = -L U [E_ij / (q_i q_j (q_i + q_j))] U' L' (the divided differences of q^-1).

    Returns None for too few images (`outside`).
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
    """psi (N) of the Inception score, in image order. In split s it is IS_s (KL_i - mean KL); the part of p(y) has mean
    zero within the split."""
    divergences = split_divergences(probabilities, order, splits)
    n = len(probabilities)
    share = [n / (splits * len(kl)) for kl in divergences]
    psi = np.empty(n)
    psi[order] = np.concatenate([w * np.exp(kl.mean()) * (kl - kl.mean()) for w, kl in zip(share, divergences)])
    return psi


def kid_influence(own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """psi (n) of KID against a fixed reference. own, other: `metrics.kid.within` and `between` of the arm's features.

    psi_i = 2 (own_i - other_i) less its mean: what image i adds, to first order, to a mean over pairs (Hoeffding 1948).
    Near the reference the quadratic part counts twice, and standard errors are up to 1.5 times too large. They are not
    corrected as for the Frechet distance: KID is skewed there, and intervals with the correct standard error missed it
    in up to 14 % of samples.
    """
    psi = 2 * (own - other)
    return psi - psi.mean()


def prdc_influence(counts: Counts) -> dict[str, np.ndarray]:
    """psi (n) of precision, recall, density and coverage, by name.

    All T_i come from one pass. Leaving out an image matters to the reference images that it alone covers or recalls,
    and it widens the balls that have it among their k nearest.
    """
    n, m = len(counts.balls), len(counts.covering)
    alone = np.bincount(counts.sole_cover[counts.covering == 1], minlength=n)
    shares = {
        "precision": counts.balls > 0,
        "recall": (n - 1) / m * _recalled_less(counts),
        "density": counts.balls / counts.k,
        "coverage": (n - 1) / m * alone,
    }
    return {name: share - share.mean() for name, share in shares.items()}


def _recalled_less(counts: Counts) -> np.ndarray:
    """How many fewer reference images (n) are recalled without each image; negative where more are recalled."""
    n = len(counts.balls)
    a, j = counts.shell.T
    near = counts.nearest[a]  # leaving out one of these makes a's ball reach j
    none = counts.recalling[j] == 0
    gained = np.unique(j[none, None] * n + near[none])  # an image gains j once, even where several balls reach it
    sole = counts.sole_recall
    kept = (counts.recalling[j] == 1) & (a != sole[j]) & (near == sole[j, None]).any(1)
    lost = counts.recalling == 1
    lost[j[kept]] = False
    return np.bincount(sole[lost], minlength=n) - np.bincount(gained % n, minlength=n)
