"""What the page's script draws and filters: facts of cells as numbers and words, nothing that is not in a table too."""

import math

import pandas as pd

from ..metrics.cards import sign, words
from . import clock
from .figures import colour_of, marker_of
from .rows import plain
from .words import describe, methods, rho

ENVIRONMENT = ("precision", "compile", "memory_format", "device")
AXES = (
    ("images_per_s", "images/s", "right is faster", -1, 1.0),
    ("macs", "MMACs per image", "left is cheaper", 1, 1e6),
    ("nfe", "network calls per image (NFE)", "left is fewer", 1, 1.0),
)


def facts(every: pd.DataFrame, drawn: pd.DataFrame, columns: list[str], base: pd.Series) -> dict:
    """Axes, metrics and cells for the script, ready for JSON.

    every: all cells of the page's tables. drawn: those that may be compared. columns: quality columns to choose from.
    sign is 1 where less is better, -1 where more is. values: column -> value, low, high.
    """
    shown = set(drawn["key"])
    axes = [{"name": n, "label": label, "hint": hint, "sign": s, "unit": u} for n, label, hint, s, u in AXES]
    metrics = [{"name": name, "hint": words(name), "sign": sign(name)} for name in columns]
    untouched = plain(every)
    cells = [_cell(line, bool(untouched[i]), columns if line["key"] in shown else []) for i, line in every.iterrows()]
    return {"axes": axes, "metrics": metrics, "cells": cells, "baseline": base["key"]}


def _cell(line: pd.Series, untouched: bool, columns: list[str]) -> dict:
    """One cell; without columns it is filtered, but not drawn."""
    values = {}
    for name in columns:
        if pd.notna(line[name]):
            values[name] = [_number(line.get(f"{name}{end}")) for end in ("", ".low", ".high")]
    return {
        "key": line["key"],
        "name": describe(line),
        "sampler": line["sampler"],
        "steps": int(line["steps"]),
        "environment": ", ".join(str(line[name]) for name in ENVIRONMENT if pd.notna(line[name])),
        "methods": methods(line) or ["plain" if untouched else "another variance"],
        "colour": colour_of(line["sampler"]),
        "marker": marker_of(line["interval"]),
        "interval": _number(line["interval"]),
        "hollow": rho(line) != "1",
        "values": values,
        "change": [_number(line.get(f"change{end}")) for end in ("", ".low", ".high")],
        "verdict": None if pd.isna(line["verdict"]) else line["verdict"],
        "far": bool(clock.far(line["speedup"], line["promised"])),
        **{name: _number(line[name]) for name in ("images_per_s", "macs", "nfe", "speedup", "promised")},
    }


def _number(value) -> float | None:
    """Six digits are what a screen can show; None is JSON's word for nan."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")
