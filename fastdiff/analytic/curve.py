"""Norms at every level from norms at some: what optimal trajectories are placed by."""

import math

import numpy as np

from ..diffusion.noise_levels import NoiseLevels


def grid(noise_levels: NoiseLevels, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise levels a trajectory may take, and those among them whose norms are estimated; both ascending.

    With training levels: all N of them, and those nearest to `count` points even in log sigma, with the first two and
    the last (N for count >= N). Without: `count` points even in log sigma over the network's span, all estimated.
    """
    if noise_levels.levels is None:
        points = np.geomspace(*noise_levels.span, count)
        return points, points
    levels = np.asarray(noise_levels.levels)
    if count >= len(levels):
        return levels, levels
    points = np.linspace(math.log(levels[0]), math.log(levels[-1]), count)
    nearest = np.abs(np.log(levels)[:, None] - points).argmin(0)
    return levels, levels[sorted({0, 1, len(levels) - 1, *nearest.tolist()})]


def interpolated(levels: np.ndarray, known: np.ndarray, values: np.ndarray) -> tuple[float, ...]:
    """Values at `levels`, linear in log sigma between the `known` ones and exact there (Bao et al. 2022, App. E, has
    the curve linear between grid times)."""
    return tuple(np.interp(np.log(levels), np.log(known), values).tolist())
