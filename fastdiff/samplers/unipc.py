"""UniPC (Zhao et al. 2023, arXiv 2302.04867) for x0, in lambda = -log sigma; a step from t to s < t, h = log(t / s):

The exact step is a mean of x0 along the path,

x_s = (s / t) x + int_0^h e^(u - h) x0(u) du,  so for x0(u) = x0 + sum_k a_k (u / h)^k
x_s = (s / t) x + (1 - s / t) x0 + sum_k a_k c_k,   c_0 = 1 - e^-h,  c_k = 1 - k c_(k - 1) / h

The predictor UniP-p lays the polynomial through x0 at t and at p - 1 levels before, the corrector UniC-p through x0 at
s too, where the next step calls the network anyway. With r_k the place of the k-th other level (0 at t, 1 at s) and
D_k = (x0_k - x0) / r_k the sum is that of w_k D_k, where sum_k w_k r_k^(n - 1) = c_n (the paper's R_p a_p B(h) = phi_p,
from which B(h) divides out). Where there is one D alone the authors take w = -B(h) / 2 in its stead, with
B = e^-h - 1 (bh2) or -h (bh1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .base import check_choice, register
from .one_call import OneCall

if TYPE_CHECKING:
    from torch import Tensor

    from ..diffusion.noise import Noise

ORDERS, VARIANTS = (1, 2, 3), ("bh1", "bh2")


@register
@dataclass(frozen=True)
class UniPC(OneCall):
    """UniP-p with UniC-p behind every step but the last, p = `order`: of order p + 1 at one call a step, as the
    corrector takes the call made at the predicted point and nothing is called anew at the corrected one.

    The first steps have fewer levels behind them; the last ones use fewer, so that the step to sigma 0 is first order
    (the official lower_order_final; without it that step does not exist).
    """

    order: int = 2
    variant: str = "bh2"

    solver: ClassVar[str] = "unipc"
    divides: ClassVar[bool] = True

    def __post_init__(self):
        super().__post_init__()
        check_choice("order", self.order, ORDERS)
        check_choice("variant", self.variant, VARIANTS)

    def gains(self, h: float, r: list[float]) -> list[float]:
        """What x0_k - x0 is multiplied by, for x0_k at the places r: w_k / r_k."""
        if not r:
            return []
        if len(r) == 1:
            B = math.expm1(-h) if self.variant == "bh2" else -h
            return [-B / 2 / r[0]]
        c, moments = -math.expm1(-h), []
        for k in range(1, len(r) + 1):
            c = 1 - k * c / h
            moments.append(c)
        w = np.linalg.solve(np.vander(r, increasing=True).T, moments)
        return (w / r).tolist()

    def coefficients(self, sigmas: list[float]) -> list[tuple[list[float], list[float]]]:
        """Gains of each step, newest level first: the predictor's; the corrector's, whose last is that of x0 at s."""
        lam = [-math.log(sigma) for sigma in sigmas[:-1]]
        rows = []
        for i in range(len(lam) - 1):
            h, p = lam[i + 1] - lam[i], min(self.order, i + 1, len(lam) - i)
            r = [(lam[i - k] - lam[i]) / h for k in range(1, p)]
            rows.append((self.gains(h, r), self.gains(h, [*r, 1.0])))
        return [*rows, ([], [])]

    def __call__(
        self, denoiser: Any, noise: Noise, cond: Tensor | None = None, cov_x0: list[float] | None = None
    ) -> Tensor:
        """Images x0 (B C H W), unclipped."""
        sigmas, denoise, x = self.begin(denoiser, noise, cond)
        start, known = x, []  # x and x0 where the step began, then x0 at the levels before
        for i, (predictor, _) in enumerate(rows := self.coefficients(sigmas)):
            x0 = denoise(x, sigmas[i])
            if i > 0:
                corrector = rows[i - 1][1]
                x = step(start, sigmas[i] / sigmas[i - 1], known[0], [*known[1 : len(corrector)], x0], corrector)
            start, known = x, [x0, *known[: self.order - 1]]
            x = step(start, sigmas[i + 1] / sigmas[i], x0, known[1:], predictor)
        return x


def step(x: Tensor, ratio: float, x0: Tensor, others: list[Tensor], gains: list[float]) -> Tensor:
    """ratio x + (1 - ratio) x0 + sum_k gains_k (others_k - x0), ratio = s / t."""
    x = x0 + ratio * (x - x0)
    for other, gain in zip(others, gains):
        x = x + gain * (other - x0)
    return x
