"""PLMS (Liu et al. 2022, arXiv 2202.09778, F-PNDM without its Runge-Kutta start), as diffusers' PNDMScheduler runs it
with skip_prk_steps: Stable Diffusion's first sampler.

In x = x0 + sigma eps the paper's transfer (formula 9, as diffusers counts) is a straight line: x_s = x + (s - t) e, a
step from sigma t to s < t. e is an Adams-Bashforth mean of eps at this call (e0) and at earlier ones (e1, e2, e3):

e = (e0 + e0') / 2                                the first step, which is done twice: e0' is eps where e0 alone leads
  | (3 e0 - e1) / 2
  | (23 e0 - 16 e1 + 5 e2) / 12
  | (55 e0 - 59 e1 + 37 e2 - 9 e3) / 24           and every further step
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..diffusion.noise_levels import NoiseLevels
from .base import Sampler, check_choice, register

if TYPE_CHECKING:
    from torch import Tensor

    from ..diffusion.noise import Noise

NEEDS = "plms steps over the training levels of a VP network, which this network is not: use heun"
WEIGHTS = {2: (3 / 2, -1 / 2), 3: (23 / 12, -16 / 12, 5 / 12), 4: (55 / 24, -59 / 24, 37 / 24, -9 / 24)}


@register
@dataclass(frozen=True)
class PLMS(Sampler):
    """The update above, over every (N // steps)-th training level. Scalars are float64; the state has state_dtype.

    offset: levels above the first where the least step lies (diffusers' steps_offset; Stable Diffusion: 1). As there
    (set_alpha_to_one: False), the last step leads to the first training level, and what x is there is taken for the
    image. `steps` steps take steps + 1 network calls. A network that predicts v is read as one that predicts eps;
    diffusers averages v itself, which is the same at the first step only.
    """

    solver: ClassVar[str] = "plms"

    offset: int = 1
    state_dtype: str = "float32"

    def __post_init__(self):
        check_choice("state_dtype", self.state_dtype, ("float32", "float64"))
        if self.steps < 2:
            raise ValueError(f"steps is {self.steps}; plms needs at least 2")
        if self.offset < 0:
            raise ValueError(f"offset is {self.offset}; it counts training levels and cannot be negative")

    def sigmas(self, noise_levels: NoiseLevels) -> list[float]:
        """The levels where the network is called, each once, and 0 for the image. Raises ValueError for a network
        without training levels, or with too few."""
        levels = noise_levels.levels
        if levels is None:
            raise ValueError(NEEDS)
        stride = len(levels) // self.steps
        top = (self.steps - 1) * stride + self.offset
        if stride < 1 or top >= len(levels):
            raise ValueError(
                f"{self.steps} plms steps with offset {self.offset} need more than the network's {len(levels)} levels"
            )
        return [float(levels[n]) for n in range(top, -1, -stride)][: self.steps] + [0.0]

    def _end(self, levels: np.ndarray) -> float:
        """Where the last step leads: one stride below the least step, which is nearly always below the first level."""
        return float(levels[max(self.offset - len(levels) // self.steps, 0)])

    def call_sigmas(self, noise_levels: NoiseLevels) -> list[float]:
        """The first step calls the network at both of its ends. `asked` stays the number of steps, from which the
        official DeepCache code draws its lists: the one call more is shallow."""
        sigmas = self.sigmas(noise_levels)[:-1]
        second = sigmas[1] if len(sigmas) > 1 else self._end(noise_levels.levels)
        return [sigmas[0], second, *sigmas[1:]]

    def __call__(
        self, denoiser: Any, noise: Noise, cond: Tensor | None = None, cov_x0: list[float] | None = None
    ) -> Tensor:
        """Images x0 (B C H W), unclipped. Raises ValueError for a network that is not VP."""
        if not denoiser.noise_levels.vp:
            raise ValueError(NEEDS)
        sigmas, denoise, x = self.begin(denoiser, noise, cond)
        ends = [*sigmas[1:-1], self._end(denoiser.noise_levels.levels)]

        def eps(x, t):
            return (x - denoise(x, t)) / t

        past: list[Tensor] = []
        for t, s in zip(sigmas, ends):
            past = [eps(x, t), *past[:3]]
            if len(past) == 1:
                e = (past[0] + eps(x + (s - t) * past[0], s)) / 2
            else:
                e = sum(weight * each for weight, each in zip(WEIGHTS[len(past)], past))
            x = x + (s - t) * e
        return x / (1 + ends[-1] ** 2) ** 0.5
