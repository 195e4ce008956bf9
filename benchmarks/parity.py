"""make parity: our numbers beside those of the official code, one line a family.

    python benchmarks/parity.py
    python benchmarks/parity.py fixtures=path/to/others out=null

The fixtures were made by running the official repositories (tests/fixtures/README.md); others laid out like them may be
tried. Exit code 1 when a difference is larger than its fixture allows.
"""

import math
import sys
from pathlib import Path

from omegaconf import DictConfig

from fastdiff_benchmarks.entry import entry


@entry("parity")
def main(cfg: DictConfig) -> None:
    import pandas as pd
    import torch
    from tqdm import tqdm

    from fastdiff.files import write
    from fastdiff.parity import run

    with torch.inference_mode():
        checks, uncovered = run(Path(cfg.fixtures), lambda of: tqdm(of, desc="parity", unit="case", leave=False))
    frame = pd.DataFrame([check._asdict() | {"ok": check.ok} for check in checks])
    frame["share"] = [check.share for check in checks]
    rows = []
    for family, lines in frame.groupby("family"):
        worst = lines.loc[lines["share"].idxmax()]
        row = {
            "family": family,
            "cases": lines["case"].nunique(),
            "outputs": len(lines),
            "failed": (~lines["ok"]).sum(),
        }
        row |= {"largest error": worst["error"], "tolerance": worst["tolerance"]}
        rows.append(row | {"at": f"{worst['case']}/{worst['output']}", "not covered": len(uncovered[family])})
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.2g"))
    print("The largest error is the one nearest to its tolerance. Lists (steps, full calls) must agree exactly.")
    if missing := {family: names for family, names in uncovered.items() if names}:
        print("not covered yet: " + "; ".join(f"{family}: {summary(names)}" for family, names in missing.items()))
    if cfg.out:
        write(Path(cfg.out), lambda file: frame.drop(columns="share").to_csv(file, index=False, float_format="%.3g"))
        print(f"every output: {cfg.out}")
    failed = frame[~frame["ok"]]
    for _, line in failed.iterrows():
        beyond = "" if line["error"] == math.inf else f": {line['error']:.3g}, allowed {line['tolerance']:.3g}"
        print(f"FAILED {line['family']}/{line['case']}/{line['output']}{beyond}")
    sys.exit(bool(len(failed)))


def summary(names: list[str]) -> str:
    """The outputs' names, each once, whatever the case."""
    outputs = sorted({name.partition("/")[2] for name in names})
    return ", ".join(outputs[:6]) + (f" and {len(outputs) - 6} more" if len(outputs) > 6 else "")


if __name__ == "__main__":
    main()
