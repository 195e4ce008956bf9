"""What each knob does, alone and together with another, from cells that differ in that knob and in nothing else.

With q(a, b) the quality of the cell that has value a of one knob and b of another, and a0, b0 their reference values:

    effect of a at b            q(a, b) - q(a0, b)
    interaction of a and b      [q(a, b) - q(a0, b)] - [q(a, b0) - q(a0, b0)]

Each is a mean over all settings of the other knobs where every cell it needs was measured. The effect of a knob alone
is of cells that are baselines but for that knob. All cells share their noise, so the influence values of such a sum are
the same sum of the influence values of the cells, image by image.

An accelerator counts as one knob: its values are `off` and the texts that describe it (`bench.records.Applied`). Where
more than one of its own knobs were varied, each of them is a knob too, of the cells where the accelerator is on.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..metrics.cards import sign
from ..statistics import Estimate, estimate, first_order, verdicts
from .rows import NORMS, SAMPLER, Cells

OFF = "off"
_ALIKE = ["n", "model", "data", "metrics", "seed", "part", "precision", "compile", "memory_format", "batch", "device"]


@dataclass
class Effect:
    """A mean change in the quality column over `settings` settings, `low` to `high` in the single ones.

    cost, speed: geometric means of the factors on MACs and images_per_s, nan for interactions. word: the verdict,
    corrected for all effects of the report (Holm).
    """

    found: Estimate
    settings: int
    low: float
    high: float
    cost: float = math.nan
    speed: float = math.nan
    word: str | None = None


class Effects:
    """All effects that can be read off a table, in one quality column.

    main: (knob, from, to) -> Effect. pairs: (knob, other) -> {(value, other's value): (effect there, interaction)}.
    The interaction is None at the other's reference, and where one of its four cells was not measured. reference: knob
    -> the value that changes are counted from.
    """

    def __init__(self, cells: Cells, frame: pd.DataFrame, column: str):
        frame = frame.dropna(subset=[column])
        self.column, self.accelerators, self._cells = column, cells.accelerators, cells
        self._places(frame)
        self.reference = {knob: self._reference(frame, knob) for knob in self.knobs}
        self.main = {
            (knob, base, value): found
            for knob in self.knobs
            for base in [self.reference[knob]]
            for value in self._values(knob)
            if value != base and (found := self._effect(knob, value)) is not None
        }
        self.main |= self._within(frame)
        pairs = itertools.permutations(self.knobs, 2)
        pairs = (pair for pair in pairs if self._ordered(*pair))
        self.pairs = {pair: table for pair in pairs if (table := self._pair(*pair))}
        self._judge()

    def _places(self, frame: pd.DataFrame) -> None:
        """Every cell at its place: the values of the knobs, and all else that has to be equal."""
        settings = ["steps", *self._cells.of(SAMPLER), "guidance"]
        varied = [name for name in settings if name in frame and frame[name].nunique(dropna=False) > 1]
        norms = [name for name in self._cells.of(NORMS) if name in frame]
        norms = [name for name in norms if frame[name].nunique() > 1]
        self.knobs = [*self.accelerators, *varied]
        own = {
            self._cells.columns[SAMPLER, knob] for each in self._cells.records.values() for knob in each.baseline_knobs
        }
        self._methods = [*self.accelerators, *(name for name in varied if name in own)]
        self.lines: dict[tuple, pd.Series] = {}
        for _, line in frame.iterrows():
            record = self._cells.records[line["key"]]
            at = {name: _shown(line[name]) for name in varied}
            noted = self._noted(line, norms)
            for knob in set(record.baseline_knobs) & set(
                at
            ):  # the value is not the baseline's: its norms are part of it
                at[knob], noted = f"{at[knob]}{noted}", ""
            texts = [self._text(line["key"], name) for name in self.accelerators]
            rest = (record.solver, noted, *(_shown(line[name]) for name in _ALIKE))
            self.lines.setdefault(((*texts, *at.values()), rest), line)
        psi = column_of(self.column)
        self.psi = {line["key"]: self._cells.ledger.influence(line["key"]).get(psi) for line in self.lines.values()}

    def _noted(self, line: pd.Series, norms: list[str]) -> str:
        """What is unusual in the score norms of a cell, and what was varied in all of them: ` (mse, images 512)`."""
        found = self._cells.records[line["key"]].score_norms
        if found is None:
            return ""
        notes = [found.text] if found.text else []
        users = [each.score_norms for each in self._cells.records.values() if each.score_norms is not None]
        for name in norms:
            knob = name.rpartition(".")[2]
            if all(knob in each.knobs for each in users) and str(line[name]) not in found.text:
                notes.append(f"{knob} {_shown(line[name])}")
        return f" ({', '.join(notes)})" if notes else ""

    def _text(self, key: str, accelerator: str) -> str:
        found = (each.text for each in self._cells.records[key].accelerators if each.name == accelerator)
        return next(found, OFF)

    def _values(self, knob: str) -> list:
        """Measured values of a knob, as they come; steps fall."""
        found = list(dict.fromkeys(at[self.knobs.index(knob)] for at, _ in self.lines))
        return sorted(found, reverse=True) if knob == "steps" else found

    def _reference(self, frame: pd.DataFrame, knob: str):
        """`off` of an accelerator, the most steps, the most frequent value of any other knob among baselines."""
        if knob in self.accelerators:
            return OFF
        if knob == "steps":
            return int(frame["steps"].max())
        usual = frame[frame["baseline"].astype(bool)] if frame["baseline"].any() else frame
        values = [_shown(value) for value in usual[knob].dropna()]
        return max(sorted(set(values), key=str), key=values.count, default=None)

    def _effect(self, knob: str, value, **held) -> Effect | None:
        changed = {knob: (value, self.reference[knob])}
        return self._mean(changed, self._without(changed | held) | held)

    def _ordered(self, knob: str, other: str) -> bool:
        """Each pair of knobs once, and only with an accelerator: it is the rows, and of two the first one is."""
        if other in self.accelerators:
            return knob in self.accelerators and knob < other
        return knob in self.accelerators or other == "steps"

    def _pair(self, knob: str, other: str) -> dict:
        """The effects of a knob at each value of another, where at least one interaction is known."""
        base, found = self.reference[other], {}
        for value in self._values(knob):
            row = {}
            for at in self._values(other):
                effect = None if value == self.reference[knob] else self._effect(knob, value, **{other: at})
                if effect is not None:
                    changed = {knob: (value, self.reference[knob]), other: (at, base)}
                    row[value, at] = effect, None if at == base else self._mean(changed, self._without(changed))
            found |= row if any(both is not None for _, both in row.values()) else {}
        return found

    def _within(self, frame: pd.DataFrame) -> dict:
        """Effects of the own knobs of accelerators that were varied in more than one knob."""
        found = {}
        for name in self.accelerators:
            at_work = frame[frame["accelerators"] == name]
            own = [knob for knob in self._cells.of(name) if knob in frame]
            varied = [knob for knob in own if at_work[knob].nunique(dropna=False) > 1]
            for knob in varied if len(varied) > 1 else ():
                found |= self._own(at_work, knob, [each for each in own if each != knob])
        return found

    def _own(self, frame: pd.DataFrame, knob: str, others: list[str]) -> dict:
        """Effects of one knob of an accelerator, all its other knobs equal: from its most frequent value."""
        place = self.knobs[len(self.accelerators) :]
        groups: dict[tuple, dict] = {}
        for _, line in frame.iterrows():
            at = (self._cells.records[line["key"]].solver, *(_shown(line[name]) for name in [*others, *place, *_ALIKE]))
            groups.setdefault(at, {}).setdefault(_shown(line[knob]), line)
        values = [value for group in groups.values() for value in group]
        base = max(sorted(set(values), key=str), key=values.count)
        found = {}
        for value in dict.fromkeys(values):
            sums = [[(group[value], 1), (group[base], -1)] for group in groups.values() if {value, base} <= set(group)]
            for line, _ in itertools.chain(*sums):
                self.psi.setdefault(line["key"], self._cells.ledger.influence(line["key"]).get(column_of(self.column)))
            if sums and value != base:
                found[knob, base, value] = self._summed(sums)
        return found

    def _without(self, knobs: dict) -> dict:
        """All that keeps a cell from being a baseline at its reference, but for these knobs."""
        return {name: self.reference[name] for name in self._methods if name not in knobs}

    def _mean(self, changed: dict[str, tuple], held: dict) -> Effect | None:
        """The mean difference (of differences, for two knobs) over all settings where every cell is measured.

        changed: knob -> (value, reference). held: knob -> the only value that counts.
        """
        sums = []
        wanted = held | {knob: value for knob, (value, _) in changed.items()}
        for place, rest in self.lines:
            at = dict(zip(self.knobs, place))
            if any(at[knob] != value for knob, value in wanted.items()):
                continue
            corners = [({}, 1)]
            for knob, (_, base) in changed.items():
                corners += [(move | {knob: base}, -weight) for move, weight in corners]
            found = [(self.lines.get((tuple((at | move).values()), rest)), weight) for move, weight in corners]
            if all(line is not None for line, _ in found):
                sums.append(found)
        return self._summed(sums) if sums else None

    def _summed(self, sums: list[list[tuple]]) -> Effect:
        values = [sum(weight * line[self.column] for line, weight in cells) for cells in sums]
        value, found = float(np.mean(values)), None
        psi = [[self.psi[line["key"]] for line, _ in cells] for cells in sums]
        if all(each is not None for row in psi for each in row):
            flat = any(each.ndim == 1 for row in psi for each in row)  # some metrics have no second order
            psi = [[first_order(each) if flat else each for each in row] for row in psi]
            total = sum(weight * each for row, cells in zip(psi, sums) for each, (_, weight) in zip(row, cells))
            found = estimate(value, total / len(sums))
        found = found or Estimate(value, math.nan, math.nan, math.nan)
        effect = Effect(found, len(sums), min(values), max(values))
        if len(sums[0]) == 2:
            ratios = [[one[name] / other[name] for (one, _), (other, _) in sums] for name in ("macs", "images_per_s")]
            effect.cost, effect.speed = (float(np.exp(np.mean(np.log(ratio)))) for ratio in ratios)
        return effect

    def _judge(self) -> None:
        cells = [each for table in self.pairs.values() for cell in table.values() for each in cell if each is not None]
        every = [*self.main.values(), *cells]
        for effect, verdict in zip(every, verdicts([effect.found for effect in every], sign(self.column))):
            effect.word = verdict.word


def column_of(protocol: str) -> str:
    """The metric of a protocol: fid[inception,n=1000] -> fid."""
    return protocol.partition("[")[0]


def _shown(value):
    """The value of a knob, None where there is none; whole numbers are integers."""
    if value is None or pd.isna(value):
        return None
    return int(value) if isinstance(value, (float, np.floating)) and float(value).is_integer() else value
