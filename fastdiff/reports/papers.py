"""The papers' figures that `make diagnose` has drawn, on the report's page."""

from html import escape
from pathlib import Path

from ..files import read_json
from .html import details, svg_figure

KNOWN = "figures.json"  # what is drawn of which model: {"model": name, "figures": {name: {"title", "sentence"}}}


def papers(folder: Path, model: str) -> str:
    """Every figure of a model in a folder, html, each behind its title; empty where there is none.

    The link to the page that draws them with plotly is to `../<folder's name>/`, where the report's folder has it.
    """
    known = read_json(folder / KNOWN) if (folder / KNOWN).exists() else {}
    if known.get("model") != model:
        return ""
    found = {name: words for name, words in known["figures"].items() if (folder / f"{name}.svg").exists()}
    page = f"../{folder.name}/index.html"
    alive = f' To point at their values: <a href="{page}">{page}</a>.' if (folder / "index.html").exists() else ""
    parts = [
        details(escape(words["title"]), svg_figure((folder / f"{name}.svg").read_bytes(), name, words["title"],
                                                   escape(words["sentence"])))
        for name, words in found.items()
    ]  # fmt: skip
    return f"<p>What <code>make diagnose</code> has drawn of {escape(model)}.{alive}</p>{''.join(parts)}"
