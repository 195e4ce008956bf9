"""Tables of cells: every cell with its comparisons, speed and command, and all else that was measured of its images."""

import base64
from collections.abc import Mapping
from html import escape
from types import MappingProxyType

import pandas as pd

from . import clock
from .html import DASH, RANGE, cell, coloured, command, details, ends, number, table
from .rivals import rival_words, rivalled
from .rows import KNOBS, MEMORY, main_columns
from .tables import csv, differs, short


def cells_tables(
    grids: dict[str, pd.DataFrame],
    notes: dict[str, str],
    commands: dict[str, str],
    gains: Mapping[str, float] = MappingProxyType({}),
) -> str:
    """A table a grid, rows in the grid's order, with its file; a key opens the command that makes its row.

    grids: name -> tables.table of its cells. notes: name -> what stands beside the name. commands: key -> command.
    gains: key -> how many times as fast as the baseline it is, as far as that may be believed (`clock.sure`).
    """
    knobs, seen, parts = varying(pd.concat(list(grids.values()))), set(), []
    for grid, cells in grids.items():
        columns = _columns(cells, knobs)
        right = {c for c in columns if c not in cells or cells[c].dtype.kind in "iuf" or c == "change"} - {"key"}
        rows = []
        for _, line in cells.iterrows():
            shown, key = _shown(line, cells, knobs), line["key"]
            shown["times_baseline"] = f"{gains[key]:.2f}x" if key in gains else DASH
            shown["key"] = details(key, command(commands[key]))
            name = "" if key in seen else f' id="cell-{key}"'
            seen.add(key)
            orders = {"speedup": clock.sure(line["speedup"], line["promised"])}
            rows.append(f'<tr{name} data-cell="{key}">{_row(shown, columns, right, orders)}</tr>')
        parts.append(table(f"{grid}: {notes[grid]}", columns, right, rows, "cells keyed") + _download(grid, cells))
    return "".join(parts)


def measures_tables(grids: dict[str, pd.DataFrame], measures: dict[str, list[str]]) -> str:
    """A table a grid with all that was measured of its images beyond what they are compared by.

    measures: grid -> its columns. Whatever no cell of a grid has is left out of its table.
    """
    knobs, parts = varying(pd.concat(list(grids.values()))), []
    for grid, cells in grids.items():
        rows, columns = [], [*knobs, *measures[grid]]
        for _, line in cells.iterrows() if measures[grid] else ():
            shown = {k: _knob(line[k]) for k in knobs}
            shown |= {v: ends(line, v, cells[v].abs().max(), "", RANGE) for v in measures[grid]}
            rows.append(f'<tr data-cell="{line["key"]}">{_row(shown, columns, measures[grid], {})}</tr>')
        parts += [table(f"{grid}: more measures", columns, set(measures[grid]), rows, "cells")] if rows else []
    return "".join(parts)


def varying(frame: pd.DataFrame) -> list[str]:
    """Knobs worth a column: the methods', and what varies beyond what the sampler's name already says."""
    always = ["sampler", "steps", "rho_bottom", "interval"]
    more = [k for k in KNOBS if k in frame and k not in always and differs(frame, k)]
    return [*always, *(k for k in more if any(differs(cells, k) for _, cells in frame.groupby("sampler")))]


def _columns(cells: pd.DataFrame, knobs: list[str]) -> list[str]:
    """What a grid's table shows: quality and speed first, then comparisons, then what was counted."""
    against = ["against_rival", "rival_verdict"] if rivalled(cells) else []
    memory = [name for name in MEMORY if name in cells and cells[name].notna().any()]
    paired = ["r"] if cells["change.r"].notna().any() else []
    columns = [*knobs, *main_columns(cells), "images_per_s", "times_baseline", "change", "verdict", *against]
    return [*columns, "speedup", "promised", "MMACs", "nfe", "full_calls", *memory, *paired, "key"]


def _shown(line: pd.Series, cells: pd.DataFrame, knobs: list[str]) -> dict[str, str]:
    """Column -> what a line of a table shows there."""
    values = main_columns(cells)
    own = next(value for value in values if pd.notna(line[value]))  # what its differences are of
    shown = {k: _knob(line[k]) for k in [*knobs, "nfe", "full_calls"]}
    shown |= {v: ends(line, v, cells[v].abs().max(), "", RANGE) for v in values}
    for difference in ("change", "against_rival"):
        shown[difference] = ends(line, difference, cells[own].abs().max(), "+", RANGE)
    speedup = number(line["speedup"]) + "x" * pd.notna(line["speedup"])
    if clock.far(line["speedup"], line["promised"]):
        speedup = f"<mark>{speedup} ?</mark>"
    return shown | {
        "r": number(line["change.r"]),
        "verdict": coloured(line["verdict"], _knob(line["verdict"])),
        "rival_verdict": coloured(line["rival_verdict"], escape(rival_words(line)) or DASH),
        "images_per_s": number(line["images_per_s"], 100),
        "speedup": speedup,
        "promised": number(line["promised"]) + "x" * pd.notna(line["promised"]),
        **{name: number(line[name], 100) for name in MEMORY if name in line},
        "MMACs": f"{line['macs'] / 1e6:,.0f}",
    }


def _row(shown: dict[str, str], columns: list[str], right, orders: dict[str, float]) -> str:
    """Cells of a row. orders: column -> what it is sorted by where that is not the number it shows."""
    parts = []
    for name in columns:
        order = orders.get(name)
        more = "" if order is None or pd.isna(order) else f' data-order="{order:.6g}"'
        parts.append(cell("td", shown[name], name in right, more))
    return "".join(parts)


def _download(grid: str, cells: pd.DataFrame) -> str:
    data = base64.b64encode(csv(cells)).decode()
    address = f"data:text/csv;charset=utf-8;base64,{data}"
    return f'<p><a download="{escape(grid)}.csv" href="{address}">{escape(grid)}.csv</a>, all columns</p>'


def _knob(value) -> str:
    return escape(short(value, DASH))
