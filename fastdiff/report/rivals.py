"""What a cell is judged against: the plain sampler at its own steps and, where it is cached, fewer plain steps."""

import math
from typing import NamedTuple

import pandas as pd

from ..bench.ledger import Ledger
from ..metrics.cards import sign
from ..statistics import Estimate, correlation, difference, verdicts
from .rows import SETTING, cached, main_columns, plain, same

UNMATCHED = "no plain cell as fast"
RIVAL = ["rival", *(f"against_rival{end}" for end in ("", ".low", ".high", ".r")), "rival_verdict"]
_LINKS = {"better": "better than", "worse": "worse than", "indistinguishable": "indistinguishable from"}


class Comparison(NamedTuple):
    """A difference in a quality column, paired by noise, and r, the correlation of the influence values it comes from:
    pairing narrows the interval by about sqrt(1 - r)."""

    found: Estimate
    r: float
    column: str


def compared(ledger: Ledger, column: str, one: pd.Series, other: pd.Series, others: Ledger | None = None) -> Comparison:
    """one - other in a quality column; where no interval is known se and r are nan. others: the ledger that `other` is
    in, where it is another."""
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
    """A difference in a quality column as one in quality lost: above zero is worse, whichever way the metric points."""
    return change if sign(column) > 0 else Estimate(-change.value, change.se, -change.high, -change.low)


def judged(lines: pd.DataFrame, every: pd.DataFrame, ledger: Ledger, fell: int = 0) -> pd.DataFrame:
    """The comparisons of a table's lines with cells of `every`, as columns: differences, r, verdicts.

    All of a table are one family: verdicts are Holm's at 5 % (`fastdiff.statistics.verdicts`). fell: arms that a ladder
    dropped, whose two comparisons count too: those that stay were chosen by the same images.
    """
    rows, asked = [], []
    for _, line in lines.iterrows():
        (rival_name, against), base = rival(line, every, ledger), change(line, every, ledger)
        row = _columns("change", "verdict", base) | {"rival": rival_name}
        row |= _columns("against_rival", "rival_verdict", against)
        rows.append(row)
        found = (("verdict", base), ("rival_verdict", against))
        asked += [(row, name, each) for name, each in found if isinstance(each, Comparison)]
    words = verdicts([each.found for *_, each in asked], [sign(each.column) for *_, each in asked], unseen=2 * fell)
    for (row, name, _), verdict in zip(asked, words):
        row[name] = verdict.word
    return pd.DataFrame(rows)


def _columns(name: str, verdict: str, each: Comparison | str | None) -> dict:
    """A comparison's columns; its verdict is a word where there is nothing to compare."""
    if not isinstance(each, Comparison):
        return {**dict.fromkeys([name, f"{name}.low", f"{name}.high", f"{name}.r"], math.nan), verdict: each}
    found = each.found
    low, high = (math.nan, math.nan) if math.isnan(found.se) else (found.low, found.high)
    return {name: found.value, f"{name}.low": low, f"{name}.high": high, f"{name}.r": each.r, verdict: None}


def change(line: pd.Series, frame: pd.DataFrame, ledger: Ledger) -> Comparison | str | None:
    """The line against the plain cell of its setting, in its first quality value: `plain` if it is that cell itself."""
    base, columns = plain_cell(line, frame), _measured(line, frame)
    if base is None or not columns:
        return None
    if base["key"] == line["key"]:
        return "plain"
    return compared(ledger, columns[0], line, base)


def plain_cell(line: pd.Series, frame: pd.DataFrame) -> pd.Series | None:
    """The plain cell of a line's setting: same steps and noise, no method at work; None where it is not measured."""
    found = frame[plain(frame) & same(frame, line, SETTING)]
    return None if found.empty else found.iloc[0]


def rival(line: pd.Series, frame: pd.DataFrame, ledger: Ledger) -> tuple[str | None, Comparison | str | None]:
    """A cached line against the best plain cell with fewer steps that is `as_fast`, in its first quality value:
    the rival's name, and line - rival.

    Plain cells are those of its setting but for the steps; best by that value, the faster one of two equals. What is
    not cached, or has no speed or no value of its own, is not judged.
    """
    columns = _measured(line, frame)
    if not cached(line) or not columns or pd.isna(line["images_per_s"]):
        return None, None
    alike = same(frame, line, [name for name in SETTING if name != "steps"])
    fewer = plain(frame) & alike & (frame["steps"] < line["steps"])
    fast = frame[fewer & as_fast(frame, line)].dropna(subset=columns[:1])
    if fast.empty:
        return None, UNMATCHED
    best = fast.sort_values([columns[0], "images_per_s"], ascending=[sign(columns[0]) > 0, False]).iloc[0]
    name = "1 step" if best["steps"] == 1 else f"{best['steps']} steps"
    name += f" of {best['sampler']}" if best["sampler"] != line["sampler"] else ""  # a method can rename a sampler
    return name, compared(ledger, columns[0], line, best)


def as_fast(frame: pd.DataFrame, line: pd.Series) -> pd.Series:
    """Which rows are at least as fast as the line: measured so, or with no more MACs.

    The MACs, because a machine that drifts must not hide a rival: a full call does more of them a second than a shallow
    one, so that a plain cell with as few is as fast whatever the clock said of it.
    """
    return (frame["images_per_s"] >= line["images_per_s"]) | (frame["macs"] <= line["macs"])


def rivalled(frame: pd.DataFrame) -> bool:
    """Whether any cell of a table is judged against a rival: else it needs no columns for that."""
    return bool(frame[["rival", "rival_verdict"]].notna().any(axis=None))


def rival_words(line: pd.Series) -> str:
    """What became of a cached cell beside its rival, e.g. `worse than 6 steps`; empty where nothing is judged."""
    verdict = "" if pd.isna(line["rival_verdict"]) else line["rival_verdict"]
    return verdict if pd.isna(line["rival"]) else f"{_LINKS.get(verdict, 'against')} {line['rival']}"


def tally(frame: pd.DataFrame) -> str:
    """One sentence: how the cached cells of a table fare against fewer plain steps; empty where none is judged."""
    found = frame.loc[cached(frame), "rival_verdict"]
    counts = {verdict: int((found == verdict).sum()) for verdict in _LINKS}
    judged, unmatched = sum(counts.values()), int((found == UNMATCHED).sum())
    if not judged:
        return f"For none of the {unmatched} cached cells has a plain cell as fast been measured." if unmatched else ""
    said = "Judged against fewer plain steps of their own sampler at equal time, of {} with a rival:"
    cells = f"{judged} cached cell{'s' * (judged != 1)}"
    said = f"{said.format(cells)} {', '.join(f'{count} {verdict}' for verdict, count in counts.items())}."
    return said + (f" For {unmatched} more no plain cell as fast has been measured." if unmatched else "")


def _measured(line: pd.Series, frame: pd.DataFrame) -> list[str]:
    """The quality columns in which a line has a value."""
    return [name for name in main_columns(frame) if not pd.isna(line.get(name))]
