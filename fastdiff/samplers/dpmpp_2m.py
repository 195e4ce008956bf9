"""DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095, Algorithm 2) in lambda = -log sigma; a step from t to s < t:

h   = log(t / s),  h_last the same of the step before
x0' = x0 + h / (2 h_last) (x0 - x0_last)                    x0 at the middle of the step, along the line through two
x_s = (s / t) x + (1 - s / t) x0'

The first step has no x0_last, and to s = 0 the middle is infinitely far: x0' = x0 in both, which is Euler's step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from .base import register
from .one_call import OneCall

if TYPE_CHECKING:
    from torch import Tensor

    from ..diffusion.noise import Noise


@register
@dataclass(frozen=True)
class DPMpp2M(OneCall):
    """The update above: second order, the midpoint form (k-diffusion's, and the default of diffusers).

    There is no `lower_order_final`: a trajectory that ends with sigma 0 has a first order last step whatever one wants,
    in diffusers too, and no other step of the second order solver would be changed by it.
    """

    solver: ClassVar[str] = "dpmpp_2m"
    divides: ClassVar[bool] = True

    def __call__(
        self, denoiser: Any, noise: Noise, cond: Tensor | None = None, cov_x0: list[float] | None = None
    ) -> Tensor:
        """Images x0 (B C H W), unclipped."""
        sigmas, denoise, x = self.begin(denoiser, noise, cond)
        last = None
        for i, (t, s) in enumerate(zip(sigmas, sigmas[1:])):
            x0 = denoise(x, t)
            middle = x0
            if last is not None and s > 0:
                h, h_last = math.log(t / s), math.log(sigmas[i - 1] / t)
                middle = x0 + h / (2 * h_last) * (x0 - last)
            x = middle + s / t * (x - middle)
            last = x0
        return x
