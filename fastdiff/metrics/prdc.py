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

BLOCK = 2**22  # distances held at once: 32 MB
TIE = 1e-12  # of |x|^2 + |y|^2: distances that differ by less are equal up to rounding


class PRDCValues(NamedTuple):
    """Shares in [0, 1]; density has no upper end."""

    precision: float
    recall: float
    density: float
    coverage: float


def radii(features: np.ndarray, k: int = 5) -> np.ndarray:
    """Squared distance (N) of each image to its k-th nearest other one, float64; a reference's is worth keeping.

    Raises ValueError, naming the first bad image, on NaN or infinity, and where there are not k others.
    """
    x = _checked(features, k)
    x = x - x.mean(0)
    found = np.empty(len(x))
    for rows in _blocks(len(x), len(x)):
        distances, _ = _squared(x[rows], x)
        distances[np.arange(len(distances)), np.arange(len(x))[rows]] = np.inf
        found[rows] = np.partition(distances, k - 1, axis=1)[:, k - 1].clip(0)
    return found


def prdc(
    features: np.ndarray,
    reference: np.ndarray,
    k: int = 5,
    closed: bool = True,
    reference_radii: np.ndarray | None = None,
) -> PRDCValues:
    """The four of an arm's features (N D) against the reference's (M D), of any float type.

    closed: an image on the surface of a ball lies in it. reference_radii: `radii(reference, k)`, where it is kept.
    (N^2 + N M + M^2) D multiplications, memory O((N + M) D).
    """
    x, y = _checked(features, k), _checked(reference, k)
    arm = radii(x, k)
    real = radii(y, k) if reference_radii is None else reference_radii
    middle = y.mean(0)  # distances do not depend on it, their rounding does
    x, y = x - middle, y - middle
    balls = np.empty(len(x), int)  # of the reference, around each arm image
    recalled, covered = np.zeros(len(y), bool), np.zeros(len(y), bool)
    for rows in _blocks(len(x), len(y)):
        distances, tie = _squared(x[rows], y)
        distances += -tie if closed else tie
        compare = np.less_equal if closed else np.less
        inside = compare(distances, real)
        balls[rows] = inside.sum(1)
        covered |= inside.any(0)
        recalled |= compare(distances, arm[rows, None]).any(0)
    return PRDCValues(float((balls > 0).mean()), float(recalled.mean()), float(balls.mean() / k), float(covered.mean()))


def _checked(features: np.ndarray, k: int) -> np.ndarray:
    features = np.asarray(features, np.float64)
    if len(features) <= k:
        raise ValueError(f"a ball reaches the {k}-th other image, but there are {len(features)} images; lower k")
    check_finite(features)
    return features


def _squared(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """|x - y|^2 of each pair (N M), and what rounding may make of it."""
    size = (x * x).sum(1)[:, None] + (y * y).sum(1)
    return size - 2 * x @ y.T, TIE * size


def _blocks(n: int, columns: int) -> list[slice]:
    rows = max(1, BLOCK // columns)
    return [slice(start, min(start + rows, n)) for start in range(0, n, rows)]
