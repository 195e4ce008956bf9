"""Two finished ledgers, cell by cell: is anything worse in the new one?

Cells are matched by their key. Image i has the same noise in both ledgers, so the differences are paired.
"""

import math
from dataclasses import dataclass

import pandas as pd

from ..bench.ledger import Ledger
from ..bench.records import Quality
from ..metrics.cards import judged_by, sign
from ..statistics import Estimate, difference, first_order, verdicts
from .comparisons import compared, loss
from .rows import ENVIRONMENT, Cells, describe

PASSED, FAILED = 0, 3  # exit codes; 2 is a wrong setting, as everywhere
UNJUDGED = "not judged"
WORDS = ("worse", "indistinguishable", "better")
_NAMED = 5  # cells that a sentence names


@dataclass(frozen=True)
class LedgerComparison:
    """cells: a line for each cell of both ledgers. missing: cells that the new ledger lacks, key -> words. fresh: how
    many cells only the new ledger has. together: the mean difference over the cells that are judged by the same value,
    with its verdict; it finds a loss that is too small in each single cell."""

    cells: pd.DataFrame
    missing: dict[str, str]
    fresh: int
    together: tuple[str, Estimate, str | None] | None = None

    @property
    def code(self) -> int:
        """PASSED if every cell of the old ledger is in the new one and judged, and neither one nor all are worse."""
        passed = not self.missing and self.cells["verdict"].isin(("indistinguishable", "better")).all()
        passed &= self.together is None or self.together[2] != "worse"
        return PASSED if passed else FAILED


def compare_ledgers(base: Ledger, new: Ledger, grid: str | None = None) -> LedgerComparison:
    """Every finished cell of `base`, or of one of its grids, beside the same cell of `new`. A difference is new - base.

    Verdicts are corrected for the cells and their mean (Holm, 5 %). Raises ValueError where nothing can be compared: a
    ledger without cells, an unknown grid, no cell in common.
    """
    before, after = Cells(base), Cells(new)
    for cells in (before, after):
        if not cells.records:
            raise ValueError(
                f"there is no finished cell in {cells.ledger.root}; give the folder of a ledger (results/runs)"
            )
    old, fresh = _of_grid(before, grid), after.records
    common = [key for key in old if key in fresh]
    if not common:
        raise ValueError(f"{base.root} and {new.root} have no cell in common: {_apart(old.values(), fresh.values())}")
    lines = [cells.rows.set_index("key", drop=False) for cells in (before, after)]
    found = [_cell(base, new, old[key], fresh[key], *(frame.loc[key] for frame in lines)) for key in common]
    together = _judge(found, _mean(base, new, found))
    frame = pd.DataFrame(found).drop(columns="found")
    missing = {key: describe(record) for key, record in old.items() if key not in fresh}
    return LedgerComparison(frame, missing, sum(key not in before.records for key in fresh), together)


def _of_grid(cells: Cells, name: str | None) -> dict[str, Quality]:
    """The finished cells of a grid, in its order; all without one."""
    if name is None:
        return cells.records
    grids = {grid["grid"]: grid["keys"] for grid in cells.ledger.all("grids")}
    if name not in grids:
        menu = ", ".join(sorted(grids)) or "none is in this ledger"
        raise ValueError(f"grid '{name}' of {cells.ledger.root} is not one of: {menu}")
    found = {key: cells.records[key] for key in grids[name] if key in cells.records}
    if not found:
        raise ValueError(f"no cell of grid '{name}' is finished in {cells.ledger.root}; finish it first: +grid={name}")
    return found


def _cell(base: Ledger, new: Ledger, old: Quality, fresh: Quality, one: pd.Series, other: pd.Series) -> dict:
    """A cell of both ledgers on one line, without its verdict."""
    names = [judged_by(record.values) for record in (old, fresh)]
    if names[0] != names[1]:
        raise ValueError(
            f"cell {old.key} has a protocol of its own in each ledger: {' and '.join(names)}; measure one of them again"
            " with this version"
        )
    column = names[0]
    found = compared(new, column, other, one, base).found
    known = not math.isnan(found.se)
    return {
        "cell": describe(old),
        "key": old.key,
        "value": column,
        "base": one[column],
        "new": other[column],
        "difference": found.value,
        "difference.low": found.low if known else math.nan,
        "difference.high": found.high if known else math.nan,
        "verdict": None,
        "found": found,
        "base.images_per_s": one["images_per_s"],
        "new.images_per_s": other["images_per_s"],
        "speed": _ratio(one["images_per_s"], other["images_per_s"]),
        "same_machine": old.speed_key == fresh.speed_key,
    }


def _ratio(one: float, other: float) -> float:
    return math.nan if pd.isna(one) or pd.isna(other) else other / one


def _mean(base: Ledger, new: Ledger, cells: list[dict]) -> tuple[str, Estimate] | None:
    """The mean difference over the cells that are judged by the most frequent value and have intervals: (value, mean).

    The images of all cells share their noise, so the mean of their influence values belongs to the mean difference.
    """
    names = [cell["value"] for cell in cells if not math.isnan(cell["found"].se)]
    column = max(sorted(set(names)), key=names.count, default=None)
    lines = [cell for cell in cells if cell["value"] == column and not math.isnan(cell["found"].se)]
    if len(lines) < 2:
        return None
    psi = [ledger.influence(line["key"])[column.partition("[")[0]] for ledger in (new, base) for line in lines]
    if any(each.ndim == 1 for each in psi):  # some metrics have no second order
        psi = [first_order(each) for each in psi]
    means = [sum(each) / len(lines) for each in (psi[: len(lines)], psi[len(lines) :])]
    values = [sum(line[name] for line in lines) / len(lines) for name in ("new", "base")]
    return column, difference(*values, *means, paired=True)


def _judge(cells: list[dict], mean: tuple[str, Estimate] | None) -> tuple[str, Estimate, str | None] | None:
    """Write the verdict of every cell, and return the mean with its own."""
    every = [(cell["value"], cell["found"]) for cell in cells] + ([] if mean is None else [mean])
    words = verdicts([found for _, found in every], [sign(value) for value, _ in every])
    for cell, verdict in zip(cells, words):
        # without intervals, values that are equal to the last bit still say that the images are equal
        cell["verdict"] = verdict.word or ("indistinguishable" if cell["difference"] == 0 else UNJUDGED)
    return None if mean is None else (*mean, words[-1].word)


def _apart(old, fresh) -> str:
    """The settings in which all records of one set differ from all of the other."""
    frames = [pd.DataFrame([_protocol(record) for record in records]) for records in (old, fresh)]
    said = [
        f"{name} is {', '.join(map(str, ours))} there and {', '.join(map(str, theirs))} here"
        for name in frames[0]
        if not set(ours := frames[0][name].unique()) & set(theirs := frames[1][name].unique())
    ]
    return "; ".join(said) or "they are cells of other settings; measure the same grid in both"


def _protocol(record: Quality) -> dict:
    named = {name: record.settings[name]["name"] for name in ENVIRONMENT[:3]}
    named |= {"n": record.n, "seed": record.settings["budget"]["seed"], "precision": record.precision}
    return named | {"numerics": record.generation.get("numerics")}


def sentences(found: LedgerComparison) -> list[str]:
    """What became of it: the counts, the cells that fail it, the largest loss that no interval excludes."""
    cells, count = found.cells, len(found.cells)
    counts = [f"{(cells['verdict'] == word).sum()} {word}" for word in WORDS]
    said = [f"{count} of {count + len(found.missing)} cells compared: {', '.join(counts)} (Holm, 5 % over them)."]
    for word, what in (("worse", "Worse"), (UNJUDGED, "Not judged, because no interval is known")):
        names = (cells["cell"] + " " + cells["key"])[cells["verdict"] == word]
        said += [f"{what}: {_listed(list(names))}."] if len(names) else []
    if found.together is not None:
        value, mean, word = found.together
        said.append(
            f"All together: {word}, {mean.value:+.3g} [{mean.low:+.3g}, {mean.high:+.3g}] in the mean of {value}."
        )
    if found.missing:
        names = [f"{words} {key}" for key, words in found.missing.items()]
        said.append(f"Missing in the new ledger, which counts as failed: {_listed(names)}.")
    said += [f"The new ledger has {found.fresh} more cells."] if found.fresh else []
    losses = cells.apply(_worst, axis=1)
    if losses.notna().any():
        line = cells.loc[losses.idxmax()]
        where = f"{line['value']} ({line['cell']})"
        said.append(f"The largest loss that no interval excludes is {losses.max():.3g} in {where}.")
    return [*said, speed(cells), f"Quality gate: {'passed' if found.code == PASSED else 'FAILED'}."]


def _worst(cell: pd.Series) -> float:
    """The end of the interval of a cell that is the larger loss."""
    ends = cell["difference.low"], cell["difference.high"]
    return loss(Estimate(cell["difference"], math.nan, *ends), cell["value"]).high


def speed(cells: pd.DataFrame) -> str:
    """One sentence on the speed: the median ratio over cells timed on one machine, with its interval.

    It never fails a comparison: protocol `quick` times the two ledgers hours apart.
    """
    alike = cells.loc[cells["same_machine"], "speed"].dropna()
    if alike.empty:
        return "Speed is not judged: no cell was timed on the same machine in both."
    from ..profiling.latency import LEAST, median_interval

    ratio, where = alike.median(), f"over {len(alike)} cells timed on the same machine (protocol quick)"
    if len(alike) < LEAST:
        return f"Speed is not judged: {ratio:.2f} times the old one {where}, too few for an interval."
    low, high = median_interval(alike)
    word = "indistinguishable" if low <= 1 <= high else "slower" if high < 1 else "faster"
    return (f"Speed: {word}, {ratio:.2f} [{low:.2f}, {high:.2f}] times the old one, the median {where}. A machine"
            " drifts between two runs, so this is no failure.")  # fmt: skip


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED
    return "; ".join(names[:_NAMED]) + (f"; and {more} more" if more > 0 else "")


def shown(found: LedgerComparison) -> pd.DataFrame:
    """The lines as people read them, worst first."""
    order = {word: at for at, word in enumerate(("worse", UNJUDGED, "better", "indistinguishable"))}
    cells = found.cells.sort_values("verdict", key=lambda words: words.map(order), kind="stable")
    forms = ["+.3f" if value.startswith("nll") else "+.2f" for value in cells["value"]]
    table = {"cell": cells["cell"], "value": cells["value"].str.partition("[")[0]}
    table |= {name: [f"{value:{form[1:]}}" for form, value in zip(forms, cells[name])] for name in ("base", "new")}
    ends = zip(forms, cells["difference"], cells["difference.low"], cells["difference.high"])
    known = [(f"{value:{form}}", "" if pd.isna(a) else f" [{a:{form}}, {b:{form}}]") for form, value, a, b in ends]
    table["difference"] = ["".join(both) for both in known]
    table["verdict"] = cells["verdict"]
    table["speed"] = [
        "-" if pd.isna(ratio) else f"{ratio:.2f}x" + ("" if same else " (other machine)")
        for ratio, same in zip(cells["speed"], cells["same_machine"])
    ]
    table["key"] = cells["key"]
    return pd.DataFrame(table)


def markdown(found: LedgerComparison, title: str) -> str:
    """A section for a pull request or the summary of a job."""
    table = shown(found)
    lines = [table.columns, ["---"] * len(table.columns), *table.to_numpy()]
    grid = "\n".join("| " + " | ".join(str(each).replace("|", "\\|") for each in line) + " |" for line in lines)
    said = "\n".join(f"- {sentence}" for sentence in sentences(found))
    return f"## {title}\n\n{said}\n\n{grid}\n"
