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

    from fastdiff.cell import build, key
    from fastdiff.records import Ledger
    from fastdiff.reports.tables import KNOBS, row
    from fastdiff.tracking import Tracker, logged_in, track

    ledger, tracker = Ledger(cfg.ledger), build(Tracker, OmegaConf.to_container(cfg.tracker), "tracker")
    records = list(ledger.all("quality"))
    if not records:
        raise ValueError(f"there is nothing to upload in {ledger.root}; measure something first: make bench")
    if tracker.mode == "online" and not logged_in():
        raise ValueError("not logged in to W&B; run `wandb login` or set WANDB_API_KEY, then make sync again")
    group = {key_: grid["grid"] for grid in ledger.all("grids") for key_ in grid["keys"]}
    failures = []
    for record in tqdm(records, desc="uploading", unit="cell"):
        line, samples = (
            row(record, ledger.read("speed", record["speed_key"])),
            ledger.samples(key(record["identity"]["generation"])),
        )
        failures.append(track(tracker, line, KNOBS, group.get(record["key"]), samples))
    failures = [failure for failure in failures if failure]
    print(f"{len(records) - len(failures)} of {len(records)} cells are in W&B project '{tracker.project}'")
    if failures:
        print("\n".join(failures), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
