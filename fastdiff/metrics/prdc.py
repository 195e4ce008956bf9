"""Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020).

B(z) is the ball around an image z of one set whose radius is the distance to its k-th nearest other image of that set.

    precision  share of arm images that lie in a ball of the reference
    recall     share of reference images that lie in a ball of the arm
    density    mean over arm images of the number of the reference's balls they lie in, over k
    coverage   share of reference images whose ball holds an arm image
"""

from typing import NamedTuple

import numpy as np

from .fid import check_finite

K = 5  # a ball reaches to this neighbour (Naeem et al. 2020)
BLOCK = 2**22  # distances held at once: 32 MB
TIE = 1e-12  # of |x|^2 + |y|^2: distances that differ by less are equal up to rounding


class PRDCValues(NamedTuple):
    """Shares in [0, 1]; density has no upper end."""

    precision: float
    recall: float
    density: float
    coverage: float


class Counts(NamedTuple):
    """Which of n arm images and m reference images lie in each other's balls, and what changes without one of them.

    balls (n): number of reference balls around each arm image. covering (m): number of arm images in the ball of each
    reference image. recalling (m): number of arm balls around each reference image. sole_cover, sole_recall (m): the
    arm image behind these, where it is the only one. nearest (n k): the k nearest other arm images. shell (pairs 2):
    arm image a and reference image j outside a's ball but inside the ball that a has without one of its k nearest.
    """

    k: int
    balls: np.ndarray
    covering: np.ndarray
    recalling: np.ndarray
    sole_cover: np.ndarray
    sole_recall: np.ndarray
    nearest: np.ndarray
    shell: np.ndarray

    def values(self) -> PRDCValues:
        shares = (float((count > 0).mean()) for count in (self.balls, self.recalling, self.covering))
        precision, recall, coverage = shares
        return PRDCValues(precision, recall, float(self.balls.mean() / self.k), coverage)


def radii(features: np.ndarray, k: int = K) -> np.ndarray:
    """Squared distance (N) of each image to its k-th nearest other image, float64. Keep a reference's.

    Raises ValueError for NaN or infinity, naming the first bad image, and where there are not k other images.
    """
    return neighbours(features, k)[0]


def neighbours(features: np.ndarray, k: int = K) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Squared distances (N) to the k-th and to the (k + 1)-th nearest other image (inf where there is none), and the
    numbers (N k) of the k nearest."""
    x = _checked(features, k)
    x = x - x.mean(0)
    reach, wider, nearest = np.empty(len(x)), np.full(len(x), np.inf), np.empty((len(x), k), int)
    last = min(k, len(x) - 1)
    for rows in _blocks(len(x), len(x)):
        distances, _ = _squared(x[rows], x)
        distances[np.arange(len(distances)), np.arange(len(x))[rows]] = np.inf
        order = np.argpartition(distances, (k - 1, last), axis=1)
        kept = np.take_along_axis(distances, order[:, : last + 1], axis=1).clip(0)
        reach[rows], wider[rows], nearest[rows] = kept[:, k - 1], kept[:, last], order[:, :k]
    return reach, wider if len(x) > k + 1 else np.full(len(x), np.inf), nearest


def prdc(
    features: np.ndarray,
    reference: np.ndarray,
    k: int = K,
    closed: bool = True,
    reference_radii: np.ndarray | None = None,
) -> PRDCValues:
    """The four values of an arm's features (N D) against a reference's (M D), of any float type.

    closed: a ball includes its surface. reference_radii: `radii(reference, k)`, where they are known.
    (N^2 + N M + M^2) D multiplications; memory O((N + M) D).
    """
    return counts(features, reference, k, closed, reference_radii).values()


def counts(
    features: np.ndarray,
    reference: np.ndarray,
    k: int = K,
    closed: bool = True,
    reference_radii: np.ndarray | None = None,
) -> Counts:
    """The counts behind `prdc`, and how they change without each image of the arm."""
    x, y = _checked(features, k), _checked(reference, k)
    reach, wider, nearest = neighbours(x, k)
    real = radii(y, k) if reference_radii is None else reference_radii
    middle = y.mean(0)  # this changes no distance, only its rounding
    x, y = x - middle, y - middle
    balls = np.empty(len(x), int)
    covering, recalling, sole_cover, sole_recall = np.zeros((4, len(y)), int)
    shell, compare = [], np.less_equal if closed else np.less
    for rows in _blocks(len(x), len(y)):
        distances, tie = _squared(x[rows], y)
        distances += -tie if closed else tie
        inside, recalled = compare(distances, real), compare(distances, reach[rows, None])
        balls[rows] = inside.sum(1)
        for found, count, sole in ((inside, covering, sole_cover), (recalled, recalling, sole_recall)):
            any_ = found.any(0)
            count += found.sum(0)
            sole[any_] = rows.start + found.argmax(0)[any_]
        a, j = np.nonzero(compare(distances, wider[rows, None]) & ~recalled)
        shell.append(np.stack([rows.start + a, j], axis=1))
    return Counts(k, balls, covering, recalling, sole_cover, sole_recall, nearest, np.concatenate(shell))


def _checked(features: np.ndarray, k: int) -> np.ndarray:
    features = np.asarray(features, np.float64)
    if len(features) <= k:
        raise ValueError(f"a ball reaches the {k}-th other image, but there are {len(features)} images; lower k")
    check_finite(features)
    return features


def _squared(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """|x - y|^2 of each pair (N M), and its possible rounding error."""
    size = (x * x).sum(1)[:, None] + (y * y).sum(1)
    return size - 2 * x @ y.T, TIE * size


def _blocks(n: int, columns: int) -> list[slice]:
    rows = max(1, BLOCK // columns)
    return [slice(start, min(start + rows, n)) for start in range(0, n, rows)]
