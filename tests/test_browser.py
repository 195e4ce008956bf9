"""The page in a browser: it draws, filters, sorts and copies, asks for nothing, and anyone can use it."""

import csv
import io

import numpy as np
import pytest
from browsing import NARROW, WIDE, fetched, grave_faults, opener, playwright
from test_reports import FID, fill, make, settings, write_cell

from fastdiff.report import pareto
from fastdiff.report.table import table


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(table of comparable cells, path of the page): two grids, a stalled clock, a cell of another protocol."""
    root, draw, pixels = (
        tmp_path_factory.mktemp("browser"),
        np.random.default_rng(2),
        np.zeros((9, 1, 28, 28), np.uint8),
    )
    ledger = fill(root / "runs")
    odd = [settings("ddpm", 25, 3, 1.0), settings("ddim", 7, 1, 1.0, n=200)]
    keys = [write_cell(ledger, conf, draw, pixels, 30.0, 900.0) for conf in odd]
    ledger.write("grids", "odd", {"grid": "odd", "keys": keys})
    done = make(root)
    assert done.returncode == 0, done.stderr
    frame = table(ledger)
    return frame[frame["n"] == 1000], root / "report" / "index.html"


@pytest.fixture
def open_page(browser, made):
    with opener(browser, made[1]) as open_:
        yield open_


def traces(page) -> list[dict]:
    """What plotly has drawn."""
    page.wait_for_selector("#plot .main-svg")
    return page.evaluate("""() => document.getElementById("plot").data.map((trace) => ({name: trace.name,
        keys: trace.customdata ?? [], x: [...trace.x], y: [...trace.y], marks: Boolean(trace.error_y)}))""")


def keys_of(page) -> list[str]:
    """The cells that have a mark."""
    marks = (trace for trace in traces(page) if trace["marks"])
    return [key for trace in marks for key, x in zip(trace["keys"], trace["x"]) if x is not None]


def front_of(page) -> list[str]:
    return next(trace["keys"] for trace in traces(page) if trace["name"] == "Pareto front")


def visible_rows(page, grid: int = 0) -> list[str]:
    rows = page.locator("h2#all-cells ~ .wide table.cells").nth(grid).locator("tbody tr:not([hidden])")
    return rows.evaluate_all("rows => rows.map(row => row.dataset.cell)")


def choose(page, label: str, text: str) -> None:
    page.locator("#switches label", has_text=label).locator("select").select_option(label=text)


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_it_draws_everything_says_nothing_and_asks_for_nothing(made, open_page, size):
    frame, path = made
    page = open_page(size)
    assert sorted(keys_of(page)) == sorted(frame["key"])
    assert page.locator("#plot .errorbar").count() == len(frame)  # whiskers
    drawn = page.eval_on_selector_all("img", "images => images.map(image => image.complete && image.naturalWidth)")
    assert len(drawn) > 5 and all(drawn)
    assert page.locator(".plot.heat .main-svg").count() > 1
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]  # no sideways scrolling of the page
    assert page.said == [] and fetched(page) == [path.as_uri()]


def test_it_is_not_allowed_to_ask_for_anything(open_page):
    page = open_page()
    answer = page.evaluate("fetch('http://localhost:9/').then(() => 'came', () => 'did not')")
    assert answer == "did not" and any("Content Security Policy" in said for said in page.said)


def test_without_scripts_the_tables_are_there(made, open_page):
    page = open_page(java_script_enabled=False)
    assert page.locator("noscript").count() == 1 and page.locator("noscript > *").first.is_visible()
    assert not page.locator("#filters").is_visible()
    assert page.get_by_text("At least 2 times as fast", exact=True).is_visible()
    assert page.locator("tr[data-cell]").count() > len(made[0])


@pytest.mark.parametrize(("label", "by"), [(None, "images_per_s"), ("MMACs per image", "macs"),
                                          ("network calls per image (NFE)", "nfe")])  # fmt: skip
def test_the_front_holds_what_no_cell_beats_and_a_doubted_clock_counts_by_the_clock_alone(made, open_page, label, by):
    page, frame = open_page(), made[0]
    if label:
        choose(page, "against", label)
        order = frame.sort_values([by, FID])
        expected = order[order[FID] < order[FID].cummin().shift(fill_value=np.inf)]["key"]
    else:
        expected = pareto.front(frame, FID)["key"]
    assert set(front_of(page)) == set(expected)


@pytest.mark.parametrize(("text", "column"), [("MMACs per image", "macs"), ("network calls per image (NFE)", "nfe")])
def test_the_axis_can_be_switched(made, open_page, text, column):
    page = open_page()
    choose(page, "against", text)
    assert page.locator("#plot .xtitle", has_text=text).count() == 1
    frame = made[0].set_index("key")
    for trace in traces(page):
        if trace["marks"]:
            unit = 1e6 if column == "macs" else 1
            assert trace["x"] == pytest.approx([frame.at[key, column] / unit for key in trace["keys"]], rel=1e-5)
    assert page.said == []


def test_the_quality_can_be_switched(made, open_page):
    page = open_page()
    choose(page, "quality", "is[mnist-classifier,splits=10,n=1000]")
    assert page.locator("#plot .ytitle", has_text="(higher is better").count() == 1
    assert len(keys_of(page)) == len(made[0])


def test_filters_work_on_the_plot_and_on_the_tables_and_can_be_taken_back(made, open_page):
    frame, page = made[0], open_page()
    before = visible_rows(page)
    page.get_by_label("deepcache", exact=True).uncheck()
    page.locator("fieldset").get_by_label("25", exact=True).uncheck()
    left = frame[~frame["accelerators"].str.contains("deepcache") & (frame["steps"] != 25)]
    assert sorted(keys_of(page)) == sorted(left["key"])
    assert visible_rows(page) == [key for key in before if key in set(left["key"])]
    assert page.get_by_text(f"{len(left) + 1} of {len(frame) + 1} cells are shown").is_visible()  # one is not drawn
    page.get_by_role("button", name="show all").click()
    playwright.expect(page.locator("tr[data-cell][hidden]")).to_have_count(0)
    assert visible_rows(page) == before and len(keys_of(page)) == len(frame)


def test_a_filter_that_leaves_nothing_says_so(open_page):
    page = open_page()
    for box in page.locator("fieldset", has_text="sampler").locator("input").all():
        box.uncheck()
    assert keys_of(page) == [] and page.get_by_text("0 of 38 cells are shown").is_visible() and page.said == []


@pytest.mark.parametrize("column", ["fid", "MMACs", "sampler"])
def test_a_table_sorts_by_a_column_up_and_down(made, open_page, column):
    page, frame = open_page(), made[0].set_index("key")
    head = page.locator("table.cells").first.locator("thead th", has_text=column).first
    for direction, up in (("ascending", True), ("descending", False)):
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == direction
        values = frame.loc[visible_rows(page), {"fid": FID, "MMACs": "macs"}.get(column, column)]
        values = values if column == "sampler" else values.round(2)
        assert values.is_monotonic_increasing if up else values.is_monotonic_decreasing


def test_the_fastest_is_sorted_by_the_smaller_of_measured_and_promised(open_page):
    page = open_page()
    rows = page.locator("table.cells tbody tr", has=page.locator("mark"))
    assert rows.count() == 1 and "?" in rows.inner_text()
    page.locator("table.cells").first.locator("thead th", has_text="speedup").get_by_role("button").click()
    orders = page.locator("table.cells").first.locator("tr td[data-order]")
    values = [float(each.get_attribute("data-order")) for each in orders.all()]
    assert values == sorted(values) and max(values) < 3


def test_a_mark_tells_its_cell_and_leads_to_its_row(made, open_page):
    page, frame = open_page(), made[0].set_index("key")
    traces(page)
    mark = page.locator("#plot .points path.point").nth(3)
    mark.scroll_into_view_if_needed()
    box = mark.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tip = page.locator("#plot .hoverlayer .hovertext")
    playwright.expect(tip.first).to_be_visible()
    said = tip.first.text_content()  # the jump to the row hides it
    assert "images/s" in said
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_function("location.hash.startsWith('#cell-')")
    key = page.url.partition("#cell-")[2]
    assert frame.loc[key, "cell"] in said
    assert page.locator(f"#cell-{key}").evaluate("row => row.getBoundingClientRect().top >= 0")


def test_a_command_can_be_copied(open_page):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    row = page.locator("table.cells tbody tr").first
    button = row.get_by_role("button", name="copy command of")
    button.click()
    playwright.expect(row.locator(".copy")).to_have_text("copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == row.locator("code.command").text_content() and copied.startswith("python benchmarks/run.py")


def test_the_csv_downloads(made, open_page):
    page = open_page()
    with page.expect_download() as waited:
        page.get_by_role("link", name="default.csv").click()
    rows = list(csv.DictReader(io.StringIO(waited.value.path().read_text())))
    assert waited.value.suggested_filename == "default.csv" and len(rows) == 24


def test_differences_can_be_put_away(open_page):
    page = open_page()
    assert page.locator(".difference").first.is_visible()
    page.get_by_label("show differences").uncheck()
    assert page.locator(".difference:visible").count() == 0


@pytest.mark.parametrize(
    ("size", "scheme"),
    [
        (WIDE, "light"),
        (NARROW, "dark"),
        pytest.param(WIDE, "dark", marks=pytest.mark.slow),
        pytest.param(NARROW, "light", marks=pytest.mark.slow),
    ],
    ids=["wide-light", "narrow-dark", "wide-dark", "narrow-light"],
)
def test_axe_finds_no_serious_fault(open_page, size, scheme):
    page = open_page(size, color_scheme=scheme)
    traces(page)
    assert grave_faults(page) == []
