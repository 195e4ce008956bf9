"""How a trained network F becomes a denoiser:  x0 = skip(sigma) x + out(sigma) F(x / scale(sigma), noise(sigma)).

Every method takes a float or a (B) tensor and gives the like. `span` is the range of sigma that the method's own
sampler covers, `levels` the N noise levels of a network that knows only those (ascending float64; None = continuous).
EDM's four are Table 1 of Karras et al. 2022 (arXiv 2206.00364), with the names of its official code.
"""

import math
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np


def _log(v):
    return math.log(v) if isinstance(v, (float, int)) else v.log()


def _nearest(levels: np.ndarray, sigma):
    """Index of the nearest level."""
    if isinstance(sigma, (float, int)):
        return int(np.abs(levels - sigma).argmin())
    return (sigma[:, None] - sigma.new_tensor(levels)).abs().argmin(1)


@dataclass(frozen=True)
class Discrete:
    """DDPM-style networks, fed time_scale (n + time_shift) at training level n = 1 .. N; n is interpolated in log sigma.

    predicts: eps, x0, or v = (eps - sigma x0) / sqrt(1 + sigma^2) (Salimans & Ho 2022). levels: (N,).
    """

    predicts: str
    levels: np.ndarray
    time_shift: float = 0.0
    time_scale: float = 1.0

    vp = True  # trained on x / sqrt(1 + sigma^2), a process that preserves variance

    @property
    def span(self) -> tuple[float, float]:
        return float(self.levels[0]), float(self.levels[-1])

    @property
    def domain(self) -> tuple[float, float]:
        return self.span

    def skip(self, sigma):
        if self.predicts == "v":
            return 1 / (1 + sigma**2)
        return float(self.predicts == "eps")

    def out(self, sigma):
        if self.predicts == "x0":
            return 1.0
        return -sigma if self.predicts == "eps" else -sigma / self.scale(sigma)

    def scale(self, sigma):
        return (1 + sigma**2) ** 0.5

    def noise(self, sigma) -> float:
        n = np.interp(np.log(sigma), np.log(self.levels), np.arange(1, len(self.levels) + 1))
        return float(self.time_scale * (n + self.time_shift))


@dataclass(frozen=True)
class EDM:
    """EDMPrecond: unit variance in and out for data of standard deviation sigma_data."""

    sigma_data: float = 0.5
    sigma_min: float = 0.0
    sigma_max: float = math.inf

    vp, levels = False, None

    @property
    def span(self) -> tuple[float, float]:
        return max(0.002, self.sigma_min), min(80.0, self.sigma_max)

    @property
    def domain(self) -> tuple[float, float]:
        return self.sigma_min, self.sigma_max

    def skip(self, sigma):
        return self.sigma_data**2 / (sigma**2 + self.sigma_data**2)

    def out(self, sigma):
        return sigma * self.sigma_data / self.scale(sigma)

    def scale(self, sigma):
        return (sigma**2 + self.sigma_data**2) ** 0.5

    def noise(self, sigma):
        return _log(sigma) / 4


@dataclass(frozen=True)
class VP:
    """VPPrecond: eps of the continuous VP process, sigma(t)^2 = exp(beta_d t^2 / 2 + beta_min t) - 1, fed (M - 1) t."""

    beta_d: float = 19.9
    beta_min: float = 0.1
    M: int = 1000
    epsilon_t: float = 1e-5

    vp, levels = False, None

    def sigma(self, t: float) -> float:
        return math.sqrt(math.expm1(0.5 * self.beta_d * t**2 + self.beta_min * t))

    @property
    def span(self) -> tuple[float, float]:
        return self.sigma(1e-3), self.sigma(1)

    @property
    def domain(self) -> tuple[float, float]:
        return self.sigma(self.epsilon_t), self.sigma(1)

    def skip(self, sigma):
        return 1.0

    def out(self, sigma):
        return -sigma

    def scale(self, sigma):
        return (1 + sigma**2) ** 0.5

    def noise(self, sigma):
        t = ((self.beta_min**2 + 2 * self.beta_d * _log(1 + sigma**2)) ** 0.5 - self.beta_min) / self.beta_d
        return (self.M - 1) * t


@dataclass(frozen=True)
class VE:
    """VEPrecond: x0 = x + sigma F(x, log(sigma / 2)), the score network of Song et al. 2021."""

    sigma_min: float = 0.02
    sigma_max: float = 100.0

    vp, levels = False, None

    @property
    def span(self) -> tuple[float, float]:
        return self.sigma_min, self.sigma_max

    @property
    def domain(self) -> tuple[float, float]:
        return self.span

    def skip(self, sigma):
        return 1.0

    def out(self, sigma):
        return sigma

    def scale(self, sigma):
        return 1.0

    def noise(self, sigma):
        return _log(0.5 * sigma)


@dataclass(frozen=True)
class IDDPM:
    """iDDPMPrecond: eps at M levels u_j (u_M = 0) of the cosine schedule; fed M - 1 - j of the level nearest to sigma."""

    C_1: float = 0.001
    C_2: float = 0.008
    M: int = 1000

    vp = False

    @cached_property
    def u(self) -> np.ndarray:
        """u_0 > ... > u_M = 0, float64."""
        alpha_bar = np.sin(0.5 * np.pi * np.arange(self.M + 1) / self.M / (self.C_2 + 1)) ** 2
        u = np.zeros(self.M + 1)
        for j in range(self.M, 0, -1):
            u[j - 1] = math.sqrt((u[j] ** 2 + 1) / max(alpha_bar[j - 1] / alpha_bar[j], self.C_1) - 1)
        return u

    @property
    def levels(self) -> np.ndarray:
        return self.u[-2::-1]

    @property
    def span(self) -> tuple[float, float]:
        return float(self.u[-2]), float(self.u[0])

    @property
    def domain(self) -> tuple[float, float]:
        return self.span

    def skip(self, sigma):
        return 1.0

    def out(self, sigma):
        return -sigma

    def scale(self, sigma):
        return (1 + sigma**2) ** 0.5

    def noise(self, sigma):
        return self.M - 1 - _nearest(self.u, sigma)


WRAPPERS = {"EDMPrecond": EDM, "VPPrecond": VP, "VEPrecond": VE, "iDDPMPrecond": IDDPM}


def wrapper(name: str, arguments: dict):
    """One of EDM's four by its official class name, with those of `arguments` (official names) that are its own."""
    if name not in WRAPPERS:
        raise ValueError(f"preconditioning '{name}' is not one of: {', '.join(WRAPPERS)}")
    own = {f.name for f in fields(WRAPPERS[name])}
    return WRAPPERS[name](**{word: value for word, value in arguments.items() if word in own})
