"""What a faster way to compute costs in quality: the same cell in every one, beside float32 run eagerly."""

import sys
import tempfile

WAYS = [
    {"precision": "float32"},
    {"precision": "float32", "memory_format": "channels_last"},
    {"precision": "float32", "compile": "default"},
    {"precision": "bfloat16"},
    {"precision": "bfloat16", "memory_format": "channels_last"},
    {"precision": "bfloat16", "compile": "default"},
    {"precision": "bfloat16", "memory_format": "channels_last", "compile": "default"},
]
UNKEYED = [{"threads": 1}, {"batch": 50}]  # no key knows of these, so that they must change nothing


def measure(settings: dict, ledger, low: bool) -> list[dict]:
    """A line a way: its value, the paired difference to the first, r, and Holm's verdict over all of them.

    settings: of a cell; its device's precision, layout and graphs are varied and, in the fastest precision, threads
    and batch. low: whether to compute in bfloat16 too.
    """
    from fastdiff.bench.ledger import Ledger
    from fastdiff.metrics.direction import sign
    from fastdiff.report.comparisons import compared
    from fastdiff.statistics import verdicts

    ways = WAYS if low else [way for way in WAYS if way["precision"] == "float32"]
    precision = {"precision": "bfloat16" if low else "float32"}
    lines, found = [], []
    for way in ways:
        column, line = _line(settings, ledger, way)
        lines.append(line)
        found.append(compared(ledger, column, line, lines[0]))
    for way in UNKEYED:
        with tempfile.TemporaryDirectory() as folder:  # in the ledger the cell would be one that is known
            other = Ledger(folder)
            column, line = _line(settings, other, precision | way)
            lines.append(line)
            found.append(compared(other, column, line, lines[0], ledger))
    words = verdicts([each.found for each in found[1:]], sign(column))
    for line, each, word in zip(lines, found, [None, *words]):
        ends = {"change": each.found.value, "change.low": each.found.low, "change.high": each.found.high}
        line |= ends | {"change.r": each.r, "verdict": word.word if word else "baseline"}
    return lines


def _line(settings: dict, ledger, way: dict) -> tuple[str, dict]:
    """The cell, measured that way: its quality column, and its line without the comparison."""
    from fastdiff.bench.config import cell_of
    from fastdiff.bench.run_cell import run_cell
    from fastdiff.metrics.direction import judged_by

    varied = settings | {"device": settings["device"] | {"memory_format": "contiguous", "compile": "none"} | way}
    outcome = run_cell(cell_of(varied), ledger, varied)
    words = {"threads": "{} thread", "batch": "batch {}"}
    name = ", ".join(words.get(knob, "{}").format(value) for knob, value in way.items()).replace("default", "compiled")
    if outcome.kind == "failed":
        print(f"error: {name} failed: {outcome.record.reason}", file=sys.stderr)
        sys.exit(1)
    column = judged_by(outcome.record.values)
    value, cost = outcome.record.values[column], outcome.record.compiled or {"graphs": 0, "seconds": 0.0}
    line = {"way": name, "key": outcome.key, column: value.value}
    line |= {f"{column}.{end}": getattr(value, end) for end in ("low", "high")}
    print(f"  {name}: {column} {value.value:.4g}", flush=True)
    return column, line | {"graphs": cost["graphs"], "graph_seconds": cost["seconds"]}
