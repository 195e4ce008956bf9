"""The ledger as tables: one row a cell, every knob, every quality value under its protocol's name."""

import math

import pandas as pd

from ..records import Ledger
from ..statistics import Estimate, difference

# What a cell is, in the order people read it; W&B's config.
KNOBS = [
    "sampler", "steps", "rho_bottom", "rho_top", "interval", "branch", "variance", "eta", "clip", "spacing",
    "sigma2_clip", "state_dtype", "guidance", "analytic_images", "model", "data", "metrics", "seed", "precision",
    "batch", "device",
]  # fmt: skip

# Knobs that have to be equal for two cells to be compared: all but the three methods'.
_METHODS = {"sampler", "rho_bottom", "rho_top", "interval", "branch", "variance", "analytic_images"}
_SETTING = [knob for knob in KNOBS if knob not in _METHODS] + ["n"]


def row(record: dict, speed: dict | None) -> dict:
    """One quality record and its speed record -> one flat line. A knob of a method that is off is None."""
    settings, identity = record["settings"], record["identity"]["generation"]
    sampler, plans = settings["sampler"], settings["accelerator"]
    rho, cache = plans["skip_tuning"], plans["deepcache"]
    line = {
        "key": record["key"],
        "sampler": sampler.get("name", "ddim"),
        **{k: v for k, v in sampler.items() if k != "name"},
    }
    line |= {
        "rho_bottom": float(rho["rho_bottom"]),
        "rho_top": float(rho["rho_top"]),
        "interval": int(cache["interval"]),
    }
    line |= {"branch": int(cache["branch"]) if identity["deepcache"] else None, "guidance": float(settings["guidance"])}
    line |= {"analytic_images": identity.get("score_norms", {}).get("images"), "seed": settings["budget"]["seed"]}
    line |= {name: settings[name]["name"] for name in ("model", "data", "metrics")}
    line |= {
        "precision": record["precision"],
        "batch": settings["device"]["batch"],
        "device": record["device"],
        "n": record["n"],
    }
    for protocol, value in record["values"].items():
        line[protocol] = value["value"]
        line |= {f"{protocol}.{end}": value[end] for end in ("low", "high") if end in value}
    for name in ("images_per_s", "latency_ms"):
        line[name] = speed[name] if speed else None
    return line | {name: record["cost"][name] for name in ("nfe", "full_calls", "macs", "conv_macs")}


def table(ledger: Ledger, keys: list[str] | None = None) -> pd.DataFrame:
    """All cells of the ledger, or those of `keys` in their order, with speed-up and change against the plain sampler.

    speedup: images_per_s over the same sampler, steps and factors uncached. change: the first quality value minus that
    of the plain sampler (same steps, no method at work), with its paired 95 % interval; verdict in words. The cells
    compared with are looked for in the whole ledger.
    """
    records = {record["key"]: record for record in ledger.all("quality")}
    if keys is None:
        keys = list(records)
    wanted = [key for key in keys if key in records]
    if not wanted:
        return pd.DataFrame(columns=["key", *KNOBS])
    every = pd.DataFrame([row(record, ledger.read("speed", record["speed_key"])) for record in records.values()])
    every = every[["key", *KNOBS, *(name for name in every if name not in KNOBS and name != "key")]]
    frame = every.set_index("key", drop=False).loc[wanted].reset_index(drop=True).dropna(axis=1, how="all")
    frame = frame.reindex(columns=[name for name in every if name in frame or name in KNOBS])
    frame["speedup"] = pd.Series([_speedup(line, every) for _, line in frame.iterrows()], dtype=float)
    return frame.join(pd.DataFrame([_change(line, every, ledger) for _, line in frame.iterrows()]))


def plain(frame: pd.DataFrame) -> pd.Series:
    """Which cells run no method at all: small variance, every factor 1, no caching."""
    untouched = (frame["rho_bottom"] == 1) & (frame["rho_top"] == 1) & (frame["interval"] == 1)
    return untouched & (frame["variance"] == "small")


def compare(ledger: Ledger, column: str, one: pd.Series, other: pd.Series) -> Estimate:
    """one - other in a quality column, paired by noise, with its 95 % interval; where none is known se is nan."""
    psi = [ledger.influence(line["key"]).get(column.partition("[")[0]) for line in (one, other)]
    if any(values is None for values in psi):
        change = float(one[column] - other[column])
        return Estimate(change, math.nan, change, change)
    return difference(one[column], other[column], *psi, paired=True)


def quality_columns(frame: pd.DataFrame, metric: str = "fid") -> list[str]:
    """Columns with values of a metric, one per protocol: numbers of different protocols never share a column."""
    return [name for name in frame if name.startswith(f"{metric}[") and name.endswith("]")]


def _same(frame: pd.DataFrame, line: pd.Series, names: list[str]) -> pd.Series:
    wanted = pd.Series(True, index=frame.index)
    for name in names:
        wanted &= (frame[name] == line[name]) | (frame[name].isna() & pd.isna(line[name]))
    return wanted


def _speedup(line: pd.Series, frame: pd.DataFrame) -> float | None:
    alike = _same(frame, line, [*_SETTING, "sampler", "variance", "rho_bottom", "rho_top"])
    base = frame[alike & (frame["interval"] == 1)]
    return None if base.empty or pd.isna(line["images_per_s"]) else line["images_per_s"] / base["images_per_s"].iloc[0]


def _change(line: pd.Series, frame: pd.DataFrame, ledger: Ledger) -> dict:
    """The line against the plain cell of its setting, in its first quality value."""
    nothing = {"change": math.nan, "change.low": math.nan, "change.high": math.nan, "verdict": None}
    base = frame[_same(frame, line, _SETTING) & plain(frame)]
    columns = [name for name in quality_columns(frame) if not pd.isna(line.get(name))]
    if base.empty or not columns:
        return nothing
    if base["key"].iloc[0] == line["key"]:
        return nothing | {"verdict": "plain"}
    found = compare(ledger, columns[0], line, base.iloc[0])
    if math.isnan(found.se):
        return nothing | {"change": found.value}
    verdict = "better" if found.high < 0 else "worse" if found.low > 0 else "indistinguishable"
    return {"change": found.value, "change.low": found.low, "change.high": found.high, "verdict": verdict}


def text(frame: pd.DataFrame) -> str:
    """The table people see in the terminal: what differs between cells, quality with its interval, speed, cost."""
    if frame.empty:
        return "no finished cell"
    varying = [name for name in KNOBS[2:] if name not in _SETTING and frame[name].nunique() > 1 and name != "variance"]
    shown = {"sampler": frame["sampler"], "steps": frame["steps"].map(str)}
    shown |= {name: ["-" if pd.isna(value) else f"{value:g}" for value in frame[name]] for name in varying}
    for column in [*quality_columns(frame), *quality_columns(frame, "is")]:
        shown[column] = _with_intervals(frame, column, ".2f")
    verdicts = ["" if pd.isna(verdict) else verdict for verdict in frame["verdict"]]
    changes = _with_intervals(frame, "change", "+.2f")
    shown["against plain"] = [f"{change} {verdict}".strip() or "-" for change, verdict in zip(changes, verdicts)]
    for name, column, form in (
        ("images/s", frame["images_per_s"], "{:.1f}"),
        ("speedup", frame["speedup"], "{:.2f}x"),
        ("MMACs", frame["macs"] / 1e6, "{:.0f}"),
    ):
        shown[name] = ["-" if pd.isna(value) else form.format(value) for value in column]
    return pd.DataFrame(shown).to_string(index=False)


def _with_intervals(frame: pd.DataFrame, column: str, form: str) -> list[str]:
    """`value [low, high]` of each row, as much of it as there is."""
    unknown = pd.Series(math.nan, index=frame.index)
    ends = (frame.get(f"{column}.{end}", unknown) for end in ("low", "high"))
    return [
        "" if pd.isna(value) else f"{value:{form}}" + ("" if pd.isna(low) else f" [{low:{form}}, {high:{form}}]")
        for value, low, high in zip(frame[column], *ends)
    ]
