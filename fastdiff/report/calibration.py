"""The page and the figure of a calibration: what was found, every number with its interval."""

import pandas as pd
from matplotlib.figure import Figure

from ..diagnostics.print_style import MUTED, PAPER, styled

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"]

TITLE = "# Do intervals and verdicts keep their promise?"

INTRODUCTION = """
`{command}` (commit {commit}; {device}, {precision}).

Each row is {pairs} pairs of arms of n images, drawn from pools of {pool:,} images an arm; its values are `{protocol}`
with the n of the row. Seeds: {seeds}. Brackets are 95 % intervals (a share's by Wilson). Formulas:
[docs/statistics.md](../../docs/statistics.md). Everything is in `calibration.json`.

![standard errors, false verdicts and power against n](calibration.png)

## Arms that do not differ

Share of pairs that were told apart at the 5 % level though both arms have one law, all n of the table together, by
influence values: {rates}.

`stated / true` is the mean standard error over the spread of the differences (sd). `r` is the correlation of the
influence values of both arms. `independent`: different images of one pool. `paired, r = x`: noise z and
x z + sqrt(1 - x^2) w. `real digits, r = x`: training digits against training digits, a share x of them the same in both
arms; the distance is at its floor there. `first order` is what influence values say without their second order, the
jackknife has 40 blocks.

| arms | n | sd | r | false verdicts | stated / true | first order | jackknife |
|---|---|---|---|---|---|---|---|
"""

POWER = """
## Arms that differ

Share of pairs that were told apart in the right direction, at the 5 % level. The known difference is that of the whole
pools (n = {pool:,}), from which the pairs are drawn.

| arm | known difference | n | paired | sd | r | unpaired | sd |
|---|---|---|---|---|---|---|---|
"""


def page(record: dict) -> str:
    """Markdown of what `benchmarks/calibrate.py` wrote."""
    pools, made = record["pools"], record["machine"]["made"]
    pool = next(iter(pools.values()))["n"]
    facts = {
        "command": record["command"],
        "commit": str(made["git_commit"])[:7] + " with changes" * bool(made["git_dirty"]),
        "device": record["machine"]["device"],
        "precision": record["machine"]["precision"],
        "pairs": record["aa_pairs"],
        "pool": pool,
        "protocol": record["nulls"][0]["protocol"].rpartition(",")[0] + ",n=...]",
        "seeds": ", ".join(f"{name} {seed}" for name, seed in record["seeds"].items()),
        "rates": _rates(record),
    }
    text = TITLE + "\n" + INTRODUCTION.format(**facts)
    rows = record["nulls"]
    for row in (row for row in rows if row["method"] == "influence"):
        first, blocks = (
            next(r for r in rows if r["method"] == method and (r["arms"], r["n"]) == (row["arms"], row["n"]))
            for method in ("first order", "jackknife")
        )
        cells = [row["arms"], f"{row['n']:,}", f"{row['sd']:.3g}", f"{row['r']:.3f}", _percent(row), _ratio(row)]
        cells += [f"{_percent(other)}; {_ratio(other)}" for other in (first, blocks)]
        text += _line(cells)
    if record["power"]:
        text += POWER.format(**facts)
    for row in (row for row in record["power"] if row["paired"]):
        (other,) = (r for r in record["power"] if not r["paired"] and (r["arms"], r["n"]) == (row["arms"], row["n"]))
        cells = [
            row["arms"],
            f"{row['known_difference']:+.2f}",
            f"{row['n']:,}",
            _percent(row, "power"),
            f"{row['sd']:.3g}",
        ]
        text += _line([*cells, f"{row['r']:.3f}", _percent(other, "power"), f"{other['sd']:.3g}"])
    text += "\n## Pools\n\n| arm | n | distance | key of its blocks |\n|---|---|---|---|\n"
    for name, facts in pools.items():
        (protocol,) = facts.keys() - {"key", "n"}
        text += _line([name, f"{facts['n']:,}", f"{facts[protocol]:.3f} `{protocol}`", f"`{facts['key']}`"])
    return text


def _rates(record: dict) -> str:
    names = {
        "false_verdict_rate": "of independent arms",
        "paired_false_verdict_rate": "of paired arms",
        "near_reference_false_verdict_rate": "of real digits",
    }
    return ", ".join(f"{_percent(record, name)} {of}" for name, of in names.items() if record[name] is not None)


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |\n"


def _percent(row: dict, name: str = "false_verdict_rate") -> str:
    value, low, high = (100 * row[name + end] for end in ("", ".low", ".high"))
    return f"{value:.1f} % [{low:.1f}, {high:.1f}]"


def _ratio(row: dict) -> str:
    return f"{row['se_over_sd']:.2f} [{row['se_over_sd.low']:.2f}, {row['se_over_sd.high']:.2f}]"


@styled
def figure(nulls: pd.DataFrame, power: pd.DataFrame) -> Figure:
    """Standard errors, false verdicts and power against n; whiskers are 95 % intervals, grey bands what is promised.

    nulls, power: the rows of `fastdiff.statistics.calibration.rows`; without power there is no third panel.
    """
    shown = bool(len(power))
    drawn = Figure(figsize=(4 * (2 + shown), 4.2), layout="constrained")
    left, middle, right = [*drawn.subplots(1, 2 + shown), None][:3]
    left.axhspan(0.85, 1.2, color=MUTED, alpha=0.15, lw=0)
    middle.axhspan(0.02, 0.08, color=MUTED, alpha=0.15, lw=0)
    for i, (arms, part) in enumerate(nulls.groupby("arms", sort=False)):
        colour, aside = COLOURS[i % len(COLOURS)], 0.93 * 1.03**i
        for method, marker, name in (("influence", "o", arms), ("first order", "x", None)):
            of = part[part["method"] == method]
            look = {"color": colour, "marker": marker, "ls": "-" if name else ":", "label": name, "aside": aside}
            _whiskers(left, of, "se_over_sd", **look)
            _whiskers(middle, of, "false_verdict_rate", **look)
    for i, ((arms, pair), part) in enumerate(power.groupby(["arms", "paired"], sort=False) if shown else []):
        known = f"{arms} ({part['known_difference'].iloc[0]:+.2f}), {'paired' if pair else 'unpaired'}"
        colour = COLOURS[i // 2 % len(COLOURS)]
        look = {"color": colour, "marker": "o", "mfc": colour if pair else PAPER, "ls": "-" if pair else "--"}
        _whiskers(right, part, "power", label=known, aside=0.97 * 1.02**i, **look)
    left.set(ylabel="stated / empirical standard error of the difference")
    middle.set(ylabel="false verdicts at the 5 % level (dotted: first order)", ylim=(0, None))
    if shown:
        right.set(ylabel="power: differences told apart", ylim=(-0.03, 1.03))
    sizes = sorted(nulls["n"].unique())
    for ax in drawn.axes:
        ax.set(xscale="log", xlabel="n, images an arm", xticks=sizes, xticklabels=sizes)
        ax.minorticks_off()
    for ax, where in zip((left, right)[: 1 + shown], ("outside lower left", "outside lower right")):
        drawn.legend(*ax.get_legend_handles_labels(), loc=where, ncols=2)
    return drawn


def _whiskers(ax, part: pd.DataFrame, name: str, aside: float, **look) -> None:
    """A line of a column against n; aside: moves it along n, so that whiskers do not lie on one another."""
    ends = abs(part[[f"{name}.low", f"{name}.high"]].sub(part[name], axis=0)).T
    ax.errorbar(part["n"] * aside, part[name], ends, elinewidth=0.8, lw=1, ms=4, **look)
