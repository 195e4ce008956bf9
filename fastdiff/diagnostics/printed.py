"""A drawing by matplotlib, for papers: the house style of the reports."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from .drawing import Drawing, Panel, Series
from .print_style import INK, readable, styled

HEAT = "cividis"  # even for colour-blind eyes, and in grey
DECADES = 300  # log axes that span more are marked at powers of ten alone


@styled
def printed(drawing: Drawing) -> Figure:
    """The whole figure; `reports.figures.render` makes a file of it."""
    columns = min(drawing.columns, len(drawing.panels))
    figure = Figure(figsize=(1.6 + 2.7 * columns, 0.5 + 2.6 * drawing.rows), layout="constrained")
    axes = figure.subplots(drawing.rows, columns, squeeze=False, sharey="row" if drawing.alike else False).ravel()
    for i, (ax, panel) in enumerate(zip(axes, drawing.panels)):
        _panel(ax, panel, drawing)
        if not drawing.labelled(i):
            ax.set_ylabel("")
    for ax in axes[len(drawing.panels) :]:
        ax.set_axis_off()
    heated = [ax for ax, panel in zip(axes, drawing.panels) if panel.heat is not None]
    if heated:
        name = next(panel.heat.name for panel in drawing.panels if panel.heat is not None)
        figure.colorbar(heated[0].images[0], ax=heated, label=name, shrink=0.8)
    entries = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels()):
            entries.setdefault(label, handle)
    if entries:
        figure.legend(entries.values(), entries.keys(), loc="outside right upper", handlelength=2.4)
    return figure


def _panel(ax, panel: Panel, drawing: Drawing) -> None:
    ax.set(xlabel=panel.x, ylabel=panel.y, title=panel.title)
    for axis in panel.log:
        ax.set(**{f"{axis}scale": "log"})
        shared = drawing.panels if drawing.alike and axis == "y" else (panel,)  # one axis has the marks of all on it
        lines = [each for one in shared for each in one.series]
        values = pd.Series([value for each in lines for value in getattr(each, axis) if value > 0])
        if values.max() > DECADES * values.min():
            getattr(ax, f"{axis}axis").set_major_locator(LogLocator(numticks=6))
            getattr(ax, f"{axis}axis").set_minor_formatter(NullFormatter())
        else:
            readable(getattr(ax, f"{axis}axis"), values)
    if panel.ticks is not None:
        ax.set_xticks(list(panel.ticks), [f"{tick:g}" for tick in panel.ticks])
    for span in panel.spans:
        ax.axvspan(span.low, span.high, color=span.colour, alpha=0.15, lw=0, label=span.name)
    if panel.level is not None:
        ax.axhline(panel.level, color=INK, lw=0.8, ls=":")
    if panel.heat is not None:
        low, high = drawing.heat_range
        ax.imshow(panel.heat.values, cmap=HEAT, vmin=low, vmax=high, interpolation="nearest")
        ax.grid(visible=False)
    for each in panel.series:
        _series(ax, each)


def _series(ax, each: Series) -> None:
    style = {"color": each.colour, "lw": 1.2, "ls": each.dash or "none", "marker": each.marker or None, "ms": 4}
    ax.plot(each.x, each.y, label=each.name, **style)
    if each.low is None:
        return
    if each.band:
        ax.fill_between(each.x, each.low, each.high, color=each.colour, alpha=0.2, lw=0)
    else:
        ax.vlines(each.x, each.low, each.high, color=each.colour, lw=0.8, alpha=0.6)
