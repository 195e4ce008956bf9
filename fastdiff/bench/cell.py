"""A cell: one point of a grid, its canonical form and its keys. No torch here: finished cells are found without it.

The key hashes what differs from identity: knobs at their default, and all knobs of a method that is off, do not count,
so that a knob added later changes no old key. `NUMERICS` is raised whenever a change of code alters images.
"""

import hashlib
import json
from dataclasses import dataclass, fields, replace
from typing import Any

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
    """Everything one measurement depends on. `sampler` and `skip_tuning`, `deepcache`, `score_norms` are the frozen
    dataclasses of the rooms above; `model`, `data`, `metrics` are resolved cards."""

    model: Any
    data: Any
    sampler: Any
    skip_tuning: Any
    deepcache: Any
    score_norms: Any
    metrics: Any
    budget: Budget
    device: Device
    guidance: float = 1.0

    def __post_init__(self):
        if self.budget.part != "all" and (self.metrics.bound or self.metrics.prompted):
            raise ValueError(
                f"budget.part={self.budget.part} halves the images that generated ones are compared with, and"
                f" metrics={self.metrics.name} has none; choose metrics=mnist_classifier or clean_fid"
            )
        if self.budget.part != "all" and self.metrics.reference is not None:
            raise ValueError("metrics.reference has no halves to tune and to confirm with; leave it or budget.part out")

    @property
    def plain(self) -> bool:
        """Whether no method is at work: what others are compared with."""
        forward = getattr(self.sampler, "variance", "small") == "small"
        return forward and self.skip_tuning.off and self.deepcache.off

    @property
    def analytic(self) -> bool:
        """Whether the sampler needs score norms."""
        return getattr(self.sampler, "variance", None) == "analytic"

    @property
    def optimal(self) -> bool:
        """Whether the sampler places its steps by what is known of the network."""
        return getattr(self.sampler, "optimal", False)

    @property
    def joint(self) -> bool:
        """Whether shallow calls have score norms of their own."""
        return self.analytic and not self.deepcache.off and self.score_norms.cached == "joint"

    def network(self) -> dict:
        """The network as it is used for one call: what score norms depend on, beside the images they are taken of."""
        used = {"model": self.model.identity(), "guidance": self.guidance, "precision": self.device.precision}
        tuned = replace(self.skip_tuning, apply="all")  # says how the plan goes with a cache: nothing of one call
        return used | {"skip_tuning": canonical(tuned), "numerics": NUMERICS}

    def generation(self) -> dict:
        """What the images depend on."""
        normed, norms = self.analytic or self.optimal, {}
        if normed:
            norms = {"score_norms": self.score_norms.used(self.analytic, not self.deepcache.off, self.optimal)}
        data = {"data": self.data.identity()} if normed or self.model.classes else {}
        plans = {"sampler": canonical(self.sampler), "deepcache": canonical(self.deepcache)}
        if not self.deepcache.off:
            plans["skip_tuning"] = canonical(self.skip_tuning)
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


def canonical(settings) -> dict:
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
