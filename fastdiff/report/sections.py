"""The sections of the report's page, in a newcomer's order: which setting, how it looks, how sure, what to type."""

import functools
from dataclasses import dataclass

import pandas as pd

from ..bench.ledger import Ledger
from ..metrics.cards import sign
from . import answer, clock, figures, meanings, samples
from .best import BOUNDS, at_least, by_nfe
from .cards import SURE, calls_table, cards
from .cells import cells_tables, measures_tables
from .effects import Effects
from .heat import legend, main_table, pair_tables
from .html import anchor, svg_figure, text_table
from .interactive import facts
from .rivals import compare
from .rows import image_columns, more_columns

BEST, SAMPLES, CELLS = (
    "Which setting is best at 2, 3 and 4 times the speed",
    "The same noise in different cells",
    "All cells",
)
QUESTIONS = {
    "Which setting for 2x speed": anchor(BEST),
    "How sure is it": SURE,
    "What do the samples look like": anchor(SAMPLES),
    "How do I reproduce it": anchor(CELLS),
}
_WITHOUT = "Where scripts may not run the page shows a still figure and the same tables, without filters or sorting."
_HINT = (
    "<p>A row's key opens the command that makes it. Type it in the repository, in its environment"
    " (<code>source .venv/bin/activate</code>); what has been measured is not measured again, unless"
    " <code>force=true</code> is added.</p>"
)


@dataclass
class Story:
    """What the page tells of.

    tables: grid -> its table (`tables.table`). every: all their cells. alike: those of `every` that compare with the
    baseline. base: the baseline's row. commands: key -> what to type. notes: grid -> what stands beside its name.
    failed: records of failed cells.
    """

    ledger: Ledger
    tables: dict[str, pd.DataFrame]
    every: pd.DataFrame
    alike: pd.DataFrame
    base: pd.Series
    commands: dict[str, str]
    notes: dict[str, str]
    failed: list[dict]

    @property
    def column(self) -> str:
        """The quality column that cells are judged by: the first in which the baseline has a value."""
        return next(name for name in image_columns(self.every) if pd.notna(self.base[name]))

    def __post_init__(self):
        self.compare = functools.partial(compare, self.ledger, self.column)
        self.best = at_least(self.alike, self.column, self.base, self.compare)

    def gains(self) -> dict[str, float]:
        """Key -> times the baseline's speed, no more than its MACs promise, of the cells that compare with it."""
        return dict(zip(self.alike["key"], clock.sure(*clock.gains(self.alike, self.base))))

    def arms(self) -> list[tuple]:
        """What `samples.grid` draws: the baseline, the best cells, the methods."""
        order = self.alike.sort_values(self.column, ascending=sign(self.column) > 0)
        best = {f"best {self.column.partition('[')[0]}": order.iloc[0]}
        for bound in BOUNDS:
            for by, pick in self.best.get(bound, {}).items():
                best[f"best at {bound}x {'speed' if by == 'images_per_s' else 'fewer MACs'}"] = pick.cell
        return samples.arms(self.ledger, self.alike, self.base, best)


def sections(story: Story, pareto: bytes, papers: str = "") -> list[tuple[str, str]]:
    """(heading, html) of the page. pareto: the still figure as SVG. papers: `papers.papers`."""
    found = [("", _opening(story)), (BEST, _best(story))]
    if arms := story.arms():
        found += [(SAMPLES, samples.grid(arms))]
    found += [("Quality against speed", _pareto(story, pareto))]
    tables = cells_tables(story.tables, story.notes, story.commands, story.gains())
    found += [(CELLS, _HINT + clock.warning(story.every) + tables)]
    effects = Effects(story.ledger, story.alike, story.column)
    if effects.main:
        found += [("What each knob does", legend(effects) + main_table(effects) + pair_tables(effects))]
    found += _knobs(story)
    if calls := by_nfe(story.alike, story.column, story.compare):
        found += [("The best cell at equal network calls", calls_table(calls, story.column, story.commands))]
    found += [("The papers' figures", papers)] if papers else []
    more = measures_tables(story.tables, {name: more_columns(frame) for name, frame in story.tables.items()})
    found += [("More measures of the same images", meanings.measures() + more)] if more else []
    found += [("What the numbers are", meanings.meaning(story.every, story.base))]
    records = [story.ledger.read("quality", key) for key in story.every["key"]]
    found += [("Environment", meanings.environment(records))]
    if story.failed:
        lines = [[record["key"], record["reason"], story.commands[record["key"]]] for record in story.failed]
        found += [("Failed cells", text_table(["key", "reason", "command"], lines, "failed cells"))]
    return found


def drawn(story: Story) -> dict:
    """What the page's script draws and filters."""
    columns = [name for name in (*image_columns(story.every), *more_columns(story.every))
               if story.alike[name].notna().sum() > 1]  # fmt: skip
    columns.sort(key=lambda name: name != story.column)
    return facts(story.every, story.alike, columns, story.base)


def _opening(story: Story) -> str:
    links = "".join(f'<a href="#{place}">{question}?</a>' for question, place in QUESTIONS.items())
    said = answer.answer(story.alike, story.column, story.base, story.compare, story.commands)
    return f'<nav aria-label="questions">{links}</nav>{said}{clock.warning(story.alike)}'


def _best(story: Story) -> str:
    base = f"<p>The baseline is {answer.sentence(story.base, story.column)}.</p>"
    return base + cards(story.best, story.column, story.base, story.commands)


def _pareto(story: Story, svg: bytes) -> str:
    """The still figure, the place where the script draws its own, and that of its filters."""
    caption = f"{len(story.alike)} cells. Point at a mark for its name; click it for its row."
    if len(story.alike) < len(story.every):
        others = len(story.every) - len(story.alike)
        caption += f" The other {others}, of another protocol or machine, are in the table only."
    names = {line["key"]: answer.sentence(line, story.column) for _, line in story.alike.iterrows()}
    still = svg_figure(svg, "pareto", f"{story.column} against images_per_s", caption, names)
    form = '<form id="filters" class="controls" aria-label="filters" hidden></form>'
    return f'{form}<div>{still}</div><div id="plot"></div><p class="note">{caption} {_WITHOUT}</p>'


def _knobs(story: Story) -> list[tuple[str, str]]:
    """The still figure of quality against interval, where one was varied."""
    if (figure := figures.knobs(story.alike, story.column)) is None:
        return []
    caption = "Interval 1 is the uncached network. Of several branches, schedules or protections the most frequent"
    caption += " are shown. Whiskers are 95 % intervals."
    svg = svg_figure(figures.render(figure, "svg"), "knobs", f"{story.column} against interval", caption)
    return [("Quality against the knobs", svg)]
