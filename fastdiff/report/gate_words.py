"""What became of a gate, in sentences, as a table, and as markdown for a pull request."""

import math

import pandas as pd

from ..statistics import Estimate
from .gate import PASSED, UNJUDGED, Gate
from .rivals import loss

WORDS = ("worse", "indistinguishable", "better")
_NAMED = 5  # cells that a sentence names


def verdict(found: Gate) -> list[str]:
    """What became of it, in sentences: the counts, what is named because it fails, the largest loss that could hide."""
    cells, count = found.cells, len(found.cells)
    counts = [f"{(cells['verdict'] == word).sum()} {word}" for word in WORDS]
    said = [f"{count} of {count + len(found.missing)} cells compared: {', '.join(counts)}, by Holm at 5 % over them."]
    for word, what in (("worse", "Worse"), (UNJUDGED, "Not judged, for want of an interval")):
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
    table["key"] = cells["key"]
    return pd.DataFrame(table)


def markdown(found: Gate, title: str) -> str:
    """A section for a pull request or a job's summary."""
    table = shown(found)
    lines = [table.columns, ["---"] * len(table.columns), *table.to_numpy()]
    grid = "\n".join("| " + " | ".join(str(each).replace("|", "\\|") for each in line) + " |" for line in lines)
    said = "\n".join(f"- {sentence}" for sentence in verdict(found))
    return f"## {title}\n\n{said}\n\n{grid}\n"
