"""What is compared, and the file that says so: one line a target."""

from dataclasses import dataclass
from statistics import median


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


def beside(name: str, arms: dict, ours: str, theirs: str, goal: float, judged: bool = True, note: str = "") -> Target:
    """Images per second of one arm over those of another of the same run, paired round by round."""
    from fastdiff.profiling import median_interval

    pairs = zip(arms[theirs].seconds, arms[ours].seconds)
    ratios = sorted(other / own for other, own in pairs)
    low, high = median_interval(ratios)
    speeds = (arms[each].latency.images_per_s for each in (ours, theirs))
    return Target(name, *speeds, median(ratios), goal, judged=judged, low=low, high=high, note=note)


def overhead(name: str, arms: dict, ours: str, goal: float, note: str = "") -> Target:
    """Time of an arm over that of the baseline (the first), likewise."""
    arm, baseline = arms[ours], next(iter(arms.values()))
    return Target(name, arm.latency.median_ms, baseline.latency.median_ms, 1 / arm.speedup, goal, at_least=False,
                  unit="ms", low=1 / arm.speedup_high, high=1 / arm.speedup_low, note=note)  # fmt: skip
