"""How a trained network F becomes a denoiser:  x0 = skip(sigma) x + out(sigma) F(x / scale(sigma), noise(sigma)).

Every method takes a float or a tensor of any shape and gives the like (what does not depend on sigma stays a float).
`span` is the range of sigma that the method's own sampler covers, inside `domain`, all that the network accepts;
`levels` are the N noise levels of a network that knows only those (ascending float64; None = continuous).
EDM's four are Table 1 of Karras et al. 2022 (arXiv 2206.00364), with the names of its official code.
"""

import math
from dataclasses import dataclass, fields
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np

Sigma = Any  # a float, or a tensor of any shape


def _log(v):
    return math.log(v) if isinstance(v, Real) else v.log()


def _nearest(levels: np.ndarray, sigma):
    """Index of the nearest level, as the official round_sigma finds it: by torch.cdist in float32, whose distances come
    out of a matrix product, so that now and then a level beside the nearest wins."""
    import torch

    where = torch.tensor(sigma, dtype=torch.float32, device="cpu") if isinstance(sigma, Real) else sigma
    u = torch.tensor(levels, dtype=torch.float32, device=where.device)
    found = torch.cdist(where.to(torch.float32).reshape(1, -1, 1), u.reshape(1, -1, 1)).argmin(2)
    return int(found) if isinstance(sigma, Real) else found.reshape(where.shape)


class Eps:
    """The form of a network that predicts eps of x / sqrt(1 + sigma^2), which is what a VP process makes of x."""

    def skip(self, sigma: Sigma):
        return 1.0

    def out(self, sigma: Sigma):
        return -sigma

    def scale(self, sigma: Sigma):
        return (1 + sigma**2) ** 0.5


@dataclass(frozen=True, eq=False)
class Discrete(Eps):
    """DDPM-style networks, fed time_scale (n + time_shift) at level n = 1 .. N, interpolated in log sigma in between.

    predicts: eps, x0, or v = (eps - sigma x0) / sqrt(1 + sigma^2) (Salimans & Ho 2022). levels: (N,).
    """

    predicts: str
    levels: np.ndarray
    time_shift: float = 0.0
    time_scale: float = 1.0

    vp = True  # trained on x / sqrt(1 + sigma^2), a process that preserves variance

    def __post_init__(self):
        if self.predicts not in ("eps", "v", "x0"):
            raise ValueError(f"predicts '{self.predicts}' is not one of: eps, v, x0")

    @property
    def span(self) -> tuple[float, float]:
        return float(self.levels[0]), float(self.levels[-1])

    @property
    def domain(self) -> tuple[float, float]:
        return self.span

    def skip(self, sigma: Sigma):
        if self.predicts == "v":
            return 1 / (1 + sigma**2)
        return float(self.predicts == "eps")

    def out(self, sigma: Sigma):
        if self.predicts == "x0":
            return 1.0
        return -sigma if self.predicts == "eps" else -sigma / self.scale(sigma)

    def noise(self, sigma: Sigma):
        where = sigma if isinstance(sigma, Real) else sigma.double().cpu().numpy()
        n = np.interp(np.log(where), np.log(self.levels), np.arange(1, len(self.levels) + 1))
        fed = self.time_scale * (n + self.time_shift)
        return float(fed) if isinstance(sigma, Real) else sigma.new_tensor(fed)


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

    def skip(self, sigma: Sigma):
        return self.sigma_data**2 / (sigma**2 + self.sigma_data**2)

    def out(self, sigma: Sigma):
        return sigma * self.sigma_data / self.scale(sigma)

    def scale(self, sigma: Sigma):
        return (sigma**2 + self.sigma_data**2) ** 0.5

    def noise(self, sigma: Sigma):
        return _log(sigma) / 4


@dataclass(frozen=True)
class VP(Eps):
    """VPPrecond: eps of the continuous VP process, sigma(t)^2 = exp(beta_d t^2 / 2 + beta_min t) - 1, fed (M - 1) t."""

    beta_d: float = 19.9
    beta_min: float = 0.1
    M: int = 1000
    epsilon_t: float = 1e-5

    vp, levels = False, None

    def sigma(self, t: float) -> float:
        return math.sqrt(math.expm1(0.5 * self.beta_d * t**2 + self.beta_min * t))

    def t(self, sigma: Sigma):
        """The inverse of sigma(t)."""
        return ((self.beta_min**2 + 2 * self.beta_d * _log(1 + sigma**2)) ** 0.5 - self.beta_min) / self.beta_d

    @property
    def span(self) -> tuple[float, float]:
        return max(self.sigma(1e-3), self.domain[0]), self.domain[1]

    @property
    def domain(self) -> tuple[float, float]:
        return self.sigma(self.epsilon_t), self.sigma(1)

    def noise(self, sigma: Sigma):
        """(M - 1) t(sigma) in float32, the precision of the official code.

        A Fourier embedding multiplies it by 2 pi f, with f up to about 50. The last digit of float32 (6e-5 near 999) is
        then visible in the image.
        """
        import torch

        given = torch.tensor(sigma, device="cpu") if isinstance(sigma, Real) else sigma
        fed = (self.M - 1) * self.t(given.to(torch.float32))
        return float(fed) if isinstance(sigma, Real) else fed.to(sigma.dtype)


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

    def skip(self, sigma: Sigma):
        return 1.0

    def out(self, sigma: Sigma):
        return sigma

    def scale(self, sigma: Sigma):
        return 1.0

    def noise(self, sigma: Sigma):
        return _log(0.5 * sigma)


@dataclass(frozen=True)
class IDDPM(Eps):
    """iDDPMPrecond: eps at M levels u_j (u_M = 0) of the cosine schedule; fed M - 1 - j of the level nearest to sigma.

    u_(j-1)^2 = (u_j^2 + 1) / max(alpha_bar_(j-1) / alpha_bar_j, C_1) - 1, with
    alpha_bar_j = sin^2(pi / 2  j / (M (C_2 + 1))).
    """

    C_1: float = 0.001
    C_2: float = 0.008
    M: int = 1000

    vp = False

    @cached_property
    def u(self) -> np.ndarray:
        """u_0 > ... > u_M = 0, float64.

        The recursion runs in float32, as it did for the table inside official files: the smallest levels live on the
        last digits of a ratio near 1, and exact arithmetic would move them by 5e-4 away from that table.
        """
        import torch  # its float32 sine and root, whose last digit counts here

        angle = 0.5 * math.pi * torch.arange(self.M + 1, dtype=torch.float32, device="cpu") / self.M / (self.C_2 + 1)
        alpha_bar, u = angle.sin() ** 2, torch.zeros(self.M + 1, device="cpu")
        for j in range(self.M, 0, -1):
            u[j - 1] = ((u[j] ** 2 + 1) / (alpha_bar[j - 1] / alpha_bar[j]).clip(min=self.C_1) - 1).sqrt()
        return u.double().numpy()

    @property
    def levels(self) -> np.ndarray:
        return self.u[-2::-1]

    @property
    def span(self) -> tuple[float, float]:
        """The levels in 0.002 .. 81: EDM's sampler leaves out the first j_0 = 8, up to u_0 = 20291."""
        inside = self.levels[(self.levels >= 0.002) & (self.levels <= 81)]
        return float(inside[0]), float(inside[-1])

    @property
    def domain(self) -> tuple[float, float]:
        return float(self.u[-2]), float(self.u[0])

    def noise(self, sigma: Sigma):
        fed = self.M - 1 - _nearest(self.u, sigma)
        return float(fed) if isinstance(sigma, Real) else fed.to(sigma.dtype)

    def nearest(self, sigma: float) -> float:
        """The level that the network takes sigma for (round_sigma)."""
        return float(self.u[_nearest(self.u, sigma)])


# EDM's wrappers by their official names, as an arch spells them.
WRAPPERS = {"EDMPrecond": EDM, "VPPrecond": VP, "VEPrecond": VE, "iDDPMPrecond": IDDPM}
NETWORKS = ("SongUNet", "DhariwalUNet")  # what these wrap (`fastdiff.unets.edm`)


def official_name(word: str, name: str, menu: Any) -> str:
    """The one of `menu` that arch word `word` names: prefixes (training.networks.), case and a missing suffix (edm, vp,
    ve, iddpm) do not count."""
    bare = str(name).rpartition(".")[2].lower()
    known = {official.lower(): official for official in menu}
    if bare not in known and f"{bare}precond" not in known:
        raise ValueError(f"{word} '{name}' is not one of: {', '.join(menu)}")
    return known.get(bare) or known[f"{bare}precond"]


def wrapper(name: str, arguments: dict):
    """One of EDM's four by its official class name, with those of `arguments` (official names) that are its own."""
    chosen = WRAPPERS[official_name("preconditioning", name, WRAPPERS)]
    own = {f.name for f in fields(chosen)}
    return chosen(**{word: value for word, value in arguments.items() if word in own and value is not None})


def of_arch(arch: dict):
    """The wrapper that the words of an `edm` arch name: `preconditioning` (or `precond`), or the pickled files'
    `class_name`; EDMPrecond when none is named. kwargs and init_kwargs are arch's own words, one level deeper. Raises
    ValueError when they name two, or one that does not exist."""
    arch = {**(arch.get("kwargs") or {}), **(arch.get("init_kwargs") or {}), **arch}
    menus = {"preconditioning": WRAPPERS, "precond": WRAPPERS, "class_name": (*NETWORKS, *WRAPPERS)}
    given = [official_name(word, arch[word], menu) for word, menu in menus.items() if arch.get(word) is not None]
    named = sorted(set(given) - set(NETWORKS))
    if len(named) > 1:
        raise ValueError(f"arch names two preconditionings, {named[0]} and {named[1]}: keep one")
    return wrapper(named[0] if named else "EDMPrecond", arch)
