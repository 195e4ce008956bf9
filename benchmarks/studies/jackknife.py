"""The delete-block jackknife: standard errors from values alone. It checks the influence values independently.

se^2 = (g - 1) / g sum_k (v_k - mean v)^2, with v_k the value without block k (Tukey 1958; Kuensch 1989 for blocks).
Block k holds every g-th image. For two arms that share their noise, v_k is the difference of their values without block
k. The quadratic part counts twice, as with first-order influence values (`influence`): near the reference the standard
errors are up to sqrt(2) too large.
"""

import math

import numpy as np

from fastdiff.metrics.fid import Moments, frechet
from fastdiff.statistics.influence import Estimate

BLOCKS = 40


def frechet_left_out(features: np.ndarray, reference: Moments, blocks: int = BLOCKS) -> np.ndarray:
    """Frechet distances (blocks) of features (N D) without each block.

    The sums of each block are computed once and subtracted from the total. Raises ValueError for fewer than two blocks,
    or fewer than two images per block.
    """
    n = len(features)
    if not 2 <= blocks <= n // 2:
        raise ValueError(f"{blocks} blocks of {n} images: at least 2 blocks, and 2 images in each, are needed")
    x = np.asarray(features, dtype=np.float64)
    middle = x.mean(0)
    parts = [x[k::blocks] - middle for k in range(blocks)]
    sums, squares = [part.sum(0) for part in parts], [part.T @ part for part in parts]
    total, square, left = sum(sums), sum(squares), []
    for part, s, q in zip(parts, sums, squares):
        kept = n - len(part)
        mean = (total - s) / kept
        cov = (square - q - kept * np.outer(mean, mean)) / (kept - 1)
        left.append(frechet(Moments(kept, middle + mean, cov), reference))
    return np.array(left)


def jackknife_error(left_out: np.ndarray) -> float:
    """Standard error from the values (g) without each of g blocks."""
    g = len(left_out)
    return math.sqrt((g - 1) / g * ((left_out - left_out.mean()) ** 2).sum())


def jackknife(value: float, left_out: np.ndarray, level: float = 0.05) -> Estimate:
    """Interval of a value by Student's t with g - 1 degrees of freedom. Paired: a - b and its v_k."""
    from scipy.stats import t

    se, wide = jackknife_error(left_out), float(t.ppf(1 - level / 2, len(left_out) - 1))
    return Estimate(value, se, value - wide * se, value + wide * se)
