"""Influence values of precision, recall, density and coverage, by leaving out one image of the arm at a time.

With T the value of n images and T_i that without image i, psi_i = (n - 1) (T - T_i) less its mean: the delete-one
jackknife (Efron & Stein 1981), as one float per image. For precision and density, which are means, it is exact: the
image's own share less the mean. For recall and coverage its variance is an upper bound on average
(docs/statistics.md has by how much). All T_i of these two come from one pass: leaving out an image
matters to the reference images that it alone covers or recalls, and widens the balls of those whose k nearest it is
among.
"""

import numpy as np

from ..metrics.prdc import Counts


def prdc_influence(counts: Counts) -> dict[str, np.ndarray]:
    """psi (n) of each of the four, by name."""
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
    """By how many reference images (n) fewer are recalled without each image; negative where they are more."""
    n = len(counts.balls)
    a, j = counts.shell.T
    near = counts.nearest[a]  # leaving out one of these lets a's ball reach j
    none = counts.recalling[j] == 0
    gained = np.unique(j[none, None] * n + near[none])  # an image gains j once, however many balls come to reach it
    sole = counts.sole_recall
    kept = (counts.recalling[j] == 1) & (a != sole[j]) & (near == sole[j, None]).any(1)
    lost = counts.recalling == 1
    lost[j[kept]] = False
    return np.bincount(sole[lost], minlength=n) - np.bincount(gained % n, minlength=n)
