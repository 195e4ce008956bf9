"""Skip-Tuning (Ma et al. 2024, arXiv 2402.15170): scale every skip where the decoder joins it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

from .base import Accelerator, Trajectory, register

if TYPE_CHECKING:
    from torch import Tensor

CHOICES = {
    "index": ("from_one", "from_zero", "linspace"),
    "over_level": ("constant", "decreasing", "increasing", "window"),
    "apply": ("all", "deep", "full"),
}


@register
@dataclass(frozen=True)
class SkipTuning(Accelerator):
    """Factor rho_bottom at the innermost skip, rho_top at rung 0 (`conv_in`), linear between (Def. 3.1).
    Identity: both are 1.

    index: how the paper's rho_i = rho_bottom + (rho_top - rho_bottom) i / k counts the K skips from the innermost:
    `linspace` (i = 0 .. K - 1, k = K - 1: hits both ends), `from_zero` (i = 0 .. K - 1, k = K: never reaches rho_top),
    `from_one` (i = 1 .. K, k = K: never reaches rho_bottom).
    over_level (sec. 5.2, with the noise level for its time): `constant`; `increasing` (rho at level 0, 1 at level 1);
    `decreasing` (1 at level 0, rho at level 1); `window` (rho for levels in [low, high), 1 elsewhere; high = 1 is in).
    apply, under a cache: to `all` calls; to `full` calls only; or to `deep` skips only, at rungs >= branch, which only
    full calls run. Without a cache the three are the same.
    """

    name: ClassVar[str] = "skip_tuning"
    knobs: ClassVar[int] = 1

    rho_bottom: float = 1.0
    rho_top: float = 1.0
    index: str = "linspace"
    over_level: str = "constant"
    window: tuple[float, float] = (0.0, 1.0)
    apply: str = "all"

    def __post_init__(self):
        for name, rho in (("rho_bottom", self.rho_bottom), ("rho_top", self.rho_top)):
            if not 0 <= rho <= 2:
                raise ValueError(f"{name} is {rho}; a factor in [0, 2] is needed (1 leaves the network as it is)")
        for knob, choices in CHOICES.items():
            if getattr(self, knob) not in choices:
                raise ValueError(f"{knob} '{getattr(self, knob)}' is not one of: {', '.join(choices)}")
        if len(self.window) != 2 or not 0 <= self.window[0] < self.window[1] <= 1:
            raise ValueError(f"window is {list(self.window)}; two levels low < high in [0, 1] are needed")
        object.__setattr__(self, "window", tuple(float(level) for level in self.window))

    @property
    def off(self) -> bool:
        return self.rho_bottom == self.rho_top == 1

    def identity(self) -> dict:
        """What differs from the default among the knobs that count."""
        unread = set() if self.over_level == "window" else {"window"}
        unread |= {"index"} if self.rho_bottom == self.rho_top else set()
        kept = [f for f in fields(self) if f.name not in unread and not self.off]
        return {f.name: getattr(self, f.name) for f in kept if getattr(self, f.name) != f.default}

    def describe(self) -> str:
        notes = [self.index] if self.index != "linspace" and self.rho_bottom != self.rho_top else []
        if self.over_level == "window":
            notes.append("window {:g}-{:g}".format(*self.window))
        elif self.over_level != "constant":
            notes.append(self.over_level)
        notes += [f"apply {self.apply}"] if self.apply != "all" else []
        return f"rho {self.rho_bottom:g} to {self.rho_top:g}" + (f" ({', '.join(notes)})" if notes else "")

    def shown(self) -> dict[str, Any]:
        window = "{:g}-{:g}".format(*self.window) if self.over_level == "window" else None
        apply = None if self.apply == "all" else self.apply  # without a cache nothing reads it
        return super().shown() | {"window": window, "apply": apply}

    def uncached(self) -> SkipTuning:
        return replace(self, apply="all")

    def factors(self, trajectory: Trajectory, call: int) -> list[tuple[float]] | None:
        """A row for skip i = 0 .. rungs - 1 (rung 0 first); None where every factor is 1."""
        full = trajectory.ran[call] if trajectory.ran else True
        scales = self.scales(trajectory.rungs, trajectory.levels[call], full, trajectory.branch)
        return None if all(scale == 1 for scale in scales) else [(scale,) for scale in scales]

    @staticmethod
    def join(h: Tensor, skip: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        return h, skip * factor[0]

    def scales(self, rungs: int, level: float = 0.0, full: bool = True, branch: int | None = None) -> list[float]:
        """Factor of skip i for i = 0 .. rungs - 1 (rung 0 first) on one call of a trajectory.

        level: of the call's noise (0 = least, 1 = most, linear in log sigma). full: whether the call runs every rung.
        branch: where a cache keeps its tensor; None without a cache. A rung keeps its factor on shallow calls.
        """
        applied = branch is None or self.apply != "full" or full
        first = branch if branch is not None and self.apply == "deep" else 0
        return [self._at(level, self._rho(i, rungs)) if applied and i >= first else 1.0 for i in range(rungs)]

    def _rho(self, rung: int, rungs: int) -> float:
        outer, inner = {"linspace": (0, rungs - 1), "from_zero": (1, rungs), "from_one": (0, rungs)}[self.index]
        return self.rho_top + (self.rho_bottom - self.rho_top) * (rung + outer) / max(inner, 1)

    def _at(self, level: float, rho: float) -> float:
        low, high = self.window
        if self.over_level == "window":
            return rho if low <= level < high or level == high == 1 else 1.0
        if self.over_level == "constant":
            return rho
        return rho + (1 - rho) * (level if self.over_level == "increasing" else 1 - level)
