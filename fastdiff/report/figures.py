"""All figures of the report, drawn by plotly: for the page, and for print where a Chrome is installed."""

import base64
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ..metrics.cards import sign, words
from .effects import Effect, Effects
from .export import pictures
from .pareto import far, front

INK, PAPER, RULE, MUTED = "#2b2b2b", "#ffffff", "#dcdcdc", "#808080"
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#999933", MUTED)  # Okabe and Ito
SYMBOLS = ("circle", "square", "triangle-up", "diamond", "cross", "x", "star", "triangle-down", "pentagon")
AXES = {
    "images_per_s": ("images/s", "right is faster", 1.0),
    "macs": ("MMACs per image", "left is cheaper", 1e6),
    "nfe": ("network calls per image (NFE)", "left is fewer", 1.0),
}  # column -> label, hint, unit


def looks(names: Iterable[str], choices: tuple[str, ...]) -> dict[str, str]:
    """Name -> a colour or a symbol, in the order of the names; choices repeat when there are more names."""
    return {name: choices[i % len(choices)] for i, name in enumerate(sorted(set(names)))}


def styled(figure: go.Figure, **layout: Any) -> go.Figure:
    """A figure in the house style; the page swaps ink, paper and rules for its own, light or dark."""
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"size": 13, "color": INK, "family": "system-ui, sans-serif"},
        margin={"l": 70, "r": 20, "t": 30, "b": 60},
        hoverlabel={"align": "left", "bgcolor": PAPER, "font": {"color": INK}},
        **layout,
    )
    figure.update_xaxes(gridcolor=RULE, zeroline=False, automargin=True)
    figure.update_yaxes(gridcolor=RULE, zeroline=False, automargin=True)
    return figure


def pareto(frame: pd.DataFrame, column: str, baseline: str | None = None, by: str = "images_per_s") -> go.Figure:
    """Quality (95 % whiskers) against speed or cost: one mark a cell. Colour: sampler; mark: accelerators at work;
    hollow: no accelerator, and yet no baseline.

    baseline: key of the cell to ring. by: a column of AXES. Baselines of a sampler are joined in the order of their
    steps, which are written beside them. `customdata` of every mark is the key of its cell.
    """
    label, hint, unit = AXES[by]
    shown = frame.dropna(subset=[column, by])
    colours = looks(frame["sampler"], PALETTE)
    symbols = looks(frame["accelerators"], SYMBOLS)
    figure = go.Figure()
    best = front(shown, column, by).sort_values(by)
    wide = {"color": MUTED, "width": 6, "shape": "vh" if by == "images_per_s" else "hv"}
    figure.add_scatter(x=best[by] / unit, y=best[column], customdata=best["key"], mode="lines", line=wide, opacity=0.35,
                       name="Pareto front", hoverinfo="skip", connectgaps=True)  # fmt: skip
    for sampler, line in shown[shown["baseline"].astype(bool)].groupby("sampler"):
        line = line.sort_values("steps")
        figure.add_scatter(x=line[by] / unit, y=line[column], customdata=line["key"], mode="lines+text",
                           line={"color": colours[sampler], "width": 1}, text=line["steps"].astype(str),
                           textposition="top right", textfont={"size": 11}, showlegend=False, hoverinfo="skip",
                           connectgaps=True)  # fmt: skip
    for (sampler, names), cells in shown.groupby(["sampler", "accelerators"]):
        _marks(figure, cells, column, by, unit, colours[sampler], symbols[names])
    ring = shown[shown["key"] == baseline]
    figure.add_scatter(x=ring[by] / unit, y=ring[column], customdata=ring["key"], mode="markers", name="baseline",
                       marker={"symbol": "circle-open", "size": 18, "color": INK, "line": {"width": 1.5}},
                       hoverinfo="skip")  # fmt: skip
    for sampler, colour in colours.items():
        _entry(figure, sampler, colour, "circle")
    for names, symbol in symbols.items():
        _entry(figure, names or "no accelerator", MUTED, symbol)
    if _hollow(shown).any():
        _entry(figure, "no accelerator, no baseline", MUTED, "circle-open")
    log = {"x": _log(shown[by]), "y": _log(shown[column])}
    hints = [f"{hint}, log" if log["x"] else hint, f"{words(column)}, log" if log["y"] else words(column)]
    figure.update_xaxes(title=f"{label} ({hints[0]})", type="log" if log["x"] else "linear")
    figure.update_yaxes(title=f"{column} ({hints[1]})", type="log" if log["y"] else "linear")
    for axis, values in (("x", shown[by] / unit), ("y", shown[column])):
        if log[axis] and len(values):
            ticks = _ticks(float(values.min()), float(values.max()))
            figure.update_layout({f"{axis}axis": {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}})
    return styled(figure, height=520, legend={"itemclick": False, "itemdoubleclick": False})


def _marks(figure: go.Figure, cells: pd.DataFrame, column: str, by: str, unit: float, colour: str, symbol: str) -> None:
    """The cells of one sampler and one set of accelerators, with whiskers; a `?` marks a clock that is not believed."""
    low, high = (cells.get(f"{column}.{end}", pd.Series(np.nan, cells.index)) for end in ("low", "high"))
    low = np.maximum(low, 0.3 * cells[column]) if (cells[column] > 0).all() else low  # a log axis has no zero
    bars = {"type": "data", "symmetric": False, "array": high - cells[column], "arrayminus": cells[column] - low}
    doubted = far(cells["speedup"], cells["promised"])
    figure.add_scatter(
        x=cells[by] / unit,
        y=cells[column],
        customdata=cells["key"],
        mode="markers+text",
        marker={
            "symbol": [f"{symbol}-open" if hollow else symbol for hollow in _hollow(cells)],
            "size": 10,
            "color": colour,
            "line": {"width": 1.5, "color": colour},
        },
        error_y=bars | {"thickness": 1, "width": 0, "color": colour},
        text=["?" if each else "" for each in doubted],
        textposition="bottom right",
        hovertext=[hover(line, column) for _, line in cells.iterrows()],
        hoverinfo="text",
        showlegend=False,
    )


def _hollow(cells: pd.DataFrame) -> pd.Series:
    return (cells["accelerators"] == "") & ~cells["baseline"].astype(bool)


def hover(line: pd.Series, column: str) -> str:
    """What a mark says of its cell."""
    low, high = line.get(f"{column}.low"), line.get(f"{column}.high")
    ends = "" if low is None or pd.isna(low) else f" [{low:.4g}, {high:.4g}]"
    said = [f"<b>{line['cell']}</b>", f"{column.partition('[')[0]} {line[column]:.4g}{ends}"]
    speed = [f"{line['images_per_s']:.4g} images/s"] if pd.notna(line["images_per_s"]) else []
    said.append(", ".join([*speed, f"{line['macs'] / 1e6:,.0f} MMACs", f"{line['nfe']} network calls"]))
    if pd.notna(line["speedup"]):
        said.append(f"{line['speedup']:.2f}x without accelerators, {line['promised']:.2f}x promised by MACs")
    return "<br>".join(said)


def _entry(figure: go.Figure, name: str, colour: str, symbol: str) -> None:
    marker = {"symbol": symbol, "size": 10, "color": colour}
    figure.add_scatter(x=[None], y=[None], mode="markers", name=name, marker=marker)


def _log(values: pd.Series) -> bool:
    """Whether values differ more than fivefold."""
    return bool(0 < values.min() < 0.2 * values.max()) if len(values) else False


def _ticks(low: float, high: float) -> list[float]:
    """Plain numbers on a log axis, enough of them within one decade."""
    subs = (1, 2, 3, 5) if high / low < 30 else (1, 3)
    powers = range(int(np.floor(np.log10(low))) - 1, int(np.ceil(np.log10(high))) + 2)
    return [float(f"{sub}e{power}") for power in powers for sub in subs]


def heat(effects: Effects, knob: str, other: str) -> go.Figure:
    """The effect of a knob (rows) at each value of another (columns). Orange is worse, blue is better."""
    cells, base = effects.pairs[knob, other], effects.reference[other]
    values, places = (list(dict.fromkeys(each[i] for each in cells)) for i in (0, 1))
    places.sort(key=lambda place: place != base)  # the reference comes first
    grid = [[cells.get((value, at)) for at in places] for value in values]
    losses = [[np.nan if each is None else sign(effects.column) * each[0].found.value for each in row] for row in grid]
    texts = [["" if each is None else _heat_text(*each) for each in row] for row in grid]
    most = float(np.nanmax(np.abs(losses))) or 1.0
    figure = go.Figure(
        go.Heatmap(
            z=losses,
            x=[f"{other} {at}" for at in places],
            y=[str(value) for value in values],
            zmin=-most,
            zmax=most,
            colorscale=[(0, "#56b4e9"), (0.5, "#f4f5f7"), (1, "#e69f00")],
            showscale=False,
            text=texts,
            texttemplate="%{text}",
            textfont={"color": "#000000"},
            hoverinfo="text",
            xgap=2,
            ygap=2,
        )
    )
    figure.update_xaxes(type="category", side="top", showgrid=False)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    return styled(figure, height=90 + 64 * len(values))


def _heat_text(effect: Effect, both: Effect | None) -> str:
    text = f"<b>{effect.found.value:+.3g}</b> {effect.word or ''}"
    return text if both is None else f"{text}<br>interaction {both.found.value:+.3g} {both.word or ''}"


def as_json(figure: go.Figure) -> dict:
    """A figure as plain JSON: what the page's script hands to plotly.js. Arrays are lists of six digits."""
    return _plain(figure.to_plotly_json())


def _plain(value):
    if isinstance(value, dict) and "bdata" in value:  # how plotly writes an array of numbers
        array = np.frombuffer(base64.b64decode(value["bdata"]), value["dtype"])
        rows, _, columns = str(value.get("shape", "")).partition(",")
        return _plain(array.reshape(int(rows), int(columns)) if columns else array)
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, (np.ndarray, pd.Series, list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def render(figure: go.Figure, *suffixes: str) -> list[bytes]:
    """A figure as `png` or `svg` files; equal figures give equal SVGs.

    Raises RuntimeError with one sentence where kaleido or a Chrome is missing.
    """
    printed = go.Figure(figure).update_layout(
        paper_bgcolor=PAPER, plot_bgcolor=PAPER, width=figure.layout.width or 1000, height=figure.layout.height or 500
    )
    found = pictures([(printed, suffix) for suffix in suffixes])
    if isinstance(found, str):
        raise RuntimeError(found)
    return found


def rendered(figure: go.Figure, name: str) -> tuple[dict[str, bytes], str | None]:
    """(file name -> content, why there is none): the figure as <name>.svg and <name>.png."""
    try:
        return dict(zip((f"{name}.svg", f"{name}.png"), render(figure, "svg", "png"))), None
    except RuntimeError as error:
        return {}, f"{name}.svg and {name}.png are not drawn: {error}"
