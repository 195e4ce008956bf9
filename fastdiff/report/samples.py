"""Images of several cells made from the same noise, and how far each is from the images of its baseline."""

import io

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from ..bench.cell import key
from .rows import Cells, same

COUNT, LARGEST = 10, 128  # images a row; pixels a side, which keeps a page of large images small
STRENGTHS = (8, 4, 2, 1)
Arm = tuple[str, np.ndarray, np.ndarray | None]  # label, images, images of the baseline: uint8 (N C H W)


def arms(cells: Cells, frame: pd.DataFrame, base: pd.Series, best: dict[str, pd.Series]) -> list[Arm]:
    """The baseline, the best cells, and at the baseline's sampler settings the cells of every set of accelerators.

    best: label -> cell. Of a set of accelerators the cheapest cell and the dearest one are shown. A cell without kept
    images is left out, and each cell is shown once.
    """
    lines = [("baseline", base), *best.items()]
    near = frame[same(frame, base, ["steps", "sampler"]) & (frame["accelerators"] != "")]
    for names, group in near.sort_values("macs").groupby("accelerators"):
        lines += [(names, group.iloc[at]) for at in dict.fromkeys((0, len(group) - 1))]
    said: dict[str, list[str]] = {}
    for name, line in lines:
        said.setdefault(line["key"], []).append(name)
    found = []
    for name, words in said.items():
        baseline = cells.baseline_of(name)
        pixels, other = (None if each is None else kept(cells, each) for each in (name, baseline))
        if pixels is not None:
            label = f"{', '.join(dict.fromkeys(words))}\n{cells.rows.set_index('key').at[name, 'cell']}"
            found.append((label, pixels, None if baseline == name else other))
    return found


def kept(cells: Cells, name: str) -> np.ndarray | None:
    """The kept images of a cell, uint8 (N C H W)."""
    return cells.ledger.samples(key(cells.records[name].generation))


def difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """|one - other| of images, uint8 (N C H W)."""
    return np.abs(one.astype(np.int16) - other.astype(np.int16)).astype(np.uint8)


def strength(gaps: list[np.ndarray]) -> int:
    """The largest of STRENGTHS at which 99.5 % of all levels stay within 255, one for all arms."""
    top = max((float(np.percentile(gap, 99.5)) for gap in gaps), default=0.0)
    return next((times for times in STRENGTHS if top * times <= 255), 1)


def contact_sheet(samples: np.ndarray, columns: int = 8) -> np.ndarray:
    """uint8 (N C H W) -> one image (H' W') or (H' W' 3) with the samples in rows of `columns`."""
    n, c, h, w = samples.shape
    rows = -(-n // columns)
    sheet = np.zeros((rows * columns, c, h, w), np.uint8)
    sheet[:n] = samples
    sheet = sheet.reshape(rows, columns, c, h, w).transpose(0, 3, 1, 4, 2).reshape(rows * h, columns * w, c)
    return sheet[..., 0] if c == 1 else sheet


def strip(pixels: np.ndarray, gap: int = 128) -> Image.Image:
    """Images uint8 (N C H W) side by side, two pixels of level `gap` apart."""
    images = np.pad(pixels, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=gap)
    sheet = Image.fromarray(contact_sheet(images, columns=len(images)))
    if (side := pixels.shape[2]) > LARGEST:
        sheet = sheet.resize((round(sheet.width * LARGEST / side), round(sheet.height * LARGEST / side)))
    return sheet


def png(picture: Image.Image) -> bytes:
    """A picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "png", optimize=True)
    return buffer.getvalue()


def sheet(rows: list[tuple[str, np.ndarray]], count: int = COUNT, height: int = 62) -> Image.Image:
    """Rows of a label and images, uint8 (N C H W): the first `count` of each. A column shares its noise.

    height: of a row, in pixels.
    """
    strips = [strip(pixels[:count], 255).convert("RGB") for _, pixels in rows]
    strips = [
        each.resize((round(each.width * height / each.height), height), Image.Resampling.NEAREST) for each in strips
    ]
    left = 16 + max(round(7 * len(part)) for label, _ in rows for part in label.split("\n"))
    gap = round(height / 12)
    whole = Image.new("RGB", (left + max(each.width for each in strips), (height + gap) * len(rows)), "white")
    draw = ImageDraw.Draw(whole)
    for i, ((label, _), each) in enumerate(zip(rows, strips)):
        top = i * (height + gap)
        whole.paste(each, (left, top))
        draw.multiline_text((left - 8, top + height / 2), label, "black", anchor="rm", align="right", font_size=12)
    return whole
