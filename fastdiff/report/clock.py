"""How far a measured speed-up may be believed: no further than the MACs promise, and not at all far away from that.

Protocol `quick` times a cell once, while it is generated. A machine that stood still for a moment is then a slow cell,
or a slow baseline of fast ones.
"""

import numpy as np
import pandas as pd

FAR = 1.5  # measured over promised, or the other way: a machine's drift is a fifth, what is around a network a tenth


def sure(measured, promised):
    """The smaller of a measured and a promised speed-up, numbers or columns; the one that is known where one is."""
    return np.fmin(np.asarray(measured, float), np.asarray(promised, float))


def far(measured, promised):
    """Whether measured and promised speed-up are more than FAR apart, numbers or columns; False where one is unknown.

    With both 0 or above; a promise of 0 would be a network that does nothing.
    """
    ratio = np.asarray(measured, float) / np.asarray(promised, float)
    return (ratio > FAR) | (ratio < 1 / FAR)


def too_fast(frame: pd.DataFrame):
    """Rows whose clock claims far more than their MACs promise: no front and no headline may rest on them."""
    return far(frame["speedup"], frame["promised"]) & (np.asarray(frame["speedup"] > frame["promised"]))


def gains(cells, base: pd.Series) -> tuple:
    """Speed-up of every row, or of one row, over another: as measured (images_per_s), and as the MACs promise."""
    return cells["images_per_s"] / base["images_per_s"], base["macs"] / cells["macs"]


def warning(frame: pd.DataFrame) -> str:
    """Which cells of a table have a speed-up that nobody should quote, as html; empty where there is none."""
    count = int(far(frame["speedup"], frame["promised"]).sum())
    if not count:
        return ""
    cells, have = ("1 cell", "has") if count == 1 else (f"{count} cells", "have")
    return (
        f'<p class="doubted" role="note"><strong>The clock is not to be trusted for {cells}</strong>, which {have} a'
        f" <mark>marked ?</mark> speed-up: measured and promised are more than {FAR:g} times apart, so that the machine"
        " was busy or stood still while the cell, or the uncached one it is compared with, was timed. Order them by the"
        " smaller of the two, as this page does, and measure again: <code>make speed</code> takes turns.</p>"
    )
