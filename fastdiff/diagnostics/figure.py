"""A figure of the papers: a plotly figure of several panels with its title and its caption."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

from ..report.figures import INK, MUTED, PALETTE, PAPER, RULE
from ..report.page import page
from ..statistics.influence import Z95

COLOURS = dict(zip(("ddpm", "analytic_ddpm", "ddim", "analytic_ddim", "ddpm_large"), PALETTE))
SPARE = [PALETTE[5], MUTED, PALETTE[6]]
SYMBOLS = ("circle", "square", "triangle-up", "triangle-down", "diamond", "cross", "x")
LEGEND = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yref": "container", "yanchor": "top"}
FRAME = {
    "ticks": "outside",
    "showline": True,
    "linecolor": INK,
    "gridcolor": RULE,
    "zeroline": False,
    "exponentformat": "power",
}
TITLE = {"standoff": 6, "font": {"size": 12}}  # of an axis


@dataclass(frozen=True)
class Figure:
    """name: stem of its files. sentence: the caption, with what was averaged, n and the protocol."""

    name: str
    title: str
    sentence: str
    plotly: go.Figure


class Panels:
    """Draws a figure panel by panel. Panels are numbered from 0, row by row.

    titles: one for each panel. columns: panels in a row. alike: whether the panels of a row share the range of y.
    """

    def __init__(self, titles: Sequence[str], columns: int = 2, alike: bool = False):
        self.columns, self.named = min(columns, len(titles)), set()
        rows = -(-len(titles) // self.columns)
        places = [[{} if row * self.columns + i < len(titles) else None for i in range(self.columns)]
                  for row in range(rows)]  # fmt: skip
        self.plotly = make_subplots(
            rows, self.columns, specs=places, shared_yaxes=alike, subplot_titles=titles,
            horizontal_spacing=0.24 / self.columns, vertical_spacing=0.3 / rows,
        )  # fmt: skip
        self.plotly.update_layout(
            template="none", paper_bgcolor=PAPER, plot_bgcolor=PAPER, font={"size": 12, "color": INK}, legend=LEGEND,
            width=160 + 400 * self.columns, height=150 + 300 * rows, margin={"l": 70, "r": 20, "t": 90, "b": 50},
        )  # fmt: skip
        self.plotly.update_annotations(font_size=12)  # the titles of the panels

    def place(self, i: int) -> dict[str, int]:
        return {"row": i // self.columns + 1, "col": i % self.columns + 1}

    def axes(self, i: int, x: str, y: str, log: str = "", ticks: Iterable[float] | None = None) -> None:
        """Label both axes. log: "", "x", "y" or "xy". ticks: where x is marked."""
        marks = {} if ticks is None else {"tickvals": [*ticks], "ticktext": [f"{tick:g}" for tick in ticks]}
        kind, other = ("log" if axis in log else "linear" for axis in "xy")
        self.plotly.update_xaxes(title={"text": x, **TITLE}, type=kind, **FRAME, **marks, **self.place(i))
        self.plotly.update_yaxes(title={"text": y, **TITLE}, type=other, **FRAME, **self.place(i))

    def line(
        self, i: int, frame: pd.DataFrame, name: str, x: str, y: str, *, colour: str = INK, dash: str | None = "solid",
        symbol: str | None = None, band: bool = False,
    ) -> None:  # fmt: skip
        """Draw column y of a frame against its column x. Columns `<y>.low` and `<y>.high`, where the frame has them,
        are the 95 % interval: error bars, or a `band`. dash None: no line. symbol None: no marks."""
        mode = "+".join(["lines"] * (dash is not None) + ["markers"] * (symbol is not None))
        bars, (low, high) = None, (frame.get(f"{y}.{end}") for end in ("low", "high"))
        if low is not None and band:
            red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
            around = {
                "x": [*frame[x], *frame[x][::-1]],
                "y": [*high, *low[::-1]],
                "mode": "lines",
                "line": {"width": 0},
            }
            filled = {"fill": "toself", "fillcolor": f"rgba({red},{green},{blue},0.2)", "hoverinfo": "skip"}
            self._scatter(i, name, shown=False, **around, **filled)
        elif low is not None:
            ends = {"array": (high - frame[y]).tolist(), "arrayminus": (frame[y] - low).tolist()}
            bars = {"type": "data", "symmetric": False, **ends, "thickness": 1, "width": 0}
        style = {"line": {"color": colour, "width": 1.6, "dash": dash}, "mode": mode, "error_y": bars}
        if symbol is not None:
            style["marker"] = {"color": colour, "size": 6, "symbol": symbol}
        self._scatter(i, name, x=frame[x].tolist(), y=frame[y].tolist(), **style)

    def heat(self, i: int, values: np.ndarray, name: str) -> None:
        """Draw a map (R C) with row 0 at the top. All maps of a figure share one scale of colours."""
        drawn = {"coloraxis": "coloraxis", "hovertemplate": "%{x}, %{y}: %{z:.4f}<extra></extra>"}
        self.plotly.add_trace(go.Heatmap(z=values.tolist(), **drawn), **self.place(i))
        bar = {"title": {"text": name, "side": "right"}, "thickness": 14}
        self.plotly.update_layout(coloraxis={"colorscale": "Cividis", "colorbar": bar})
        self.plotly.update_xaxes(showgrid=False, **self.place(i))
        self.plotly.update_yaxes(showgrid=False, autorange="reversed", **self.place(i))

    def shade(self, i: int, name: str, low: float, high: float, colour: str) -> None:
        """Shade a range of x."""
        flat = {"line_width": 0, "opacity": 0.15, "layer": "below", "exclude_empty_subplots": False}
        self.plotly.add_vrect(low, high, fillcolor=colour, **flat, **self.place(i))
        square = {"size": 12, "symbol": "square", "color": colour, "opacity": 0.3}  # a shape has no entry in the legend
        self._scatter(i, name, x=[None], y=[None], mode="markers", marker=square)

    def level(self, i: int, y: float) -> None:
        """Draw a horizontal line."""
        line = {"line_color": INK, "line_width": 1, "line_dash": "dot", "exclude_empty_subplots": False}
        self.plotly.add_hline(y, **line, **self.place(i))

    def figure(self, name: str, title: str, sentence: str) -> Figure:
        return Figure(name, title, sentence, self.plotly)

    def _scatter(self, i: int, name: str, shown: bool = True, **trace) -> None:
        """Lines of one name share one entry of the legend over all panels."""
        first = shown and name not in self.named
        self.plotly.add_trace(go.Scatter(name=name, legendgroup=name, showlegend=first, **trace), **self.place(i))
        if shown:
            self.named.add(name)


def colours(names: Iterable) -> dict:
    """Name -> colour. Samplers have the colours of every report; colour-blind readers can tell all of them apart."""
    names = list(dict.fromkeys(names))
    free = iter([c for c in (*COLOURS.values(), *SPARE) if c not in {COLOURS.get(name) for name in names}] * len(names))
    return {name: COLOURS.get(name) or next(free) for name in names}


def looks(names: Iterable) -> dict[object, dict[str, str]]:
    """Name -> colour and symbol of its line. The symbols are for prints in grey."""
    return {
        name: {"colour": colour, "symbol": SYMBOLS[i % len(SYMBOLS)]}
        for i, (name, colour) in enumerate(colours(names).items())
    }


def interval(mean: Any, se: Any):
    """Both ends of the 95 % interval of a mean."""
    return {"low": mean - Z95 * se, "high": mean + Z95 * se}


def to_json(figure: Figure) -> dict:
    """What `from_json` makes the figure of: its words and plotly's own JSON."""
    drawn = json.loads(figure.plotly.to_json())
    return {"title": figure.title, "sentence": figure.sentence, "plotly": drawn}


def from_json(name: str, known: Mapping) -> Figure:
    return Figure(name, known["title"], known["sentence"], go.Figure(known["plotly"]))


def page_of(title: str, figures: Mapping[str, Figure | str], files: Sequence[str] = ()) -> str:
    """All figures on one page that needs no network: plotly.js is part of it.

    figures: name -> the figure, or the sentence that says why there is none. files: suffixes of the files beside it.
    """
    scripts, sections = (
        [get_plotlyjs()],
        [("", "<p>Point at a mark to see its values. Click in a legend to hide a line. Drag to zoom.</p>")],
    )
    for name, each in figures.items():
        if isinstance(each, str):
            sections.append((name, f"<p>Not drawn: {escape(each)}</p>"))
            continue
        links = ", ".join(f'<a href="{name}.{suffix}">{suffix}</a>' for suffix in files)
        caption = escape(each.sentence) + (f" Files: {links}." if links else "")
        sections.append((each.title, f"<figure>{_place(each)}<figcaption>{caption}</figcaption></figure>"))
        scripts.append(_script(each))
    return page(title, *sections, scripts=scripts)


def _place(figure: Figure) -> str:
    """Html of the place where the script draws. Narrow screens scroll it, by keyboard too."""
    size = f"height: {figure.plotly.layout.height}px; min-width: 44rem"
    return (
        f'<div tabindex="0" role="group" style="overflow-x: auto" aria-label="{escape(figure.title)}">'
        f'<div id="{figure.name}" style="{size}"></div></div>\n'
    )


def _script(figure: Figure) -> str:
    """The script that draws a figure in its place. It needs plotly.js."""
    wide = go.Figure(figure.plotly).update_layout(width=None)  # as wide as the page
    known = json.loads(wide.to_json())
    data, layout = (json.dumps(known[part], sort_keys=True).replace("</", "<\\/") for part in ("data", "layout"))
    return f'Plotly.newPlot("{figure.name}", {data}, {layout}, {{"responsive": true, "displaylogo": false}})'
