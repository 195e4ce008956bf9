"""Euler's method on dx/dsigma = (x - x0) / sigma, a step from sigma t to s < t:

x_s = x + (s - t) (x - x0) / t = x0 + (s / t) (x - x0)

In this coordinate that is DDIM without noise or clipping (Song et al. 2021, eq. 12), and first order DPM-Solver++.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from .base import register
from .one_call import OneCall

if TYPE_CHECKING:
    from torch import Tensor

    from ..diffusion.noise import Noise


@register
@dataclass(frozen=True)
class Euler(OneCall):
    """The update above, in its second form: exact where s = 0, and no difference of large numbers before."""

    solver: ClassVar[str] = "euler"

    def __call__(
        self, denoiser: Any, noise: Noise, cond: Tensor | None = None, cov_x0: list[float] | None = None
    ) -> Tensor:
        """Images x0 (B C H W), unclipped."""
        sigmas, denoise, x = self.begin(denoiser, noise, cond)
        for t, s in zip(sigmas, sigmas[1:]):
            x0 = denoise(x, t)
            x = x0 + s / t * (x - x0)
        return x
