"""The targets of `make speed`: what is compared with what, and the goal."""

from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Target:
    """A ratio with its goal.

    ratio: ours / theirs for speeds, and seconds of ours / seconds of theirs for times. at_least: whether the goal is a
    lower bound. judged: False if this machine cannot tell (bfloat16 without instructions for it).
    """

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
    """The speed of one arm over the speed of another arm of the same run, paired by round."""
    speeds = (arms[each].latency.images_per_s for each in (ours, theirs))
    middle, low, high = _ratio(arms[theirs].seconds, arms[ours].seconds)
    return Target(name, *speeds, middle, goal, judged=judged, low=low, high=high, note=note)


def overhead(name: str, arms: dict, ours: str, theirs: str, goal: float) -> Target:
    """The time of one arm over the time of another arm of the same run, paired by round."""
    return ratio(name, arms[ours].seconds, arms[theirs].seconds, goal)


def ratio(name: str, ours: list[float], theirs: list[float], goal: float, note: str = "") -> Target:
    """Seconds over seconds, paired by round. Less is better."""
    middle, low, high = _ratio(ours, theirs)
    return Target(name, 1e3 * median(ours), 1e3 * median(theirs), middle, goal, at_least=False, unit="ms", low=low,
                  high=high, note=note)  # fmt: skip


def _ratio(one: list[float], other: list[float]) -> tuple[float, float, float]:
    """Seconds of one arm over seconds of another: the median over rounds with its 95 % interval."""
    from fastdiff.profiling import median_interval

    ratios = [a / b for a, b in zip(one, other)]
    return (median(ratios), *median_interval(ratios))
