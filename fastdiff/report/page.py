"""The report as one HTML file that needs no network: a Jinja2 template, filled with what the ledger says.

Everything is escaped by the template. The page's security policy lets only its own scripts run, by their hashes, and
lets nothing be fetched.
"""

import base64
import functools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.resources import files

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from ..bench.records import Failed
from ..metrics.cards import sign
from . import figures, page_text, samples
from .comparisons import compare, equal_cost_words, has_equal_cost
from .effects import Effects
from .page_text import DASH, ends, number, signed
from .pareto import BOUNDS, at_least, by_nfe, far, gains, sure
from .rows import MEMORY, Cells, image_columns, main_columns, more_columns
from .table import csv, short, varying

DRAWN = 8  # quality values that the figure can be switched to


@dataclass(frozen=True)
class Field:
    """A field of a table: what it shows. small: its interval. order: the number it is sorted by, if it is another."""

    text: str
    small: str = ""
    kind: str = ""
    number: bool = False
    doubted: bool = False
    order: str = ""
    command: str = ""
    link: str = ""


@dataclass(frozen=True)
class Table:
    """A table of the page. rows: (key of the cell or "", its fields). anchors: keys whose rows are link targets."""

    title: str
    columns: list[str]
    rows: list[tuple[str, list[Field]]]
    kind: str = ""
    download: str = ""
    anchors: frozenset[str] = frozenset()

    def numeric(self, column: int) -> bool:
        """Whether a column holds numbers."""
        return any(fields[column].number for _, fields in self.rows)


@dataclass
class Story:
    """What the page is about.

    tables: grid -> its table (`table.table`). every: all their cells. alike: the cells of `every` that can be compared
    with the baseline. base: the baseline's row. commands: key -> what to type. notes: grid -> what stands beside its
    name. failed: records of failed cells.
    """

    cells: Cells
    tables: dict[str, pd.DataFrame]
    every: pd.DataFrame
    alike: pd.DataFrame
    base: pd.Series
    commands: dict[str, str]
    notes: dict[str, str]
    failed: list[Failed] = field(default_factory=list)

    def __post_init__(self):
        self.column = next(name for name in image_columns(self.every) if pd.notna(self.base[name]))
        self.compare = functools.partial(compare, self.cells.ledger, self.column)
        self.best = at_least(self.alike, self.column, self.base, self.compare)
        self.gains = dict(zip(self.alike["key"], sure(*gains(self.alike, self.base))))
        self.arms = self._arms()

    def _arms(self) -> list[samples.Arm]:
        order = self.alike.sort_values(self.column, ascending=sign(self.column) > 0)
        best = {f"best {self.column.partition('[')[0]}": order.iloc[0]}
        for bound in BOUNDS:
            for by, pick in self.best.get(bound, {}).items():
                best[f"best at {bound}x {'speed' if by == 'images_per_s' else 'fewer MACs'}"] = pick.cell
        return samples.arms(self.cells, self.alike, self.base, best)


def report(story: Story, still: bytes | None = None, papers: str = "") -> str:
    """The page of a story. still: the Pareto figure as SVG, for readers without scripts. papers: html of figures."""
    from plotly.offline import get_plotlyjs

    effects = Effects(story.cells, story.alike, story.column)
    heats = {f"{knob} by {other}": figures.heat(effects, knob, other) for knob, other in effects.pairs}
    calls = by_nfe(story.alike, story.column, story.compare)
    facts = {
        "cells": [_facts(story, line) for _, line in story.every.iterrows()],
        "axes": {by: label for by, (label, *_) in figures.AXES.items()},
        "metrics": _metrics(story),
        "pareto": _paretos(story),
        "heat": {f"heat-{i}": figures.as_json(figure) for i, figure in enumerate(heats.values())},
    }
    more = {name: more_columns(frame) for name, frame in story.tables.items()}
    context = {
        "story": story,
        "headline": page_text.headline(story.alike, story.column, story.base, story.compare, story.commands),
        "warnings": [page_text.clock_warning(frame) for frame in (story.alike, story.every)],
        "baseline": page_text.sentence(story.base, story.column),
        "cards": page_text.cards(story.best, story.column, story.base),
        "arms": _shown_arms(story.arms),
        "tables": cell_tables(story),
        "effects": effects_table(effects) if effects.main else None,
        "heats": [(f"heat-{i}", title, f.layout.height) for i, (title, f) in enumerate(heats.items())],
        "calls": calls_table(calls, story) if calls else None,
        "measures": [
            table for name, columns in more.items() if columns for table in measures_tables(story, name, columns)
        ],
        "measured": page_text.MEASURES,
        "meanings": page_text.meanings(story.every, story.base),
        "environment": page_text.environment([story.cells.records[key] for key in story.every["key"]]),
        "failed": [(each.key, each.reason, story.commands[each.key]) for each in story.failed],
        "still": base64.b64encode(still).decode() if still else "",
        "papers": Markup(papers),
        "height": 520,
    }
    title = f"fastdiff: what faster sampling costs, on {story.base['model']}"
    return _render(title, [], facts, [get_plotlyjs(), _asset("table.js")], context)


def page(title: str, *sections: tuple[str, str], data: dict | None = None, scripts: Sequence[str] = ()) -> str:
    """Sections of (heading, html) -> a whole HTML document; a section without heading opens the page.

    data: JSON for the scripts, in the element `facts`. scripts: in order, at the end of the page.
    """
    return _render(title, [(heading, Markup(content)) for heading, content in sections], data, scripts, {})


def _render(title: str, sections: list, facts: dict | None, scripts: Sequence[str], context: dict) -> str:
    codes = [code.replace("\r", "") for code in scripts]  # as a browser reads them before it takes their hash
    digests = (base64.b64encode(sha256(code.encode()).digest()).decode() for code in codes)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    policy = f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none';"
    given = {"title": title, "policy": f"{policy} form-action 'none'", "style": Markup(_asset("page.css"))}
    given |= {"sections": sections, "facts": None if facts is None else Markup(_json(facts))}
    given |= {"scripts": [Markup(code) for code in codes], "story": None}
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {"code": _code, "anchor": anchor, "breaks": _breaks}
    return environment.from_string(_asset("page.html.j2")).render(given | context)


def anchor(heading: str) -> str:
    """The id of a heading: `All cells` -> `all-cells`."""
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")


def _code(text: str) -> Markup:
    """Escaped text, in which `words in backticks` are code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def _breaks(column: str) -> Markup:
    """The name of a column, which may break after a comma or an underscore and before a bracket."""
    return Markup(re.sub(r"([,_.])|(?=\[)", r"\1<wbr>", str(escape(column))))


def _asset(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _json(data: dict) -> str:
    """JSON that ends no script, the same for equal data."""
    return json.dumps(data, separators=(",", ":"), sort_keys=True, allow_nan=False).replace("<", "\\u003c")


def _metrics(story: Story) -> list[str]:
    """The quality columns that the figure can show, the judged one first."""
    columns = [name for name in (*image_columns(story.every), *more_columns(story.every))
               if name in story.alike and story.alike[name].notna().sum() > 1]  # fmt: skip
    return sorted(columns, key=lambda name: name != story.column)[:DRAWN]


def _paretos(story: Story) -> dict[str, dict[str, dict]]:
    """Axis -> metric -> the figure."""
    return {
        by: {column: figures.as_json(figures.pareto(story.alike, column, story.base["key"], by))
             for column in _metrics(story)}
        for by in figures.AXES
    }  # fmt: skip


def _facts(story: Story, line: pd.Series) -> dict:
    """What the script filters a cell by."""
    environment = [line[name] for name in ("precision", "compile", "memory_format", "device")]
    return {
        "key": line["key"],
        "name": line["cell"],
        "accelerator": line["accelerators"].split(" + ") if line["accelerators"] else ["none"],
        "sampler": [line["sampler"]],
        "steps": [str(line["steps"])],
        "environment": [", ".join(str(each) for each in environment if pd.notna(each))],
    }


def _shown_arms(arms: list[samples.Arm]) -> dict:
    """What the template shows of arms: pictures as data, and how strong differences are shown."""
    gaps = [None if base is None else samples.difference(pixels[: samples.COUNT], base[: samples.COUNT])
            for _, pixels, base in arms]  # fmt: skip
    times = samples.strength([gap for gap in gaps if gap is not None])
    shown = []
    for (label, pixels, _), gap in zip(arms, gaps):
        found = {"label": label.split("\n"), "png": _data(pixels[: samples.COUNT]), "gap": "", "each": []}
        if gap is not None:
            found["gap"] = _data((gap.astype(int) * times).clip(0, 255).astype("uint8"))
            found["each"] = [f"{mean:.1f}" for mean in gap.mean((1, 2, 3))]
        shown.append(found)
    return {"shown": shown, "times": times, "gaps": any(each["gap"] for each in shown)}


def _data(pixels) -> str:
    return base64.b64encode(samples.png(samples.strip(pixels))).decode()


def cell_tables(story: Story) -> list[Table]:
    """A table a grid, rows in the grid's order, with its file. A cell of several grids is a link target once."""
    knobs, seen, found = varying(story.every), set(), []
    for grid, frame in story.tables.items():
        equal = ["against_equal_cost", "equal_cost_verdict"] if has_equal_cost(frame) else []
        memory = [name for name in MEMORY if name in frame]
        paired = ["r"] if frame["change.r"].notna().any() else []
        columns = ["cell", *knobs, *main_columns(frame), "images_per_s", "times_baseline", "change", "verdict", *equal]
        columns += ["speedup", "promised", "MMACs", "nfe", "full_calls", *memory, *paired, "key"]
        rows = []
        for _, line in frame.iterrows():
            shown = _fields(line, frame, knobs, story)
            rows.append((line["key"], [shown[name] for name in columns]))
        own = frozenset(frame["key"]) - seen
        seen |= own
        data = base64.b64encode(csv(frame)).decode()
        found.append(Table(f"{grid}: {story.notes[grid]}", columns, rows, "cells keyed", data, own))
    return found


def _fields(line: pd.Series, frame: pd.DataFrame, knobs: list[str], story: Story) -> dict[str, Field]:
    """Column -> what a line of a table of cells shows there."""
    shown = {name: _knob(line[name]) for name in [*knobs, "nfe", "full_calls"]}
    values = main_columns(frame)
    own = next(value for value in values if pd.notna(line[value]))  # what its differences are of
    shown |= {name: _value(line, name, frame[name].abs().max()) for name in values}
    for name in ("change", "against_equal_cost"):
        shown[name] = _value(line, name, frame[own].abs().max(), "+")
    gain, key = story.gains.get(line["key"]), line["key"]
    doubted = bool(far(line["speedup"], line["promised"]))
    speedup = number(line["speedup"]) + "x" * bool(pd.notna(line["speedup"])) + " ?" * doubted
    order = sure(line["speedup"], line["promised"])
    verdict, rival = line["verdict"], line["equal_cost_verdict"]
    return shown | {
        "cell": Field(line["cell"]),
        "times_baseline": Field(DASH if gain is None else f"{gain:.2f}x", number=True),
        "verdict": Field(short(verdict, DASH), kind="" if pd.isna(verdict) else verdict),
        "equal_cost_verdict": Field(equal_cost_words(line) or DASH, kind="" if pd.isna(rival) else rival),
        "images_per_s": Field(number(line["images_per_s"], 100), number=True),
        "speedup": Field(speedup, number=True, doubted=doubted, order="" if pd.isna(order) else f"{order:.6g}"),
        "promised": Field(f"{line['promised']:.2f}x", number=True),
        "MMACs": Field(f"{line['macs'] / 1e6:,.0f}", number=True),
        "r": Field(number(line["change.r"]), number=True),
        "key": Field(key, command=story.commands[key]),
        **{name: Field(number(line.get(name), 100), number=True) for name in MEMORY},
    }


def _knob(value) -> Field:
    return Field(short(value, DASH), number=not isinstance(value, str) and pd.notna(value))


def _value(line: pd.Series, column: str, size: float, sign: str = "") -> Field:
    return Field(number(line[column], size, sign), ends(line, column, size, sign), number=True)


def measures_tables(story: Story, grid: str, columns: list[str]) -> list[Table]:
    """All that was measured of the images of a grid beyond what they are compared by."""
    frame, rows = story.tables[grid], []
    for _, line in frame.iterrows():
        values = [_value(line, name, frame[name].abs().max()) for name in columns]
        rows.append((line["key"], [Field(line["cell"]), *values]))
    return [Table(f"{grid}: more measures", ["cell", *columns], rows, "cells")]


def effects_table(effects: Effects) -> Table:
    """A row for each value of each knob: the change from its reference, all else equal."""
    columns = ["knob", "from", "to", f"change in {effects.column}", "verdict", "settings", "smallest to largest"]
    rows = []
    for (knob, base, value), effect in effects.main.items():
        size = max(abs(effect.low), abs(effect.high))
        factors = [DASH if pd.isna(each) else f"x {each:.2f}" for each in (effect.cost, effect.speed)]
        doubted = bool(far(effect.speed, 1 / effect.cost))
        shown = [Field(knob), Field(str(base)), Field(str(value)), Field(signed(effect.found), number=True)]
        shown += [Field(effect.word or DASH, kind=effect.word or ""), Field(str(effect.settings), number=True)]
        spread = f"{number(effect.low, size, '+')} to {number(effect.high, size, '+')}"
        shown += [Field(spread, number=True), Field(factors[0], number=True)]
        rows.append(("", [*shown, Field(factors[1] + " ?" * doubted, number=True, doubted=doubted)]))
    return Table("Each knob alone", [*columns, "MACs", "images_per_s"], rows, "effects")


def calls_table(picks: dict, story: Story) -> Table:
    """A row for each number of network calls: the best cell, and how it compares with the baseline of as many."""
    columns = ["nfe", "best cell", story.column, "against the baseline of as many calls", "indistinguishable from it"]
    rows = []
    for nfe, pick in picks.items():
        line, against = pick.cell, (DASH, "")
        if pick.baseline is not None:
            against = page_text.against(pick, pick.baseline, pick.baseline["sampler"])
            against = ("it is a baseline", "baseline") if line["baseline"] else against
        shown = [Field(str(nfe), number=True), Field(line["cell"], link=line["key"])]
        shown += [_value(line, story.column, abs(line[story.column])), Field(against[0], kind=against[1])]
        shown += [Field(f"{len(pick.alike)} of {len(pick.order) - 1} others")]
        shown += [Field(number(line["images_per_s"], 100), number=True)]
        shown += [Field(f"{line['macs'] / 1e6:,.0f}", number=True)]
        rows.append(("", [*shown, Field(line["key"], command=story.commands[line["key"]])]))
    return Table("", [*columns, "images_per_s", "MMACs", "key"], rows, "calls")
