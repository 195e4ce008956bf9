"""What a faster way to compute costs in quality: the same cell in every one, beside float32 run eagerly."""

import sys

WAYS = [
    {"precision": "float32"},
    {"precision": "float32", "memory_format": "channels_last"},
    {"precision": "float32", "compile": "default"},
    {"precision": "bfloat16"},
    {"precision": "bfloat16", "memory_format": "channels_last"},
    {"precision": "bfloat16", "compile": "default"},
]


def measure(settings: dict, ledger, low: bool) -> list[dict]:
    """A line a way: its value, the paired difference to the first, r, and Holm's verdict over all of them.

    settings: of a cell; its device's precision, layout and graphs are varied. low: whether to compute in bfloat16 too.
    """
    from fastdiff.bench import run_cell
    from fastdiff.metrics.direction import judged_by, sign
    from fastdiff.reports.rivals import compared
    from fastdiff.settings import cell_of
    from fastdiff.statistics import verdicts

    lines, found = [], []
    for way in WAYS if low else [way for way in WAYS if way["precision"] == "float32"]:
        varied = settings | {"device": settings["device"] | {"memory_format": "contiguous", "compile": "none"} | way}
        outcome = run_cell(cell_of(varied), ledger, varied)
        name = ", ".join(way.values()).replace("default", "compiled")
        if outcome.kind == "failed":
            print(f"error: {name} failed: {outcome.record['reason']}", file=sys.stderr)
            sys.exit(1)
        column = judged_by(outcome.record["values"])
        value, cost = outcome.record["values"][column], outcome.record.get("compiled", {"graphs": 0, "seconds": 0.0})
        line = {"way": name, "key": outcome.key, column: value["value"]}
        line |= {f"{column}.{end}": value.get(end) for end in ("low", "high")}
        lines.append(line | {"graphs": cost["graphs"], "graph_seconds": cost["seconds"]})
        found.append(compared(ledger, column, line, lines[0]))
        print(f"  {name}: {column} {value['value']:.4g}", flush=True)
    words = verdicts([each.found for each in found[1:]], sign(column))
    for line, each, word in zip(lines, found, [None, *words]):
        ends = {"change": each.found.value, "change.low": each.found.low, "change.high": each.found.high}
        line |= ends | {"change.r": each.r, "verdict": word.word if word else "baseline"}
    return lines
