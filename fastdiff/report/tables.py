"""The ledger as tables: one row a cell, what it is, what it gives, and how it compares."""

import math

import pandas as pd

from ..bench.ledger import Ledger
from .images import columns_of_pairs
from .rivals import RIVAL, judged, rival_words, rivalled
from .rows import KNOBS, LATER, SETTING, cached, main_columns, quality_columns, rows, same

# Knobs that say what a cell is by being absent too: none is part of every variant of its method.
_OPTIONAL = {"interval", "window", "center", "power", "full", "compile", "memory_format", "part"}


def table(ledger: Ledger, keys: list[str] | None = None, fell: int = 0) -> pd.DataFrame:
    """All cells of the ledger, or those of `keys` in their order, with speed-up and comparisons with plain samplers.

    speedup: images_per_s over the same sampler, steps and factors uncached; promised: MACs of that over the cell's own,
    which skip_rate, the share of shallow calls, brings. change: the first quality value minus that
    of the plain sampler (same steps, no method at work), with its paired 95 % interval and the correlation of the pairs
    (change.r); verdict in words. against_rival, rival_verdict: the same for cached cells, against the best plain cell
    (`rival`) as fast. psnr[plain,n=...] and its like: images beside those of the plain cell, as far as they have been
    compared (`reports.images`). The cells compared with are looked for in the whole ledger; verdicts are Holm's over
    the table and what `fell` from it.
    """
    records = {record["key"]: record for record in ledger.all("quality")}
    if keys is None:
        keys = list(records)
    wanted = [key for key in keys if key in records]
    if not wanted:
        return pd.DataFrame(columns=["key", *KNOBS])
    every = rows(records.values(), ledger)
    frame = every.set_index("key", drop=False).loc[wanted].reset_index(drop=True).dropna(axis=1, how="all")
    always = {*KNOBS, "images_per_s", "latency_ms"}  # bounds alone have no speed
    frame = frame.reindex(columns=[name for name in every if name in frame or name in always])
    frame["speedup"] = pd.Series([_speedup(line, every) for _, line in frame.iterrows()], dtype=float)
    return frame.join(judged(frame, every, ledger, fell)).join(columns_of_pairs(frame, every, ledger))


def lines(ledger: Ledger, keys: list[str], fell: int = 0) -> list[dict]:
    """The same, a dict a cell, None where there is nothing."""
    frame = table(ledger, keys, fell).astype(object)
    return frame.where(frame.notna(), None).to_dict("records")


def _speedup(line: pd.Series, frame: pd.DataFrame) -> float | None:
    tuned = ["rho_bottom", "rho_top", "index", "over_level", "window"]  # not `apply`: uncached calls are all full
    base = frame[same(frame, line, [*SETTING, "sampler", "variance", *tuned]) & ~cached(frame)]
    return None if base.empty or pd.isna(line["images_per_s"]) else line["images_per_s"] / base["images_per_s"].iloc[0]


def csv(frame: pd.DataFrame) -> bytes:
    """A table as a file: all its columns but those of later versions in which no cell has anything."""
    empty = [name for name in (*LATER, *RIVAL) if frame[name].isna().all()]
    return frame.drop(columns=empty).to_csv(index=False, float_format="%.6g").encode()


def differs(frame: pd.DataFrame, knob: str) -> bool:
    """Whether cells differ in a knob; a knob that is None in some of them counts as a difference if that says much."""
    return frame[knob].nunique(dropna=knob not in _OPTIONAL) > 1


def text(frame: pd.DataFrame) -> str:
    """The table people see in the terminal: what differs between cells, quality with its interval, speed, cost."""
    if frame.empty:
        return "no finished cell"
    names = [name for name in KNOBS[2:] if name == "spacing" or name not in SETTING and name != "variance"]
    varying = [name for name in names if differs(frame, name)]
    shown = {"sampler": frame["sampler"], "steps": frame["steps"].map(str)}
    shown |= {name: [short(value, "-") for value in frame[name]] for name in varying}
    for column in [*main_columns(frame), *quality_columns(frame, "is")]:
        shown[column] = _with_intervals(frame, column)
    verdicts = ["" if pd.isna(verdict) else verdict for verdict in frame["verdict"]]
    shown["against plain"] = _with_words(frame, "change", verdicts)
    if frame["change.r"].notna().any():
        shown["r"] = [short(value, "") for value in frame["change.r"].round(2)]
    if rivalled(frame):
        words = [rival_words(line) for _, line in frame.iterrows()]
        shown["against fewer steps"] = _with_words(frame, "against_rival", words)
    for name, column, form in (
        ("images/s", frame["images_per_s"], "{:.1f}"),
        ("speedup", frame["speedup"], "{:.2f}x"),
        ("promised", frame["promised"], "{:.2f}x"),
        ("MMACs", frame["macs"] / 1e6, "{:.0f}"),
    ):
        shown[name] = ["-" if pd.isna(value) else form.format(value) for value in column]
    return pd.DataFrame(shown).to_string(index=False)


def short(value, missing: str) -> str:
    """A knob's value as people write it."""
    if value is None or pd.isna(value):
        return missing
    return value if isinstance(value, str) else f"{value:g}"


def _with_words(frame: pd.DataFrame, column: str, words: list[str]) -> list[str]:
    """A signed difference with its interval and what to call it."""
    found = _with_intervals(frame, column, "+")
    return [f"{value} {word}".strip() or "-" for value, word in zip(found, words)]


def _with_intervals(frame: pd.DataFrame, column: str, sign: str = "") -> list[str]:
    """`value [low, high]` of each row, as much of it as there is; bits per dimension have a digit more."""
    unknown = pd.Series(math.nan, index=frame.index)
    ends = (frame.get(f"{column}.{end}", unknown) for end in ("low", "high"))
    forms = [f"{sign}.{3 if bound else 2}f" for bound in frame[quality_columns(frame, "nll")].notna().any(axis=1)]
    return [
        "" if pd.isna(value) else f"{value:{form}}" + ("" if pd.isna(low) else f" [{low:{form}}, {high:{form}}]")
        for form, value, low, high in zip(forms, frame[column], *ends)
    ]
