"""The house style of figures that matplotlib prints."""

import functools
import io

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from ..report.figures import INK, MUTED, PALETTE, PAPER, RULE

COLOURS = dict(zip(("ddpm", "analytic_ddpm", "ddim", "analytic_ddim", "ddpm_large"), PALETTE))
SPARE = [PALETTE[5], MUTED, PALETTE[6]]
STYLE = {
    "figure.dpi": 100, "savefig.dpi": 150, "svg.fonttype": "none", "svg.hashsalt": "fastdiff", "font.size": 9,
    "font.family": "DejaVu Sans", "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK,
    "ytick.color": INK, "axes.facecolor": PAPER, "figure.facecolor": PAPER, "axes.grid": True, "grid.color": RULE,
    "grid.linewidth": 0.6, "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False,
    "axes.titlesize": 9, "legend.frameon": False, "legend.fontsize": 8,
}  # fmt: skip


def styled(draw):
    """Draw in the house style, whatever the settings of matplotlib are."""

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


def readable(axis, values) -> None:
    """Plain numbers on a log axis, enough of them within one decade."""
    spread = values.max() / values.min()
    axis.set_major_locator(MaxNLocator(6) if spread < 3 else LogLocator(subs=(1, 2, 3, 5) if spread < 30 else (1, 3)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
