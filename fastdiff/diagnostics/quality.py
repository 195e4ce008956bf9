"""Figures of what has been measured: quality against rho, against branch and interval, and against steps."""

from collections.abc import Callable

import pandas as pd

from ..bench.ledger import Ledger
from ..report.rows import Cells, image_columns, knobs_of
from ..report.table import table
from .deepcache import promised
from .drawing import Drawing, Panel, looks, series

MACHINE = {"precision", "compile", "memory_format", "batch", "device"}
TUNING = {"rho_bottom", "rho_top", "index", "over_level", "window", "apply"}
CACHING = {"interval", "branch", "schedule", "center", "power", "full", "protect_first", "protect_last"}


class Missing(ValueError):
    """A figure whose cells have not been measured; says which command does."""


def measured(ledger: Ledger, asked: dict, command: str) -> tuple[pd.DataFrame, str]:
    """The table of the cells of one protocol, and the column of their quality.

    asked: knobs, n among them, that all cells have. Of several machines or precisions the most frequent. Raises
    Missing, with `command`, where there is none.
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
    """Of cells that differ in other knobs than the free ones, those with the most frequent values of the others."""
    if frame.empty:
        return frame
    ways = frame[[knob for knob in knobs_of(frame) if knob not in free]].apply(lambda way: str(way.tolist()), axis=1)
    return frame[ways == ways.mode().iloc[0]]


def absent(ledger: Ledger, grid: str, command: str) -> str:
    """One sentence on what a grid lacks in the ledger; empty where nothing."""
    known = ledger.read("grids", grid)
    if known is None:
        return f"Grid {grid} has not been measured; more cells: {command}"
    lacking = sum(ledger.read("quality", key) is None for key in known["keys"])
    return f"{lacking} of {len(known['keys'])} cells of grid {grid} are not measured: {command}" if lacking else ""


def _untuned(frame: pd.DataFrame) -> pd.Series:
    return (frame["rho_bottom"] == 1) & (frame["rho_top"] == 1)


def _usually(frame: pd.DataFrame, knob: str, value) -> pd.Series:
    """Which cells have the usual value of a knob, or none because nothing reads it."""
    return frame[knob].isna() | (frame[knob] == value)


def over_rho(frame: pd.DataFrame) -> pd.DataFrame:
    """Uncached cells with constant factors, of the steps at which rho was varied. Raises Missing, without a command."""
    plainly = _usually(frame, "index", "linspace") & _usually(frame, "over_level", "constant")
    found = frame[~cached(frame) & _usually(frame, "variance", "small") & plainly]
    found = _each(found, ["sampler"], TUNING | {"steps"})
    lines = found.groupby(["sampler", "steps", "rho_top"])["rho_bottom"].transform("nunique")
    if not (lines > 1).any():
        raise Missing("no cells that differ in rho_bottom alone have been measured")
    return found[lines > 1]


def _each(frame: pd.DataFrame, names: list[str], free: set[str]) -> pd.DataFrame:
    """The usual cells of each group."""
    parts = [usual(part, free) for _, part in frame.groupby(names, sort=False)]
    return pd.concat(parts) if parts else frame


def rho_drawing(found: pd.DataFrame, column: str, name: str, said: str) -> Drawing:
    """Quality against rho_bottom: a panel a sampler, a line a number of network calls and rho_top."""
    found = found.assign(line=[f"{nfe} NFE, rho_top {top:g}" for nfe, top in zip(found["nfe"], found["rho_top"])])
    found = found.sort_values(["nfe", "rho_top", "rho_bottom"])
    look, panels = looks(found["line"]), []
    for sampler, part in found.groupby("sampler", sort=False):
        lines = tuple(series(cells, line, "rho_bottom", column, **look[line])
                      for line, cells in part.groupby("line", sort=False))  # fmt: skip
        panels.append(Panel("rho_bottom  (1 = as trained)", column, sampler, lines, log=_log(found, column)))
    sentence = f"Quality against rho, for each number of network calls. Whiskers: 95 % intervals. {said}"
    return Drawing(name, "Quality against rho", sentence, tuple(panels), columns=2, alike=True)


def _log(frame: pd.DataFrame, column: str) -> str:
    return "y" if 0 < frame[column].min() < 0.2 * frame[column].max() else ""


def over_caching(frame: pd.DataFrame) -> pd.DataFrame:
    """Cells with uniform caching and nothing else, and the uncached ones beside them, at one number of steps a sampler.
    Raises Missing, without a command."""
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


def caching_drawing(found: pd.DataFrame, costs: Callable, column: str, name: str, said: str) -> Drawing:
    """A row a sampler: speed-up against the branch, promised and measured; quality.

    costs: network calls of a trajectory -> `deepcache.costs`; of the cells' own number, because few calls hold few
    intervals.
    """
    panels = []
    for sampler, part in found.groupby("sampler", sort=False):
        hits, plain, asked = (
            part[cached(part)].sort_values("branch"),
            part[~cached(part)],
            costs(int(part["nfe"].iloc[0])),
        )
        look, title = (
            looks(sorted({*asked["interval"], *hits["interval"]})),
            f"{sampler}, {part['steps'].iloc[0]} steps",
        )
        ticks = range(1, int(asked["branch"].max()) + 1)

        def marks(y: str, hits=hits, look=look) -> list:
            groups = hits.groupby("interval")
            return [
                series(each, f"interval {i:g}, measured", "branch", y, **look[i] | {"dash": ""}) for i, each in groups
            ]

        lines = [*promised(asked, look), *marks("speedup")]
        panels.append(Panel("branch", "speed-up over uncached", title, tuple(lines), ticks=ticks, level=1.0))
        level, log = float(plain[column].iloc[0]) if len(plain) else None, _log(part, column)
        panels.append(Panel("branch", column, title, tuple(marks(column)), ticks=ticks, log=log, level=level))
    sentence = (
        "What caching gives and costs, for each branch and interval. Lines: the speed-up that MACs promise; marks:"
        " measured (protocol quick, no interval known). Dotted, on the right: the uncached sampler. Whiskers: 95 %"
        f" intervals. {said}"
    )
    return Drawing(name, "Speed-up and quality against the branch", sentence, tuple(panels), columns=2)


def over_steps(frame: pd.DataFrame) -> pd.DataFrame:
    """Uncached cells with every factor 1, with a column `line`, of the samplers measured at several steps. Raises
    Missing, without a command."""
    found = frame[~cached(frame) & _untuned(frame)]
    lines = [cell["cell"].partition(f", {cell['steps']} steps")[0] for _, cell in found.iterrows()]
    found = found.assign(line=lines)
    found = _each(found, ["line"], {"steps"})
    several = found.groupby("line")["steps"].transform("nunique") > 1
    if not several.any():
        raise Missing("no sampler has been measured at several steps")
    return found[several].sort_values("steps")


def steps_drawing(found: pd.DataFrame, column: str, name: str, said: str) -> Drawing:
    """Quality against steps, a line a sampler."""
    look = looks(found["line"])
    lines = tuple(series(part, line, "steps", column, **look[line]) for line, part in found.groupby("line"))
    ticks, log = sorted(found["steps"].unique().tolist()), "x" + _log(found, column)
    panel = Panel("steps", column, "uncached, every factor 1", lines, log=log, ticks=ticks)
    sentence = f"Quality against the number of steps. Whiskers: 95 % intervals. {said}"
    return Drawing(name, "Quality against steps", sentence, (panel,), columns=1)
