"""Plotly figures as SVG files for print. `kaleido` draws them in the machine's Chrome or Chromium."""

import asyncio
import hashlib
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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
    with ThreadPoolExecutor(1) as pool:  # a notebook already runs an event loop in this thread
        drawn = pool.submit(asyncio.run, _svgs(list(figures.values()))).result()
    if isinstance(drawn, str):
        return drawn
    for path, svg in zip(figures, drawn):
        write(Path(path), lambda file, svg=svg: file.write(svg))
    return None


async def _svgs(figures: list[go.Figure]) -> list[bytes] | str:
    try:
        import kaleido
        from choreographer.errors import BrowserDepsError, BrowserFailedError, ChromeNotFoundError
    except ModuleNotFoundError as error:
        return f"no SVG is written, because {error.name} is not installed: pip install 'kaleido>=1'"
    try:
        async with kaleido.Kaleido(mathjax=False) as browser:
            return [await _svg(browser, each) for each in figures]
    except ChromeNotFoundError:
        return "no SVG is written, because no Chrome or Chromium is found: install one, or set BROWSER_PATH to it"
    except (BrowserDepsError, BrowserFailedError) as error:
        reason = type(error).__name__
        return f"no SVG is written, because Chrome does not start ({reason}): set BROWSER_PATH to one that does"


async def _svg(browser, figure: go.Figure) -> bytes:
    """One SVG. plotly.js names parts of it by random digits; here the names come from the figure."""
    named = go.Figure(figure)
    for i, trace in enumerate(named.data):
        trace.uid = str(i)
    text = (await browser.calc_fig(named, {"format": "svg"})).decode()
    if drawn := re.search(r'id="defs-([0-9a-f]{6})"', text):
        text = text.replace(drawn[1], hashlib.sha256(named.to_json().encode()).hexdigest()[:6])
    return text.encode()
