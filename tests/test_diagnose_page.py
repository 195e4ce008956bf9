"""The page of the papers' figures in a browser: its own policy lets its scripts draw all of them."""

import numpy as np
import pytest
from browsing import NARROW, WIDE, fetched, grave_faults, opener

from fastdiff.diagnostics.drawing import Drawing, Heat, Panel, Series, Span
from fastdiff.diagnostics.page import index

pytest.importorskip("plotly", reason="plotly draws for the browser")
LINES = Panel(
    "sigma",
    "loss",
    "a panel",
    (Series("a", [0.1, 1, 10], [1, 2, 3], low=[0.9, 1.9, 2.9], high=[1.1, 2.1, 3.1], colour="#0072b2", marker="o"),),
    spans=(Span("clipped", 0.1, 0.3, "#777777"),),
    log="x",
    level=1.0,
)
MAP = Panel("call", "call", "a map", heat=Heat("cosine", np.eye(3)))
FIGURES = {
    "lines": Drawing("lines", "Some lines", "What is seen; n = 3.", (LINES, LINES), 2),
    "maps": Drawing("maps", "Some maps", "What is seen; n = 3 </script>.", (MAP, MAP), 2),
    "absent": "no cell is in results/runs: make bench",
}


@pytest.fixture
def open_page(browser, tmp_path):
    path = tmp_path / "index.html"
    path.write_text(index("figures", FIGURES))
    with opener(browser, path) as open_:
        yield open_


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_every_figure_is_drawn_and_nothing_is_said_or_fetched(open_page, size):
    page = open_page(size)
    assert page.locator("#lines .scatterlayer .trace").count() == 4  # a line and the name of a span, twice
    assert page.locator("#maps .heatmaplayer image").count() == 2
    assert page.get_by_text("Not drawn: no cell is in results/runs").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert page.said == [] and len(fetched(page)) == 1
    assert grave_faults(page) == []
