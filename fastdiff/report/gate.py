"""Two finished ledgers, cell by cell: is anything worse in the new one? Cells are matched by their key, and image i has
the same noise in both, so that the differences are paired."""

import math
from dataclasses import dataclass

import pandas as pd

from ..bench.ledger import Ledger
from ..metrics.cards import judged_by, sign
from ..statistics import Estimate, difference, first_order, verdicts
from .rivals import compared
from .rows import row, rows
from .words import describe

PASSED, FAILED = 0, 3  # exit codes; 2, that nothing could be compared, is that of every wrong setting
UNJUDGED = "not judged"


@dataclass(frozen=True)
class Gate:
    """cells: a line for each that both have. missing: cells of the old ledger that the new one lacks, as key -> words.
    fresh: how many cells only the new one has. together: the mean difference over the cells judged by one value, with
    its verdict, where there are several: what all of them lose a little of, none loses for sure."""

    cells: pd.DataFrame
    missing: dict[str, str]
    fresh: int
    together: tuple[str, Estimate, str | None] | None = None

    @property
    def code(self) -> int:
        """PASSED where every cell of the old ledger is in the new one, judged, and neither one nor all are worse."""
        passed = not self.missing and self.cells["verdict"].isin(("indistinguishable", "better")).all()
        passed &= self.together is None or self.together[2] != "worse"
        return PASSED if passed else FAILED


def gate(base: Ledger, new: Ledger, grid: str | None = None) -> Gate:
    """Every finished cell of `base`, or those of its grid, beside the same cell of `new`.

    Verdicts are Holm's at 5 % over the cells compared and their mean (`fastdiff.statistics.verdicts`); the difference
    is new - base.
    Raises ValueError where nothing can be compared: a ledger without cells, an unknown grid, no cell in common.
    """
    records = [{record["key"]: record for record in ledger.all("quality")} for ledger in (base, new)]
    for ledger, found in zip((base, new), records):
        if not found:
            raise ValueError(f"there is no finished cell in {ledger.root}; give the folder of a ledger (results/runs)")
    old, fresh = _of_grid(base, records[0], grid), records[1]
    common = [key for key in old if key in fresh]
    if not common:
        raise ValueError(f"{base.root} and {new.root} have no cell in common: {_apart(old.values(), fresh.values())}")
    lines = [rows([found[key] for key in common], ledger) for ledger, found in zip((base, new), (old, fresh))]
    pairs = [(one, other) for (_, one), (_, other) in zip(lines[0].iterrows(), lines[1].iterrows())]
    cells = [_cell(base, new, old[one["key"]], fresh[one["key"]], one, other) for one, other in pairs]
    together = _judge(cells, _mean(base, new, cells))
    frame = pd.DataFrame(cells).drop(columns="found")
    missing = {key: describe(row(record, None)) for key, record in old.items() if key not in fresh}
    return Gate(frame, missing, sum(key not in records[0] for key in fresh), together)


def _of_grid(ledger: Ledger, records: dict[str, dict], name: str | None) -> dict[str, dict]:
    """The finished cells of a grid, in its order; all without one."""
    if name is None:
        return records
    grids = {grid["grid"]: grid["keys"] for grid in ledger.all("grids")}
    if name not in grids:
        menu = ", ".join(sorted(grids)) or "none is in this ledger"
        raise ValueError(f"grid '{name}' of {ledger.root} is not one of: {menu}")
    found = {key: records[key] for key in grids[name] if key in records}
    if not found:
        raise ValueError(f"no cell of grid '{name}' is finished in {ledger.root}; finish it first: +grid={name}")
    return found


def _cell(base: Ledger, new: Ledger, old: dict, fresh: dict, one: pd.Series, other: pd.Series) -> dict:
    """A cell of both ledgers on one line, its verdict still open."""
    names = [judged_by(record["values"]) for record in (old, fresh)]
    if names[0] != names[1]:
        raise ValueError(f"cell {one['key']} has a protocol of its own in each ledger: {' and '.join(names)}; measure"
                         " one of them again with this version")  # fmt: skip
    column = names[0]
    found = compared(new, column, other, one, base).found
    known = not math.isnan(found.se)
    line = {"cell": describe(one), "key": one["key"], "value": column, "base": one[column], "new": other[column]}
    line |= {"difference": found.value, "difference.low": found.low if known else math.nan}
    line |= {"difference.high": found.high if known else math.nan, "verdict": None, "found": found}
    line |= {"base.images_per_s": one["images_per_s"], "new.images_per_s": other["images_per_s"]}
    line |= {"speed": _ratio(one, other), "same_machine": old["speed_key"] == fresh["speed_key"]}
    return line


def _ratio(one: pd.Series, other: pd.Series) -> float:
    speeds = one["images_per_s"], other["images_per_s"]
    return math.nan if any(pd.isna(each) for each in speeds) else speeds[1] / speeds[0]


def _mean(base: Ledger, new: Ledger, cells: list[dict]) -> tuple[str, Estimate] | None:
    """The mean difference over the cells that are judged by the most frequent value and have intervals: its value's
    name, and the mean. Their images share the noise, and so the mean of their influence values is that of the mean."""
    names = [cell["value"] for cell in cells if not math.isnan(cell["found"].se)]
    column = max(sorted(set(names)), key=names.count, default=None)
    lines = [cell for cell in cells if cell["value"] == column and not math.isnan(cell["found"].se)]
    if len(lines) < 2:
        return None
    psi = [ledger.influence(line["key"])[column.partition("[")[0]] for ledger in (new, base) for line in lines]
    if any(each.ndim == 1 for each in psi):  # an older record has no second order
        psi = [first_order(each) for each in psi]
    means = [sum(each) / len(lines) for each in (psi[: len(lines)], psi[len(lines) :])]
    values = [sum(line[name] for line in lines) / len(lines) for name in ("new", "base")]
    return column, difference(*values, *means, paired=True)


def _judge(cells: list[dict], mean: tuple[str, Estimate] | None) -> tuple[str, Estimate, str | None] | None:
    """Write every cell's verdict; of the mean, where there is one, return it with its own."""
    every = [(cell["value"], cell["found"]) for cell in cells] + ([] if mean is None else [mean])
    words = verdicts([found for _, found in every], [sign(value) for value, _ in every])
    for cell, verdict in zip(cells, words):
        # without intervals values that are equal to the last bit still tell that the images are
        cell["verdict"] = verdict.word or ("indistinguishable" if cell["difference"] == 0 else UNJUDGED)
    return None if mean is None else (*mean, words[-1].word)


def _apart(old, fresh) -> str:
    """What the settings of two sets of records differ in, where all of them do."""
    frames = [pd.DataFrame([_protocol(record) for record in records]) for records in (old, fresh)]
    said = [
        f"{name} is {', '.join(map(str, ours))} there and {', '.join(map(str, theirs))} here"
        for name in frames[0]
        if not set(ours := frames[0][name].unique()) & set(theirs := frames[1][name].unique())
    ]
    return "; ".join(said) or "they are cells of other settings; measure the same grid in both"


def _protocol(record: dict) -> dict:
    line = row(record, None)
    kept = {name: line[name] for name in ("model", "data", "metrics", "n", "seed", "precision")}
    return kept | {"numerics": record["identity"]["generation"].get("numerics")}
