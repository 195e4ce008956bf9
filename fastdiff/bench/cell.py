"""A cell: one point of a grid, its canonical form and its keys. No torch here: finished cells are found without it.

The key hashes what differs from identity: knobs at their default, and all knobs of a method that is off, do not count,
so that a knob added later changes no old key. `NUMERICS` is raised whenever a change of code alters images.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from ..accelerators import Accelerator, cache_of
from ..device import Device

NUMERICS = 1
PARTS = ("all", "confirm", "tune")


@dataclass(frozen=True)
class Budget:
    """How many images (n), and the seed of their noise: image i always has the noise of (seed, i).

    part: a knob is tuned on `tune` and the choice confirmed on `confirm`. Each has noise of its own, whatever the seed,
    and half of the training images as its reference (those of even and of odd number), so that neither noise nor
    reference images of one are met in the other. Score norms and, where labels are drawn, labels are those of `all`:
    they are part of the arms, not of what chooses between them.
    ladder: the numbers of images, each more than the one before, after which a sweep drops the arms that need no more
    (`fastdiff.statistics.ladder`). It is a plan of the sweep and in no key.
    """

    n: int = 1000
    seed: int = 0
    part: str = "all"
    ladder: tuple[int, ...] | None = None

    def __post_init__(self):
        if self.n < 2:
            raise ValueError(f"budget.n is {self.n}; at least 2 images are needed")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"budget.seed is {self.seed}; it must be in 0 .. 2**32 - 1")
        if self.part not in PARTS:
            raise ValueError(f"budget.part '{self.part}' is not one of: {', '.join(PARTS)}")
        if self.ladder is not None:
            self._check_ladder()

    def _check_ladder(self) -> None:
        rungs, said = [*self.ladder, self.n], f"budget.ladder is {list(self.ladder)}"
        if not self.ladder or not all(type(n) is int for n in rungs):
            raise ValueError(f"{said}; numbers of images are needed, as [250,500] (null = no ladder)")
        if rungs[0] < 2 or any(a >= b for a, b in zip(rungs, rungs[1:])):
            raise ValueError(f"{said}; it must increase, from at least 2 to below budget.n = {self.n}")

    def parted(self) -> dict:
        """What the part adds to an identity: nothing where it is `all`."""
        return {} if self.part == "all" else {"part": self.part}


@dataclass(frozen=True)
class Cell:
    """Everything one measurement depends on.

    `model`, `data`, `metrics` are resolved cards. accelerators: in the order of their joins; members that are off are
    dropped, and where none keeps a tensor each is reduced to what it does without a cache. Two cells with the same
    images are then one cell. sampler_name: the sampler as conf and tables call it; in no key.
    """

    model: Any
    data: Any
    sampler: Any
    accelerators: tuple[Accelerator, ...]
    score_norms: Any
    metrics: Any
    budget: Budget
    device: Device
    guidance: float = 1.0
    sampler_name: str = field(default="", compare=False)

    def __post_init__(self):
        members = [member for member in self.accelerators if not member.off]
        if cache_of(members) is None:
            members = [member.uncached() for member in members]
        others = sorted((member for member in members if not member.joins), key=lambda member: member.name)
        ordered = [member for member in members if member.joins] + others
        object.__setattr__(self, "accelerators", tuple(ordered))
        if self.budget.part != "all" and not self.metrics.needs_reference:
            raise ValueError(
                f"budget.part={self.budget.part} halves the images that generated ones are compared with, and"
                f" metrics={self.metrics.name} has none; choose metrics=mnist_classifier or clean_fid"
            )
        if self.budget.part != "all" and self.metrics.reference is not None:
            raise ValueError("metrics.reference has no halves to tune and to confirm with; leave it or budget.part out")

    @property
    def baseline(self) -> bool:
        """Whether every accelerator is off and the variance is not analytic: what other cells are compared with."""
        return not self.accelerators and not self.sampler.analytic

    @property
    def cache(self) -> Accelerator | None:
        """The accelerator that keeps tensors between calls."""
        return cache_of(self.accelerators)

    @property
    def analytic(self) -> bool:
        """Whether the sampler's variance needs score norms."""
        return self.sampler.analytic

    @property
    def optimal(self) -> bool:
        """Whether the sampler places its steps by what is known of the network."""
        return self.sampler.optimal

    @property
    def joint(self) -> bool:
        """Whether shallow calls have score norms of their own."""
        return self.analytic and self.cache is not None and self.score_norms.cached == "joint"

    def describe_sampler(self) -> str:
        """The sampler in words, with what is unusual in its score norms and spacing: `analytic_ddpm (mse, joint)`."""
        notes = []
        if self.analytic:
            notes += [knob for knob in (self.score_norms.estimator,) if knob != "eps_ms"]
            notes += ["joint"] if self.joint else []
        notes += [self.sampler.spacing] if self.optimal else []
        name = self.sampler_name or self.sampler.solver
        return name + (f" ({', '.join(notes)})" if notes else "")

    def describe(self) -> str:
        """The cell in words: `ddpm, 25 steps, interval 3 at branch 2, rho 0.8 to 1`."""
        words = [self.describe_sampler(), f"{self.sampler.steps} steps"]
        words += [member.describe() for member in sorted(self.accelerators, key=lambda member: member.name)]
        return ", ".join(words + ([f"guidance {self.guidance:g}"] if self.guidance != 1 else []))

    def network(self) -> dict:
        """The network as it is used for one call: what score norms depend on, beside the images they are taken of."""
        used = {"model": self.model.identity(), "guidance": self.guidance, "precision": self.device.precision}
        alone = [member.uncached() for member in self.accelerators if not member.caches]
        return used | {"accelerators": _identities(alone), "numerics": NUMERICS}

    def generation(self) -> dict:
        """What the images depend on."""
        normed, norms = self.analytic or self.optimal, {}
        if normed:
            norms = {"score_norms": self.score_norms.used(self.analytic, self.cache is not None, self.optimal)}
        data = {"data": self.data.identity()} if normed or self.model.classes else {}
        plans = {"sampler": canonical(self.sampler), "accelerators": _identities(self.accelerators)}
        plans |= {knob: value for knob, value in canonical(self.device).items() if knob in ("compile", "memory_format")}
        return self.network() | plans | norms | data | {"seed": self.budget.seed} | self.budget.parted()

    def quality(self) -> dict:
        """What a quality record depends on: the images, their number, and the protocol of the metrics."""
        reference = self.data.identity() | self.budget.parted()
        protocol = {"metrics": self.metrics.identity(), "reference": reference}
        return {"generation": self.generation(), "n": self.budget.n} | protocol

    def speed(self, device_name: str) -> dict:
        """What a speed record depends on: the computation and the machine, not the seed, part or number of images."""
        computation = {name: value for name, value in self.generation().items() if name not in ("seed", "data", "part")}
        device, compiled = self.device, self.device.compile != "none" and self.device.compile
        machine = {"device": device_name, "threads": device.threads, "batch": device.batch, "compile": compiled}
        return computation | machine

    @property
    def key(self) -> str:
        """The cell's name in the ledger, in tables and in W&B."""
        return key(self.quality())


def _identities(accelerators: Iterable[Accelerator]) -> list[list]:
    """Name and identity of each, in the order of their joins."""
    return [[member.name, member.identity()] for member in accelerators]


def canonical(settings: Any) -> dict:
    """A frozen dataclass -> its fields that differ from their default; {} when its method is `off`."""
    if getattr(settings, "off", False):
        return {}
    if hasattr(settings, "identity"):
        return settings.identity()
    return {
        f.name: getattr(settings, f.name)
        for f in fields(settings)
        if f.compare and getattr(settings, f.name) != f.default
    }


def key(identity: dict) -> str:
    """16 hex digits of the sha256 of the canonical JSON."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
