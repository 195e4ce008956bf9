"""Figures of the report: quality against speed, quality against the knobs, images made from the same noise."""

import functools
import io

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from ..metrics.cards import sign, words
from ..tracking import contact_sheet
from . import clock
from .labels import annotate
from .rows import cached, plain
from .words import rho

INK, PAPER, RULE = "#2b2b2b", "#ffffff", "#dcdcdc"  # the page swaps these three for its own, light or dark
MUTED = "#808080"
COLOURS = {  # Okabe and Ito's: told apart by colour-blind readers
    "ddpm": "#0072B2", "analytic_ddpm": "#D55E00", "ddim": "#009E73", "analytic_ddim": "#CC79A7",
    "ddpm_large": "#56B4E9",
}  # fmt: skip
SPARE = ["#E69F00", MUTED, "#999933"]
MARKERS = {1: "o", 2: "s", 3: "^", 4: "v", 5: "D"}
DASHES = ["-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1))]
STYLE = {
    "figure.dpi": 100, "savefig.dpi": 150, "svg.fonttype": "none", "svg.hashsalt": "fastdiff", "font.size": 9,
    "font.family": "DejaVu Sans", "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK,
    "ytick.color": INK, "axes.facecolor": PAPER, "figure.facecolor": PAPER, "axes.grid": True, "grid.color": RULE,
    "grid.linewidth": 0.6, "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False,
    "axes.titlesize": 9, "legend.frameon": False, "legend.fontsize": 8,
}  # fmt: skip


def styled(draw):
    """Draw in the house style, whatever matplotlib's own settings are."""

    @functools.wraps(draw)
    def inside(*args, **kwargs):
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return inside


@styled
def render(figure: Figure, suffix: str) -> bytes:
    """A figure as a `png` (150 dpi) or an `svg` whose text stays text; equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=suffix, metadata={"Date": None} if suffix == "svg" else {"Software": None})
    return buffer.getvalue()


def front(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Cells that no other cell beats in the column with as many images_per_s or as few MACs, slowest first; not those
    too fast to believe.

    MACs, because a clock that drifts by a hundredth must not put the worse of two equally dear cells on the front.
    frame: with speedup and promised, where a clock may be doubted (`clock.too_fast`).
    """
    order = {"by": ["images_per_s", column], "ascending": [False, sign(column) > 0]}
    fastest = frame.dropna(subset=[column, "images_per_s"]).sort_values(**order)
    if "speedup" in fastest:
        fastest = fastest[~clock.too_fast(fastest)]
    lost = sign(column) * fastest[column]
    cheapest_better = [fastest["macs"][lost < value].min() for value in lost]
    beaten = np.array(cheapest_better) <= fastest["macs"]
    return fastest[(lost < lost.cummin().shift(fill_value=np.inf)) & ~beaten][::-1]


@styled
def pareto(frame: pd.DataFrame, column: str, baseline: str | None = None) -> Figure:
    """Quality (95 % whiskers) against images_per_s: one mark a cell, numbers are steps.

    baseline: key of the cell to ring. Plain cells of a sampler are joined in the order of their steps. In an SVG the
    group of each mark is named cell-<key>.
    """
    shown = frame.dropna(subset=[column, "images_per_s"])
    figure = Figure(figsize=(9.2, 5.4), layout="constrained")
    ax = figure.subplots()
    ax.set(xscale="log", xlabel="images_per_s  (log; right is faster)")
    readable(ax.xaxis, shown["images_per_s"])
    _quality_axis(ax, shown, column)
    best, rivals = front(shown, column), shown[plain(shown)]
    ax.plot(best["images_per_s"], best[column], drawstyle="steps-pre", **_FRONT)
    for sampler, line in rivals.sort_values("steps").groupby("sampler", sort=False):
        ax.plot(line["images_per_s"], line[column], color=colour_of(sampler), lw=1)
    for _, cell in shown.iterrows():
        colour, x = colour_of(cell["sampler"]), cell["images_per_s"]
        ax.vlines(x, *_ends(cell, column), color=colour, lw=0.8, alpha=0.45)
        fill = {"mec": colour, "mew": 1.3, "mfc": colour if rho(cell) == "1" else PAPER}
        ax.plot(x, cell[column], marker_of(cell["interval"]), ms=6, **fill, gid=f"cell-{cell['key']}", zorder=3)
    named, labels = pd.concat([rivals, best]).drop_duplicates("key"), []
    for _, cell in rivals[rivals["key"] == baseline].iterrows():
        ax.plot(cell["images_per_s"], cell[column], "o", ms=13, mfc="none", mec=INK, mew=1.2)
        labels += [(cell["images_per_s"], cell[column], "baseline", INK)]
    for _, cell in named.iterrows():
        labels += [(cell["images_per_s"], cell[column], str(cell["steps"]), colour_of(cell["sampler"]))]
    figure.legend(handles=_samplers(shown) + _meanings(shown), loc="outside right upper", handlelength=1.8)
    drawn = [
        (c["images_per_s"], y) for _, c in shown.iterrows() for y in (c[column], *np.linspace(*_ends(c, column), 9))
    ]
    annotate(ax, labels, drawn)
    return figure


@styled
def knobs(frame: pd.DataFrame, column: str) -> Figure | None:
    """Quality (95 % whiskers) against interval, one panel a number of steps; None where no interval was varied.

    Of several ways to cache (branch, schedule, protection) the most frequent one is shown; a list of calls has no
    interval.
    """
    hits = frame[cached(frame)].dropna(subset=[column, "interval"])
    if hits.empty:
        return None
    ways = hits[_WAYS].apply(lambda way: str(way.tolist()), axis=1)
    hits = hits[ways == ways.mode().iloc[0]]
    shown = pd.concat([frame[~cached(frame)].dropna(subset=[column]), hits])
    shown = shown[shown["steps"].isin(hits["steps"]) & shown["sampler"].isin(hits["sampler"])].sort_values(
        ["rho_bottom", "rho_top"], ascending=False
    )
    panels, ticks = sorted(shown["steps"].unique()), sorted(shown["interval"].astype(int).unique())
    factors = shown.apply(rho, axis=1)
    looks = {value: DASHES[i % len(DASHES)] for i, value in enumerate(factors.unique())}
    lines = [(sampler, value) for sampler in _order(shown) for value in looks]
    figure = Figure(figsize=(2.4 + 3.1 * len(panels), 3.8), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, steps in zip(axes, panels, strict=True):
        _quality_axis(ax, shown, column)
        ax.set(title=f"steps {steps}", xlabel="interval", xticks=range(len(ticks)), xticklabels=ticks)
        ax.grid(axis="x", visible=False)
        for place, (sampler, value) in enumerate(lines):
            cells = shown[(shown["sampler"] == sampler) & (factors == value) & (shown["steps"] == steps)]
            cells, colour = cells.sort_values("interval"), colour_of(sampler)
            aside = 0.3 * (place / max(1, len(lines) - 1) - 0.5)  # so that whiskers stand beside each other
            x = [ticks.index(interval) + aside for interval in cells["interval"]]
            for at, (_, cell) in zip(x, cells.iterrows(), strict=True):
                ax.vlines(at, *_ends(cell, column), color=colour, lw=0.8, alpha=0.5)
            ax.plot(x, cells[column], "o", ls=looks[value], color=colour, lw=1, ms=5, mfc=_fill(value, colour))
    for ax in axes[1:]:
        ax.set_ylabel("")
    lines = [Line2D([], [], marker="o", ms=5, color=MUTED, lw=1, ls=looks[value], mfc=_fill(value, MUTED),
                    label=f"rho {value}") for value in looks]  # fmt: skip
    figure.legend(handles=_samplers(shown) + lines, loc="outside right upper", handlelength=3)
    return figure


@styled
def samples(rows: list[tuple[str, np.ndarray]], count: int = 10) -> Figure:
    """Rows of a label and images, uint8 (N C H W): the first `count` of each, so that a column shares its noise."""
    left, height = 0.15 + 0.066 * max(len(part) for label, _ in rows for part in label.split("\n")), 0.62  # inches
    width = left + height * count
    figure = Figure(figsize=(width, height * len(rows)))
    for i, (label, pixels) in enumerate(reversed(rows)):
        ax = figure.add_axes((left / width, i / len(rows), 1 - left / width, 0.92 / len(rows)))
        framed = np.pad(pixels[:count], ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=255)
        ax.imshow(contact_sheet(framed, columns=count), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        ax.set_anchor("W")
        ax.text(-0.01, 0.5, label, transform=ax.transAxes, ha="right", va="center", fontsize=8)
        ax.set_axis_off()
    return figure


_WAYS = ["branch", "schedule", "center", "power", "protect_first", "protect_last"]
_FRONT = {"color": MUTED, "lw": 5, "alpha": 0.25, "solid_capstyle": "butt"}


def colour_of(sampler: str) -> str:
    """A sampler's colour in every figure, whatever else is drawn there."""
    return COLOURS.get(sampler) or SPARE[sum(sampler.encode()) % len(SPARE)]


def marker_of(interval: float) -> str:
    """matplotlib's letter for an interval; nan is a list of full calls."""
    return "P" if pd.isna(interval) else MARKERS.get(interval, "X")


def _fill(value: str, colour: str) -> str:
    return colour if value == "1" else PAPER


def _order(frame: pd.DataFrame) -> list[str]:
    return sorted(frame["sampler"].unique(), key=[*COLOURS, *frame["sampler"]].index)


def _ends(cell: pd.Series, column: str) -> tuple[float, float]:
    """Ends of the interval, both the value itself where none is known; above zero, for the sake of a log axis."""
    value, low, high = (cell.get(name, np.nan) for name in (column, f"{column}.low", f"{column}.high"))
    return (value, value) if pd.isna(low) else (max(low, 0.3 * value), high)


def _quality_axis(ax, frame: pd.DataFrame, column: str) -> None:
    ax.set_ylabel(f"{column}  ({words(column)})")
    if 0 < frame[column].min() < 0.2 * frame[column].max():
        ax.set_yscale("log")
        readable(ax.yaxis, frame[column])


def readable(axis, values: pd.Series) -> None:
    """Plain numbers on a log axis, enough of them within one decade."""
    spread = values.max() / values.min()
    axis.set_major_locator(MaxNLocator(6) if spread < 3 else LogLocator(subs=(1, 2, 3, 5) if spread < 30 else (1, 3)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _samplers(frame: pd.DataFrame) -> list[Line2D]:
    names = [Line2D([], [], marker="o", ls="none", ms=6, color=colour_of(name), label=name) for name in _order(frame)]
    return [*names, Line2D([], [], ls="none", label=" ")]


def _meanings(frame: pd.DataFrame) -> list[Line2D]:
    """What the marks and lines of the Pareto plot mean, in grey: true of every colour."""
    marks = [(f"interval {i:g}", marker_of(i), MUTED) for i in sorted(frame["interval"].dropna().unique())]
    marks += [("listed full calls", marker_of(np.nan), MUTED)] if frame["interval"].isna().any() else []
    marks += [("rho other than 1", "o", PAPER)] if (frame[["rho_bottom", "rho_top"]] != 1).any(axis=None) else []
    grey = [Line2D([], [], marker=m, ls="none", ms=6, mec=MUTED, mfc=c, mew=1.3, label=label) for label, m, c in marks]
    grey += [
        Line2D([], [], color=MUTED, lw=1, label="plain sampler,\nfewer steps"),
        Line2D([], [], label="Pareto front", **_FRONT),
    ]
    return [*grey, Line2D([], [], marker="$25$", ls="none", ms=9, mec="none", mfc=MUTED, label="steps")]
