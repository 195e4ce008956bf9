"""EDM's ablation sampler (Karras et al. 2022, Algorithms 1 and 3, and the official generate.py): Heun's or Euler's
method on the ODE of any noise schedule sigma(t) and scaling s(t), x = s(t) (x0 + sigma(t) eps). A step from t to u < t:

t'  = t at which sigma is raised to (1 + gamma) sigma(t)                            churn, as in Algorithm 2
x'  = s(t') / s(t) x + sqrt(sigma(t')^2 - sigma(t)^2) s(t') S_noise z
d(x, t) = (sigma'(t) / sigma(t) + s'(t) / s(t)) x - sigma'(t) s(t) / sigma(t) x0(x / s(t), sigma(t))
h = u - t',  d = d(x', t'),  x_u = x' + h d                                         Euler, and every last step
d2 = d(x' + alpha h d, t' + alpha h),  x_u = x' + h ((1 - 1 / (2 alpha)) d + 1 / (2 alpha) d2)             Heun

Only this file knows the scaled x. The network gets x / s(t).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NamedTuple

from fastdiff.diffusion.preconditioning import VP
from fastdiff.diffusion.spacing import karras, logsnr
from fastdiff.samplers.heun import check_churn, gamma_at

if TYPE_CHECKING:
    from torch import Tensor

    from fastdiff.diffusion.noise import Noise

CHOICES = {
    "solver": ("euler", "heun"),
    "discretization": ("edm", "iddpm", "ve", "vp"),
    "noise_schedule": ("linear", "ve", "vp"),
    "scaling": ("none", "vp"),
    "state_dtype": ("float32", "float64"),
}


class Curve(NamedTuple):
    """sigma(t), its derivative and its inverse; s(t) and its derivative. All take and return floats."""

    sigma: Callable[[float], float]
    sigma_deriv: Callable[[float], float]
    t: Callable[[float], float]
    s: Callable[[float], float]
    s_deriv: Callable[[float], float]


def curve(schedule: str, scaling: str, vp: VP) -> Curve:
    """Table 1: schedules vp (VP process), ve (sqrt t), linear (t); scalings vp (1 / sqrt(1 + sigma^2)), none (1)."""
    sigma, sigma_deriv, inverse = {
        "vp": (vp.sigma, lambda t: (vp.beta_min + vp.beta_d * t) / 2 * (vp.sigma(t) + 1 / vp.sigma(t)), vp.t),
        "ve": (math.sqrt, lambda t: 0.5 / math.sqrt(t), lambda sigma: sigma**2),
        "linear": (lambda t: t, lambda t: 1.0, lambda sigma: sigma),
    }[schedule]
    if scaling == "none":
        return Curve(sigma, sigma_deriv, inverse, lambda t: 1.0, lambda t: 0.0)

    def s(t):
        return 1 / math.sqrt(1 + sigma(t) ** 2)

    return Curve(sigma, sigma_deriv, inverse, s, lambda t: -sigma(t) * sigma_deriv(t) * s(t) ** 3)


@dataclass(frozen=True)
class EDMAblation:
    """The official `ablation_sampler`. Scalars are float64. The state has state_dtype.

    discretization: the place of the steps. `vp`: even in t of the VP process, from 1 to epsilon_s. `ve`: even in log
    sigma. `iddpm`: evenly chosen from the levels of C_1, C_2 and M. `edm`: eq. 5 with karras_rho. noise_schedule,
    scaling: sigma(t), s(t). alpha: the place of Heun's second slope, 1 (trapezoid) .. 1/2 (midpoint). sigma_min,
    sigma_max: the ends, None for the ends of the discretization. They are moved into the network's range, and the VP
    process is chosen with sigma(epsilon_s) and sigma(1) at the ends. churn, churn_min, churn_max, noise_scale: as in
    `heun`. `steps` steps take `steps` network calls (euler) or 2 steps - 1 (heun).
    """

    steps: int
    solver: str = "heun"
    discretization: str = "edm"
    noise_schedule: str = "linear"
    scaling: str = "none"
    alpha: float = 1.0
    karras_rho: float = 7.0
    sigma_min: float | None = None
    sigma_max: float | None = None
    epsilon_s: float = 1e-3
    C_1: float = 0.001
    C_2: float = 0.008
    M: int = 1000
    churn: float = 0.0
    churn_min: float = 0.0
    churn_max: float | None = None
    noise_scale: float = 1.0
    state_dtype: str = "float32"

    def __post_init__(self):
        for knob, choices in CHOICES.items():
            if getattr(self, knob) not in choices:
                raise ValueError(f"{knob} '{getattr(self, knob)}' is not one of: {', '.join(choices)}")
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; at least 1 is needed")
        if not 0 < self.alpha <= 1:
            raise ValueError(f"alpha is {self.alpha}; it must be in (0, 1]: 1 trapezoid, 0.5 midpoint")
        if not 0 < self.epsilon_s < 1:
            raise ValueError(f"epsilon_s is {self.epsilon_s}; the VP process runs from t = 1 to it, inside (0, 1)")
        if min(self.karras_rho, self.C_1, self.C_2) <= 0 or self.M < 2:
            raise ValueError("karras_rho, C_1 and C_2 must be positive, and M at least 2")
        if min(self.churn, self.churn_min, self.noise_scale) < 0:
            raise ValueError("churn, churn_min and noise_scale cannot be negative")

    def identity(self) -> dict:
        """The knobs that are read and differ from their default."""
        unread = set() if self.churn else {"churn_min", "churn_max", "noise_scale"}
        unread |= set() if self.solver == "heun" else {"alpha"}
        unread |= set() if self.discretization == "edm" else {"karras_rho"}
        unread |= set() if self.discretization == "iddpm" else {"C_1", "C_2", "M"}
        unread |= set() if "vp" in (self.discretization, self.noise_schedule) else {"epsilon_s"}
        kept = [f for f in fields(self) if f.name not in unread | {"solver"}]
        values = {f.name: getattr(self, f.name) for f in kept if getattr(self, f.name) != f.default}
        return {"solver": f"edm_ablation/{self.solver}"} | values

    def times(self, denoiser) -> tuple[Curve, list[float]]:
        """The curve, and the times of the steps, descending to 0."""
        low, high = {"vp": (VP().sigma(self.epsilon_s), VP().sigma(1)), "ve": (0.02, 100.0), "iddpm": (0.002, 81.0),
                     "edm": (0.002, 80.0)}[self.discretization]  # fmt: skip
        low = max(low if self.sigma_min is None else self.sigma_min, denoiser.sigma_min)
        high = min(high if self.sigma_max is None else self.sigma_max, denoiser.sigma_max)
        if not 0 < low < high:
            raise ValueError(f"sigma_min {low:g}, sigma_max {high:g}: 0 < sigma_min < sigma_max is needed")
        at_low, at_high = math.log(low**2 + 1), math.log(high**2 + 1)  # beta_d t^2 / 2 + beta_min t at epsilon_s and 1
        beta_d = 2 * (at_low / self.epsilon_s - at_high) / (self.epsilon_s - 1)
        vp = VP(beta_d, at_high - 0.5 * beta_d)
        chosen = curve(self.noise_schedule, self.scaling, vp)
        return chosen, [*(chosen.t(denoiser.rounded(sigma)) for sigma in self._levels(low, high, vp)), 0.0]

    def _levels(self, low: float, high: float, vp: VP) -> list[float]:
        part = [i / max(self.steps - 1, 1) for i in range(self.steps)]
        if self.discretization == "vp":
            return [vp.sigma(1 + each * (self.epsilon_s - 1)) for each in part]
        if self.discretization == "ve":
            return logsnr(low, high, self.steps)
        if self.discretization == "edm":
            return karras(low, high, self.steps, self.karras_rho)
        inside = [u for u in iddpm_levels(self.C_1, self.C_2, self.M) if low <= u <= high]
        if not inside:
            raise ValueError(f"none of iDDPM's levels lies in sigma_min {low:g} .. sigma_max {high:g}")
        stride = (len(inside) - 1) / max(self.steps - 1, 1)
        return [inside[round(stride * i)] for i in range(self.steps)]

    def sigmas(self, denoiser) -> list[float]:
        chosen, times = self.times(denoiser)
        sigmas = [*map(chosen.sigma, times[:-1])]
        check_churn(self, sigmas, denoiser)
        return [*sigmas, 0.0]

    @property
    def asked(self) -> int:
        return self.steps if self.solver == "euler" else 2 * self.steps - 1

    def calls(self, denoiser) -> int:
        return self.asked

    def __call__(self, denoiser, noise: Noise, cond: Tensor | None = None, cov_x0: list[float] | None = None) -> Tensor:
        """Images x0 (B C H W). As in the official code the start has the std sigma s, without the std of the data."""
        (sigma, sigma_deriv, inverse, s, s_deriv), times = self.times(denoiser)
        denoise = denoiser.start(self.asked, cond, asked=self.asked)

        def d(x, t):
            x0 = denoise(x / s(t), sigma(t))
            return (sigma_deriv(t) / sigma(t) + s_deriv(t) / s(t)) * x - sigma_deriv(t) * s(t) / sigma(t) * x0

        x, t = noise(0), times[0]
        x = sigma(t) * s(t) * (x.double() if self.state_dtype == "float64" else x)
        for i, (t, u) in enumerate(zip(times, times[1:])):
            if gamma := gamma_at(self, sigma(t)):
                raised = inverse(denoiser.rounded(sigma(t) + gamma * sigma(t)))
                added = math.sqrt(max(sigma(raised) ** 2 - sigma(t) ** 2, 0.0))
                x = s(raised) / s(t) * x + added * s(raised) * self.noise_scale * noise(i + 1).to(x.dtype)
                t = raised
            h, slope = u - t, d(x, t)
            if self.solver == "heun" and u > 0:
                ahead = d(x + self.alpha * h * slope, t + self.alpha * h)
                slope = (1 - 1 / (2 * self.alpha)) * slope + 1 / (2 * self.alpha) * ahead
            x = x + h * slope
        return x


def iddpm_levels(C_1: float, C_2: float, M: int) -> list[float]:
    """u_0 > ... > u_M = 0 of the ablation sampler: alpha_bar in float32, the recursion in float64.

    The table inside iDDPM networks is float32 throughout (`preconditioning.IDDPM`).
    """
    import numpy as np
    import torch

    angle = 0.5 * math.pi * torch.arange(M + 1, dtype=torch.float32, device="cpu") / M / (C_2 + 1)
    alpha_bar = (angle.sin() ** 2).numpy()
    ratios = np.maximum(alpha_bar[:-1] / alpha_bar[1:], np.float32(C_1)).astype(np.float64)
    u = [0.0]
    for ratio in ratios[::-1].tolist():
        u.append(math.sqrt((u[-1] ** 2 + 1) / ratio - 1))
    return u[::-1]
