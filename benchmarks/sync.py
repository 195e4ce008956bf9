"""make sync: replay the ledger into Weights & Biases. Runs keep their ids, so that doing it twice changes nothing.

wandb login                      # once
python benchmarks/sync.py tracker.project=fastdiff tracker.entity=my-team
"""

import sys

from omegaconf import DictConfig, OmegaConf

from fastdiff_benchmarks.entry import entry


@entry("sync")
def main(cfg: DictConfig) -> None:
    from tqdm import tqdm

    from fastdiff.cell import key
    from fastdiff.knobs import build
    from fastdiff.records import Ledger
    from fastdiff.reports.tables import KNOBS, lines
    from fastdiff.tracking import Tracker, logged_in, track, track_sweep

    ledger, tracker = Ledger(cfg.ledger), build(Tracker, OmegaConf.to_container(cfg.tracker), "tracker")
    records = list(ledger.all("quality"))
    if not records:
        raise ValueError(f"there is nothing to upload in {ledger.root}; measure something first: make bench")
    if tracker.mode == "online" and not logged_in():
        raise ValueError("not logged in to W&B; run `wandb login` or set WANDB_API_KEY, then make sync again")
    grids = {grid["grid"]: lines(ledger, grid["keys"], len(grid.get("dropped", []))) for grid in ledger.all("grids")}
    swept = {line["key"]: (line, name) for name, found in grids.items() for line in found}
    alone = lines(ledger, [record["key"] for record in records if record["key"] not in swept])
    every = swept | {line["key"]: (line, None) for line in alone}
    failures = []
    for record in tqdm(records, desc="uploading", unit="cell"):
        line, grid = every[record["key"]]
        samples = ledger.samples(key(record["identity"]["generation"]))
        failures.append(track(tracker, line, KNOBS, grid, samples))
    failures += [track_sweep(tracker, name, found) for name, found in grids.items() if found]
    failures = [failure for failure in failures if failure]
    total = len(records) + sum(map(bool, grids.values()))
    print(f"{total - len(failures)} of {total} runs, {len(records)} of them cells, are in W&B project"
          f" '{tracker.project}'")  # fmt: skip
    if failures:
        print("\n".join(failures), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
