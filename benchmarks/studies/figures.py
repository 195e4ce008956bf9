"""The figures of the studies, drawn with plotly."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

INK, GREY, RULE = "#2b2b2b", "#808080", "#dcdcdc"
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"]  # Okabe and Ito: safe for colour blindness
SYMBOLS = ["circle", "square", "triangle-up", "triangle-down", "diamond"]


def calibration(nulls: pd.DataFrame, power: pd.DataFrame) -> go.Figure:
    """Standard errors, false verdicts and power against the number of images.

    nulls, power: rows of `calibration.rows`. Without power there is no third panel. Whiskers are 95 % intervals. Grey
    bands are what the method promises.
    """
    panels = 3 if len(power) else 2
    figure = make_subplots(1, panels, horizontal_spacing=0.08)
    for i, (arms, part) in enumerate(nulls.groupby("arms", sort=False)):
        colour, aside = COLOURS[i % len(COLOURS)], 0.93 * 1.03**i
        for method, symbol, dash in (("influence", "circle", "solid"), ("first order", "x", "dot")):
            rows = part[part["method"] == method]
            look = {"colour": colour, "symbol": symbol, "dash": dash, "aside": aside}
            named = {"name": arms, "legend": "legend"} if method == "influence" else {"showlegend": False}
            figure.add_trace(_whiskers(rows, "se_over_sd", **look, **named), 1, 1)
            figure.add_trace(_whiskers(rows, "false_verdict_rate", **look, showlegend=False), 1, 2)
    for i, ((arms, paired), part) in enumerate(power.groupby(["arms", "paired"], sort=False) if len(power) else []):
        name = f"{arms} ({part['known_difference'].iloc[0]:+.2f}), {'paired' if paired else 'unpaired'}"
        look = {"colour": COLOURS[i // 2 % len(COLOURS)], "aside": 0.97 * 1.02**i}
        look |= {"symbol": "circle", "dash": "solid"} if paired else {"symbol": "circle-open", "dash": "dash"}
        figure.add_trace(_whiskers(part, "power", **look, name=name, legend="legend2"), 1, 3)
    for column, (low, high) in enumerate([(0.85, 1.2), (0.02, 0.08)], start=1):
        figure.add_hrect(low, high, fillcolor=GREY, opacity=0.15, line_width=0, row=1, col=column)
    sizes = sorted(nulls["n"].unique().tolist())
    figure.update_xaxes(type="log", title="n, images per arm", tickvals=sizes, ticktext=[f"{n:,}" for n in sizes])
    figure.update_yaxes(title="stated / empirical standard error of the difference", row=1, col=1)
    figure.update_yaxes(title="false verdicts at the 5 % level (dotted: first order)", rangemode="tozero", row=1, col=2)
    if len(power):
        figure.update_yaxes(title="power: differences found", range=[-0.03, 1.03], row=1, col=3)
    below = {"y": -0.2, "yanchor": "top"}
    legends = {"legend": below | {"x": 0}, "legend2": below | {"x": 1, "xanchor": "right"}}
    return _styled(figure, 420 * panels, 620, bottom=190, **legends)


def caching(caching: pd.DataFrame, rungs: pd.DataFrame) -> go.Figure:
    """The measured speed-up of DeepCache against the promised one, and where the time of a full call goes.

    caching: branch, interval, promised, measured and its ends. rungs: piece, share_of_time, share_of_macs.
    """
    figure = make_subplots(1, 2, column_widths=[0.43, 0.57], horizontal_spacing=0.16)
    for i, (branch, rows) in enumerate(caching.groupby("branch")):
        figure.add_trace(go.Scatter(
            x=rows["promised"], y=rows["measured"], error_y=_ends(rows, "measured"), mode="markers+text",
            name=f"branch {branch}", marker={"color": COLOURS[i % len(COLOURS)], "symbol": SYMBOLS[i % len(SYMBOLS)]},
            text=[f"{interval:g}" for interval in rows["interval"]], textposition="bottom right",
            textfont={"color": GREY, "size": 10}, legend="legend",
        ), 1, 1)  # fmt: skip
    most = max(caching["promised"].max(), caching["measured.high"].max())
    line = {"color": INK, "width": 1, "dash": "dot"}
    figure.add_trace(go.Scatter(x=[1, most], y=[1, most], mode="lines", name="as promised", line=line), 1, 1)
    for name, column, colour in (("time", "share_of_time", COLOURS[0]), ("MACs", "share_of_macs", COLOURS[1])):
        bars = {"x": 100 * rungs[column], "y": rungs["piece"], "orientation": "h", "marker_color": colour}
        figure.add_trace(go.Bar(**bars, name=name, legend="legend2"), 1, 2)
    figure.update_xaxes(title="speed-up that MACs promise (numbers: interval)", row=1, col=1)
    figure.update_yaxes(title="measured speed-up (95 %)", row=1, col=1)
    figure.update_xaxes(title="share of a full call, %", row=1, col=2)
    figure.update_yaxes(autorange="reversed", showgrid=False, row=1, col=2)
    return _styled(figure, 920, 400, legend={"x": 0.01, "y": 1, "yanchor": "top"},
                   legend2={"x": 1, "y": 0.05, "xanchor": "right", "yanchor": "bottom"})  # fmt: skip


def _whiskers(rows: pd.DataFrame, column: str, colour: str, symbol: str, dash: str, aside: float, **trace):
    """A column against n. aside: a factor of n that keeps whiskers of several lines apart."""
    return go.Scatter(
        x=rows["n"] * aside, y=rows[column], error_y=_ends(rows, column), mode="lines+markers",
        line={"color": colour, "dash": dash, "width": 1}, marker={"symbol": symbol, "size": 6}, **trace,
    )  # fmt: skip


def _ends(rows: pd.DataFrame, column: str) -> dict:
    """The whiskers of plotly from the ends of an interval."""
    above, below = rows[f"{column}.high"] - rows[column], rows[column] - rows[f"{column}.low"]
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 1, "width": 0}


def _styled(figure: go.Figure, width: int, height: int, bottom: int = 50, **legends) -> go.Figure:
    figure.update_xaxes(showgrid=True, gridcolor=RULE, linecolor=INK, ticks="outside", zeroline=False)
    figure.update_yaxes(showgrid=True, gridcolor=RULE, linecolor=INK, ticks="outside", zeroline=False)
    font = {"family": "DejaVu Sans, sans-serif", "size": 12, "color": INK}
    margin = {"l": 60, "r": 30, "t": 20, "b": bottom}
    return figure.update_layout(
        template="none", width=width, height=height, font=font, margin=margin, paper_bgcolor="white",
        plot_bgcolor="white", **legends,
    )  # fmt: skip
