"""make report BASE=... NEW=...: a finished ledger beside an earlier one, cell by cell: is anything worse?

    python benchmarks/compare.py base=before/runs new=results/runs cells=default

Exit code 0: no cell is worse; 3: a cell is worse, could not be judged, or is missing in the new ledger; 2: nothing
could be compared. (make itself turns every failure into 2: `fastdiff compare` hands the code on.) It writes compare.csv
and compare.md into `out`. Measures nothing.
"""

import sys
from pathlib import Path

from omegaconf import DictConfig

from fastdiff_benchmarks.entry import entry


@entry("compare")
def main(cfg: DictConfig) -> None:
    from fastdiff.bench.ledger import Ledger
    from fastdiff.files import write
    from fastdiff.report.ledger_comparison import compare_ledgers, markdown, sentences, shown

    base, new, out = cfg.base, cfg.new, Path(cfg.out)
    found = compare_ledgers(Ledger(base), Ledger(new), cfg.cells)
    write(out / "compare.csv", lambda file: file.write(found.cells.to_csv(index=False).encode()))
    write(out / "compare.md", lambda file: file.write(markdown(found, f"{new} against {base}").encode()))
    print(f"{shown(found).to_string(index=False)}\n")
    print("\n".join(sentences(found)))
    print(f"table: {out / 'compare.csv'}, {out / 'compare.md'}")
    sys.exit(found.code)


if __name__ == "__main__":
    main()
