"""The figure of `make speed`."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fastdiff.report.figures import INK, PALETTE, styled


def speedups(caching: pd.DataFrame, rungs: pd.DataFrame) -> go.Figure:
    """Measured beside promised speed-ups of caching, and where the time of a full call goes.

    caching: branch, interval, promised, measured and its ends. rungs: piece, share_of_time, share_of_macs.
    """
    figure = make_subplots(1, 2, column_widths=[0.44, 0.56], horizontal_spacing=0.2)
    for (branch, line), colour in zip(caching.groupby("branch"), PALETTE):
        ends = {
            "array": line["measured.high"] - line["measured"],
            "arrayminus": line["measured"] - line["measured.low"],
        }
        figure.add_scatter(x=line["promised"], y=line["measured"], mode="markers+text", name=f"branch {branch}",
                           text=[f"{each:g}" for each in line["interval"]], textposition="bottom right",
                           marker={"color": colour, "size": 8}, row=1, col=1,
                           error_y={"type": "data", "symmetric": False, "thickness": 1, **ends})  # fmt: skip
    most = max(caching["promised"].max(), caching["measured.high"].max())
    dotted = {"color": INK, "width": 1, "dash": "dot"}
    figure.add_scatter(x=[1, most], y=[1, most], mode="lines", line=dotted, name="as promised", row=1, col=1)
    for column, name, colour in (("share_of_time", "time", PALETTE[0]), ("share_of_macs", "MACs", PALETTE[1])):
        figure.add_bar(x=100 * rungs[column], y=rungs["piece"], orientation="h", name=name, marker={"color": colour},
                       row=1, col=2)  # fmt: skip
    figure.update_xaxes(title="speed-up that MACs promise (numbers: intervals)", row=1, col=1)
    figure.update_yaxes(title="measured speed-up (95 %)", row=1, col=1)
    figure.update_xaxes(title="share of a full call, %", row=1, col=2)
    figure.update_yaxes(autorange="reversed", row=1, col=2)
    return styled(figure, height=420, width=1000)
