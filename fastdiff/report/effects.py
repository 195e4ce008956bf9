"""What each knob does, alone and together with another, from cells that differ in that knob and in nothing else.

With q(a, b) the quality of the cell that has value a of one knob and b of another, and a0, b0 the values that leave the
network as it is:

    effect of a at b            q(a, b) - q(a0, b)
    interaction of a and b      [q(a, b) - q(a0, b)] - [q(a, b0) - q(a0, b0)]

each a mean over all settings of the other knobs where every cell it needs was measured, with no other method at work:
what a method does beside another one is an interaction, and no part of what it does alone. All cells share their noise,
so that the influence values of such a sum are the same sum of the cells' influence values, image by image.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..bench.ledger import Ledger
from ..metrics.cards import sign
from ..statistics import Estimate, estimate, first_order, verdicts
from .rows import SETTING, cached
from .words import cache, norms, rho

KNOBS = ("steps", "rho", "cache", "variance", "spacing")
PAIRS = (("rho", "cache"), ("cache", "steps"), ("variance", "steps"))
IDENTITY = {"rho": "1", "cache": "none", "variance": "small"}  # of the others, `_reference`
_REST = [name for name in SETTING if name not in KNOBS]


@dataclass
class Effect:
    """A mean change in the quality column: over `settings` settings, `low` to `high` in the single ones.

    cost, speed: geometric mean of the factors on MACs and images_per_s, nan for interactions. word: the verdict about
    it, Holm's over the report's effects.
    """

    found: Estimate
    settings: int
    low: float
    high: float
    cost: float = math.nan
    speed: float = math.nan
    word: str | None = None


class Effects:
    """All effects that cells allow to say something about, in one quality column.

    main: (knob, from, to) -> Effect. pairs: (knob, other) -> {(value, other's value): (effect there, interaction)},
    where the interaction is None at the other's reference and where its four cells were not measured.
    """

    def __init__(self, ledger: Ledger, frame: pd.DataFrame, column: str):
        frame = frame.dropna(subset=[column])
        self.column, self._of = column, _Cells(ledger, frame, column)
        self.reference = {knob: self._of.reference(knob) for knob in KNOBS}
        self.main = {
            (knob, self.reference[knob], value): found
            for knob in KNOBS
            for value in self._of.values(knob)
            if value != self.reference[knob] and (found := self._effect(knob, value)) is not None
        }
        self.pairs = {pair: cells for pair in PAIRS if (cells := self._pair(*pair))}
        self._judge()

    def _effect(self, knob: str, value, **held) -> Effect | None:
        changed = {knob: (value, self.reference[knob])}
        return self._of.mean(changed, _without(changed | held) | held)

    def _pair(self, knob: str, other: str) -> dict:
        """Of values that were measured at two values of the other knob at least; else nothing is said."""
        base, found = self.reference[other], {}
        for value in self._of.values(knob):
            row = {}
            for at in self._of.values(other):
                effect = None if value == self.reference[knob] else self._effect(knob, value, **{other: at})
                if effect is not None:
                    changed = {knob: (value, self.reference[knob]), other: (at, base)}
                    row[value, at] = effect, None if at == base else self._of.mean(changed, _without(changed))
            found |= row if any(both is not None for _, both in row.values()) else {}
        return found

    def _judge(self) -> None:
        cells = [each for table in self.pairs.values() for cell in table.values() for each in cell if each is not None]
        every = [*self.main.values(), *cells]
        for effect, verdict in zip(every, verdicts([effect.found for effect in every], sign(self.column))):
            effect.word = verdict.word


class _Cells:
    """Cells by what they are: one place for each combination of the knobs, and all else equal within a context."""

    def __init__(self, ledger: Ledger, frame: pd.DataFrame, column: str):
        self.lines = {}
        for _, line in frame.iterrows():
            self.lines.setdefault(_place(line, frame), line)
        self.psi = {line["key"]: _influence(ledger, line, column) for line in self.lines.values()}
        self.column = column

    def values(self, knob: str) -> list:
        """Measured values of a knob, as they come; numbers fall."""
        found = list(dict.fromkeys(place[0][KNOBS.index(knob)] for place in self.lines))
        return sorted(found, reverse=True) if knob == "steps" else found

    def reference(self, knob: str):
        """What effects of a knob are counted from: its identity, the most steps, the most frequent spacing."""
        values = [place[0][KNOBS.index(knob)] for place in self.lines]
        if knob in IDENTITY or not values:
            return IDENTITY.get(knob)
        return max(values) if knob == "steps" else max(sorted(set(values), key=str), key=values.count)

    def mean(self, changed: dict[str, tuple], held: dict) -> Effect | None:
        """The mean difference (of differences, for two knobs) over all settings where every cell is measured.

        changed: knob -> (value, reference). held: knob -> the value that only counts.
        """
        sums = []
        for knobs, rest in self.lines:
            at = dict(zip(KNOBS, knobs))
            wanted = held | {knob: value for knob, (value, _) in changed.items()}
            if any(at[knob] != value for knob, value in wanted.items()):
                continue
            corners = [({}, 1)]
            for knob, (_, base) in changed.items():
                corners += [(move | {knob: base}, -weight) for move, weight in corners]
            cells = [(self.lines.get((tuple((at | move).values()), rest)), weight) for move, weight in corners]
            if all(line is not None for line, _ in cells):
                sums.append(cells)
        return self._summed(sums) if sums else None

    def _summed(self, sums: list[list[tuple]]) -> Effect:
        values = [sum(weight * line[self.column] for line, weight in cells) for cells in sums]
        value, found = float(np.mean(values)), None
        psi = [[self.psi[line["key"]] for line, _ in cells] for cells in sums]
        if all(each is not None for row in psi for each in row):
            flat = any(each.ndim == 1 for row in psi for each in row)  # an older record has no second order
            psi = [[first_order(each) if flat else each for each in row] for row in psi]
            total = sum(weight * each for row, cells in zip(psi, sums) for each, (_, weight) in zip(row, cells))
            found = estimate(value, total / len(sums))
        found = found or Estimate(value, math.nan, math.nan, math.nan)
        effect = Effect(found, len(sums), min(values), max(values))
        if len(sums[0]) == 2:
            ratios = [[one[name] / other[name] for (one, _), (other, _) in sums] for name in ("macs", "images_per_s")]
            effect.cost, effect.speed = (float(np.exp(np.mean(np.log(ratio)))) for ratio in ratios)
        return effect


def _without(knobs: dict) -> dict:
    """The identities of all methods that are none of these knobs."""
    return {knob: value for knob, value in IDENTITY.items() if knob not in knobs}


def _place(line: pd.Series, frame: pd.DataFrame) -> tuple[tuple, tuple]:
    """The values of KNOBS, in words, and of all else that has to be equal; the name of DDIM's family is no knob."""
    images = line.get("analytic_images")
    variance = str(line["variance"]) + norms({**line, "spacing": None})
    if pd.notna(images) and frame["analytic_images"].nunique() > 1:
        variance += f" from {images:g} images"
    cached_as = cache(line) if cached(line) else IDENTITY["cache"]
    knobs = (int(line["steps"]), rho(line), cached_as, variance, str(line["spacing"]))
    family = line["sampler"] if pd.isna(line["variance"]) else "ddim"
    return knobs, (family, *(None if pd.isna(line[name]) else line[name] for name in _REST))


def _influence(ledger: Ledger, line: pd.Series, column: str) -> np.ndarray | None:
    return ledger.influence(line["key"]).get(column.partition("[")[0])
