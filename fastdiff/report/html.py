"""The report's page and what it is made of: one static file without network, readable with and without its script."""

import base64
import json
import re
from collections.abc import Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files

import pandas as pd

from .figures import INK, PAPER, RULE

SCRIPTS = ("plot.js", "table.js")
DASH, RANGE = "\N{EN DASH}", ' <span class="range">[{}, {}]</span>'


def page(title: str, *sections: tuple[str, str], data: dict | None = None, scripts: Sequence[str] = ()) -> str:
    """Sections of (heading, html) -> a whole HTML document; a section without heading opens the page.

    data: what the report's script draws and filters (`interactive.facts`); without it that script is not there.
    scripts: further ones, in order, at the page's end. The page's security policy lets nothing run but its scripts, by
    their hashes, and nothing be fetched.
    """
    parts = [(f'<h2 id="{anchor(heading)}">{escape(heading)}</h2>\n' if heading else "") + content
             for heading, content in sections]  # fmt: skip
    own = [] if data is None else ["\n".join(_asset(name) for name in SCRIPTS)]
    codes = [code.replace("\r", "") for code in (*own, *scripts)]  # as a browser reads them before it takes their hash
    allowed = " ".join(f"'sha256-{_digest(code)}'" for code in codes) or "'none'"
    policy = f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"
    facts = "" if data is None else f'<script type="application/json" id="facts">{_json(data)}</script>\n'
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}; form-action \'none\'">\n'
        f'<title>{escape(title)}</title>\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>\n{_asset('page.css')}</style>\n</head>\n<body>\n<main>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(parts)
        + f"\n</main>\n{facts}"
        + "".join(f"<script>{code}</script>\n" for code in codes)
        + "</body>\n</html>\n"
    )


def anchor(heading: str) -> str:
    """A heading's id: `All cells` -> `all-cells`."""
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")


def svg_figure(svg: bytes, name: str, alt: str, caption: str, titles: dict[str, str] | None = None) -> str:
    """An SVG of figures.render, inline and in the page's colours; caption is html.

    name: prefix of its ids, so that figures share none. titles: key -> what the mark cell-<key> says when pointed at;
    the mark leads to the table's row.
    """
    text = svg.decode()
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->| xmlns(:xlink)?=\"[^\"]*\"", "", text, flags=re.DOTALL)
    text = re.sub(r'( id="|href="#|url\(#)', rf"\1{name}-", text[text.index("<svg") :].replace("xlink:href", "href"))
    for colour, role in ((INK, "currentColor"), (PAPER, "var(--paper)"), (RULE, "var(--rule)")):
        text = text.replace(colour, role)
    for key, title in (titles or {}).items():
        opened = f'<a href="#cell-{key}" tabindex="-1"><title>{escape(title)}</title>'
        mark = rf'<g id="{name}-cell-{key}">.*?</g>\s*</g>'
        text = re.sub(mark, lambda found, opened=opened: f"{opened}{found[0]}</a>", text, count=1, flags=re.DOTALL)
    points = float(re.search(r' width="([\d.]+)(?:pt)?"', text)[1])
    size = f"min-width: {points:.0f}px; max-width: {1.5 * points:.0f}px"
    drawn = text.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}" style="{size}"', 1)
    return f"<figure>{scrolling(drawn, alt)}<figcaption>{caption}</figcaption></figure>"


def png(content: bytes, alt: str, sized: str = "") -> str:
    """A PNG as a data URI; sized: further attributes."""
    data = base64.b64encode(content).decode()
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}"{sized}>'


def table(title: str, columns: list[str], right: set[str], rows: list[str], kind: str = "") -> str:
    """A table of rows in html under its title; names of columns break where they can. kind: its class."""
    heads = [cell('th scope="col"', re.sub(r"([,_])|(?=\[)", r"\1<wbr>", c), c in right) for c in columns]
    body = f"<thead><tr>{''.join(heads)}</tr></thead><tbody>{''.join(rows)}</tbody>"
    opened = f'<table class="{kind}">' if kind else "<table>"
    return (f"<h3>{escape(title)}</h3>" if title else "") + scrolling(f"{opened}{body}</table>", title or kind)


def text_table(heads: list[str], rows: list[list[str]], label: str) -> str:
    """A small table of words; everything is escaped."""
    head = "".join(cell('th scope="col"', escape(text), False) for text in heads)
    body = "".join("<tr>" + "".join(f'<td class="text">{escape(text)}</td>' for text in row) + "</tr>" for row in rows)
    return scrolling(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>", label)


def command(words: str) -> str:
    """What to type; the script puts a button beside it."""
    return f'<code class="command">{escape(words)}</code>'


def number(value: float, size: float = 1.0, sign: str = "") -> str:
    """A number with as many decimals as suit values up to `size`: 0.01234, 0.123, 12.34, 123.4, 1234."""
    digits = next((digits for least, digits in ((1000, 0), (100, 1), (1, 2), (0.1, 3)) if size >= least), 5)
    return DASH if value is None or pd.isna(value) else f"{value:{sign}.{digits}f}"


def ends(line, column: str, size: float, sign: str = "", form: str = " [{}, {}]") -> str:
    """A value with its interval, where it has one."""
    value, low, high = (line.get(name) for name in (column, f"{column}.low", f"{column}.high"))
    ends = "" if low is None or pd.isna(low) else form.format(number(low, size, sign), number(high, size, sign))
    return number(value, size, sign) + ends


def signed(change, form: str = " [{}, {}]") -> str:
    """A difference (Estimate) with its sign and interval."""
    size = max(abs(each) for each in (change.value, change.low, change.high) if not pd.isna(each))
    line = {"d": change.value} | ({} if pd.isna(change.se) else {"d.low": change.low, "d.high": change.high})
    return ends(line, "d", size, "+", form)


def coloured(verdict, words: str) -> str:
    """Words in the colour of a verdict."""
    return f'<span class="{verdict}">{words}</span>' if verdict in ("better", "worse", "plain") else words


def cell(tag: str, content, right: bool, more: str = "") -> str:
    """A td or th; right: it holds numbers. more: further attributes."""
    kind = ' class="number"' if right else ""
    return f"<{tag}{kind}{more}>{content}</{tag.split()[0]}>"


def details(summary: str, content: str) -> str:
    """Content, html, that opens below its summary."""
    return f"<details><summary>{summary}</summary>{content}</details>"


def scrolling(content: str, label: str) -> str:
    """What may be wider than a narrow screen scrolls in its own box, by keyboard too."""
    return f'<div class="wide" tabindex="0" role="group" aria-label="{escape(label)}">{content}</div>'


def _digest(code: str) -> str:
    return base64.b64encode(sha256(code.encode()).digest()).decode()


def _asset(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _json(data: dict) -> str:
    """JSON that ends no script, the same for equal data."""
    return json.dumps(data, separators=(",", ":"), sort_keys=True, allow_nan=False).replace("<", "\\u003c")
