"""The ledger as a table: what each cell is, what it gives, and how it compares; as text, as a file, as dicts."""

import math
from typing import Any

import pandas as pd

from ..bench.ledger import Ledger
from .comparisons import EQUAL_COST, equal_cost_words, has_equal_cost, judged, paired_columns
from .rows import MEMORY, Cells, knobs_of, main_columns, quality_columns


def table(ledger: Ledger | Cells, keys: list[str] | None = None, fell: int = 0) -> pd.DataFrame:
    """All cells of the ledger, or those of `keys` in their order, with their comparisons.

    speedup: images_per_s over the same cell without accelerators; promised: the same ratio of MACs. change, verdict:
    the first quality value minus the baseline's, with its paired 95 % interval and the correlation of the pairs
    (change.r). against_equal_cost, equal_cost_verdict: the same against the equal-cost baseline. psnr[baseline,n=...]
    and its like: images beside the baseline's, where they have been compared. The cells to compare with are looked for
    in the whole ledger. fell: how many arms a ladder dropped.
    """
    cells = ledger if isinstance(ledger, Cells) else Cells(ledger)
    wanted = list(cells.records) if keys is None else [key for key in keys if key in cells.records]
    if not wanted:
        return pd.DataFrame(columns=["key", *cells.knobs, "n"])
    frame = cells.rows.set_index("key", drop=False).loc[wanted].reset_index(drop=True)
    empty = [name for name in frame if ("[" in name or name in MEMORY) and frame[name].isna().all()]
    frame = frame.drop(columns=empty)
    return frame.join(judged(frame, cells, fell)).join(paired_columns(frame, cells))


def lines(ledger: Ledger | Cells, keys: list[str], fell: int = 0) -> list[dict]:
    """The same, a dict a cell, None where there is nothing."""
    frame = table(ledger, keys, fell).astype(object)
    return frame.where(frame.notna(), None).to_dict("records")


def csv(frame: pd.DataFrame) -> bytes:
    """A table as a file, without the knobs and comparisons that no cell has."""
    empty = [name for name in (*knobs_of(frame), *EQUAL_COST) if frame[name].isna().all()]
    return frame.drop(columns=empty).to_csv(index=False, float_format="%.6g").encode()


def differs(frame: pd.DataFrame, knob: str) -> bool:
    """Whether cells differ in a knob. A cell without it differs from a cell that has it."""
    return frame[knob].nunique(dropna=False) > 1


def varying(frame: pd.DataFrame, known: tuple[str, ...] = ("sampler", "steps")) -> list[str]:
    """The known columns, and the knobs that differ between cells with the same values in all columns before them.

    A knob whose value follows from the columns before it says nothing new and is left out.
    """
    found = list(known)
    for knob in knobs_of(frame):
        groups = frame.groupby([frame[name].map(repr) for name in found]).groups
        if any(differs(frame.loc[part], knob) for part in groups.values()):
            found.append(knob)
    return found


def text(frame: pd.DataFrame) -> str:
    """The table that people see in the terminal: what differs between cells, quality, speed, cost."""
    if frame.empty:
        return "no finished cell"
    shown = {name: [short(value, "-") for value in frame[name]] for name in varying(frame, ("cell",))}
    for column in [*main_columns(frame), *quality_columns(frame, "is")]:
        shown[column] = _with_intervals(frame, column)
    verdicts = ["" if pd.isna(verdict) else verdict for verdict in frame["verdict"]]
    shown["against baseline"] = _with_words(frame, "change", verdicts)
    if frame["change.r"].notna().any():
        shown["r"] = [short(value, "") for value in frame["change.r"].round(2)]
    if has_equal_cost(frame):
        words = [equal_cost_words(line) for _, line in frame.iterrows()]
        shown["against fewer steps"] = _with_words(frame, "against_equal_cost", words)
    for name, column, form in (
        ("images/s", frame["images_per_s"], "{:.1f}"),
        ("speedup", frame["speedup"], "{:.2f}x"),
        ("promised", frame["promised"], "{:.2f}x"),
        ("MMACs", frame["macs"] / 1e6, "{:.0f}"),
    ):
        shown[name] = ["-" if pd.isna(value) else form.format(value) for value in column]
    return pd.DataFrame(shown).to_string(index=False)


def short(value: Any, missing: str) -> str:
    """The value of a knob as people write it."""
    if value is None or pd.isna(value):
        return missing
    return value if isinstance(value, str) else f"{value:g}"


def _with_words(frame: pd.DataFrame, column: str, words: list[str]) -> list[str]:
    """A signed difference with its interval, and what to call it."""
    found = _with_intervals(frame, column, "+")
    return [f"{value} {word}".strip() or "-" for value, word in zip(found, words)]


def _with_intervals(frame: pd.DataFrame, column: str, sign: str = "") -> list[str]:
    """`value [low, high]` of each row, as far as it is known. Bits per dimension have a digit more."""
    unknown = pd.Series(math.nan, index=frame.index)
    ends = (frame.get(f"{column}.{end}", unknown) for end in ("low", "high"))
    forms = [f"{sign}.{3 if bound else 2}f" for bound in frame[quality_columns(frame, "nll")].notna().any(axis=1)]
    return [
        "" if pd.isna(value) else f"{value:{form}}" + ("" if pd.isna(low) else f" [{low:{form}}, {high:{form}}]")
        for form, value, low, high in zip(forms, frame[column], *ends)
    ]
