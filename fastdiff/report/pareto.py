"""Which cells are best: the Pareto front, the best cell within a budget, and how far a speed-up may be believed.

The protocol `quick` times a cell once, while its images are generated. If the machine stood still for a moment, that
cell looks slow, or fast ones look fast beside it. No speed-up is believed beyond what the MACs promise, and none at all
where the two are far apart.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..metrics.cards import sign
from ..statistics import Estimate, verdicts

BOUNDS = (2, 3, 4)
FAR = 1.5  # measured over promised, or the reverse: a machine drifts by a fifth
_SLACK = 1 - 1e-9  # MACs of 5 steps over those of 10 are not always 2 to the last bit


def sure(measured: Any, promised: Any):
    """The smaller of a measured and a promised speed-up, numbers or columns; the known one where one is nan."""
    return np.fmin(np.asarray(measured, float), np.asarray(promised, float))


def far(measured: Any, promised: Any):
    """Whether measured and promised speed-up are more than FAR apart, numbers or columns; False where one is nan."""
    ratio = np.asarray(measured, float) / np.asarray(promised, float)
    return (ratio > FAR) | (ratio < 1 / FAR)


def too_fast(frame: pd.DataFrame) -> np.ndarray:
    """Rows with a measured speed-up far above what their MACs promise. They are on no front and in no headline."""
    return far(frame["speedup"], frame["promised"]) & np.asarray(frame["speedup"] > frame["promised"])


def gains(cells: pd.DataFrame | pd.Series, base: pd.Series) -> tuple:
    """Speed-up of every row, or of one row, over another: (by images_per_s, by MACs)."""
    return cells["images_per_s"] / base["images_per_s"], base["macs"] / cells["macs"]


def front(frame: pd.DataFrame, column: str, by: str = "images_per_s") -> pd.DataFrame:
    """Cells that no other cell beats in the quality column at as much speed, or at as little cost; worst cost first.

    by: images_per_s, macs or nfe. By images_per_s a cell is beaten by a better one with as few MACs too, so that a
    clock that drifts by a hundredth does not decide. Cells too fast to believe are left out then.
    """
    clocked = by == "images_per_s"
    order = {"by": [by, column], "ascending": [not clocked, sign(column) > 0]}
    cells = frame.dropna(subset=[column, by]).sort_values(**order)
    if clocked and "speedup" in cells:
        cells = cells[~too_fast(cells)]
    lost = sign(column) * cells[column]
    best = lost < lost.cummin().shift(fill_value=np.inf)
    if clocked:
        cheapest_better = [cells["macs"][lost < value].min() for value in lost]
        best &= ~(np.array(cheapest_better) <= cells["macs"])
    return cells[best][::-1]


@dataclass(frozen=True)
class Pick:
    """The best of the cells within a budget, and how sure that is.

    order: those cells, best first. found, words: key of another cell -> best - other in the quality column, paired, and
    the verdict about the best. They hold the baseline too, where it is not the best itself.
    """

    order: pd.DataFrame
    found: dict[str, Estimate]
    words: dict[str, str | None]

    @property
    def cell(self) -> pd.Series:
        return self.order.iloc[0]

    @property
    def baseline(self) -> pd.Series | None:
        """The best baseline within the budget, None where there is none."""
        found = self.order[self.order["baseline"].astype(bool)]
        return None if found.empty else found.iloc[0]

    @property
    def alike(self) -> pd.DataFrame:
        """The other cells within the budget that cannot be told from the best."""
        others = self.order.iloc[1:]
        return others[[self.words[key] not in ("better", "worse") for key in others["key"]]]


def at_least(
    frame: pd.DataFrame, column: str, base: pd.Series, compare: Callable[..., Estimate]
) -> dict[int, dict[str, Pick]]:
    """Bound -> `images_per_s` or `macs` -> the best cell at least so many times as fast as the baseline, or cheaper.

    No speed-up is believed beyond what the MACs promise. Budgets that no cell keeps are left out. compare(row, row) ->
    the paired difference in the column.
    """
    frame = frame.dropna(subset=["images_per_s"])
    measured, promised = gains(frame, base)
    by_name = {"images_per_s": sure(measured, promised), "macs": promised}
    within = {(bound, by): frame[gain >= bound * _SLACK] for bound in BOUNDS for by, gain in by_name.items()}
    picks, found = _picks(within, column, base, compare), {}
    for (bound, by), pick in picks.items():
        found.setdefault(bound, {})[by] = pick
    return found


def by_nfe(frame: pd.DataFrame, column: str, compare: Callable[..., Estimate]) -> dict[int, Pick]:
    """Network calls per image -> the best of the cells with as many, where there is more than one; fewest first."""
    groups = {int(nfe): cells for nfe, cells in frame.groupby("nfe") if len(cells) > 1}
    return _picks(groups, column, None, compare)


def _picks(within: dict, column: str, base: pd.Series | None, compare: Callable[..., Estimate]) -> dict:
    """Budget -> Pick. All comparisons are one family, each pair of cells once (Holm)."""
    first = {"by": [column, "macs"], "ascending": [sign(column) > 0, True]}
    orders = {name: cells.dropna(subset=[column]).sort_values(**first) for name, cells in within.items()}
    orders = {name: order for name, order in orders.items() if len(order)}
    asked = {}
    for order in orders.values():
        best = order.iloc[0]
        others = [line for _, line in order.iloc[1:].iterrows()] + ([] if base is None else [base])
        for other in others:
            pair = best["key"], other["key"]
            if pair not in asked and best["key"] != other["key"]:
                asked[pair] = compare(best, other)
    words = dict(zip(asked, verdicts(list(asked.values()), sign(column))))
    return {name: _pick(order, asked, words) for name, order in orders.items()}


def _pick(order: pd.DataFrame, asked: dict, words: dict) -> Pick:
    own = [pair for pair in asked if pair[0] == order["key"].iloc[0]]
    return Pick(order, {pair[1]: asked[pair] for pair in own}, {pair[1]: words[pair].word for pair in own})
