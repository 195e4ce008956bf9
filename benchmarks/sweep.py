"""What a sweep prints: an estimate, a bar with the time left, a line for each cell, the table, and failures."""

import sys
import time
from pathlib import Path

from hydra.core.utils import JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from fastdiff.accelerators import branch_of
from fastdiff.bench.cell import Cell
from fastdiff.bench.config import cell_of
from fastdiff.bench.cost import calls_of
from fastdiff.bench.ledger import Ledger
from fastdiff.bench.run_cell import finished, speed_key
from fastdiff.device import device_name
from fastdiff.files import write_json
from fastdiff_benchmarks.entry import refuse, settings_of
from fastdiff_benchmarks.ladder import at_rung, check, climb

SHALLOW = 0.45  # time of a cached call relative to a full one; used for the estimate only
SCORING = 0.01  # work of a cell whose images are kept and only metrics are missing, relative to a new one


def units(cell: Cell) -> float:
    """Work of one image in full calls; guidance doubles each."""
    free = 0 if branch_of(cell.accelerators) == 0 else SHALLOW
    return sum((1 if call.runs else free) * call.halves for call in calls_of(cell))


def work(cell: Cell) -> float:
    """Work of a cell in full calls. Score norms take a call for each image and step; an optimal trajectory takes one
    more for each image and level."""
    levels = (cell.sampler.asked if cell.analytic else 0) + (cell.score_norms.levels if cell.optimal else 0)
    return cell.budget.n * units(cell) + cell.score_norms.images * levels


def calls_per_second(cells: list[Cell], ledger: Ledger) -> float:
    """Full calls of one image a second on this machine: from its speed records, else from two timed batches."""
    here = device_name(cells[0].device)
    for cell in cells:
        known = ledger.read("speed", speed_key(cell))
        if known:
            return known.images_per_s * units(cell)
    print(f"timing a first batch on {here} ...", flush=True)
    import dataclasses

    import numpy as np

    from fastdiff.bench.resources import Resources, labels_of, load_denoiser
    from fastdiff.data import load
    from fastdiff.samplers import DDIM
    from fastdiff.sampling.generate import generate

    cell = cells[0]
    owner = Resources()
    denoiser = dataclasses.replace(load_denoiser(cell, owner).uncached(), guidance=1.0)
    images, labels = np.arange(2 * cell.device.batch), labels_of(cell, load(cell.data)[0], owner)
    batches = list(generate(denoiser, DDIM(4, spacing="logsnr"), 0, images, labels, None, cell.device.batch))
    return cell.device.batch * 4 / batches[-1].seconds


class SweepProgress(Callback):
    """Hydra's callback of a sweep. It reads the settings and the ledger only."""

    def __init__(self):
        self.cells, self.bar, self.failures, self.begun = [], None, {}, time.perf_counter()
        self.arms, self.points = [], []  # of a ladder: the cells at the full n; self.cells then holds their first rung

    def __getstate__(self) -> dict:
        """The state that a parallel launcher sends to other processes: all but the bar, which stays in this one."""
        return {**vars(self), "bar": None}

    def on_multirun_start(self, config: DictConfig, **kwargs) -> None:
        try:
            if not config.hydra.sweeper._target_.endswith("BasicSweeper"):
                if OmegaConf.select(config, "budget.ladder") is not None:
                    raise ValueError("budget.ladder needs a sweep whose cells are known before it begins: use"
                                     " hydra/sweeper=basic")  # fmt: skip
                return  # another sweeper chooses its points while it runs
            one_grid(config.hydra.overrides.task)
            self.points = points(config)
            self.cells = [cell_of(settings_of(cfg)) for cfg in self.points]
            check(self.cells)
        except (ValueError, OSError) as error:
            refuse(error)
        self.ledger, self.name = Ledger(config.ledger), config.grid or "sweep"
        write_grid(config, {"keys": list(dict.fromkeys(cell.key for cell in self.cells))})
        if ladder := self.cells[0].budget.ladder:
            print(f"{self.name}: a ladder of {', '.join(map(str, ladder))} and {self.cells[0].budget.n} images an arm")
            self.arms, self.cells = self.cells, [at_rung(cell, ladder[0]) for cell in self.cells]
        distinct = {cell.key: cell for cell in self.cells}
        todo = [cell for cell in distinct.values() if config.force or not finished(cell, self.ledger)]
        have = len(distinct) - len(todo)
        print(f"{self.name}: {len(distinct)} cells; {have} already measured, {len(todo)} to go")
        kept = [self.ledger.path("quality", cell.key).exists() and not config.force for cell in todo]
        self.todo = {cell.key: work(cell) * (SCORING if known else 1) for cell, known in zip(todo, kept)}
        if todo:
            total = sum(self.todo.values())
            try:
                minutes = total / calls_per_second(todo, self.ledger) / 60
                part = ", of the first rung" if self.arms else ""
                print(f"estimate: {minutes:.1f} minutes ({total:,.0f} full network calls{part})", flush=True)
            except Exception as error:  # the cell will say the same in its record; the others can still run
                print(f"no estimate: the first cell cannot run ({' '.join(str(error).split())})", file=sys.stderr)
            form = "{desc} {percentage:3.0f}%|{bar}| {elapsed} < {remaining}"
            self.bar = tqdm(total=total, desc=self.name, bar_format=form, smoothing=0)

    def on_job_end(self, config: DictConfig, job_return, **kwargs) -> None:
        if self.bar is None or job_return.status != JobStatus.COMPLETED:
            return
        outcome = job_return.return_value
        if outcome.key not in self.todo:
            return
        if outcome.failure:
            self.failures[outcome.key] = outcome.failure
        tqdm.write(f"  {outcome.line}")
        self.bar.update(self.todo.pop(outcome.key))

    def on_multirun_end(self, config: DictConfig, **kwargs) -> None:
        if self.bar is not None:
            self.bar.close()
        if not self.cells:
            return
        from fastdiff.report.comparisons import compare_with_baselines
        from fastdiff.report.table import table, text

        keys = every = list(dict.fromkeys(cell.key for cell in self.cells))
        climbed = climb(self.arms, self.points, self.ledger, config.force) if self.arms else None
        if climbed:
            keys, self.failures = climbed.keys, self.failures | climbed.failures
            write_grid(config, {"keys": keys, "dropped": climbed.dropped})
        fell = len(climbed.dropped) if climbed else 0
        compare_with_baselines(self.ledger, keys)
        print(f"\n{text(table(self.ledger, keys, fell))}\n")
        if self.bar is not None:  # something was measured
            show_sweep(config, self.ledger, self.name, keys, fell)
        print(
            f"{self.name}: done in {(time.perf_counter() - self.begun) / 60:.1f} minutes; records in {self.ledger.root}"
        )
        if climbed:
            full = len(every) * self.arms[0].budget.n
            said = f"{climbed.images:,} images of the {full:,} of a full run, {full / climbed.images:.1f} times fewer"
            print(f"{self.name}: {len(keys)} of {len(every)} arms at the end; {said}")
        stored = (self.ledger.read("failed", key) for key in every)  # cells may have run in other processes
        failures = {record.key: record.reason for record in stored if record} | self.failures
        if failures:
            print(f"\n{len(failures)} of {len(every)} cells failed:", file=sys.stderr)
            for key, reason in failures.items():
                print(f"  {key}  {reason}", file=sys.stderr)
            sys.exit(1)


def show_sweep(config: DictConfig, ledger: Ledger, name: str, keys: list[str], fell: int) -> None:
    """Show the finished sweep as a W&B run. An error there prints a line."""
    from fastdiff.knobs import build
    from fastdiff.report.table import lines
    from fastdiff.tracking import Session, Tracker, track_sweep
    from fastdiff_benchmarks.run import tell

    tracker = build(Tracker, OmegaConf.to_container(config.tracker), "tracker")
    found = [] if tracker.name == "none" else lines(ledger, keys, fell)
    if found:
        tell(track_sweep(Session(tracker), name, found))


def write_grid(config: DictConfig, members: dict) -> None:
    """Write a grid's record: the keys of its cells and, after a ladder, which arms were dropped and why."""
    if config.grid:
        write_json(Path(config.ledger) / "grids" / f"{config.grid}.json", {"grid": config.grid, **members})


def one_grid(overrides: list[str]) -> None:
    """Refuse a list of grids: Hydra would run one point of each, silently."""
    for override in overrides:
        name, _, value = override.partition("=")
        if name.lstrip("+") == "grid" and "," in value:
            raise ValueError(f"one grid at a time: {value} are several; run them one after the other (make bench-all)")


def points(config: DictConfig) -> list[DictConfig]:
    """The settings of every point that Hydra's basic sweeper runs, in its order."""
    from hydra import compose
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    given = [f"{name}={value}" for name, value in (config.hydra.sweeper.params or {}).items()]
    overrides = OverridesParser.create().parse_overrides([*given, *config.hydra.overrides.task])
    (batch,) = BasicSweeper.split_arguments(overrides, None)
    return [compose(config.hydra.job.config_name, overrides=list(point)) for point in batch]
