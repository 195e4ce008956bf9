"""make dashboard: a W&B workspace and a report of the cells that `make sync` uploaded.

python benchmarks/dashboard.py tracker.project=fastdiff tracker.entity=my-team

Without an account, or with tracker.mode=offline, the workspace is written as JSON into `out`.
"""

from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from fastdiff_benchmarks.entry import entry


@entry("dashboard")
def main(cfg: DictConfig) -> None:
    from fastdiff.bench.ledger import Ledger
    from fastdiff.files import write
    from fastdiff.knobs import build
    from fastdiff.report.rows import Cells, main_columns
    from fastdiff.report.table import table
    from fastdiff.tracking import Tracker, default_entity, logged_in, summary_name
    from fastdiff.tracking.dashboard import LOGIN, as_json, report, workspace

    ledger, tracker = Ledger(cfg.ledger), build(Tracker, OmegaConf.to_container(cfg.tracker), "tracker")
    known = Cells(ledger)
    cells = table(known)
    if cells.empty:
        raise ValueError(f"there is no finished cell in {ledger.root}; measure some first: make bench")
    value = summary_name(cells[main_columns(cells)].count().idxmax())  # that most cells have
    try:
        found = workspace(tracker, value, known)
    except ImportError as error:
        raise ValueError(str(error)) from error
    if tracker.mode == "online" and logged_in():
        tracker = replace(tracker, entity=tracker.entity or default_entity())
        found = workspace(tracker, value, known)
        for made in (found, report(tracker, value, known)):
            made.save()
            print(f"dashboard: {made.url}")
        return
    path = write(Path(cfg.out) / "workspace.json", lambda file: file.write(as_json(found).encode()))
    print(f"dashboard: {path} (the workspace; {LOGIN})")


if __name__ == "__main__":
    main()
