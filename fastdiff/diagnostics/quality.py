"""Figures of measured cells: quality against rho, against branch and interval, and against steps."""

from collections.abc import Callable

import pandas as pd

from ..bench.ledger import Ledger
from ..report.rows import Cells, image_columns, knobs_of
from ..report.table import table
from .deepcache import draw_promised
from .figure import Figure, Panels, looks

MACHINE = {"precision", "compile", "memory_format", "batch", "device"}
TUNING = {"rho_bottom", "rho_top", "index", "over_level", "window", "apply"}
CACHING = {"interval", "branch", "schedule", "center", "power", "full", "protect_first", "protect_last"}


class Missing(ValueError):
    """The cells of a figure are not measured. The message names the command that measures them."""


def measured(ledger: Ledger, asked: dict, command: str) -> tuple[pd.DataFrame, str]:
    """The table of the cells of one protocol, and the name of its quality column.

    asked: knobs that all cells have, including n. Where there are several machines or precisions, the most frequent
    one is taken. Raises Missing, with `command`, where there is no cell.
    """
    cells = Cells(ledger)
    frame = cells.rows
    for knob, value in asked.items():
        if knob in frame:
            frame = frame[frame[knob].isna() if value is None else frame[knob] == value]
    columns = [column for column in image_columns(frame) if frame[column].notna().any()]
    if not columns:
        said = ", ".join(f"{knob} {value}" for knob, value in asked.items() if value is not None)
        raise Missing(f"no cell with {said} is in {ledger.root}: {command}")
    frame = usual(frame.dropna(subset=columns[:1]), set(cells.knobs) - MACHINE)
    return _known(table(cells, frame["key"].tolist())), columns[0]


def _known(frame: pd.DataFrame) -> pd.DataFrame:
    """A table with a column for every knob that a figure is drawn against, at its identity where it is off."""
    off = {"rho_bottom": 1.0, "rho_top": 1.0, "interval": 1}
    knobs = [knob for knob in sorted(TUNING | CACHING | {"variance", "spacing", "eta"}) if knob not in frame]
    frame = frame.reindex(columns=["key", *knobs, *list(frame)[1:]])
    tuned, hit = (frame["accelerators"].str.contains(name) for name in ("skip_tuning", "deepcache"))
    frame["rho_bottom"], frame["rho_top"] = (frame[name].where(tuned, off[name]) for name in ("rho_bottom", "rho_top"))
    return frame.assign(interval=frame["interval"].where(hit, off["interval"]))


def cached(cells: pd.DataFrame) -> pd.Series:
    """Which cells keep the trunk of an earlier call."""
    return cells["branch"].notna()


def usual(frame: pd.DataFrame, free: set[str]) -> pd.DataFrame:
    """The cells that have the most frequent values of all knobs that are not `free`."""
    if frame.empty:
        return frame
    ways = frame[[knob for knob in knobs_of(frame) if knob not in free]].apply(lambda way: str(way.tolist()), axis=1)
    return frame[ways == ways.mode().iloc[0]]


def absent(ledger: Ledger, grid: str, command: str) -> str:
    """One sentence on the cells of a grid that the ledger lacks; "" where it has them all."""
    known = ledger.read("grids", grid)
    if known is None:
        return f"Grid {grid} has not been measured; more cells: {command}"
    lacking = sum(ledger.read("quality", key) is None for key in known["keys"])
    return f"{lacking} of {len(known['keys'])} cells of grid {grid} are not measured: {command}" if lacking else ""


def _untuned(frame: pd.DataFrame) -> pd.Series:
    return (frame["rho_bottom"] == 1) & (frame["rho_top"] == 1)


def _usually(frame: pd.DataFrame, knob: str, value) -> pd.Series:
    """Which cells have this value of a knob, or no value because the knob has no effect there."""
    return frame[knob].isna() | (frame[knob] == value)


def over_rho(frame: pd.DataFrame) -> pd.DataFrame:
    """Uncached cells with constant factors, at the steps where rho was varied. Raises Missing, without a command."""
    plainly = _usually(frame, "index", "linspace") & _usually(frame, "over_level", "constant")
    found = frame[~cached(frame) & _usually(frame, "variance", "small") & plainly]
    found = _each(found, ["sampler"], TUNING | {"steps"})
    lines = found.groupby(["sampler", "steps", "rho_top"])["rho_bottom"].transform("nunique")
    if not (lines > 1).any():
        raise Missing("no cells that differ in rho_bottom alone have been measured")
    return found[lines > 1]


def _each(frame: pd.DataFrame, names: list[str], free: set[str]) -> pd.DataFrame:
    """`usual` of each group."""
    parts = [usual(part, free) for _, part in frame.groupby(names, sort=False)]
    return pd.concat(parts) if parts else frame


def rho_figure(found: pd.DataFrame, column: str, name: str, protocol: str) -> Figure:
    """Quality against rho_bottom. A panel for each sampler, a line for each number of network calls and rho_top."""
    found = found.assign(line=[f"{nfe} NFE, rho_top {top:g}" for nfe, top in zip(found["nfe"], found["rho_top"])])
    found = found.sort_values(["nfe", "rho_top", "rho_bottom"])
    look, groups = looks(found["line"]), dict(list(found.groupby("sampler", sort=False)))
    panels = Panels(list(groups), alike=True)
    for i, part in enumerate(groups.values()):
        for line, cells in part.groupby("line", sort=False):
            panels.line(i, cells, line, "rho_bottom", column, **look[line])
        panels.axes(i, "rho_bottom  (1 = as trained)", column if i % panels.columns == 0 else "", _log(found, column))
    sentence = f"Quality against rho, for each number of network calls. Whiskers: 95 % intervals. {protocol}"
    return panels.figure(name, "Quality against rho", sentence)


def _log(frame: pd.DataFrame, column: str) -> str:
    return "y" if 0 < frame[column].min() < 0.2 * frame[column].max() else ""


def over_caching(frame: pd.DataFrame) -> pd.DataFrame:
    """Cells with uniform caching and no other method, and the uncached cells beside them, at one number of steps for
    each sampler. Raises Missing, without a command."""
    wanted = {"variance": "small", "schedule": "uniform", "protect_first": 0, "protect_last": 0}
    found = frame[_untuned(frame)]
    for knob, value in wanted.items():
        found = found[_usually(found, knob, value)]
    found = _each(found, ["sampler"], CACHING | {"steps", "apply"})
    hits = found[cached(found)]
    if hits.empty:
        raise Missing("no cached cells without other methods have been measured")
    steps = hits.groupby("sampler")["steps"].agg(lambda each: each.mode().iloc[0])
    return found[found["steps"] == found["sampler"].map(steps)]


def caching_figure(found: pd.DataFrame, costs: Callable, column: str, name: str, protocol: str) -> Figure:
    """A row for each sampler: speed-up against the branch, promised and measured, and quality.

    costs: number of network calls -> `deepcache.costs`. It is asked for the cells' own number of calls.
    """
    groups = list(found.groupby("sampler", sort=False))
    titles = [f"{sampler}, {part['steps'].iloc[0]} steps" for sampler, part in groups]
    panels = Panels([title for title in titles for _ in range(2)])
    for row, (_, part) in enumerate(groups):
        speed, quality = 2 * row, 2 * row + 1
        hits, plain = part[cached(part)].sort_values("branch"), part[~cached(part)]
        asked = costs(int(part["nfe"].iloc[0]))
        look = looks(sorted({*asked["interval"], *hits["interval"]}))
        draw_promised(panels, speed, asked, look)
        for i, y in ((speed, "speedup"), (quality, column)):
            for interval, each in hits.groupby("interval"):
                label = f"interval {interval:g}, measured"
                panels.line(i, each, label, "branch", y, **look[interval], dash=None)
        ticks = range(1, int(asked["branch"].max()) + 1)
        panels.axes(speed, "branch", "speed-up over uncached", ticks=ticks)
        panels.axes(quality, "branch", column, _log(part, column), ticks)
        panels.level(speed, 1.0)
        if len(plain):
            panels.level(quality, float(plain[column].iloc[0]))
    sentence = (
        "Speed-up and quality of caching, for each branch and interval. Lines: the speed-up that MACs promise. Marks:"
        " measured (protocol quick, without an interval). Dotted line on the right: the uncached sampler. Whiskers:"
        f" 95 % intervals. {protocol}"
    )
    return panels.figure(name, "Speed-up and quality against the branch", sentence)


def over_steps(frame: pd.DataFrame) -> pd.DataFrame:
    """Uncached cells with every factor 1, of the samplers that were measured at several steps. Column `line` names the
    sampler. Raises Missing, without a command."""
    found = frame[~cached(frame) & _untuned(frame)]
    lines = [cell["cell"].partition(f", {cell['steps']} steps")[0] for _, cell in found.iterrows()]
    found = found.assign(line=lines)
    found = _each(found, ["line"], {"steps"})
    several = found.groupby("line")["steps"].transform("nunique") > 1
    if not several.any():
        raise Missing("no sampler has been measured at several steps")
    return found[several].sort_values("steps")


def steps_figure(found: pd.DataFrame, column: str, name: str, protocol: str) -> Figure:
    """Quality against steps, a line for each sampler."""
    look, panels = looks(found["line"]), Panels(["uncached, every factor 1"], columns=1)
    for line, part in found.groupby("line"):
        panels.line(0, part, line, "steps", column, **look[line])
    panels.axes(0, "steps", column, "x" + _log(found, column), sorted(found["steps"].unique().tolist()))
    sentence = f"Quality against the number of steps. Whiskers: 95 % intervals. {protocol}"
    return panels.figure(name, "Quality against steps", sentence)
