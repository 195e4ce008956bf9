"""DeepCache (Ma, Fang & Wang 2024, arXiv 2312.00858): which network calls run every rung."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from .base import RUN, Accelerator, Sources, Trajectory, register

SCHEDULES = ("centred", "list", "quadratic", "uniform")
POWER = {"centred": 1.4, "quadratic": 1.5}  # what the official code takes when it is not told


@register
@dataclass(frozen=True)
class DeepCache(Accelerator):
    """`branch` is the paper's m, counted from 1: on shallow calls only rungs 0 .. branch - 1 run, on the state that
    entered up(branch - 1) at the last full call (eq. 4). branch 0 keeps the network's output: the network is not called
    at all on the other calls. Identity: interval 1.

    schedule, where the full calls lie; there are ceil(asked / interval) of them, except for `list`:
    `uniform`: every interval-th call (eq. 6). `centred`: dense around call `center` (eq. 7, as the official code
    computes it). `quadratic`: dense at the noisiest calls (official LDM code). `list`: the calls named in `full`.
    power: of `centred` and `quadratic`; None: the official default (1.4 and 1.5).
    protect_first, protect_last: so many calls at either end of the trajectory are full whatever the schedule says.
    """

    name: ClassVar[str] = "deepcache"

    interval: int = 1
    branch: int = 1
    schedule: str = "uniform"
    center: int = 15
    power: float | None = None
    full: tuple[int, ...] = ()
    protect_first: int = 0
    protect_last: int = 0

    def __post_init__(self):
        if self.interval < 1:
            raise ValueError(f"interval is {self.interval}; it must be at least 1 (1 caches nothing)")
        if self.branch < 0:
            raise ValueError(
                f"branch is {self.branch}; 0 keeps the output, 1 .. K the state at that skip (1 = outermost)"
            )
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule '{self.schedule}' is not one of: {', '.join(SCHEDULES)}")
        if self.power is not None and not 1 < self.power < 100:
            raise ValueError(f"power is {self.power}; a number above 1 is needed (1 is even spacing)")
        if self.center < 1:
            raise ValueError(f"center is {self.center}; it is a call number, at least 1")
        object.__setattr__(self, "full", tuple(sorted(set(self.full))))
        if (self.schedule == "list") != bool(self.full):
            raise ValueError("schedule 'list' and a list of calls in `full` go together: give both or neither")
        if not all(isinstance(i, int) and i >= 0 for i in self.full):
            raise ValueError(f"full is {list(self.full)}; it lists call numbers, counted from 0")
        if min(self.protect_first, self.protect_last) < 0:
            raise ValueError("protect_first and protect_last count calls; they cannot be negative")

    def describe(self) -> str:
        calls, notes = f"interval {self.interval}", []
        if self.schedule == "list":
            named = f"full calls {','.join(map(str, self.full))}"
            calls = named if len(self.full) <= 6 else f"{len(self.full)} listed full calls"
        elif self.schedule == "centred":
            notes.append(f"centred on call {self.center}")
        elif self.schedule == "quadratic":
            notes.append("quadratic")
        if self.schedule in POWER and self._power != POWER[self.schedule]:
            notes.append(f"power {self._power:g}")
        ends = {"first": self.protect_first, "last": self.protect_last}
        if kept := [f"{end} {count}" for end, count in ends.items() if count]:
            notes.append(f"{' and '.join(kept)} full")
        return f"{calls} at branch {self.branch}" + (f" ({', '.join(notes)})" if notes else "")

    def shown(self) -> dict[str, Any]:
        values = super().shown() | {"full": ",".join(map(str, self.full))}
        values["power"] = self._power if self.schedule in POWER else None
        unread = self._unread() | (set() if self.schedule == "list" else {"full"})
        return {knob: None if knob in unread else value for knob, value in values.items()}

    @property
    def off(self) -> bool:
        return self.interval == 1 and self.schedule != "list"

    def identity(self) -> dict[str, Any]:
        """What differs from the default among the knobs that this schedule reads."""
        kept = [f for f in fields(self) if f.name not in self._unread()]
        values = {f.name: getattr(self, f.name) for f in kept if getattr(self, f.name) != f.default}
        return values | ({"power": self._power} if self.schedule in POWER else {})

    def _unread(self) -> set[str]:
        unread = {"uniform": {"center", "power"}, "quadratic": {"center"}, "list": {"center", "power", "interval"}}
        return unread.get(self.schedule, set())

    def sources(self, trajectory: Trajectory) -> Sequence[Sources]:
        found: list[Sources] = []
        last = 0
        for call, full in enumerate(self.full_calls(len(trajectory.sigmas), trajectory.asked)):
            last = call if full else last
            found.append(RUN if full else ((last, 1.0),))
        return found

    @property
    def _power(self) -> float:
        return POWER[self.schedule] if self.power is None else self.power

    def full_calls(self, calls: int, asked: int | None = None) -> list[bool]:
        """For each call of a trajectory, from the noisiest, whether it runs every rung. The first always does.

        `asked`: the calls that were asked for; those beyond it (spacing `stride`) are shallow, as in the official
        code, which draws its list of full calls from the number asked for. Without caching every call is full.
        Raises ValueError for a schedule that has no such trajectory.
        """
        if self.off:
            return [True] * calls
        asked = calls if asked is None else asked
        count = -(-asked // self.interval)
        if self.schedule == "uniform":
            chosen = set(range(0, asked, self.interval))
        elif self.schedule == "list":
            if self.full[-1] >= calls:
                raise ValueError(f"full names call {self.full[-1]}, but this trajectory has calls 0 .. {calls - 1}")
            chosen = set(self.full)
        elif self.schedule == "quadratic":
            chosen = set(quadratic(asked, count, self._power))
        else:
            chosen = set(centred(asked, count, self.center, self._power))
        chosen |= {0, *range(self.protect_first), *range(calls - self.protect_last, calls)}
        return [i in chosen for i in range(calls)]


def quadratic(calls: int, count: int, power: float) -> list[int]:
    """`count` of the calls, further and further apart: l^power, with l evenly spaced from 0 to calls^(1/power).

    Where rounding makes two of them one, the power shrinks by 0.02 until all differ (or it has reached 1).
    """
    while power > 1:
        nodes = np.linspace(0, calls ** (1 / power), count + 1)
        chosen = np.unique((nodes**power).astype(np.int32))[:-1].tolist()
        if len(chosen) == count:
            break
        power -= 0.02
    return chosen


def centred(calls: int, count: int, center: int, power: float) -> list[int]:
    """`count` of the calls, dense around `center`: l^power + center, with l evenly spaced from (-center)^(1/power) to
    (calls - center)^(1/power).

    The lower end is a root of a negative number: the principal complex one, and after raising to the power again the
    real part is what counts. That is no signed power, and it gives other calls than eq. 7 read as one. Where rounding
    makes two of them one, the power shrinks by 0.02 until all differ; at 1 the last attempt stands, with fewer calls.
    """
    if center >= calls:
        raise ValueError(f"center is call {center}, but the calls asked for are 0 .. {calls - 1}")
    while power > 1:
        nodes = np.linspace(complex(-center) ** (1 / power), (calls - center) ** (1 / power), count + 1)
        offsets = np.unique((nodes**power).real.astype(np.int32))
        chosen = [0, *(int(offset) + center for offset in offsets[1:-1])]
        if len(chosen) == count:
            break
        power -= 0.02
    return chosen
