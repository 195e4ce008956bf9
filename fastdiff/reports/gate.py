"""Two finished ledgers, cell by cell: is anything worse in the new one? Cells are matched by their key, and image i has
the same noise in both, so that the differences are paired."""

import math
from dataclasses import dataclass

import pandas as pd

from ..metrics.direction import judged_by, sign
from ..records import Ledger
from ..statistics import Estimate, verdicts
from .rivals import compared, loss
from .rows import row, rows
from .words import describe

PASSED, FAILED = 0, 3  # exit codes; 2, that nothing could be compared, is that of every wrong setting
WORDS = ("worse", "indistinguishable", "better")
UNJUDGED = "not judged"
_NAMED = 5  # cells that a sentence names


@dataclass(frozen=True)
class Gate:
    """cells: a line for each that both have. missing: cells of the old ledger that the new one lacks, as key -> words.
    fresh: how many cells only the new one has."""

    cells: pd.DataFrame
    missing: dict[str, str]
    fresh: int

    @property
    def code(self) -> int:
        """PASSED where every cell of the old ledger is in the new one, judged, and none is worse."""
        passed = not self.missing and self.cells["verdict"].isin(("indistinguishable", "better")).all()
        return PASSED if passed else FAILED


def gate(base: Ledger, new: Ledger, grid: str | None = None) -> Gate:
    """Every finished cell of `base`, or those of its grid, beside the same cell of `new`.

    Verdicts are Holm's at 5 % over the cells compared (`fastdiff.statistics.verdicts`); the difference is new - base.
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
    _judge(cells)
    frame = pd.DataFrame(cells).drop(columns="found")
    missing = {key: describe(row(record, None)) for key, record in old.items() if key not in fresh}
    return Gate(frame, missing, sum(key not in records[0] for key in fresh))


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


def _judge(cells: list[dict]) -> None:
    words = verdicts([cell["found"] for cell in cells], [sign(cell["value"]) for cell in cells])
    for cell, verdict in zip(cells, words):
        # without intervals values that are equal to the last bit still tell that the images are
        cell["verdict"] = verdict.word or ("indistinguishable" if cell["difference"] == 0 else UNJUDGED)


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


def verdict(found: Gate) -> list[str]:
    """What became of it, in sentences: the counts, what is named because it fails, the largest loss that could hide."""
    cells, count = found.cells, len(found.cells)
    counts = [f"{(cells['verdict'] == word).sum()} {word}" for word in WORDS]
    said = [f"{count} of {count + len(found.missing)} cells compared: {', '.join(counts)}, by Holm at 5 % over them."]
    for word, what in (("worse", "Worse"), (UNJUDGED, "Not judged, for want of an interval")):
        names = (cells["cell"] + " " + cells["key"])[cells["verdict"] == word]
        said += [f"{what}: {_listed(list(names))}."] if len(names) else []
    if found.missing:
        names = [f"{words} {key}" for key, words in found.missing.items()]
        said.append(f"Missing in the new ledger, which counts as failed: {_listed(names)}.")
    said += [f"The new ledger has {found.fresh} more, which nothing is known to compare with."] if found.fresh else []
    losses = cells.apply(_worst, axis=1)
    if losses.notna().any():
        line = cells.loc[losses.idxmax()]
        where = f"{line['value']} ({line['cell']})"
        said.append(f"The largest loss that no interval excludes is {losses.max():.3g} in {where}.")
    return [*said, speed(cells), f"Quality gate: {'passed' if found.code == PASSED else 'FAILED'}."]


def _worst(cell: pd.Series) -> float:
    """The end of a cell's interval that is the larger loss."""
    ends = cell["difference.low"], cell["difference.high"]
    return loss(Estimate(cell["difference"], math.nan, *ends), cell["value"]).high


def speed(cells: pd.DataFrame) -> str:
    """One sentence on the speed: the median ratio over cells timed on one machine, with its interval. Never a failure:
    protocol `quick` times cells while they are generated, hours apart."""
    alike = cells.loc[cells["same_machine"], "speed"].dropna()
    if alike.empty:
        return "Speed is not judged: no cell was timed on the same machine in both."
    from ..profiling.latency import LEAST, median_interval

    ratio, where = alike.median(), f"over {len(alike)} cells timed on the same machine (protocol quick)"
    if len(alike) < LEAST:
        return f"Speed is not judged: {ratio:.2f} times the old one {where}, too few for an interval."
    low, high = median_interval(alike)
    word = "not told apart" if low <= 1 <= high else "slower" if high < 1 else "faster"
    return (f"Speed: {word}, {ratio:.2f} [{low:.2f}, {high:.2f}] times the old one, the median {where}; a machine's"
            " drift between the two is in it, so that it is no failure.")  # fmt: skip


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED
    return "; ".join(names[:_NAMED]) + (f"; and {more} more" if more > 0 else "")


def shown(found: Gate) -> pd.DataFrame:
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
    return pd.DataFrame(table)


def markdown(found: Gate, title: str) -> str:
    """A section for a pull request or a job's summary."""
    table = shown(found)
    lines = [table.columns, ["---"] * len(table.columns), *table.to_numpy()]
    grid = "\n".join("| " + " | ".join(str(each).replace("|", "\\|") for each in line) + " |" for line in lines)
    said = "\n".join(f"- {sentence}" for sentence in verdict(found))
    return f"## {title}\n\n{said}\n\n{grid}\n"
