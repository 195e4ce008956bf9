"""What a figure shows, apart from how it is drawn: described once, drawn by `printed` and by `interactive`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .print_style import COLOURS, INK, SPARE

MARKERS = ("o", "s", "^", "v", "D", "P", "X")
DASHES = ("-", "--", ":", "-.")
Z95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution


@dataclass(frozen=True)
class Series:
    """A line through (x, y). low, high: its 95 % interval at each x, drawn as whiskers or as a `band`.

    Series of one name share one entry of the legend over all panels. dash, marker: matplotlib's letters; "" = none.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    band: bool = False
    colour: str = INK
    dash: str = "-"
    marker: str = ""


@dataclass(frozen=True)
class Heat:
    """Values (R C) in [0, 1] or nan, row 0 at the top; `name` says what they are."""

    name: str
    values: np.ndarray


@dataclass(frozen=True)
class Span:
    """A shaded range of x, with its entry in the legend."""

    name: str
    low: float
    high: float
    colour: str


@dataclass(frozen=True)
class Panel:
    """One pair of axes: labels say the unit and what was averaged. log: which axes are, of "", "x", "y", "xy".

    ticks: where x is marked, for things that are counted; None: wherever it suits. level: a horizontal rule.
    """

    x: str
    y: str
    title: str = ""
    series: tuple[Series, ...] = ()
    heat: Heat | None = None
    spans: tuple[Span, ...] = ()
    log: str = ""
    ticks: Sequence[float] | None = None
    level: float | None = None


@dataclass(frozen=True)
class Drawing:
    """A figure: panels in rows of `columns`. name: of its files. sentence: what is seen, averaged, n and protocol.

    alike: whether the panels of a row share the range of y.
    """

    name: str
    title: str
    sentence: str
    panels: tuple[Panel, ...]
    columns: int = 3
    alike: bool = False

    @property
    def rows(self) -> int:
        return -(-len(self.panels) // self.columns)

    def labelled(self, i: int) -> bool:
        """Whether panel i writes its label of y: not where its left neighbour has the same range and label."""
        return not (self.alike and i % self.columns and self.panels[i].y == self.panels[i - 1].y)

    @property
    def heat_range(self) -> tuple[float, float]:
        """Of all heat maps together, so that one colour means one value."""
        values = np.concatenate([panel.heat.values.ravel() for panel in self.panels if panel.heat is not None])
        return float(np.nanmin(values)), float(np.nanmax(values))


def colours(names: Iterable) -> dict:
    """Name -> colour, told apart by colour-blind readers: samplers as in every report, others in order."""
    names = list(dict.fromkeys(names))
    free = iter([c for c in (*COLOURS.values(), *SPARE) if c not in {COLOURS.get(name) for name in names}] * len(names))
    return {name: COLOURS.get(name) or next(free) for name in names}


def looks(names: Iterable, marked: bool = True) -> dict[object, dict]:
    """Name -> what tells its series from the others: a colour, and a marker (or a dash) for those who print in grey."""
    found = colours(names)
    styles = [{"marker": marker} for marker in MARKERS] if marked else [{"dash": dash} for dash in DASHES]
    return {name: {"colour": colour, **styles[i % len(styles)]} for i, (name, colour) in enumerate(found.items())}


def interval(mean, se):
    """Ends of the 95 % interval of a mean."""
    return {"low": mean - Z95 * se, "high": mean + Z95 * se}


def series(frame: pd.DataFrame, name: str, x: str, y: str, **look) -> Series:
    """A line through two columns, with the interval `<y>.low`, `<y>.high` where the frame has one."""
    ends = {end: frame[f"{y}.{end}"].tolist() for end in ("low", "high") if f"{y}.{end}" in frame}
    return Series(name, frame[x].tolist(), frame[y].tolist(), **ends, **look)
