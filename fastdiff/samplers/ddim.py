"""DDPM, DDIM, Analytic-DPM and Analytic-DDIM: one update in x = x0 + sigma eps, a step from sigma t to s < t.

lam2 = eta^2 s^2 (1 - s^2 / t^2)                    forward variance: eta = 1 DDPM, eta = 0 DDIM
keep = sqrt(s^2 - lam2)                             the part of eps that survives the step
var  = lam2                                         variance: small
     | (t^2 - s^2) (1 + s^2) / (1 + t^2)            variance: large (DDPM's beta; mean as eta = 1)
     | lam2 + (1 - keep / t)^2 cov_x0               variance: analytic (Bao et al. 2022, Thm 1 and eq. 9)
x    = x0 + keep eps + sqrt(var) noise              and at s = 0: x = x0, no noise
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from ..diffusion.noise_levels import NoiseLevels
from ..diffusion.spacing import OPTIMAL, SPACINGS, trajectory
from . import optimal as dp
from .base import SAMPLERS, Sampler, check_choice, register

if TYPE_CHECKING:  # torch is not needed to build a sampler, only to run one
    from torch import Tensor

    from ..diffusion.noise import Noise

CHOICES = {
    "spacing": tuple(sorted([*SPACINGS, *OPTIMAL])),
    "variance": ("analytic", "large", "small"),
    "clip": ("none", "x0", "x0_and_eps"),
    "state_dtype": ("float32", "float64"),
}


@register
@dataclass(frozen=True)
class DDIM(Sampler):
    """The update above. Scalars are float64; the state has state_dtype.

    clip: `x0_and_eps` (official DDPM) clips x0 to the data's range and takes eps = (x - clipped x0) / t; `x0`
    (official DDIM, any eta) clips x0 but keeps eps = (x - raw x0) / t; `none` (ermongroup, DeepCache).
    sigma2_clip y (0 = off): on the step that lands on the smallest positive sigma, E|noise added| <= 2 y / 255, that is
    var <= (2 y / 255)^2 (pi / 2), times 1 + s^2 for VP networks (Bao et al. 2022, App. F.2).
    """

    solver: ClassVar[str] = "ddim"

    spacing: str = "even"
    eta: float = 0.0
    variance: str = "small"
    clip: str = "none"
    sigma2_clip: float = 0.0
    state_dtype: str = "float32"

    def __post_init__(self):
        for knob, choices in CHOICES.items():
            check_choice(knob, getattr(self, knob), choices)
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta is {self.eta}; it must be in [0, 1]")
        if self.sigma2_clip < 0:
            raise ValueError(
                f"sigma2_clip is {self.sigma2_clip}; it counts grey levels and cannot be negative (0 = off)"
            )
        if self.variance == "large" and self.eta != 1:
            raise ValueError(f"variance 'large' is DDPM's beta: it needs eta=1, not {self.eta}")
        dp.check(self.spacing, self.eta, self.variance)

    @property
    def analytic(self) -> bool:
        return self.variance == "analytic"

    def baseline(self) -> DDIM:
        if not self.analytic:
            return self
        return replace(self, variance="small", spacing="dp" if self.optimal else self.spacing)

    @property
    def optimal(self) -> bool:
        return self.spacing in OPTIMAL

    def sigmas(self, noise_levels: NoiseLevels) -> list[float]:
        if self.optimal:
            return dp.trajectory(self.spacing, self.steps, noise_levels, self.eta, self.variance)
        return trajectory(self.spacing, self.steps, noise_levels)

    def check_steps(self, noise_levels: NoiseLevels) -> None:
        """Raises ValueError for steps that an optimal spacing cannot place, before anything is known of the network."""
        dp.counted(self.spacing, self.steps, noise_levels.levels, self.variance)

    def coefficients(self, sigmas: list[float], cov_x0: list[float] | None, vp: bool) -> list[tuple[float, float]]:
        """(keep, var) of each step, float64, var in units of x squared."""
        if self.variance == "analytic" and cov_x0 is None:
            raise ValueError("variance 'analytic' needs cov_x0, one number a step: see fastdiff.analytic.covariances")
        if self.variance == "large" and not vp:
            raise ValueError("variance 'large' is DDPM's beta: it has no meaning for a network that is not VP")
        rows = []
        for i, (t, s) in enumerate(zip(sigmas, sigmas[1:])):
            lam2 = self.eta**2 * s**2 * (1 - s**2 / t**2)
            keep = math.sqrt(max(s**2 - lam2, 0.0))
            if self.variance == "small":
                var = lam2
            elif self.variance == "large":
                var = (t**2 - s**2) * (1 + s**2) / (1 + t**2)
            else:
                var = lam2 + (1 - keep / t) ** 2 * cov_x0[i]
            if self.sigma2_clip and i == len(sigmas) - 3:
                var = min(var, (2 * self.sigma2_clip / 255) ** 2 * (math.pi / 2) * (1 + s**2 if vp else 1))
            rows.append((keep, var))
        return rows

    def __call__(
        self, denoiser: Any, noise: Noise, cond: Tensor | None = None, cov_x0: list[float] | None = None
    ) -> Tensor:
        """Images x0 (B C H W) in the data's range (unclipped under clip `none`)."""
        sigmas, denoise, x = self.begin(denoiser, noise, cond)
        rows = self.coefficients(sigmas, cov_x0, denoiser.noise_levels.vp)
        for i, (keep, var) in enumerate(rows):
            t, s = sigmas[i], sigmas[i + 1]
            raw = denoise(x, t)
            x0 = raw if self.clip == "none" else raw.clamp(*denoiser.value_range)
            if s == 0:
                return x0
            eps = (x - (x0 if self.clip == "x0_and_eps" else raw)).div_(t)
            x = eps.mul_(keep).add_(x0)
            if var > 0:
                x.add_(noise(i + 1).to(x.dtype) * math.sqrt(var))
        raise ValueError("a trajectory ends with sigma 0, and this one does not")


_CLIPPED_DDPM = {"eta": 1.0, "clip": "x0_and_eps", "sigma2_clip": 1.0}
_CLIPPED_DDIM = {"eta": 0.0, "clip": "x0", "sigma2_clip": 1.0}

# The five rows of Analytic-DPM's Table 2.
PRESETS = {
    "ddpm": _CLIPPED_DDPM,
    "ddpm_large": _CLIPPED_DDPM | {"variance": "large"},
    "ddim": _CLIPPED_DDIM,
    "analytic_ddpm": _CLIPPED_DDPM | {"variance": "analytic"},
    "analytic_ddim": _CLIPPED_DDIM | {"variance": "analytic"},
}


for _name in PRESETS:
    if _name not in SAMPLERS:
        SAMPLERS.add(_name, DDIM)


def preset(name: str, **changed: Any) -> DDIM:
    """A sampler by name, e.g. preset("analytic_ddpm", steps=10)."""
    if name not in PRESETS:
        raise ValueError(f"sampler '{name}' is not one of: {', '.join(sorted(PRESETS))}")
    return DDIM(**(PRESETS[name] | changed))
