"""The noise levels that a network knows: what samplers, spacings and score norms ask for."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np


class Curves(NamedTuple):
    """What optimal trajectories are placed by, at noise levels (M) that a trajectory may take, ascending.

    eps_ms: score norms, or 1 - mse. recon: E ||x0 - clipped x0 of the network||^2 / d, and decoder:
    E -log p(x0 | x) / d in nats, are needed for bounds whose variance is given (`fastdiff.analytic.likelihood_bound`).
    """

    levels: tuple[float, ...]
    eps_ms: tuple[float, ...] = ()
    recon: tuple[float, ...] = ()
    decoder: tuple[float, ...] = ()


def _same(sigma: float) -> float:
    return sigma


@dataclass(frozen=True, eq=False)
class NoiseLevels:
    """sigma of x = x0 + sigma eps, as one network was trained on it.

    levels: the N training sigmas, ascending, float64 (N); None for a network that takes any sigma.
    span: the finite range of sigma that trajectories cover. sigma_min, sigma_max: all that the network accepts.
    vp: whether the network was trained on x / sqrt(1 + sigma^2), a process that preserves variance.
    rounded: sigma -> the level that the network takes it for (EDM's round_sigma; the identity for most).
    curves: what optimal trajectories are placed by (`fastdiff.bench.score_norms.placed`); None for every other spacing.
    """

    levels: np.ndarray | None
    span: tuple[float, float]
    sigma_min: float
    sigma_max: float
    vp: bool = False
    rounded: Callable[[float], float] = field(default=_same, repr=False)
    curves: Curves | None = field(default=None, repr=False)

    @classmethod
    def of(cls, preconditioning: Any) -> "NoiseLevels":
        """The levels of a `fastdiff.diffusion.preconditioning` form."""
        nearest = getattr(preconditioning, "nearest", None)
        low, high = preconditioning.domain
        return cls(preconditioning.levels, preconditioning.span, low, high, preconditioning.vp, nearest or _same)

    def level(self, sigma: float) -> float:
        """Where sigma lies in `span`: 0 is the least noise, 1 the most, linear in log sigma; clipped to [0, 1]."""
        low, high = map(math.log, self.span)
        return min(max((math.log(sigma) - low) / (high - low), 0.0), 1.0)

    def prior_scale(self, sigma: float) -> float:
        """x at the start of a trajectory is prior_scale(its first sigma) z: sqrt(1 + sigma^2) for VP networks, else
        sigma."""
        return (1 + sigma**2) ** 0.5 if self.vp else sigma

    def check(self, sigma: float) -> None:
        """Raises ValueError outside the range that the network was trained on."""
        if not max(self.sigma_min * (1 - 1e-9), 1e-12) <= sigma <= self.sigma_max * (1 + 1e-9):
            raise ValueError(
                f"sigma {sigma:.6g} is outside this network's range {self.sigma_min:.6g} .. {self.sigma_max:.6g}"
            )
