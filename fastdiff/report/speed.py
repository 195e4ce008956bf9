"""The figure of `make speed`: the speed-up of caching beside the promised one, and where the time goes."""

import pandas as pd
from matplotlib.figure import Figure

from .figures import COLOURS, INK, MARKERS, MUTED, styled

_TIME, _MACS = COLOURS["ddpm"], COLOURS["analytic_ddpm"]


@styled
def drawn(caching: pd.DataFrame, rungs: pd.DataFrame) -> Figure:
    """caching: branch, interval, promised, measured and its ends. rungs: piece, share_of_time, share_of_macs."""
    figure = Figure(figsize=(9.2, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
    for (branch, line), colour in zip(caching.groupby("branch"), COLOURS.values()):
        ends = [line["measured"] - line["measured.low"], line["measured.high"] - line["measured"]]
        style = {"color": colour, "marker": MARKERS[branch], "lw": 0, "elinewidth": 1, "ms": 5}
        left.errorbar(line["promised"], line["measured"], ends, label=f"branch {branch}", **style)
        for _, each in line.iterrows():
            left.annotate(f"{each['interval']:g}", (each["promised"], each["measured"]), (4, -9),
                          textcoords="offset points", color=MUTED, fontsize=7)  # fmt: skip
    most = max(caching["promised"].max(), caching["measured.high"].max())
    left.plot([1, most], [1, most], color=INK, lw=0.8, ls=":", label="as promised")
    left.set(xlabel="speed-up that MACs promise", ylabel="measured speed-up (95 %)", title="numbers are intervals")
    left.legend()
    places = range(len(rungs))
    right.barh([place - 0.2 for place in places], 100 * rungs["share_of_time"], 0.4, color=_TIME, label="time")
    right.barh([place + 0.2 for place in places], 100 * rungs["share_of_macs"], 0.4, color=_MACS, label="MACs")
    right.set(yticks=list(places), yticklabels=rungs["piece"], xlabel="share of a full call, %")
    right.invert_yaxis()
    right.grid(axis="y", visible=False)
    right.legend()
    return figure
