"""What a checkpoint is: the words of conf/model/*.yaml."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from .files import locate, sha256
from .schedules import Schedule


@dataclass(frozen=True)
class ModelCard:
    """A trained network: how to build it, what it predicts, at which noise levels, and where its weights are.

    family, arch: `fastdiff.unets.build` (official constructor arguments). shape: (C, H, W) of an image.
    parameterisation: eps, x0 or v of the VP form. c_noise = time_scale * (n + time_shift) is what the network is fed
    at level n = 1 .. N. classes: number of labels, 0 = unconditional. weights: path; sha256: of that file, checked.
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
    source: str = field(default="", compare=False)
    licence: str = field(default="", compare=False)

    def __post_init__(self):
        if self.parameterisation not in ("eps", "v", "x0"):
            raise ValueError(f"parameterisation '{self.parameterisation}' is not one of: eps, v, x0")

    @cached_property
    def levels(self) -> np.ndarray:
        """The N training sigmas, ascending, float64."""
        return self.schedule.levels()

    def resolved(self) -> "ModelCard":
        """The card with the digest of its weights filled in: what keys may be made of."""
        path = locate(self.weights)
        return self if self.sha256 else replace(self, sha256=sha256(path))

    def identity(self) -> dict:
        """What images depend on; never name or path."""
        schedule = [self.schedule.name, self.schedule.N, self.schedule.beta_start, self.schedule.beta_end]
        network = {"family": self.family, "arch": self.arch, "shape": list(self.shape), "sha256": self.sha256}
        time = {"schedule": schedule, "time_shift": self.time_shift, "time_scale": self.time_scale}
        return network | time | {"parameterisation": self.parameterisation, "classes": self.classes}
