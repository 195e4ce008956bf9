"""What solvers with one network call a step and no fresh noise share: euler, dpmpp_2m, unipc."""

from dataclasses import dataclass
from typing import ClassVar

from ..diffusion.noise_levels import NoiseLevels
from ..diffusion.spacing import SPACINGS, trajectory
from .base import Sampler, check_choice


@dataclass(frozen=True)
class OneCall(Sampler):
    """Scalars are float64; the state has state_dtype. A trajectory of `steps` steps takes `steps` calls (under spacing
    `stride` as many as it has levels), and asks for no noise but the start."""

    spacing: str = "karras"
    state_dtype: str = "float32"

    divides: ClassVar[bool] = False  # whether it divides by distances of log sigma

    def __post_init__(self):
        check_choice("spacing", self.spacing, SPACINGS)
        check_choice("state_dtype", self.state_dtype, ("float32", "float64"))

    def sigmas(self, noise_levels: NoiseLevels) -> list[float]:
        """Noise levels as the network knows them. Raises ValueError where two are equal and the solver needs their
        distance: `quadratic` at many steps, or many steps between the levels of an iDDPM network."""
        levels = trajectory(self.spacing, self.steps, noise_levels)[:-1]
        positive = [noise_levels.rounded(sigma) for sigma in levels]
        if self.divides and any(t <= s for t, s in zip(positive, positive[1:])):
            raise ValueError(
                f"spacing '{self.spacing}' repeats noise levels at {self.steps} steps; {self.solver} divides by their"
                " distance: use fewer steps or another spacing"
            )
        return [*positive, 0.0]
