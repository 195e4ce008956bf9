"""The headline: what is gained without a measured loss, and whether fewer plain steps give it too."""

import math
from collections.abc import Callable

import pandas as pd

from ..metrics.cards import sign
from ..statistics import Estimate, verdicts
from . import clock
from .figures import front
from .html import command, details, ends, number, signed
from .rivals import as_fast, loss, tally
from .rows import cached, plain
from .words import describe, rho


def sentence(line: pd.Series, column: str) -> str:
    """A cell, its quality with its interval, and its speed."""
    speed = f"{line['images_per_s']:.1f} images per second"
    return f"{describe(line)}: {column.partition('[')[0]} {ends(line, column, abs(line[column]))} at {speed}"


def answer(
    frame: pd.DataFrame, column: str, base: pd.Series, compare: Callable[..., Estimate], commands: dict[str, str]
) -> str:
    """The headline: the fastest cell with a method at work that loses nothing, and what fewer plain steps give.

    frame: cells that may be compared. base: the baseline's row. compare(row, row) -> difference in column, paired.
    commands: key -> what to type. Fastest by the smaller of what was measured and what the MACs promise: a clock that
    stood still once makes no headline.
    """
    if not plain(frame).any():
        return _paragraphs("No plain sampler has been measured, so what is gained is open: <code>make bench</code>.")
    faster = _faster(frame, base)
    words = _words({line["key"]: compare(line, base) for _, line in faster.iterrows()}, column)
    kept = (
        line
        for _, line in faster.iterrows()
        if line["verdict"] != "worse" and not _lost(line, column) and not loss(compare(line, base), column).low > 0
    )
    best = next(kept, None)
    low, first = sign(column) > 0, {"by": column, "ascending": sign(column) > 0}
    winners, lowest = front(frame, column), frame.sort_values(**first).iloc[0]
    last = f"{plain(winners).sum()} of the {len(winners)} cells on the Pareto front are plain samplers."
    last += f" The {'lowest' if low else 'highest'} value is that of {sentence(lowest, column)}{_beside(lowest)}."
    last += f" All values here are <code>{column}</code>."
    if best is None:
        near = [f" The nearest is {sentence(line, column)}." for _, line in faster.sort_values(**first).iterrows()][:1]
        lede = "<strong>Nothing measured here is faster than the baseline without a measured loss.</strong>"
        lede += "".join(near)
        return _paragraphs(f"{lede} The baseline is {sentence(base, column)}.", tally(frame), last)
    rivals = frame[plain(frame) & as_fast(frame, best)].sort_values(**first)
    short, fewer = _rivals(rivals, best, column, compare)
    change = compare(best, base)
    risk = "" if words[best["key"]] == "better" else _risk(best, base, column, change)
    quality = "at quality not told apart from it" if risk else "at better quality"
    lede = f"<strong>{best['gain']:.2f} times the speed of the baseline, {quality}{short}</strong>:"
    lede += f" {sentence(best, column)}. The baseline is {sentence(base, column)}; the paired difference is"
    lede += f" {signed(change)}.{risk}"
    typed = f'<span class="typed">{command(commands[best["key"]])}</span>'
    chosen = details("How this cell was chosen", f"<p>{_RULE}</p>")
    return _paragraphs(lede, typed, _doubt(best, base), f"{fewer} {tally(frame)} {last}") + chosen


def _faster(frame: pd.DataFrame, base: pd.Series) -> pd.DataFrame:
    """Cells with a method at work that are cheaper and faster than the baseline, the largest believed gain first.

    gain: the smaller of measured and promised. far: whether the two are far apart.
    """
    methods = frame[cached(frame) | (frame.apply(rho, axis=1) != "1") | (frame["variance"] == "analytic")]
    cheaper = methods[methods["macs"] < base["macs"]]  # what costs the same is faster by chance alone
    measured, promised = clock.gains(cheaper, base)
    cheaper = cheaper.assign(gain=clock.sure(measured, promised), far=clock.far(measured, promised))
    return cheaper[cheaper["images_per_s"] > base["images_per_s"]].sort_values("gain", ascending=False)


def _words(changes: dict[str, Estimate], column: str) -> dict[str, str | None]:
    """Verdicts of differences, Holm's over all of them: a praise is of the best of many."""
    return dict(zip(changes, (verdict.word for verdict in verdicts(list(changes.values()), sign(column)))))


def _beside(line: pd.Series) -> str:
    """How a cell with a method at work compares with its plain sampler at the same steps."""
    said = {"better": "better than", "worse": "worse than", "indistinguishable": "not told apart from"}
    return f", {said[line['verdict']]} its plain sampler" if line["verdict"] in said else ""


_RULE = (
    "It is the fastest cell with a method at work whose interval against the plain sampler at its own steps, and"
    " against the baseline, reaches 0 or gain; its speed-up is the smaller of the measured one and the one its MACs"
    " promise. These intervals are not adjusted for the number of cells: to claim that nothing is lost is not made"
    " safer by wider ones. What is praised is adjusted: better quality is Holm's over all faster cells, and that fewer"
    " plain steps do not match it over all plain cells that are as fast."
)


def _risk(best: pd.Series, base: pd.Series, column: str, change: Estimate) -> str:
    """How large a loss cannot be excluded."""
    end = number(change.high if sign(column) > 0 else change.low, 1, "+")
    return f" In {base['n']:,} images no loss was told; it may be as large as {end}."


def _doubt(best: pd.Series, base: pd.Series) -> str:
    """A warning where the clock and the MACs of the headline's cell, or of its own speed-up, tell two stories."""
    measured, promised = clock.gains(best, base)
    if not best["far"]:
        return ""
    return (
        f"<mark>The clock is not to be trusted here</mark>: it said {measured:.2f} times, the MACs promise"
        f" {promised:.2f} times, and the smaller of the two is claimed. One of the two cells was timed while the"
        " machine was busy or stood still; <code>make speed</code> takes turns."
    )


def _lost(line: pd.Series, column: str) -> bool:
    """Whether the interval of a line's change, not adjusted for other cells, holds losses alone."""
    ends = [line.get(f"change.{end}", math.nan) for end in ("low", "high")]
    return loss(Estimate(line.get("change", math.nan), math.nan, *ends), column).low > 0


def _rivals(rivals: pd.DataFrame, best: pd.Series, column: str, compare: Callable[..., Estimate]) -> tuple[str, str]:
    """What plain sampling gives at the speed of the best cell: for the headline, and in a sentence."""
    if rivals.empty:
        return (", but no plain sampler as fast has been measured",
                "No plain sampler as fast has been measured, so whether fewer plain steps do as well is open:"
                " <code>python benchmarks/run.py +grid=steps</code>.")  # fmt: skip
    changes = {line["key"]: compare(line, best) for _, line in rivals.iterrows()}
    rival, change = rivals.iloc[0], changes[rivals["key"].iloc[0]]
    known = f"{sentence(rival, column)}; the paired difference to it is {signed(change)}."
    lost = loss(change, column)
    if lost.value <= 0:
        return ", but fewer plain steps do as well", f"<strong>But fewer plain steps do as well</strong>: {known}"
    if _words(changes, column)[rival["key"]] != "worse":
        said = "<strong>But fewer plain steps do as well, within the uncertainty</strong>"
        return ", but fewer plain steps may do as well", f"{said}: {known}"
    return (", and fewer plain steps do not match it",
            f"Fewer plain steps do not match it. The best plain cell as fast is {known}")  # fmt: skip


def _paragraphs(lede: str, *others: str) -> str:
    return f'<p class="lede">{lede}</p>' + "".join(f"<p>{text}</p>" for text in others if text)
