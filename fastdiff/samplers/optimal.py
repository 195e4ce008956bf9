"""Spacing `dp`: the trajectory with the best variational bound, placed by what is known of the network at each level.

variance `analytic`: least sum of J = log(sigma*^2 / lam2), nodes n = 1 .. N (Bao et al. 2022, eq. 14): `dp` as the
official code runs it (`dp_seg`), `dp_plain` as the paper prints it. variance `small`, `large`: `dp` is the official
baseline (`dp_vb`): least sum of the bound's terms themselves, nodes n = 0 .. N, where 0 is the image.
"""

import math
from functools import lru_cache

import numpy as np

from ..diffusion.noise_levels import Curves, NoiseLevels
from ..diffusion.spacing import OPTIMAL, algorithm_1, cheapest, optimal


def check(spacing: str, eta: float, variance: str) -> None:
    """Raises ValueError, with the reason, for a sampler whose bound no trajectory can be the best of."""
    if spacing not in OPTIMAL:
        return
    if eta == 0:
        raise ValueError(f"spacing '{spacing}' minimises a variational bound, and at eta=0 every bound is infinite"
                         " (no forward variance): take eta above 0, or spacing=even")  # fmt: skip
    if spacing == "dp_plain" and variance != "analytic":
        raise ValueError(f"spacing 'dp_plain' is of the analytic variance; for variance '{variance}' use spacing=dp")


def counted(spacing: str, steps: int, levels: np.ndarray | None, variance: str) -> int:
    """The number of steps, if N levels (None: not known yet) have such a trajectory; else raises ValueError."""
    least, most = 2 if variance == "analytic" else 1, math.inf if levels is None else len(levels)
    if not least <= steps <= most:
        raise ValueError(f"steps is {steps}; spacing '{spacing}' takes {least} .. {'N' if levels is None else most}")
    return steps


def trajectory(spacing: str, steps: int, noise_levels: NoiseLevels, eta: float, variance: str) -> list[float]:
    """Noise levels, descending, ending with 0. noise_levels: its `curves` tell what is known of the network
    (`fastdiff.bench.score_norms.placed`)."""
    curves = noise_levels.curves
    wanted = "eps_ms" if variance == "analytic" else "recon"
    if not getattr(curves, wanted, ()):
        raise ValueError(
            f"spacing '{spacing}' places steps by {wanted} at every level, and nothing is known of this network;"
            " fastdiff.bench.score_norms.placed estimates it"
        )
    return [*placed(curves, spacing, steps, eta, variance), 0.0]


@lru_cache(maxsize=16)  # every batch asks
def placed(curves: Curves, spacing: str, steps: int, eta: float, variance: str) -> tuple[float, ...]:
    levels = np.array(curves.levels)
    counted(spacing, steps, levels, variance)
    if variance == "analytic":
        rule = {"dp": optimal, "dp_plain": algorithm_1}[spacing]
        nodes = rule(levels, np.array(curves.eps_ms), steps, eta)
    else:
        terms = bound_terms(levels, np.array(curves.recon), np.array(curves.decoder), eta, variance)
        nodes = cheapest(terms, steps)[1:]
    return tuple(float(levels[n - 1]) for n in reversed(nodes))


def bound_terms(levels: np.ndarray, recon: np.ndarray, decoder: np.ndarray, eta: float, variance: str) -> np.ndarray:
    """F (N + 1, N + 1), nats per dimension: the term of the step from level t (column) to s (row); inf where s >= t.

    F(s, t) = (lam2 / var + log(var / lam2) - 1) / 2 + (1 - keep / t)^2 recon(t) / (2 var), and F(0, t) = decoder(t).
    Row and column 0 are the image. var: lam2 (small), or (t^2 - s^2) (1 + s^2) / (1 + t^2) (large).
    """
    upper, t2, s2 = np.triu_indices(len(levels), 1), levels[None, :] ** 2, levels[:, None] ** 2
    t2, s2, recon = (np.broadcast_to(each, (len(levels),) * 2)[upper] for each in (t2, s2, recon))
    lam2 = eta**2 * s2 * (1 - s2 / t2)
    keep = np.sqrt(s2 - lam2)
    var = lam2 if variance == "small" else (t2 - s2) * (1 + s2) / (1 + t2)
    F = np.full((len(levels) + 1,) * 2, np.inf)
    F[0, 1:] = decoder
    F[1:, 1:][upper] = (lam2 / var + np.log(var / lam2) - 1) / 2 + (1 - keep / np.sqrt(t2)) ** 2 * recon / (2 * var)
    return F
