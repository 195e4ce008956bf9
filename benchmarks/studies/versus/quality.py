"""What a faster way to compute costs in quality: the same cell in every way, compared with eager float32."""

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
UNKEYED = [{"threads": 1}, {"batch": 50}]  # these are not part of a key and must change nothing


def measure(settings: dict, ledger, low: bool) -> list[dict]:
    """One row per way: its value, the paired difference to the first way, r, and the verdict (Holm over all rows).

    settings: the settings of a cell. Precision, memory format and graphs are varied, and in the fastest precision also
    threads and batch. low: whether to compute in bfloat16 too.
    """
    from fastdiff.bench.ledger import Ledger
    from fastdiff.metrics.cards import sign
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
        with tempfile.TemporaryDirectory() as folder:  # in the same ledger the cell would already be measured
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
    """Measure the cell one way. Returns its quality column, and its row without the comparison."""
    from fastdiff.bench.config import cell_of
    from fastdiff.bench.run_cell import run_cell
    from fastdiff.metrics.cards import judged_by

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
