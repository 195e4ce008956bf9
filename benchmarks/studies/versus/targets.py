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
        line = {name: getattr(self, name) for name in ("target", "ours", "theirs", "unit", "ratio")}
        line |= {"ratio.low": self.low, "ratio.high": self.high}
        line |= {"goal": f"{'>=' if self.at_least else '<='} {self.goal:g}", "met": self.met, "note": self.note}
        return line


def beside(name: str, arms: dict, ours: str, theirs: str, goal: float, judged: bool = True, note: str = "") -> Target:
    """Images per second of one arm over those of another of the same run, paired round by round."""
    speeds = (arms[each].latency.images_per_s for each in (ours, theirs))
    middle, low, high = _ratio(arms[theirs].seconds, arms[ours].seconds)
    return Target(name, *speeds, middle, goal, judged=judged, low=low, high=high, note=note)


def overhead(name: str, arms: dict, ours: str, theirs: str, goal: float) -> Target:
    """Time of one arm over that of another of the same run, likewise."""
    return ratio(name, arms[ours].seconds, arms[theirs].seconds, goal)


def ratio(name: str, ours: list[float], theirs: list[float], goal: float, note: str = "") -> Target:
    """Seconds over seconds, round by round; less is better."""
    middle, low, high = _ratio(ours, theirs)
    return Target(name, 1e3 * median(ours), 1e3 * median(theirs), middle, goal, at_least=False, unit="ms", low=low,
                  high=high, note=note)  # fmt: skip


def _ratio(one: list[float], other: list[float]) -> tuple[float, float, float]:
    """Median over rounds of the seconds of one arm over those of another, with its 95 % interval."""
    from fastdiff.profiling import median_interval

    ratios = [a / b for a, b in zip(one, other)]
    return (median(ratios), *median_interval(ratios))
