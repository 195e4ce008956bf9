"""The best cells within a budget, as cards and as a table: which, how sure, how fast, and what to type."""

from html import escape

import pandas as pd

from ..metrics.cards import words
from . import clock
from .best import BOUNDS, Pick
from .html import DASH, RANGE, cell, coloured, command, details, ends, number, signed, table
from .rows import plain
from .words import describe

_THAN = {"better": "better than", "worse": "worse than", "indistinguishable": "not told apart from"}


def cards(picks: dict[int, dict[str, Pick]], column: str, base: pd.Series, commands: dict[str, str]) -> str:
    """A card a bound: the best cell at least so many times as fast, and, where it is another one, as cheap in MACs."""
    parts = []
    for bound in BOUNDS:
        by = picks.get(bound, {})
        speed, macs = by.get("images_per_s"), by.get("macs")
        title = f"<h3>At least {bound} times as fast</h3>"
        if speed is None:
            title += f"<p>No measured cell is, by the clock and by its MACs, {bound} times as fast as the baseline.</p>"
        else:
            title += _card(speed, column, base, commands)
        if macs is not None and (speed is None or macs.cell["key"] != speed.cell["key"]):
            title += f"<h4>By MACs alone, {bound} times fewer</h4>{_card(macs, column, base, commands)}"
        elif macs is not None:
            title += f'<p class="note">The same cell is the best with {bound} times fewer MACs.</p>'
        parts.append(f'<section class="card">{title}</section>')
    return f'<div class="cards">{"".join(parts)}</div><p class="note" id="{SURE}">{_NOTE}</p>'


SURE = "how-sure"  # where the page says how far these cards may be trusted
_NOTE = (
    "<strong>How sure is it.</strong> Best: by the value of all cells measured within the bound, plain ones included;"
    " no speed-up is believed beyond what the MACs promise. Differences are paired by noise with 95 % intervals, the"
    " words are Holm's over all comparisons of the three cards. The best of many is chosen by the very images it is"
    " judged by, so that its value is rather too good; <code>make tune</code> chooses on one half and confirms on the"
    ' other. What each number is: <a href="#what-the-numbers-are">what the numbers are</a>.'
)


def _card(pick: Pick, column: str, base: pd.Series, commands: dict[str, str]) -> str:
    line = pick.cell
    measured, promised = clock.gains(line, base)
    clocked = f"{measured:.2f}x"
    if clock.far(measured, promised):
        clocked = f"<mark>{clocked} ?</mark> (the clock is not to be trusted here)"
    facts = [
        (f"quality ({words(column)})", f"{column.partition('[')[0]} {ends(line, column, abs(line[column]))}"),
        ("against the baseline", _against(pick, base, "the baseline")),
        ("against the best plain sampler within the bound", _fewer(pick)),
        ("speed", f"{line['images_per_s']:.1f} images/s: {clocked} measured, {promised:.2f}x promised by MACs"),
        ("others as good", _alike(pick)),
    ]
    listed = "".join(f"<dt>{name}</dt><dd>{said}</dd>" for name, said in facts)
    return f"<p><strong>{_link(line)}</strong></p><dl>{listed}</dl>{command(commands[line['key']])}"


def _link(line: pd.Series) -> str:
    return f'<a href="#cell-{line["key"]}">{escape(describe(line))}</a>'


def _against(pick: Pick, other: pd.Series, name: str) -> str:
    """The difference to another cell, and what to call it."""
    if other["key"] == pick.cell["key"]:
        return f"it is {name}"
    word = pick.words[other["key"]]
    said = coloured(word, f"{_THAN[word]} {name}") if word else f"no interval is known, beside {name}"
    return f"{signed(pick.found[other['key']])} {said}"


def _fewer(pick: Pick) -> str:
    if pick.plain is None:
        return "none was measured: <code>python benchmarks/run.py +grid=steps</code>"
    if pick.plain["key"] == pick.cell["key"]:
        return "it is that: no method at work, only fewer steps"
    return _against(pick, pick.plain, escape(describe(pick.plain)))


def _alike(pick: Pick) -> str:
    """How many others could be the best just as well, and which."""
    others, alike = len(pick.order) - 1, pick.alike
    if not others:
        return "it is the only cell measured within the bound"
    if alike.empty:
        return f"none of the {others} others: all are measurably worse"
    names = "; ".join(_link(line) for _, line in alike.head(12).iterrows())
    names += f"; and {len(alike) - 12} more" if len(alike) > 12 else ""
    return details(f"{len(alike)} of the {others} others are not told apart from it", names)


def calls_table(picks: dict[int, Pick], column: str, commands: dict[str, str]) -> str:
    """A row for each number of network calls: the best cell, and how it compares with the plain sampler of as many."""
    columns = ["nfe", "best cell", column, "against the best plain cell", "not told apart", "images_per_s"]
    columns += ["MMACs", "key"]
    rows, right = [], {"nfe", column, "images_per_s", "MMACs"}
    for nfe, pick in picks.items():
        line = pick.cell
        shown = [str(nfe), _link(line), ends(line, column, abs(line[column]), "", RANGE), _beside(pick)]
        shown += [f"{len(pick.alike)} of {len(pick.order) - 1} others", number(line["images_per_s"], 100)]
        shown += [f"{line['macs'] / 1e6:,.0f}", details(line["key"], command(commands[line["key"]]))]
        rows.append("<tr>" + "".join(cell("td", text, c in right) for text, c in zip(shown, columns)) + "</tr>")
    note = "Network calls are what papers hold equal; a cached call counts as one though it costs less, as its MACs"
    note += " say. The words are Holm's over all comparisons of this table."
    return f"<p>{note}</p>" + table("", columns, right, rows, "calls")


def _beside(pick: Pick) -> str:
    if pick.plain is None:
        return DASH
    if plain(pick.order).iloc[0]:
        return coloured("plain", "it is plain")
    return _against(pick, pick.plain, escape(pick.plain["sampler"]))
