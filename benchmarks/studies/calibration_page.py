"""The page of a calibration in Markdown: every number with its interval."""

TITLE = "# Do intervals and verdicts keep their promise?"

INTRODUCTION = """
`{command}` (commit {commit}; {device}, {precision}).

Each row is {pairs} pairs of arms with n images each. They are drawn from pools of {pool:,} images per arm. The values
are `{protocol}` with the n of the row. Seeds: {seeds}. Brackets are 95 % intervals (for shares by Wilson). Formulas:
[docs/statistics.md](../../docs/statistics.md). All numbers are in `calibration.json`.

![standard errors, false verdicts and power against n](calibration.svg)

## Arms that do not differ

Both arms have the same law, and a significant difference is a false verdict. Share of false verdicts at the 5 % level
by influence values, over all n of the table: {rates}.

`stated / true` is the mean standard error divided by the spread of the differences (sd). `r` is the correlation of the
influence values of both arms. `independent`: different images of one pool. `paired, r = x`: noise z and x z + sqrt(1 -
x^2) w. `real digits, r = x`: training digits against training digits, where a share x is the same in both arms; the
distance is at its floor there. `first order` uses influence values without their second order. The jackknife has 40
blocks.

| arms | n | sd | r | false verdicts | stated / true | first order | jackknife |
|---|---|---|---|---|---|---|---|
"""

POWER = """
## Arms that differ

Share of pairs with a significant difference in the right direction, at the 5 % level. The known difference is the
difference of the whole pools (n = {pool:,}).

| arm | known difference | n | paired | sd | r | unpaired | sd |
|---|---|---|---|---|---|---|---|
"""


def page(record: dict) -> str:
    """The page of a record that `calibrate.py` wrote."""
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
