"""make parity: compare our numbers with the numbers of the official code. Prints one line per family.

    python tests/parity/run.py
    python tests/parity/run.py fixtures=/some/folder out=null

The fixtures come from runs of the official repositories (tests/fixtures/README.md). Any folder with the same layout
works. `out` is the file for the error of every output; `out=null` writes none. The exit code is 1 if an error is larger
than its fixture allows, and 2 if there is nothing to compare.
"""

import math
import sys
from pathlib import Path

import pandas as pd
import torch
from official import Check, run
from tqdm import tqdm

from fastdiff.files import write

ROOT = Path(__file__).parent.parent.parent
WORDS = {"fixtures": str(ROOT / "tests" / "fixtures"), "out": str(ROOT / "results" / "parity.csv")}


def main(words: list[str]) -> int:
    """Compare, print and write. Returns the exit code."""
    if not {"-h", "--help"}.isdisjoint(words):
        print(__doc__)
        return 0
    try:
        chosen = settings(words)
        with torch.inference_mode():
            checks, uncovered = run(
                Path(chosen["fixtures"]), lambda cases: tqdm(cases, desc="parity", unit="case", leave=False)
            )
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(families(checks, uncovered).to_string(index=False, float_format="%.2g"))
    print("The largest error is the one nearest to its tolerance. Lists (steps, full calls) must agree exactly.")
    if missing := {family: names for family, names in uncovered.items() if names}:
        print("not covered yet: " + "; ".join(f"{family}: {summary(names)}" for family, names in missing.items()))
    if chosen["out"] not in ("", "null"):
        frame = pd.DataFrame([check._asdict() | {"ok": check.ok} for check in checks])
        write(Path(chosen["out"]), lambda file: frame.to_csv(file, index=False, float_format="%.3g"))
        print(f"every output: {chosen['out']}")
    failed = [check for check in checks if not check.ok]
    for check in failed:
        beyond = "" if check.error == math.inf else f": {check.error:.3g}, allowed {check.tolerance:.3g}"
        print(f"FAILED {check.family}/{check.case}/{check.output}{beyond}")
    return int(bool(failed))


def settings(words: list[str]) -> dict[str, str]:
    """`name=value` words over the defaults. Raises ValueError for a word that is none of them."""
    chosen = dict(WORDS)
    for word in words:
        name, equals, value = word.partition("=")
        if name not in WORDS or not equals:
            raise ValueError(f"'{word}' is not one of: {', '.join(f'{known}=PATH' for known in WORDS)}")
        chosen[name] = value
    return chosen


def families(checks: list[Check], uncovered: dict[str, list[str]]) -> pd.DataFrame:
    """One row per family: how many cases and outputs, how many failed, and the check nearest to its tolerance."""
    rows = []
    for family in sorted({check.family for check in checks}):
        own = [check for check in checks if check.family == family]
        worst = max(own, key=lambda check: check.share)
        rows.append({
            "family": family,
            "cases": len({check.case for check in own}),
            "outputs": len(own),
            "failed": sum(not check.ok for check in own),
            "largest error": worst.error,
            "tolerance": worst.tolerance,
            "at": f"{worst.case}/{worst.output}",
            "not covered": len(uncovered[family]),
        })  # fmt: skip
    return pd.DataFrame(rows)


def summary(names: list[str]) -> str:
    """The names of the outputs without their cases, each once, at most six of them."""
    outputs = sorted({name.partition("/")[2] for name in names})
    return ", ".join(outputs[:6]) + (f" and {len(outputs) - 6} more" if len(outputs) > 6 else "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
