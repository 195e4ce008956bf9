"""A page in headless Chromium, for tests; who imports this is skipped where there is no browser."""

import shutil
from contextlib import contextmanager

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if BROWSER is None:
    reason = "a page can only be tried in a browser, and no chromium or google-chrome is installed"
    pytest.skip(reason, allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e .[dev]")
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@contextmanager
def launched():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opener(browser, path):
    """open_(size, **context) -> the page at path, with what it said and asked for in .said and .asked."""
    opened = []

    def open_(size=WIDE, **context):
        opened.append(browser.new_context(viewport=size, **context))
        page = opened[-1].new_page()
        page.said, page.asked = [], []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(path.as_uri())
        return page

    yield open_
    for context in opened:
        context.close()


def fetched(page) -> list[str]:
    """What a page asked for beside data it carries."""
    return [address for address in page.asked if not address.startswith(("data:", "blob:"))]


def grave_faults(page) -> list[tuple[str, str]]:
    """Serious and critical faults that axe finds."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = axe.Axe().run(page).response["violations"]
    return [(each["id"], each["nodes"][0]["html"][:200]) for each in found if each["impact"] in ("serious", "critical")]
