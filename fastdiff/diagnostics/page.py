"""All figures on one page that needs no network: plotly.js is inside."""

from html import escape

from ..report.page import page
from .drawing import Drawing
from .interactive import code, library, place


def index(title: str, figures: dict[str, Drawing | str], earlier: str = "") -> str:
    """figures: name -> what was drawn, or the sentence that says why it was not. earlier: html of others.

    Raises ModuleNotFoundError without plotly, saying what to install.
    """
    scripts = [library()]
    sections = [("", "<p>Point at a mark for its values, click in a legend to hide, drag to zoom.</p>")]
    for name, drawn in figures.items():
        if isinstance(drawn, str):
            sections.append((name, f"<p>Not drawn: {escape(drawn)}</p>"))
            continue
        files = ", ".join(f'<a href="{name}.{suffix}">{suffix}</a>' for suffix in ("svg", "png", "csv"))
        caption = f"<figcaption>{escape(drawn.sentence)} Files: {files}.</figcaption>"
        sections.append((drawn.title, f"<figure>{place(drawn)}{caption}</figure>"))
        scripts.append(code(drawn))
    sections += [("Drawn earlier", earlier)] if earlier else []
    return page(title, *sections, scripts=scripts)
