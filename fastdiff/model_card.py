"""What a checkpoint is: the words of conf/model/*.yaml."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from .downloads import fetch
from .preconditioning import Discrete, of_arch
from .schedules import Schedule


@dataclass(frozen=True)
class ModelCard:
    """A trained network: how to build it, what it predicts, at which noise levels, and where its weights are.

    family, arch: `fastdiff.unets.build` (official constructor arguments). shape: (C, H, W) of an image.
    parameterisation: eps, x0 or v of the VP form, whose network is fed c_noise = time_scale * (n + time_shift) at level
    n = 1 .. N of the schedule; or edm, where arch names the preconditioning and schedule and times do not count.
    classes: number of labels, 0 = unconditional. weights: path, or URL (`fastdiff.downloads`); sha256: of that file,
    checked. state_keys: prefixes of the names of its tensors that are the network's; () = all. expected: what others
    measured, for people: {"fid[50k, 100 DDIM steps]": "4.16 (where it is written)"}.
    """

    name: str
    family: str
    arch: dict
    shape: tuple[int, int, int]
    weights: str
    sha256: str | None = None
    parameterisation: str = "eps"
    schedule: Schedule = Schedule()
    time_shift: float = 0.0
    time_scale: float = 1.0
    classes: int = 0
    state_keys: tuple[str, ...] = ()
    source: str = field(default="", compare=False)
    licence: str = field(default="", compare=False)
    expected: dict = field(default_factory=dict, compare=False)

    def __post_init__(self):
        if self.parameterisation not in ("edm", "eps", "v", "x0"):
            raise ValueError(f"parameterisation '{self.parameterisation}' is not one of: edm, eps, v, x0")

    @cached_property
    def preconditioning(self):
        """How the network becomes a denoiser (`fastdiff.preconditioning`)."""
        if self.parameterisation == "edm":
            return of_arch(self.arch)
        return Discrete(self.parameterisation, self.schedule.levels(), self.time_shift, self.time_scale)

    @property
    def levels(self) -> np.ndarray | None:
        """The N training sigmas, ascending, float64; None for a network that takes any."""
        return self.preconditioning.levels

    @property
    def span(self) -> tuple[float, float]:
        """The range of sigma that trajectories cover."""
        return self.preconditioning.span

    @property
    def sigma_min(self) -> float:
        return self.preconditioning.domain[0]

    @property
    def sigma_max(self) -> float:
        return self.preconditioning.domain[1]

    def rounded(self, sigma: float) -> float:
        """The noise level the network takes sigma for (EDM's round_sigma)."""
        nearest = getattr(self.preconditioning, "nearest", None)
        return nearest(sigma) if nearest else sigma

    def resolved(self) -> "ModelCard":
        """The card with the digest of its weights filled in: what keys may be made of."""
        _, digest = fetch(self.weights, self.sha256, self.name)
        return replace(self, sha256=digest)

    def identity(self) -> dict:
        """What images depend on; never name or path."""
        network = {"family": self.family, "arch": self.arch, "shape": list(self.shape), "sha256": self.sha256}
        network |= {"parameterisation": self.parameterisation, "classes": self.classes}
        network |= {"state_keys": list(self.state_keys)} if self.state_keys else {}
        if self.parameterisation == "edm":
            return network
        schedule = [self.schedule.name, self.schedule.N, self.schedule.beta_start, self.schedule.beta_end]
        return network | {"schedule": schedule, "time_shift": self.time_shift, "time_scale": self.time_scale}
