"""The report as one static page: no script, no network, no other file."""

import base64
import re
from html import escape

import pandas as pd

from .figures import INK, PAPER, RULE
from .rivals import rival_words, rivalled
from .rows import KNOBS, MEMORY, main_columns
from .tables import differs, short

CSS = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1f2328; --muted: #59636e; --rule: #d9dde2; --soft: #f4f5f7;
  --good: #116329; --bad: #a40e26; --mark: #0072b2 }
@media (prefers-color-scheme: dark) { :root { --paper: #14171b; --ink: #e3e6ea; --muted: #9aa4af; --rule: #363c44;
  --soft: #1e2227; --good: #6fdd8b; --bad: #ff9492; --mark: #56b4e9 } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
main { max-width: 80rem; margin: 0 auto; padding: 1.5rem 1rem 4rem }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 1rem } h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem }
p, li, dd { max-width: 50rem; margin: .5rem 0 } a { color: var(--mark) }
.lede { font-size: 1.1rem; border-left: 4px solid var(--mark); padding-left: .9rem }
figcaption { color: var(--muted); font-size: .9rem; max-width: 50rem; margin-top: .4rem }
code { font: .88em/1.4 ui-monospace, monospace; overflow-wrap: anywhere }
figure { margin: 1rem 0 } .wide { overflow-x: auto }
.wide svg { display: block; width: 100%; height: auto }
.wide img { display: block; width: 100%; max-width: 50rem; min-width: 36rem; height: auto; border-radius: 6px }
svg text { font-family: system-ui, sans-serif !important } svg a { cursor: pointer }
table { border-collapse: collapse; font-size: .8rem; white-space: nowrap; font-variant-numeric: tabular-nums }
th, td { padding: .22rem .36rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule) }
thead th { vertical-align: bottom; white-space: normal; font-weight: 600; background: var(--soft) }
.number { text-align: right }
tr:target { background: var(--soft); outline: 2px solid var(--mark) }
.better { color: var(--good) } .worse { color: var(--bad) } .plain, .range { color: var(--muted) }
.text { white-space: normal; min-width: 12rem; max-width: 40rem; overflow-wrap: anywhere }
summary { cursor: pointer; font: .92em ui-monospace, monospace }
td details code { display: block; width: 28rem; white-space: normal; padding: .3rem 0 }
"""
DASH, RANGE = "\N{EN DASH}", ' <span class="range">[{}, {}]</span>'


def page(title: str, *sections: tuple[str, str]) -> str:
    """Sections of (heading, html) -> a whole HTML document; a section without heading opens the page."""
    body = "\n".join((f"<h2>{escape(heading)}</h2>\n" if heading else "") + content for heading, content in sections)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{CSS}</style>\n</head>\n'
        f"<body>\n<main>\n<h1>{escape(title)}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )


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
    points = float(re.search(r' width="([\d.]+)pt"', text)[1])
    size = f"min-width: {points:.0f}px; max-width: {1.5 * points:.0f}px"
    return _figure(text.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}" style="{size}"', 1), alt, caption)


def png_figure(png: bytes, alt: str, caption: str) -> str:
    """A PNG as a data URI; caption is html."""
    data = base64.b64encode(png).decode()
    return _figure(f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}">', alt, caption)


def cells_tables(grids: dict[str, pd.DataFrame], notes: dict[str, str], commands: dict[str, str]) -> str:
    """A table a grid, rows in the grid's order; a key opens the command that makes its row.

    grids: name -> tables.table of its cells. notes: name -> what stands beside the name. commands: key -> command.
    """
    knobs, seen, parts = varying(pd.concat(list(grids.values()))), set(), []
    for grid, cells in grids.items():
        rows, values = [], main_columns(cells)
        against = ["against_rival", "rival_verdict"] if rivalled(cells) else []
        memory = [name for name in MEMORY if name in cells and cells[name].notna().any()]
        paired = ["r"] if cells["change.r"].notna().any() else []
        columns = [*knobs, *values, "change", *paired, "verdict", *against, "images_per_s", "speedup"]
        columns += ["promised", *memory, "nfe", "full_calls", "MMACs", "key"]
        right = {c for c in columns if c not in cells or cells[c].dtype.kind in "iuf" or c == "change"}
        for _, line in cells.iterrows():
            shown = {k: _knob(line[k]) for k in [*knobs, "nfe", "full_calls"]}
            shown |= {v: ends(line, v, cells[v].abs().max(), "", RANGE) for v in values}
            own = next(value for value in values if pd.notna(line[value]))  # what its differences are of
            for difference in ("change", "against_rival"):
                shown[difference] = ends(line, difference, cells[own].abs().max(), "+", RANGE)
            shown |= {"r": number(line["change.r"])}
            shown |= {"verdict": _coloured(line["verdict"], _knob(line["verdict"]))}
            shown |= {"rival_verdict": _coloured(line["rival_verdict"], escape(rival_words(line)) or DASH)}
            shown |= {
                "images_per_s": number(line["images_per_s"], 100),
                **{each: number(line[each]) + "x" * pd.notna(line[each]) for each in ("speedup", "promised")},
                **{each: number(line[each], 100) for each in memory},
            }
            code = f"<code>{escape(commands[line['key']])}</code>"
            shown |= {"MMACs": f"{line['macs'] / 1e6:,.0f}", "key": _details(line["key"], code)}
            name = "" if line["key"] in seen else f' id="cell-{line["key"]}"'
            seen.add(line["key"])
            rows.append(f"<tr{name}>{''.join(_cell('td', shown[c], c in right) for c in columns)}</tr>")
        parts.append(_headed(f"{escape(grid)}: {escape(notes[grid])}", columns, right, rows))
    return "".join(parts)


def measures_tables(grids: dict[str, pd.DataFrame], measures: dict[str, list[str]]) -> str:
    """A table a grid with all that was measured of its images beyond what they are compared by.

    measures: grid -> its columns. Whatever no cell of a grid has is left out of its table.
    """
    knobs, parts = varying(pd.concat(list(grids.values()))), []
    for grid, cells in grids.items():
        rows, columns = [], [*knobs, *measures[grid]]
        for _, line in cells.iterrows() if measures[grid] else ():
            shown = {k: _knob(line[k]) for k in knobs}
            shown |= {v: ends(line, v, cells[v].abs().max(), "", RANGE) for v in measures[grid]}
            rows.append(f"<tr>{''.join(_cell('td', shown[c], c in measures[grid]) for c in columns)}</tr>")
        parts += [_headed(f"{escape(grid)}: more measures", columns, set(measures[grid]), rows)] if rows else []
    return "".join(parts)


def _headed(title: str, columns: list[str], right: set[str], rows: list[str]) -> str:
    """A table of rows in html under its title; names of columns break where they can."""
    heads = [_cell('th scope="col"', re.sub(r"([,_])|(?=\[)", r"\1<wbr>", c), c in right) for c in columns]
    table = f"<table><thead><tr>{''.join(heads)}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f"<h3>{title}</h3>{_scrolling(table, title)}"


def text_table(heads: list[str], rows: list[list[str]], label: str) -> str:
    """A small table of words; everything is escaped."""
    head = "".join(_cell('th scope="col"', escape(text), False) for text in heads)
    body = "".join("<tr>" + "".join(f'<td class="text">{escape(text)}</td>' for text in row) + "</tr>" for row in rows)
    return _scrolling(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>", label)


def varying(frame: pd.DataFrame) -> list[str]:
    """Knobs worth a column: the methods', and what varies beyond what the sampler's name already says."""
    always = ["sampler", "steps", "rho_bottom", "interval"]
    more = [k for k in KNOBS if k in frame and k not in always and differs(frame, k)]
    return [*always, *(k for k in more if any(differs(cells, k) for _, cells in frame.groupby("sampler")))]


def number(value: float, size: float = 1.0, sign: str = "") -> str:
    """A number with as many decimals as suit values up to `size`: 0.01234, 0.123, 12.34, 123.4, 1234."""
    digits = next((digits for least, digits in ((1000, 0), (100, 1), (1, 2), (0.1, 3)) if size >= least), 5)
    return DASH if value is None or pd.isna(value) else f"{value:{sign}.{digits}f}"


def ends(line, column: str, size: float, sign: str = "", form: str = " [{}, {}]") -> str:
    """A value with its interval, where it has one."""
    value, low, high = (line.get(name) for name in (column, f"{column}.low", f"{column}.high"))
    ends = "" if low is None or pd.isna(low) else form.format(number(low, size, sign), number(high, size, sign))
    return number(value, size, sign) + ends


def _knob(value) -> str:
    return escape(short(value, DASH))


def _coloured(verdict, words: str) -> str:
    """Words in the colour of a verdict."""
    return f'<span class="{verdict}">{words}</span>' if verdict in ("better", "worse", "plain") else words


def _cell(tag: str, content, right: bool) -> str:
    kind = ' class="number"' if right else ""
    return f"<{tag}{kind}>{content}</{tag.split()[0]}>"


def _details(summary: str, content: str) -> str:
    return f"<details><summary>{summary}</summary>{content}</details>"


def _figure(content: str, alt: str, caption: str) -> str:
    return f"<figure>{_scrolling(content, alt)}<figcaption>{caption}</figcaption></figure>"


def _scrolling(content: str, label: str) -> str:
    """What may be wider than a narrow screen scrolls in its own box, by keyboard too."""
    return f'<div class="wide" tabindex="0" role="group" aria-label="{escape(label)}">{content}</div>'
