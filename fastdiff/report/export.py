"""Plotly figures as SVG and PNG files for print. `kaleido` draws them in the machine's Chrome or Chromium."""

import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from ..files import write


def write_figure(figure: go.Figure, path: str | Path) -> str | None:
    """Write a figure as an SVG. Returns None, or one sentence that says why there is no file.

    The text stays text, and equal figures give equal bytes. The size is `layout.width` by `layout.height`. To write
    several figures, call `write_figures`: it starts Chrome once.
    """
    return write_figures({path: figure})


def write_figures(figures: Mapping[str | Path, go.Figure]) -> str | None:
    """Write several figures, each to its path, as `write_figure` does. None is written where one cannot be drawn."""
    drawn = pictures([(figure, "svg") for figure in figures.values()])
    if isinstance(drawn, str):
        return drawn
    for path, svg in zip(figures, drawn):
        write(Path(path), lambda file, svg=svg: file.write(svg))
    return None


def pictures(wanted: Sequence[tuple[go.Figure, str]]) -> list[bytes] | str:
    """Figures as files in memory, each with its format: `svg` or `png`. One sentence where they cannot be drawn."""
    with ThreadPoolExecutor(1) as pool:  # a notebook already runs an event loop in this thread
        return pool.submit(asyncio.run, _pictures(wanted)).result()


async def _pictures(wanted: Sequence[tuple[go.Figure, str]]) -> list[bytes] | str:
    try:
        import kaleido
        from choreographer.errors import BrowserDepsError, BrowserFailedError, ChromeNotFoundError
    except ModuleNotFoundError as error:
        return f"no picture is written, because {error.name} is not installed: pip install 'kaleido>=1'"
    try:
        async with kaleido.Kaleido(mathjax=False) as browser:
            return [await _picture(browser, figure, suffix) for figure, suffix in wanted]
    except ChromeNotFoundError:
        return "no picture is written, because no Chrome or Chromium is found: install one, or set BROWSER_PATH to it"
    except (BrowserDepsError, BrowserFailedError) as error:
        reason = type(error).__name__
        return f"no picture is written, because Chrome does not start ({reason}): set BROWSER_PATH to one that does"


async def _picture(browser: Any, figure: go.Figure, suffix: str) -> bytes:
    """One file. Of an SVG plotly.js names parts of it by random digits; here the names come from the figure."""
    named = go.Figure(figure)
    for i, trace in enumerate(named.data):
        trace.uid = str(i)
    content = await browser.calc_fig(named, {"format": suffix, "scale": 2 if suffix == "png" else 1})
    if suffix != "svg":
        return content
    text = content.decode()
    if drawn := re.search(r'id="defs-([0-9a-f]{6})"', text):
        text = text.replace(drawn[1], hashlib.sha256(named.to_json().encode()).hexdigest()[:6])
    return text.encode()
