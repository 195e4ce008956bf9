"""The sentences of the page: the headline, the cards, and what the numbers are. `text in backticks` becomes code."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ..bench.records import Quality
from ..metrics.cards import sign, words
from ..statistics import Estimate, verdicts
from .comparisons import as_fast, loss, tally
from .pareto import BOUNDS, FAR, Pick, far, front, gains, sure
from .rows import quality_columns

DASH = "\N{EN DASH}"
THAN = {"better": "better than", "worse": "worse than", "indistinguishable": "indistinguishable from"}
Compare = Callable[[pd.Series, pd.Series], Estimate]


def number(value: float | None, size: float = 1.0, sign: str = "") -> str:
    """A number with as many decimals as suit values up to `size`: 0.01234, 0.123, 12.34, 123.4, 1234."""
    digits = next((digits for least, digits in ((1000, 0), (100, 1), (1, 2), (0.1, 3)) if size >= least), 5)
    return DASH if value is None or pd.isna(value) else f"{value:{sign}.{digits}f}"


def ends(line: Any, column: str, size: float, sign: str = "") -> str:
    """The interval of a value, ` [low, high]`; empty where it has none."""
    low, high = (line.get(f"{column}.{end}") for end in ("low", "high"))
    return "" if low is None or pd.isna(low) else f" [{number(low, size, sign)}, {number(high, size, sign)}]"


def valued(line: Any, column: str) -> str:
    """A value with its interval, where it has one."""
    return number(line[column], abs(line[column])) + ends(line, column, abs(line[column]))


def signed(change: Estimate) -> str:
    """A difference with its sign and interval."""
    size = max(abs(each) for each in (change.value, change.low, change.high) if not pd.isna(each))
    line = {} if pd.isna(change.se) else {"d.low": change.low, "d.high": change.high}
    return number(change.value, size, "+") + ends(line, "d", size, "+")


def sentence(line: pd.Series, column: str) -> str:
    """A cell, its quality with its interval, and its speed."""
    speed = f"{line['images_per_s']:.1f} images per second"
    return f"{line['cell']}: {column.partition('[')[0]} {valued(line, column)} at {speed}"


@dataclass(frozen=True)
class Headline:
    """What the page opens with. command: what to type for its cell. doubt: a warning about the clock."""

    lede: str
    notes: list[str] = field(default_factory=list)
    command: str = ""
    doubt: str = ""


def headline(frame: pd.DataFrame, column: str, base: pd.Series, compare: Compare, commands: dict[str, str]) -> Headline:
    """The fastest cell that loses no quality against the baseline, and what the equal-cost baseline gives.

    frame: cells that may be compared. base: the baseline's row. compare(row, row) -> paired difference in the column.
    A speed-up is the smaller of the measured and the promised one. Whether quality is better, and whether baselines are
    worse, is corrected for the number of cells (Holm). That nothing is lost is not: wider intervals would not make that
    claim safer.
    """
    untouched = frame["baseline"].astype(bool)
    if not untouched.any():
        return Headline("No baseline has been measured, so it is unknown what is gained. Run `make bench`.")
    faster = _faster(frame, base)
    told = _told({line["key"]: compare(line, base) for _, line in faster.iterrows()}, column)
    kept = (
        line
        for _, line in faster.iterrows()
        if line["verdict"] != "worse" and not _lost(line, column) and not loss(compare(line, base), column).low > 0
    )
    best = next(kept, None)
    low, first = sign(column) > 0, {"by": column, "ascending": sign(column) > 0}
    winners, lowest = front(frame, column), frame.sort_values(**first).iloc[0]
    last = f"{int(winners['baseline'].sum())} of the {len(winners)} cells on the Pareto front are baselines."
    last += f" The {'lowest' if low else 'highest'} value has {sentence(lowest, column)}{_beside(lowest)}."
    last += f" All values are `{column}`."
    baseline = f"The baseline is {sentence(base, column)}."
    if best is None:
        lede = "Nothing measured here is faster than the baseline without a measured loss."
        near = [f" The nearest is {sentence(line, column)}." for _, line in faster.sort_values(**first).iterrows()][:1]
        return Headline("".join([lede, *near]), [baseline, tally(frame), last])
    rivals = frame[untouched & as_fast(frame, best)].sort_values(**first)
    short, fewer = _rivals(rivals, best, column, compare)
    better = told[best["key"]] == "better"
    quality = "at better quality" if better else "at indistinguishable quality"
    lede = f"{best['gain']:.2f} times the speed of the baseline, {quality}{short}: {sentence(best, column)}."
    change = compare(best, base)
    said = f"{baseline} The paired difference is {signed(change)}."
    if not better:
        end = number(change.high if low else change.low, 1, "+")
        said += f" With {base['n']:,} images no loss was found; it may be as large as {end}."
    return Headline(lede, [said, fewer, tally(frame), last], commands[best["key"]], _doubt(best, base))


def _faster(frame: pd.DataFrame, base: pd.Series) -> pd.DataFrame:
    """Cells that are no baselines, cheaper and faster than the baseline; the largest believed gain first."""
    cells = frame[~frame["baseline"].astype(bool)]
    cheaper = cells[cells["macs"] < base["macs"]]  # what costs the same is faster by chance alone
    measured, promised = gains(cheaper, base)
    cheaper = cheaper.assign(gain=sure(measured, promised), far=far(measured, promised))
    return cheaper[cheaper["images_per_s"] > base["images_per_s"]].sort_values("gain", ascending=False)


def _told(changes: dict[str, Estimate], column: str) -> dict[str, str | None]:
    """The verdicts of differences, corrected for all of them."""
    return dict(zip(changes, (verdict.word for verdict in verdicts(list(changes.values()), sign(column)))))


def _beside(line: pd.Series) -> str:
    """How a cell compares with its own baseline."""
    return f", {THAN[line['verdict']]} its own baseline" if line["verdict"] in THAN else ""


def _doubt(best: pd.Series, base: pd.Series) -> str:
    """A warning where the clock and the MACs disagree on the speed-up of the headline."""
    measured, promised = gains(best, base)
    if not best["far"]:
        return ""
    return (
        f"Do not trust the clock here: it measured {measured:.2f} times, the MACs promise {promised:.2f} times, and the"
        " smaller of the two is claimed. The machine was busy or stood still while one of the two cells was timed."
        " `make speed` times them in turns."
    )


def _lost(line: pd.Series, column: str) -> bool:
    """Whether the interval of a line's change, uncorrected, holds losses alone."""
    low, high = (line.get(f"change.{end}", math.nan) for end in ("low", "high"))
    return loss(Estimate(line.get("change", math.nan), math.nan, low, high), column).low > 0


def _rivals(rivals: pd.DataFrame, best: pd.Series, column: str, compare: Compare) -> tuple[str, str]:
    """What the equal-cost baseline gives: for the headline, and in a sentence."""
    if rivals.empty:
        return (", but no baseline as fast has been measured",
                "No baseline as fast has been measured, so it is open whether fewer steps do as well:"
                " `python benchmarks/run.py +grid=steps`.")  # fmt: skip
    changes = {line["key"]: compare(line, best) for _, line in rivals.iterrows()}
    rival, change = rivals.iloc[0], changes[rivals["key"].iloc[0]]
    known = f"The equal-cost baseline is {sentence(rival, column)}; the paired difference to it is {signed(change)}."
    if loss(change, column).value <= 0:
        return ", but the equal-cost baseline is as good", known
    if _told(changes, column)[rival["key"]] != "worse":
        return ", but the equal-cost baseline may be as good", known
    return ", and the equal-cost baseline is worse", known


@dataclass(frozen=True)
class Card:
    """The best cell within a budget. facts: (name, text, verdict). alike: the cells that may be as good."""

    cell: pd.Series
    facts: list[tuple[str, str, str]]
    doubted: bool
    alike: list[pd.Series]
    others: int


def cards(picks: dict[int, dict[str, Pick]], column: str, base: pd.Series) -> dict[int, dict[str, Card]]:
    """Bound -> `images_per_s` -> its card, and `macs` -> that card where another cell is best by MACs."""
    found: dict[int, dict[str, Card]] = {bound: {} for bound in BOUNDS}
    for bound, by in picks.items():
        found[bound] = {name: _card(pick, column, base) for name, pick in by.items()}
        if len({pick.cell["key"] for pick in by.values()}) == 1 and len(by) == 2:
            del found[bound]["macs"]
    return found


def _card(pick: Pick, column: str, base: pd.Series) -> Card:
    line = pick.cell
    measured, promised = gains(line, base)
    fewer = "none was measured: python benchmarks/run.py +grid=steps", ""
    if pick.baseline is not None:
        fewer = against(pick, pick.baseline, pick.baseline["cell"])
    speed = f"{line['images_per_s']:.1f} images/s: {measured:.2f}x measured, {promised:.2f}x promised by MACs"
    facts = [
        (f"quality ({words(column)})", f"{column.partition('[')[0]} {valued(line, column)}", ""),
        ("against the baseline", *against(pick, base, "the baseline")),
        ("against the equal-cost baseline", *fewer),
        ("speed", speed, ""),
    ]
    alike = [each for _, each in pick.alike.iterrows()]
    return Card(line, facts, bool(far(measured, promised)), alike, len(pick.order) - 1)


def against(pick: Pick, other: pd.Series, name: str) -> tuple[str, str]:
    """The difference to another cell with what to call it, and the verdict."""
    if other["key"] == pick.cell["key"]:
        return f"it is {name}", "baseline"
    word = pick.words[other["key"]]
    said = f"{THAN[word]} {name}" if word else f"no interval is known, beside {name}"
    return f"{signed(pick.found[other['key']])} {said}", word or ""


def clock_warning(frame: pd.DataFrame) -> str:
    """How many cells of a table have a speed-up that nobody should quote; empty where there is none."""
    count = int(far(frame["speedup"], frame["promised"]).sum())
    cells = "1 cell" if count == 1 else f"{count} cells"
    return count and (
        f"Do not trust the clock for {cells}: the measured speed-up marked ? and the promised one are more than {FAR:g}"
        " times apart. The machine was busy or stood still while the cell, or the one it is compared with, was timed."
        " This page uses the smaller of the two. `make speed` times cells in turns."
    ) or ""  # fmt: skip


_METRICS = {
    "fid": "Fr\u00e9chet distance between the features of generated images and of training images. Lower is better.",
    "clip_score": "100 times the cosine between the CLIP embeddings of an image and of its prompt, at least 0; mean"
    " over the images. Higher is better.",
    "nll": "variational bound on the negative log-likelihood of held-out images, in bits per dimension. Lower is"
    " better. No image is generated for it.",
}


def meanings(frame: pd.DataFrame, base: pd.Series) -> list[str]:
    """What each number is."""
    ours = " The embedded digit classifier gives the features; such values are not comparable with Inception's FID."
    items = [
        f"`{name}`: {said}{ours if 'mnist-classifier' in name else ''}"
        for metric, said in _METRICS.items()
        for name in quality_columns(frame, metric)
    ]
    return [
        *items,
        "Compare only values of the same name. Brackets and whiskers are 95 % intervals from the influence of each of"
        " the n images. The training images count as fixed.",
        "`change`: the first value minus the baseline's, with its paired 95 % interval. Image i starts from the same"
        " noise in both cells; r is the correlation of the influence values. The baseline has the same sampler and"
        " steps with every accelerator off.",
        "`verdict`: better, worse or indistinguishable, corrected for multiple comparisons (Holm, 5 % over the table).",
        "`against_equal_cost`: the same difference from the equal-cost baseline: the best baseline with fewer steps"
        " that is at least as fast, by the clock or by its MACs. Only measured numbers of steps count.",
        "`images_per_s`: protocol `quick`, the median over batches that were generated anyway, on"
        f" {base['device']} ({base['precision']}, batch {base['batch']}). `times_baseline`: over the baseline, at most"
        " what the MACs promise. `speedup`: over the same cell without accelerators. `promised`: the same ratio of"
        " MACs.",
        "`nfe`: network calls per image. `full_calls`: calls that ran every rung. `MMACs`: million multiply-accumulates"
        " per image. `peak_mb`: memory of a batch. `trunk_mb`: memory that is kept between its calls.",
    ]


MEASURES = [
    "`is`: inception score, higher is better. `kid`: unbiased kernel distance, lower is better. `precision`, `density`:"
    " how far generated images lie among reference images; `recall`, `coverage`: how much of the reference they reach;"
    " higher is better. k is the neighbour that a ball reaches to, m the number of reference images.",
    "`[baseline, ...]`: each image beside the image of the baseline with the same noise, mean over the pairs. `psnr`"
    " (dB) and `ssim`: higher is nearer. `largest_difference` (levels of 255) and `feature_distance`: lower is nearer."
    " An image that differs is not worse; the quality of a set is in `fid`.",
]


def environment(records: list[Quality]) -> list[tuple[str, str]]:
    """What the cells were made with; where they differ, each value with its number of cells."""
    facts: dict[str, list[str]] = {}
    for record in records:
        made = record.made
        commit = (made["git_commit"] or "none") + (" with uncommitted changes" if made["git_dirty"] else "")
        found = {"device": record.device, "precision": record.precision, **made["versions"], "git commit": commit}
        for name, value in (found | {"made on": made["made"][:10]}).items():
            facts.setdefault(name, []).append(value)
    counts = {name: [f"{v}: {values.count(v)} cells" for v in dict.fromkeys(values)] for name, values in facts.items()}
    return [(name, "; ".join(each) if len(each) > 1 else facts[name][0]) for name, each in counts.items()]
