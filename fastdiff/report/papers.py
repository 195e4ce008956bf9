"""The papers' figures that `make diagnose` has drawn, on the report's page."""

from html import escape
from pathlib import Path

from ..files import read_json
from .html import details, svg_figure

KNOWN = "figures.json"  # what is drawn of which model: {"model": name, "figures": {name: {"title", "sentence"}}}


def drawn(folder: Path, model: str) -> dict[str, dict[str, str]]:
    """The figures of a model in a folder: name -> its title and its sentence."""
    known = read_json(folder / KNOWN) if (folder / KNOWN).exists() else {}
    found = known["figures"] if known.get("model") == model else {}
    return {name: words for name, words in found.items() if (folder / f"{name}.svg").exists()}


def papers(folder: Path, model: str) -> str:
    """Every figure of a model in a folder, html, each behind its title; empty where there is none.

    The link to the page that draws them with plotly is to `../<folder's name>/`, where the report's folder has it.
    """
    if not (found := drawn(folder, model)):
        return ""
    page = f"../{folder.name}/index.html"
    alive = f' To point at their values: <a href="{page}">{page}</a>, a file beside this one.'
    alive = alive if (folder / "index.html").exists() else ""
    return f"<p>What <code>make diagnose</code> has drawn of {escape(model)}.{alive}</p>{stills(folder, found)}"


def stills(folder: Path, figures: dict[str, dict[str, str]]) -> str:
    """Figures as they lie in a folder, each behind its title. figures: as `drawn` gives them."""
    parts = [
        details(escape(words["title"]), svg_figure((folder / f"{name}.svg").read_bytes(), name, words["title"],
                                                   escape(words["sentence"])))
        for name, words in figures.items()
    ]  # fmt: skip
    return "".join(parts)
