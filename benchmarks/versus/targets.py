"""What is compared, and the file that says so: one line a target."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """ratio = what the goal is about, in the direction of the goal: theirs / ours where less is better for us, ours /
    theirs where more is. at_least: whether the goal is a lower bound. judged: False where this machine cannot be asked
    (bfloat16 without instructions for it)."""

    target: str
    ours: float
    theirs: float
    ratio: float
    goal: float
    at_least: bool = True
    unit: str = "images/s"
    judged: bool = True
    low: float | None = None
    high: float | None = None
    note: str = ""

    @property
    def met(self) -> str:
        if not self.judged:
            return "reported, not judged"
        return "yes" if (self.ratio >= self.goal if self.at_least else self.ratio <= self.goal) else "no"

    def row(self) -> dict:
        names = ("target", "ours", "theirs", "unit", "ratio", "low", "high")
        bound = f"{'>=' if self.at_least else '<='} {self.goal:g}"
        return {name: getattr(self, name) for name in names} | {"goal": bound, "met": self.met, "note": self.note}


def beside(name: str, arms: dict, ours: str, goal: float, judged: bool = True, note: str = "") -> Target:
    """Images per second of an arm over those of the arms' baseline (the first), paired round by round."""
    arm, baseline = arms[ours], next(iter(arms.values()))
    return Target(name, arm.latency.images_per_s, baseline.latency.images_per_s, arm.speedup, goal, judged=judged,
                  low=arm.speedup_low, high=arm.speedup_high, note=note)  # fmt: skip


def overhead(name: str, arms: dict, ours: str, goal: float, note: str = "") -> Target:
    """Time of an arm over that of the baseline (the first), likewise."""
    arm, baseline = arms[ours], next(iter(arms.values()))
    return Target(name, arm.latency.median_ms, baseline.latency.median_ms, 1 / arm.speedup, goal, at_least=False,
                  unit="ms", low=1 / arm.speedup_high, high=1 / arm.speedup_low, note=note)  # fmt: skip
