"""make bench: measure one cell, or with +grid=NAME every cell of a sweep.

    python benchmarks/run.py sampler=ddim sampler.steps=25 accelerator.deepcache.interval=3
    python benchmarks/run.py +grid=default budget.n=2000

What is already in the ledger is not measured again; force=true measures it anew.
"""

import sys
from dataclasses import dataclass

import hydra
from omegaconf import DictConfig, OmegaConf


@dataclass(frozen=True)
class Result:
    """What a job hands back to the sweep: the cell's key and a line for people."""

    key: str
    failed: bool
    line: str


def measure(cfg: DictConfig) -> Result:
    from fastdiff.bench import run_cell
    from fastdiff.cell import build
    from fastdiff.records import Ledger
    from fastdiff.settings import cell_of
    from fastdiff.tracking import Tracker, track, warn
    from tqdm import tqdm

    from fastdiff_benchmarks.sweep import settings_of

    settings, ledger = settings_of(cfg), Ledger(cfg.ledger)
    cell, tracker = cell_of(settings), build(Tracker, OmegaConf.to_container(cfg.tracker), "tracker")
    rho, cache = cell.skip_tuning, cell.deepcache
    label = f"{settings['sampler']['name']}, {cell.sampler.steps} steps, rho {rho.rho_bottom:g} to {rho.rho_top:g}, interval {cache.interval}"
    with tqdm(total=cell.budget.n, desc=f"  {label}", unit="image", leave=False, disable=None, position=1) as bar:
        outcome = run_cell(cell, ledger, settings, cfg.force, lambda done, n, what: bar.update(done - bar.n))
    if outcome.kind == "failed":
        return Result(outcome.key, True, f"{label}: FAILED: {outcome.record['reason']}")
    values = ", ".join(f"{name} {v['value']:.2f}" + (f" [{v['low']:.2f}, {v['high']:.2f}]" if "low" in v else "")
                       for name, v in outcome.record["values"].items())  # fmt: skip
    speed = ledger.read("speed", outcome.record["speed_key"])
    if not outcome.reused:
        warn(_track(tracker, ledger, outcome, speed, cfg.grid, cell, track))
    known = " (already measured)" if outcome.reused else ""
    return Result(outcome.key, False, f"{label}: {values}, {speed['images_per_s']:.1f} images/s{known}")


def _track(tracker, ledger, outcome, speed, grid, cell, track) -> str | None:
    if tracker.name == "none":
        return None
    from fastdiff.cell import key
    from fastdiff.files import read_npz
    from fastdiff.reports.tables import KNOBS, row

    samples = ledger.path("samples", key(cell.generation()), ".npz")
    pixels = read_npz(samples)["pixels"] if samples.exists() else None
    return track(tracker, row(outcome.record, speed), KNOBS, grid, pixels)


@hydra.main(config_path="pkg://fastdiff_conf", config_name="config", version_base="1.3")
def main(cfg: DictConfig) -> Result:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    try:
        result = measure(cfg)
    except (ValueError, FileNotFoundError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    if HydraConfig.get().mode == RunMode.RUN:
        print(result.line)
        if result.failed:
            sys.exit(1)
    return result


if __name__ == "__main__":
    main()
