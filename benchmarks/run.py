"""make bench: measure one cell, or with +grid=NAME every cell of a sweep.

    python benchmarks/run.py sampler=ddim sampler.steps=25 accelerator.deepcache.interval=3
    python benchmarks/run.py +grid=default budget.n=2000
    python benchmarks/run.py +grid=combined budget.n=2000 budget.ladder=[250,500,750]

What is already in the ledger is not measured again; force=true measures it anew. With a ladder, cells that cannot be on
the front of quality and MACs get no more images (`fastdiff/statistics/ladder.py`).
"""

import sys
from dataclasses import asdict, dataclass

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from fastdiff_benchmarks.entry import entry, settings_of


@dataclass(frozen=True)
class Result:
    """What a job hands back to the sweep: the cell's key, why it failed (or None), and a line for people."""

    key: str
    failure: str | None
    line: str


def measure(cfg: DictConfig) -> Result:
    """The cell of these settings; in a sweep with a ladder its first rung."""
    from fastdiff.bench.config import cell_of
    from fastdiff_benchmarks.ladder import at_rung, settings_at

    settings = settings_of(cfg)
    cell = cell_of(settings)
    alone, ladder = HydraConfig.get().mode == RunMode.RUN, cell.budget.ladder
    if ladder and alone:
        raise ValueError(
            "budget.ladder compares the cells of a sweep, and this is one cell; add +grid=NAME or leave it out"
        )
    if ladder:
        cell, settings = at_rung(cell, ladder[0]), settings_at(cfg, ladder[0])
    return measured(cell, settings, cfg, cfg.force, 0 if alone else 1)


def measured(cell, settings: dict, cfg: DictConfig, force: bool, below: int) -> Result:
    """That cell, of these settings. cfg: where records go and who is told. below: how many bars are above its own."""
    from tqdm import tqdm

    from fastdiff.bench.ledger import Ledger
    from fastdiff.bench.resources import shared
    from fastdiff.bench.run_cell import run_cell, speed_key
    from fastdiff.knobs import build, coerced
    from fastdiff.metrics.direction import JUDGED
    from fastdiff.tracking import Session, Tracker

    ledger, tracker = Ledger(cfg.ledger), build(Tracker, OmegaConf.to_container(cfg.tracker), "tracker")
    label = (
        f"{settings['sampler']['name']}, {cell.sampler.steps} steps, "
        f"rho {cell.skip_tuning.rho_bottom:g} to {cell.skip_tuning.rho_top:g}, {cell.deepcache}"
    )
    with tqdm(total=cell.budget.n, desc=f"  {label}", unit="image", leave=False, disable=None, position=below) as bar:
        images = coerced(cfg.save_images, int, "save_images")
        outcome = run_cell(cell, ledger, settings, force, lambda done: bar.update(done - bar.n), images)
    if outcome.kind == "failed":
        return Result(outcome.key, outcome.record.reason, f"{label}: FAILED: {outcome.record.reason}")
    speed = ledger.read("speed", speed_key(cell))
    if tracker.name != "none" and not outcome.reused:
        session = shared(
            "session", [asdict(tracker), str(ledger.root)], lambda: Session(tracker)
        )  # one for all cells of this process
        show(session, ledger, outcome.key, cfg.grid, alone=below == 0)
    shown = outcome.record.values.items()
    values = [f"{name} {number(value)}" for name, value in shown if value.metric in (*JUDGED, "is")]
    known = " (already measured)" if outcome.reused else ""
    values += [f"{speed.images_per_s:.1f} images/s"] if speed else []  # a bound is measured without any
    return Result(outcome.key, None, f"{label}: {', '.join(values)}{known}")


def number(value) -> str:
    """A value with its 95 % interval, or why it has none."""
    form = ".3f" if value.metric == "nll" else ".2f"
    if value.low is not None:
        return f"{value.value:{form}} [{value.low:{form}}, {value.high:{form}}]"
    return f"{value.value:{form}}" + (f" ({value.no_interval})" if value.no_interval else "")


def show(session, ledger, key: str, grid: str | None, alone: bool) -> None:
    """The cell as a W&B run; what goes wrong there is a line, never the end of the sweep.

    In a sweep its verdicts are still open: they are adjusted for all cells, and come with the table at the end.
    """
    from fastdiff.bench.resources import shared
    from fastdiff.files import sha256
    from fastdiff.report.rows import Cells
    from fastdiff.report.table import lines
    from fastdiff.tracking import track, track_source
    from fastdiff.tracking.views import cell_view, sources
    from fastdiff_benchmarks.commands import commands

    try:
        cells = Cells(ledger)
        record = cells.records[key]  # as `make sync` finds it
        for source in sources(ledger, record):
            digests = [sha256(path) for path in source.files]
            shared("tracked", [source.name, *digests], lambda source=source: tell(track_source(session, source)))
        (line,) = lines(cells, [key])
        if not alone:
            line |= dict.fromkeys(("verdict", "equal_cost_verdict"))
        command = commands([record])[key]
        tell(track(session, cell_view(cells, line, grid, command)))
    except Exception as error:  # the measurement is in the ledger, whatever a view of it makes of it
        print(f"W&B was shown nothing of {key} ({error}); `make sync` tries again", file=sys.stderr)


def tell(trouble) -> None:
    """What is missing in W&B, unless it was said before."""
    if trouble and not trouble.again:
        print(trouble.said, file=sys.stderr)


@entry("config")
def main(cfg: DictConfig) -> Result:
    result = measure(cfg)
    if HydraConfig.get().mode == RunMode.RUN:
        print(result.line)
        if result.failure:
            sys.exit(1)
    return result


if __name__ == "__main__":
    main()
