"""A drawing by plotly, for the browser: point for values, click the legend to hide, drag to zoom."""

import json

from ..report.figures import INK, PAPER, RULE
from .drawing import Drawing, Panel, Series

DASHES = {"-": "solid", "--": "dash", ":": "dot", "-.": "dashdot"}
SYMBOLS = {"o": "circle", "s": "square", "^": "triangle-up", "v": "triangle-down", "D": "diamond", "P": "cross"}
SYMBOLS |= {"X": "x"}
LEGEND = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yref": "container", "yanchor": "top"}  # seen first
ABSENT = "the page needs plotly, which is not installed: pip install 'plotly>=6' (or 'fastdiff-bench[dev]'), and repeat"


def interactive(drawing: Drawing):
    """The same figure as a plotly Figure. Raises ModuleNotFoundError, saying what to install."""
    try:
        import plotly.graph_objects as go
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(ABSENT) from error
    columns, named, traces = min(drawing.columns, len(drawing.panels)), set(), []
    layout = _layout(drawing, columns)
    for i, panel in enumerate(drawing.panels):
        at = "" if i == 0 else str(i + 1)
        layout |= _axes(drawing, i, at, columns)
        layout["annotations"] += _title(panel, at)
        layout["shapes"] += _shapes(panel, at)
        for trace in _traces(panel):
            name = trace.get("name")
            legend = {"legendgroup": name, "showlegend": name not in named} if trace["type"] == "scatter" else {}
            named.add(name)
            traces.append({**legend, **trace, "xaxis": f"x{at}", "yaxis": f"y{at}"})
    return go.Figure({"data": traces, "layout": layout})


def place(drawing: Drawing) -> str:
    """Html of where a figure will be drawn by its `code`."""
    wide = 'tabindex="0" role="group" style="overflow-x: auto"'  # narrow screens scroll, by key too
    return (
        f'<div {wide} aria-label="{drawing.title}">'
        f'<div id="{drawing.name}" style="height: {_height(drawing)}px; min-width: 44rem"></div></div>\n'
    )


def code(drawing: Drawing) -> str:
    """The script that draws a figure in its `place`, once `library` has run."""
    figure = json.loads(interactive(drawing).to_json())
    data, layout = (json.dumps(figure[part], sort_keys=True).replace("</", "<\\/") for part in ("data", "layout"))
    return f'Plotly.newPlot("{drawing.name}", {data}, {layout}, {{"responsive": true, "displaylogo": false}})'


def library() -> str:
    """plotly.js itself, a script: the page needs no network."""
    try:
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(ABSENT) from error
    return get_plotlyjs()


def _height(drawing: Drawing) -> int:
    return 150 + 300 * drawing.rows


def _layout(drawing: Drawing, columns: int) -> dict:
    layout = {
        "template": "none", "paper_bgcolor": PAPER, "plot_bgcolor": PAPER, "font": {"size": 12, "color": INK},
        "margin": {"l": 60, "r": 20, "t": 90, "b": 50}, "legend": LEGEND, "height": _height(drawing),
        "grid": {"rows": drawing.rows, "columns": columns, "pattern": "independent", "xgap": 0.24, "ygap": 0.3},
        "annotations": [], "shapes": [],
    }  # fmt: skip
    if any(panel.heat is not None for panel in drawing.panels):
        low, high = drawing.heat_range
        name = next(panel.heat.name for panel in drawing.panels if panel.heat is not None)
        bar = {"title": {"text": name, "side": "right"}, "thickness": 14}
        layout["coloraxis"] = {"cmin": low, "cmax": high, "colorscale": "Cividis", "colorbar": bar}
    return layout


def _axes(drawing: Drawing, i: int, at: str, columns: int) -> dict:
    panel, found = drawing.panels[i], {}
    for axis, label in (("x", panel.x), ("y", panel.y if drawing.labelled(i) else "")):
        looks = {
            "title": {"text": label.replace("\n", "<br>"), "standoff": 6},
            "gridcolor": RULE,
            "linecolor": INK,
            "zeroline": False,
        }
        looks |= {"ticks": "outside", "showgrid": panel.heat is None, "automargin": True}
        looks |= {"type": "log", "exponentformat": "power"} if axis in panel.log else {"type": "linear"}
        found[f"{axis}axis{at}"] = looks
    if panel.ticks is not None:
        found[f"xaxis{at}"] |= {"tickmode": "array", "tickvals": list(panel.ticks)}
    if panel.heat is not None:
        found[f"yaxis{at}"] |= {"autorange": "reversed"}
    first = i - i % columns
    if drawing.alike and i != first:
        found[f"yaxis{at}"] |= {"matches": "y" if first == 0 else f"y{first + 1}"}
    return found


def _title(panel: Panel, at: str) -> list[dict]:
    where = {"xref": f"x{at} domain", "yref": f"y{at} domain", "x": 0.5, "y": 1, "yanchor": "bottom"}
    return [{"text": panel.title, "showarrow": False, "font": {"size": 12}, **where}] if panel.title else []


def _shapes(panel: Panel, at: str) -> list[dict]:
    axes = {"xref": f"x{at}", "yref": f"y{at}"}
    whole = {"type": "rect", "y0": 0, "y1": 1, "line": {"width": 0}, "opacity": 0.15, "layer": "below"}
    found = [{**axes, **whole, "yref": f"y{at} domain", "x0": span.low, "x1": span.high, "fillcolor": span.colour}
             for span in panel.spans]  # fmt: skip
    if panel.level is not None:
        rule = {"type": "line", "x0": 0, "x1": 1, "y0": panel.level, "y1": panel.level}
        found += [{**axes, **rule, "xref": f"x{at} domain", "line": {"color": INK, "width": 1, "dash": "dot"}}]
    return found


def _traces(panel: Panel) -> list[dict]:
    found = []
    if panel.heat is not None:
        heat = {"type": "heatmap", "coloraxis": "coloraxis", "z": panel.heat.values.tolist()}
        found += [heat | {"hovertemplate": "%{x}, %{y}: %{z:.4f}<extra></extra>"}]
    for span in panel.spans:  # shapes have no entry in the legend of their own
        square = {"size": 12, "symbol": "square", "color": span.colour, "opacity": 0.3}
        found += [{"type": "scatter", "name": span.name, "x": [None], "y": [None], "mode": "markers", "marker": square}]
    return found + [trace for each in panel.series for trace in _lines(each)]


def _lines(each: Series) -> list[dict]:
    mode = "+".join(["lines"] * bool(each.dash) + ["markers"] * bool(each.marker))
    look = {"color": each.colour, "width": 1.6} | ({"dash": DASHES[each.dash]} if each.dash else {})
    line = {"type": "scatter", "name": each.name, "x": list(each.x), "y": list(each.y), "mode": mode, "line": look}
    line |= {"marker": {"color": each.colour, "size": 6, "symbol": SYMBOLS[each.marker]}} if each.marker else {}
    if each.low is None:
        return [line]
    if not each.band:
        above = [high - y for high, y in zip(each.high, each.y)]
        below = [y - low for low, y in zip(each.low, each.y)]
        bars = {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 1, "width": 0}
        return [line | {"error_y": bars}]
    around = {"x": [*each.x, *reversed(each.x)], "y": [*each.high, *reversed(each.low)]}
    red, green, blue = (int(each.colour[at : at + 2], 16) for at in (1, 3, 5))
    fill = {"fill": "toself", "fillcolor": f"rgba({red},{green},{blue},0.2)", "line": {"width": 0}, "mode": "lines"}
    return [line, {"type": "scatter", "name": each.name, **around, **fill, "hoverinfo": "skip"}]
