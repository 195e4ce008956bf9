"""The papers' figures that `make diagnose` has drawn, on the report's page."""

import base64
from html import escape
from pathlib import Path

from ..files import read_json

KNOWN = "figures.json"  # what is drawn of which model: {"model": name, "figures": {name: {"title", "sentence"}}}


def drawn(folder: Path, model: str) -> dict[str, dict[str, str]]:
    """The figures of a model in a folder: name -> its title and its sentence."""
    known = read_json(folder / KNOWN) if (folder / KNOWN).exists() else {}
    found = known["figures"] if known.get("model") == model else {}
    return {name: words for name, words in found.items() if (folder / f"{name}.svg").exists()}


def papers(folder: Path, model: str) -> str:
    """Every figure of a model in a folder, as html, each behind its title; empty where there is none.

    The page with the interactive figures, if it is there, is linked as `../<folder's name>/index.html`.
    """
    if not (found := drawn(folder, model)):
        return ""
    page = f"../{folder.name}/index.html"
    alive = f' The interactive figures are in <a href="{page}">{page}</a>.' if (folder / "index.html").exists() else ""
    return f"<p>Drawn by <code>make diagnose</code> for {escape(model)}.{alive}</p>{stills(folder, found)}"


def stills(folder: Path, figures: dict[str, dict[str, str]]) -> str:
    """Figures as they lie in a folder, each behind its title. figures: as `drawn` gives them."""
    parts = []
    for name, words in figures.items():
        data = base64.b64encode((folder / f"{name}.svg").read_bytes()).decode()
        picture = f'<img class="still" alt="{escape(words["title"])}" src="data:image/svg+xml;base64,{data}">'
        caption = f"<figcaption>{escape(words['sentence'])}</figcaption>"
        parts.append(
            f"<details><summary>{escape(words['title'])}</summary><figure>{picture}{caption}</figure></details>"
        )
    return "".join(parts)
