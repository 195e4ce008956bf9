"""Images of several cells made from the same noise, and how far each is from its plain sampler's, for the page."""

import io
from html import escape

import numpy as np
import pandas as pd
from PIL import Image

from ..bench.cell import key
from ..bench.ledger import Ledger
from ..tracking import contact_sheet
from .html import png
from .rivals import plain_cell
from .rows import cached, same
from .words import describe

COUNT, LARGEST = 10, 128  # images a row; pixels a side, so that a page of large images stays a page
STRENGTHS = (8, 4, 2, 1)


def grid(arms: list[tuple[str, np.ndarray, np.ndarray | None]]) -> str:
    """Arms of (label, images, those of its plain sampler or None), uint8 (N C H W), as html: an arm a figure.

    Below the images |image - plain|, all arms shown as many times as strong, and its mean over pixels and channels.
    """
    gaps = [None if plain is None else difference(pixels[:COUNT], plain[:COUNT]) for _, pixels, plain in arms]
    times = strength([gap for gap in gaps if gap is not None])
    parts = []
    for (label, pixels, _), gap in zip(arms, gaps):
        head = "<br>".join(escape(line) for line in label.split("\n"))
        content = png(strip(pixels[:COUNT]), f"{COUNT} images of {label}".replace("\n", ": "))
        if gap is not None:
            alt = f"their differences from the plain sampler of as many steps, {times} times as strong"
            each = "".join(f"<span>{mean:.1f}</span>" for mean in gap.mean((1, 2, 3)))
            shown = png(strip(np.minimum(gap.astype(int) * times, 255).astype(np.uint8)), alt)
            content += f'<div class="difference">{shown}<div class="each">{each}</div></div>'
        parts.append(f"<figure><figcaption>{head}</figcaption>{content}</figure>")
    note = "The images of a column start from the same noise, and have the same label where there are labels."
    if any(gap is not None for gap in gaps):
        note += (
            f" Below an arm: its absolute difference from the plain sampler of as many steps, shown {times} times as"
        )
        note += " strong, and the mean over the image in levels of 255."
    return f'<p>{note}</p><div class="arms">{"".join(parts)}</div>'


def difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """|one - other| of images, uint8 (N C H W)."""
    return np.abs(one.astype(np.int16) - other.astype(np.int16)).astype(np.uint8)


def strength(gaps: list[np.ndarray]) -> int:
    """The largest of STRENGTHS at which 99.5 % of all levels stay within 255, one for all arms: they compare."""
    top = max((float(np.percentile(gap, 99.5)) for gap in gaps), default=0.0)
    return next((times for times in STRENGTHS if top * times <= 255), 1)


def strip(pixels: np.ndarray) -> bytes:
    """Images uint8 (N C H W) side by side as a PNG, two pixels apart."""
    images = np.pad(pixels, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=128)
    sheet = Image.fromarray(contact_sheet(images, columns=len(images)))
    if (side := pixels.shape[2]) > LARGEST:
        sheet = sheet.resize((round(sheet.width * LARGEST / side), round(sheet.height * LARGEST / side)))
    buffer = io.BytesIO()
    sheet.save(buffer, "png", optimize=True)
    return buffer.getvalue()


def arms(ledger: Ledger, frame: pd.DataFrame, base: pd.Series, best: dict[str, pd.Series]) -> list[tuple]:
    """(label, images, images of its plain cell or None): the baseline, the best cells, and each method at work.

    best: label -> cell. Methods alone, and all at once, are at the baseline's steps and eta. Cells of which no image
    was kept are left out, and each cell is shown once.
    """
    near = frame[same(frame, base, ["steps", "eta"]) & (frame["rho_top"] == 1)]
    tuned, hit, analytic = near["rho_bottom"] != 1, cached(near), near["variance"] == "analytic"
    extremes = near["interval"].isin([near.loc[hit, "interval"].min(), near.loc[hit, "interval"].max()])
    lowest = near["rho_bottom"] == near["rho_bottom"].min()
    chosen = [("Skip-Tuning alone", near[tuned & lowest & ~hit & ~analytic])]
    chosen += [("DeepCache alone", near[~tuned & hit & extremes & ~analytic])]
    chosen += [("Analytic-DPM alone", near[~tuned & ~hit & analytic])]
    chosen += [("all three", near[tuned & lowest & hit & extremes & analytic])]
    lines = [("baseline", base), *best.items()]
    lines += [(name, line) for name, cells in chosen for _, line in cells.iterrows()]
    names = {}
    for name, line in lines:
        names.setdefault(line["key"], (line, []))[1].append(name)
    found = []
    for line, said in names.values():
        plain = plain_cell(line, frame)
        pixels, other = (None if each is None else _kept(ledger, each) for each in (line, plain))
        if pixels is not None:
            beside = None if plain is not None and plain["key"] == line["key"] else other
            found.append((f"{', '.join(said)}\n{describe(line)}", pixels, beside))
    return found


def _kept(ledger: Ledger, line: pd.Series) -> np.ndarray | None:
    return ledger.samples(key(ledger.read("quality", line["key"])["identity"]["generation"]))
