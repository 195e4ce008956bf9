"""The page of the papers' figures in a browser: its own policy lets its scripts draw all of them."""

import numpy as np
import pandas as pd
import pytest
from browsing import NARROW, WIDE, fetched, grave_faults, opener

from fastdiff.diagnostics.figure import Panels, page_of


def lines():
    frame = pd.DataFrame({"sigma": [0.1, 1, 10], "y": [1, 2, 3], "y.low": [0.9, 1.9, 2.9], "y.high": [1.1, 2.1, 3.1]})
    panels = Panels(["a panel", "another"])
    for i in range(2):
        panels.line(i, frame, "a", "sigma", "y", colour="#0072b2", symbol="circle")
        panels.shade(i, "clipped", 0.1, 0.3, "#777777")
        panels.axes(i, "sigma", "loss", log="x")
        panels.level(i, 1.0)
    return panels.figure("lines", "Some lines", "What is seen; n = 3.")


def maps():
    panels = Panels(["a map", "another"])
    for i in range(2):
        panels.axes(i, "call", "call")
        panels.heat(i, np.eye(3), "cosine")
    return panels.figure("maps", "Some maps", "What is seen; n = 3 </script>.")


FIGURES = {"lines": lines(), "maps": maps(), "absent": "no cell is in results/runs: make bench"}


@pytest.fixture
def open_page(browser, tmp_path):
    path = tmp_path / "index.html"
    path.write_text(page_of("figures", FIGURES, ("svg", "csv")))
    with opener(browser, path) as open_:
        yield open_


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_every_figure_is_drawn_and_nothing_is_said_or_fetched(open_page, size):
    page = open_page(size)
    assert page.locator("#lines .scatterlayer .trace").count() == 4  # a line and the name of a span, twice
    assert page.locator("#lines .shapelayer path").count() == 4  # a span and a level, twice
    assert page.locator("#maps .heatmaplayer image").count() == 2
    assert page.get_by_text("Not drawn: no cell is in results/runs").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert page.said == [] and len(fetched(page)) == 1
    assert grave_faults(page) == []
