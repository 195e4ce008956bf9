"""What a cell is compared with: its baseline and, where it needs fewer MACs, the equal-cost baseline.

The baseline has the same sampler and steps with every accelerator off. The equal-cost baseline is the best baseline
with fewer steps that is at least as fast.
"""

import math
from typing import NamedTuple

import pandas as pd
from tqdm import tqdm

from ..bench.ledger import Ledger
from ..bench.paired_images import compare_images
from ..metrics.direction import sign
from ..statistics import Estimate, correlation, difference, verdicts
from .rows import Cells, main_columns

UNMATCHED = "no baseline as fast"
EQUAL_COST = ["equal_cost_baseline", *(f"against_equal_cost{end}" for end in ("", ".low", ".high", ".r"))]
EQUAL_COST += ["equal_cost_verdict"]
LINKS = {"better": "better than", "worse": "worse than", "indistinguishable": "indistinguishable from"}


class Comparison(NamedTuple):
    """A difference in a quality column, paired by noise, and r, the correlation of the influence values it comes from.

    Pairing narrows the interval by about sqrt(1 - r).
    """

    found: Estimate
    r: float
    column: str


def compared(ledger: Ledger, column: str, one: pd.Series, other: pd.Series, others: Ledger | None = None) -> Comparison:
    """one - other in a quality column. Without an interval, se and r are nan. others: the ledger that `other` is in."""
    places = (ledger, one), (others or ledger, other)
    psi = [place.influence(line["key"]).get(column.partition("[")[0]) for place, line in places]
    if any(values is None for values in psi):
        change = float(one[column] - other[column])
        return Comparison(Estimate(change, math.nan, change, change), math.nan, column)
    return Comparison(difference(one[column], other[column], *psi, paired=True), correlation(*psi), column)


def compare(ledger: Ledger, column: str, one: pd.Series, other: pd.Series) -> Estimate:
    """The difference of `compared` alone."""
    return compared(ledger, column, one, other).found


def loss(change: Estimate, column: str) -> Estimate:
    """A difference in a quality column as a loss of quality: above zero is worse, for every metric."""
    return change if sign(column) > 0 else Estimate(-change.value, change.se, -change.high, -change.low)


def judged(lines: pd.DataFrame, cells: Cells, fell: int = 0) -> pd.DataFrame:
    """The comparisons of the lines of a table, as columns: differences, r, verdicts.

    Verdicts are corrected for multiple comparisons (Holm, 5 % over the table). fell: arms that a ladder dropped. Their
    two comparisons count too, because the arms that stay were chosen by the same images.
    """
    rows, asked = [], []
    for _, line in lines.iterrows():
        base, (name, against) = change(line, cells), equal_cost(line, cells)
        row = _columns("change", "verdict", base) | {"equal_cost_baseline": name}
        row |= _columns("against_equal_cost", "equal_cost_verdict", against)
        rows.append(row)
        found = (("verdict", base), ("equal_cost_verdict", against))
        asked += [(row, name, each) for name, each in found if isinstance(each, Comparison)]
    words = verdicts([each.found for *_, each in asked], [sign(each.column) for *_, each in asked], unseen=2 * fell)
    for (row, name, _), verdict in zip(asked, words):
        row[name] = verdict.word
    return pd.DataFrame(rows)


def _columns(name: str, verdict: str, each: Comparison | str | None) -> dict:
    """The columns of a comparison. Its verdict is a word where there is nothing to compare."""
    if not isinstance(each, Comparison):
        return {**dict.fromkeys([name, f"{name}.low", f"{name}.high", f"{name}.r"], math.nan), verdict: each}
    found = each.found
    low, high = (math.nan, math.nan) if math.isnan(found.se) else (found.low, found.high)
    return {name: found.value, f"{name}.low": low, f"{name}.high": high, f"{name}.r": each.r, verdict: None}


def change(line: pd.Series, cells: Cells) -> Comparison | str | None:
    """The line minus its baseline, in its first quality value; `baseline` if it is one."""
    base, columns = cells.baseline_of(line["key"]), _measured(line)
    if base is None or not columns:
        return None
    if base == line["key"]:
        return "baseline"
    return compared(cells.ledger, columns[0], line, _line(cells, base))


def equal_cost(line: pd.Series, cells: Cells) -> tuple[str | None, Comparison | str | None]:
    """A line that needs fewer MACs than its unaccelerated cell, minus its equal-cost baseline: (name, comparison).

    Of two baselines with the same value, the faster one is taken. A line without speed or value is not judged.
    """
    columns = _measured(line)
    if not cells.accelerated(line["key"]) or not columns or pd.isna(line["images_per_s"]):
        return None, None
    fewer = cells.rows[cells.rows["key"].isin(cells.fewer_steps(line["key"]))]
    fast = fewer[as_fast(fewer, line)].dropna(subset=columns[:1])
    if fast.empty:
        return None, UNMATCHED
    best = fast.sort_values([columns[0], "images_per_s"], ascending=[sign(columns[0]) > 0, False]).iloc[0]
    name = "1 step" if best["steps"] == 1 else f"{best['steps']} steps"
    name += f" of {best['sampler']}" if best["sampler"] != line["sampler"] else ""
    return name, compared(cells.ledger, columns[0], line, best)


def as_fast(frame: pd.DataFrame, line: pd.Series) -> pd.Series:
    """Which rows are at least as fast as the line: by the clock, or by their MACs.

    The MACs count because the speed of a machine drifts between two measurements. A full call does more MACs a second
    than a shallow one, so a baseline with no more MACs is as fast.
    """
    return (frame["images_per_s"] >= line["images_per_s"]) | (frame["macs"] <= line["macs"])


def has_equal_cost(frame: pd.DataFrame) -> bool:
    """Whether any cell of a table is judged against an equal-cost baseline."""
    return bool(frame[["equal_cost_baseline", "equal_cost_verdict"]].notna().any(axis=None))


def equal_cost_words(line: pd.Series) -> str:
    """E.g. `worse than 6 steps`; empty where nothing is judged."""
    verdict, name = line["equal_cost_verdict"], line["equal_cost_baseline"]
    verdict = "" if pd.isna(verdict) else verdict
    return verdict if pd.isna(name) else f"{LINKS.get(verdict, 'against')} {name}"


def tally(frame: pd.DataFrame) -> str:
    """One sentence: how the cells of a table fare against their equal-cost baselines; empty where none is judged."""
    found = frame["equal_cost_verdict"]
    counts = {verdict: int((found == verdict).sum()) for verdict in LINKS}
    judged, unmatched = sum(counts.values()), int((found == UNMATCHED).sum())
    if not judged:
        return (
            f"For none of the {unmatched} accelerated cells has a baseline as fast been measured." if unmatched else ""
        )
    cells = f"{judged} accelerated cell{'s' * (judged != 1)}"
    said = f"Against the equal-cost baseline, of {cells}: "
    said += ", ".join(f"{count} {verdict}" for verdict, count in counts.items()) + "."
    return said + (f" For {unmatched} more, no baseline as fast has been measured." if unmatched else "")


def compare_with_baselines(ledger: Ledger, keys: list[str] | None = None) -> None:
    """Compare the images of these cells, or of all, with the images of their baselines, where the ledger lacks it."""
    cells = Cells(ledger)
    pairs = [(key, base) for key in cells.records if keys is None or key in keys for base in [cells.baseline_of(key)]]
    todo = [
        (key, base)
        for key, base in pairs
        if base not in (None, key) and not ledger.path("paired", f"{key}-{base}").exists()
    ]
    for pair in tqdm(todo, desc="comparing images", unit="cell", leave=False, disable=None if len(todo) > 9 else True):
        compare_images(ledger, *(cells.records[each] for each in pair))


def paired_columns(frame: pd.DataFrame, cells: Cells) -> pd.DataFrame:
    """A line each: mean and 95 % interval of every measure of the images of a cell beside its baseline's."""
    lines = []
    for key in frame["key"]:
        base, line = cells.baseline_of(key), {}
        record = None if base in (None, key) else cells.ledger.read("paired", f"{key}-{base}")
        for protocol, value in record.values.items() if record else ():
            line |= {protocol: value.value, f"{protocol}.low": value.low, f"{protocol}.high": value.high}
        lines.append(line)
    return pd.DataFrame(lines, index=frame.index)


def _measured(line: pd.Series) -> list[str]:
    """The quality columns in which a line has a value."""
    return [name for name in main_columns(line.index) if not pd.isna(line[name])]


def _line(cells: Cells, key: str) -> pd.Series:
    return cells.rows.loc[cells.rows["key"] == key].iloc[0]
