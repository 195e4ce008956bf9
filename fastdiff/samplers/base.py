"""What a sampler is: a frozen dataclass of knobs that turns noise into images with a denoiser.

Subclass `Sampler`, set `solver`, decorate with `@register` and `@dataclass(frozen=True)`, and name the module in
`plugins: [my_module]`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ..diffusion.noise_levels import NoiseLevels
from ..registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from ..diffusion.noise import Noise


@dataclass(frozen=True)
class Sampler:
    """The base of all samplers. It knows a network by x, sigma and x0 alone.

    solver: the name in conf/sampler. steps: solver steps that the user asks for. analytic: whether the reverse variance
    comes from score norms. optimal: whether the steps are placed by what is known of the network.
    """

    solver: ClassVar[str] = ""

    steps: int

    @property
    def analytic(self) -> bool:
        return False

    @property
    def optimal(self) -> bool:
        return False

    def baseline(self) -> Sampler:
        """The sampler that a table compares with: the same steps, with no variance from score norms."""
        return self

    @property
    def asked(self) -> int:
        """Network calls that this many steps should take. Spacings may give more. Caches plan their schedules by it."""
        return self.steps

    def sigmas(self, noise_levels: NoiseLevels) -> list[float]:
        """Noise levels of the steps: non-increasing, ending with 0, float64."""
        raise NotImplementedError(f"{type(self).__name__} does not say at which noise levels it steps: define `sigmas`")

    def call_sigmas(self, noise_levels: NoiseLevels) -> list[float]:
        """The noise level of each network call, in order. The default is one call a step, at the step's beginning."""
        return self.sigmas(noise_levels)[:-1]

    def identity(self) -> dict[str, Any]:
        """What goes into the key of a cell: the solver and the knobs that differ from their defaults."""
        changed = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return {"solver": self.solver} | changed

    def shown(self) -> dict[str, Any]:
        """The knobs that a table shows: every field that is read."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def __call__(
        self, denoiser: Any, noise: Noise, cond: Tensor | None = None, cov_x0: list[float] | None = None
    ) -> Tensor:
        """Images x0 (B C H W). denoiser: `fastdiff.sampling.denoiser.Denoiser`; begin a trajectory with `begin`.
        cov_x0: one number a step, known before sampling (`fastdiff.analytic.covariances`)."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it samples: define `__call__`")

    def begin(self, denoiser: Any, noise: Noise, cond: Tensor | None) -> tuple[list[float], Any, Tensor]:
        """The steps' noise levels, denoise(x, sigma) -> x0 for one trajectory, and x (B C H W) at the first level."""
        levels = denoiser.noise_levels
        sigmas = self.sigmas(levels)
        denoise = denoiser.start(self.call_sigmas(levels), cond, asked=self.asked)
        x = noise(0)
        x = x.double() if getattr(self, "state_dtype", "float32") == "float64" else x
        return sigmas, denoise, levels.prior_scale(sigmas[0]) * x


SAMPLERS: Registry[type[Sampler]] = Registry("sampler")

S = TypeVar("S", bound=type[Sampler])


def register(cls: S) -> S:
    """Class decorator: make a sampler known under its `solver`. Raises ValueError for a class that is not one."""
    if not (isinstance(cls, type) and issubclass(cls, Sampler) and cls.solver):
        raise ValueError(f"{cls!r} is no sampler: subclass fastdiff.samplers.Sampler and set `solver`")
    SAMPLERS.add(cls.solver, cls)
    return cls


def check_choice(knob: str, value: Any, choices: tuple) -> None:
    """Raises ValueError, with the menu, for a value that is not one of the choices."""
    if value not in choices:
        raise ValueError(f"{knob} '{value}' is not one of: {', '.join(map(str, choices))}")
