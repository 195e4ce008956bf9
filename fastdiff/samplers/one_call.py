"""What solvers with one network call a step and no fresh noise share: euler, dpmpp_2m, unipc."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar

from ..diffusion.spacing import SPACINGS, trajectory

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from ..diffusion.noise import Noise


@dataclass(frozen=True)
class OneCall:
    """Scalars are float64; the state has state_dtype. A trajectory of `steps` steps takes `steps` calls (under spacing
    `stride` as many as it has levels), and asks for no noise but the start."""

    steps: int
    spacing: str = "karras"
    state_dtype: str = "float32"

    solver: ClassVar[str]  # its name in conf/sampler
    divides: ClassVar[bool] = False  # whether it divides by distances of log sigma

    def __post_init__(self):
        self._choose("spacing", SPACINGS)
        self._choose("state_dtype", ("float32", "float64"))

    def _choose(self, knob: str, choices: tuple) -> None:
        if getattr(self, knob) not in choices:
            raise ValueError(f"{knob} '{getattr(self, knob)}' is not one of: {', '.join(map(str, choices))}")

    def identity(self) -> dict:
        """What differs from the default."""
        changed = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return {"solver": self.solver} | changed

    def sigmas(self, denoiser) -> list[float]:
        """Noise levels as the network knows them. Raises ValueError where two are one and the solver needs their
        distance: `quadratic` at many steps, or many steps between the levels of an iDDPM network."""
        positive = [denoiser.rounded(sigma) for sigma in trajectory(self.spacing, self.steps, denoiser)[:-1]]
        if self.divides and any(t <= s for t, s in zip(positive, positive[1:])):
            raise ValueError(
                f"spacing '{self.spacing}' repeats noise levels at {self.steps} steps; {self.solver} divides by their"
                " distance: use fewer steps or another spacing"
            )
        return [*positive, 0.0]

    @property
    def asked(self) -> int:
        return self.steps

    def calls(self, denoiser) -> int:
        return len(self.sigmas(denoiser)) - 1

    def begin(
        self, denoiser, noise: Noise, cond: Tensor | None
    ) -> tuple[list[float], Callable[[Tensor, float], Tensor], Tensor]:
        """Noise levels, the network for one trajectory, and x at the first level."""
        sigmas = self.sigmas(denoiser)
        denoise = denoiser.start(len(sigmas) - 1, cond, asked=self.asked)
        x = noise(0)
        return sigmas, denoise, denoiser.prior_scale(sigmas[0]) * (x.double() if self.state_dtype == "float64" else x)
