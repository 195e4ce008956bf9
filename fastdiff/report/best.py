"""The best cell within a budget: at least so many times as fast, so many times fewer MACs, as many network calls."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from ..metrics.cards import sign
from ..statistics import Estimate, verdicts
from . import clock
from .rows import plain

BOUNDS = (2, 3, 4)
_SLACK = 1 - 1e-9  # MACs of 5 steps over those of 10 are not always 2 to the last bit


@dataclass(frozen=True)
class Pick:
    """The best of the cells within a budget, and how sure that is.

    order: those cells, best first. found, words: key of another cell -> best - other in the quality column, paired, and
    its verdict about the best; of the baseline too, where it is not the best itself.
    """

    order: pd.DataFrame
    found: dict[str, Estimate]
    words: dict[str, str | None]

    @property
    def cell(self) -> pd.Series:
        return self.order.iloc[0]

    @property
    def plain(self) -> pd.Series | None:
        """The best of the plain cells within the budget, None where there is none."""
        found = self.order[plain(self.order)]
        return None if found.empty else found.iloc[0]

    @property
    def alike(self) -> pd.DataFrame:
        """The other cells within the budget that are not told apart from the best."""
        others = self.order.iloc[1:]
        return others[[self.words[key] not in ("better", "worse") for key in others["key"]]]


def at_least(
    frame: pd.DataFrame, column: str, base: pd.Series, compare: Callable[..., Estimate]
) -> dict[int, dict[str, Pick]]:
    """Bound -> `images_per_s` or `macs` -> the best cell at least so many times as fast as the baseline, or cheaper.

    By images_per_s no more is believed than the MACs promise. Budgets that no cell keeps are left out.
    compare(row, row) -> difference in column, paired.
    """
    frame = frame.dropna(subset=["images_per_s"])
    measured, promised = clock.gains(frame, base)
    gains = {"images_per_s": clock.sure(measured, promised), "macs": promised}
    within = {(bound, by): frame[gain >= bound * _SLACK] for bound in BOUNDS for by, gain in gains.items()}
    picks, found = _picks(within, column, base, compare), {}
    for (bound, by), pick in picks.items():
        found.setdefault(bound, {})[by] = pick
    return found


def by_nfe(frame: pd.DataFrame, column: str, compare: Callable[..., Estimate]) -> dict[int, Pick]:
    """Network calls per image -> the best of the cells with as many, where there is more than one; fewest first."""
    groups = {int(nfe): cells for nfe, cells in frame.groupby("nfe") if len(cells) > 1}
    return _picks(groups, column, None, compare)


def _picks(within: dict, column: str, base: pd.Series | None, compare: Callable[..., Estimate]) -> dict:
    """Budget -> Pick. All comparisons are one family: verdicts are Holm's over them, each pair of cells once."""
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
