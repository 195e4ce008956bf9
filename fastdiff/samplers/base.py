"""What every sampler answers."""

from typing import Protocol

from torch import Tensor

from ..diffusion.noise import Noise


class Sampler(Protocol):
    """A frozen dataclass (steps, spacing, ...), hashable. It knows a denoiser by x, sigma and x0 alone."""

    steps: int

    @property
    def asked(self) -> int:
        """Network calls that this many steps should take: from it plans draw their lists. Spacings may give more."""

    def sigmas(self, denoiser) -> list[float]:
        """Noise levels of the trajectory: non-increasing, ending with 0, float64."""

    def calls(self, denoiser) -> int:
        """Network calls of one trajectory."""

    def __call__(self, denoiser, noise: Noise, cond: Tensor | None = None, cov_x0: list[float] | None = None) -> Tensor:
        """Images x0 (B C H W). cov_x0: one number a step, known before sampling (`gamma.covariances`)."""
