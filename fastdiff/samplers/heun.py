"""EDM's stochastic second-order sampler (Karras et al. 2022, Algorithm 2), a step from sigma t to s < t:

t'  = t + gamma t,  x' = x + sqrt(t'^2 - t^2) S_noise z     churn, where churn_min <= t <= churn_max
d   = (x' - x0(x', t')) / t',  x = x' + (s - t') d          Euler
d'  = (x - x0(x, s)) / s,  x = x' + (s - t') (d + d') / 2   and Heun, but at s = 0
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..diffusion.noise_levels import NoiseLevels
from ..diffusion.spacing import karras
from .base import Sampler, check_choice, register

if TYPE_CHECKING:
    from torch import Tensor

    from ..diffusion.noise import Noise


@register
@dataclass(frozen=True)
class Heun(Sampler):
    """Algorithm 2 as in the official `edm_sampler`. Scalars are float64; the state has state_dtype.

    sigma_min, sigma_max: ends of the trajectory, moved into the network's own range. karras_rho: eq. 5's rho.
    churn: S_churn, 0 = deterministic; churn_min, churn_max (None: no limit), noise_scale: S_min, S_max, S_noise.
    A trajectory of `steps` steps takes 2 steps - 1 network calls.
    """

    solver: ClassVar[str] = "heun"

    karras_rho: float = 7.0
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    churn: float = 0.0
    churn_min: float = 0.0
    churn_max: float | None = None
    noise_scale: float = 1.0
    state_dtype: str = "float32"

    def __post_init__(self):
        check_choice("state_dtype", self.state_dtype, ("float32", "float64"))
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; at least 1 is needed")
        if not 0 < self.sigma_min < self.sigma_max:
            raise ValueError(
                f"sigma_min {self.sigma_min:g}, sigma_max {self.sigma_max:g}: 0 < sigma_min < sigma_max is needed"
            )
        if self.karras_rho <= 0:
            raise ValueError(f"karras_rho is {self.karras_rho}; it must be positive (EDM: 7)")
        if min(self.churn, self.churn_min, self.noise_scale) < 0:
            raise ValueError("churn, churn_min and noise_scale cannot be negative")

    def _unread(self) -> tuple[str, ...]:
        """The churn's limits count only where there is churn."""
        return () if self.churn else ("churn_min", "churn_max", "noise_scale")

    def identity(self) -> dict[str, Any]:
        return {knob: value for knob, value in super().identity().items() if knob not in self._unread()}

    def shown(self) -> dict[str, Any]:
        return {knob: None if knob in self._unread() else value for knob, value in super().shown().items()}

    def sigmas(self, noise_levels: NoiseLevels) -> list[float]:
        low, high = max(self.sigma_min, noise_levels.sigma_min), min(self.sigma_max, noise_levels.sigma_max)
        if not low < high:
            raise ValueError(
                f"sigma_min {self.sigma_min:g} .. sigma_max {self.sigma_max:g} lies outside this network's range"
                f" {noise_levels.sigma_min:g} .. {noise_levels.sigma_max:g}"
            )
        sigmas = [*map(noise_levels.rounded, karras(low, high, self.steps, self.karras_rho))]
        check_churn(self, sigmas, noise_levels)
        return [*sigmas, 0.0]

    @property
    def asked(self) -> int:
        return 2 * self.steps - 1

    def call_sigmas(self, noise_levels: NoiseLevels) -> list[float]:
        """Each step calls the network at its churned beginning and, but for the last step, at its end."""
        sigmas, calls = self.sigmas(noise_levels), []
        for t, s in zip(sigmas, sigmas[1:]):
            calls += [self._raised(noise_levels, t), s]
        return calls[:-1]

    def _raised(self, noise_levels: NoiseLevels, t: float) -> float:
        gamma = gamma_at(self, t)
        return noise_levels.rounded(t + gamma * t) if gamma else t

    def __call__(
        self, denoiser: Any, noise: Noise, cond: Tensor | None = None, cov_x0: list[float] | None = None
    ) -> Tensor:
        """Images x0 (B C H W)."""
        sigmas, denoise, x = self.begin(denoiser, noise, cond)
        for i, (t, s) in enumerate(zip(sigmas, sigmas[1:])):
            if gamma_at(self, t):
                raised = self._raised(denoiser.noise_levels, t)
                x = x + math.sqrt(raised**2 - t**2) * self.noise_scale * noise(i + 1).to(x.dtype)
                t = raised
            slope = (x - denoise(x, t)) / t
            ahead = x + (s - t) * slope
            if s > 0:
                slope = 0.5 * slope + 0.5 * (ahead - denoise(ahead, s)) / s
                ahead = x + (s - t) * slope
            x = ahead
        return x


def gamma_at(sampler: Any, sigma: float) -> float:
    """gamma of Algorithm 2, by which churn raises sigma: min(S_churn / steps, sqrt(2) - 1) inside S_min .. S_max."""
    inside = sampler.churn_min <= sigma and (sampler.churn_max is None or sigma <= sampler.churn_max)
    return min(sampler.churn / sampler.steps, math.sqrt(2) - 1) if inside else 0.0


def check_churn(sampler: Any, sigmas: list[float], noise_levels: NoiseLevels) -> None:
    """Raises ValueError where churn raises a level above what the network was trained on; the official code does not
    look."""
    for t in sigmas:
        raised = noise_levels.rounded(t * (1 + gamma_at(sampler, t)))
        if raised > noise_levels.sigma_max * (1 + 1e-9):
            raise ValueError(
                f"churn raises sigma {t:.6g} to {raised:.6g}, but this network's range ends at"
                f" {noise_levels.sigma_max:.6g}: give a churn_max below {noise_levels.sigma_max / math.sqrt(2):.4g}"
            )
