"""The discrete noise schedules of DDPM networks, as noise levels `sigma`.

DDPM's `alpha_bar` lives here and nowhere else: everything above speaks `sigma = sqrt((1 - alpha_bar) / alpha_bar)`,
the noise std in x = x0 + sigma eps.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Schedule:
    """N training noise levels of a variance-preserving (VP) network.

    `linear`: beta_n = linspace(beta_start, beta_end, N) (Ho et al. 2020).
    `scaled_linear`: sqrt(beta_n) = linspace(sqrt(beta_start), sqrt(beta_end), N) (Rombach et al. 2022, official code).
    `cosine`: alpha_bar(u) = cos((u + 0.008) / 1.008 * pi / 2)**2, beta <= 0.999 (Nichol & Dhariwal 2021, eq. 17).
    """

    name: str = "linear"
    N: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02

    def __post_init__(self):
        if self.name not in ("cosine", "linear", "scaled_linear"):
            raise ValueError(f"schedule '{self.name}' is not one of: cosine, linear, scaled_linear")
        if self.N < 2:
            raise ValueError(f"schedule N is {self.N}; at least 2 noise levels are needed")

    def betas(self) -> np.ndarray:
        """beta_n for n = 1 .. N, shape (N,), float64."""
        if self.name == "linear":
            return np.linspace(self.beta_start, self.beta_end, self.N)
        if self.name == "scaled_linear":
            return np.linspace(self.beta_start**0.5, self.beta_end**0.5, self.N) ** 2
        alpha_bar = [np.cos((n / self.N + 0.008) / 1.008 * np.pi / 2) ** 2 for n in range(self.N + 1)]
        return np.array([min(1 - after / before, 0.999) for before, after in zip(alpha_bar, alpha_bar[1:])])

    def levels(self) -> np.ndarray:
        """sigma_n for n = 1 .. N, ascending, shape (N,), float64."""
        return sigma_of(np.cumprod(1 - self.betas()))


def sigma_of(alpha_bar: np.ndarray) -> np.ndarray:
    """sigma = sqrt((1 - alpha_bar) / alpha_bar)."""
    return np.sqrt((1 - alpha_bar) / alpha_bar)
