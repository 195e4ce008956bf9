"""make sync: replay the ledger into Weights & Biases. Runs keep their ids, so that doing it twice changes nothing.

wandb login                      # once
python benchmarks/sync.py tracker.project=fastdiff tracker.entity=my-team

Any machine with a copy of the ledger will do. What is uploaded is noted in wandb/, run by run: where it stopped the
next call goes on, and what has not changed since is not uploaded again (force=true: it is).
"""

import dataclasses
import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf

from fastdiff_benchmarks.entry import entry


class Job(NamedTuple):
    """One run of W&B: its id, whether it is a cell's, and what makes its content and what writes that."""

    id: str
    cell: bool
    make: Callable[[], object]
    write: Callable[[object], object]


@entry("sync")
def main(cfg: DictConfig) -> None:
    from tqdm import tqdm

    from fastdiff.bench.ledger import Ledger
    from fastdiff.knobs import build
    from fastdiff.tracking import Session, Tracker, folder, logged_in

    ledger, tracker = Ledger(cfg.ledger), build(Tracker, OmegaConf.to_container(cfg.tracker), "tracker")
    todo = list(jobs(ledger, Session(tracker)))
    if not todo:
        raise ValueError(f"there is nothing to upload in {ledger.root}; measure something first: make bench")
    if tracker.mode == "online" and not logged_in():
        raise ValueError("not logged in to W&B; run `wandb login` or set WANDB_API_KEY, then make sync again")
    where = "-".join(filter(None, ("synced", tracker.mode, tracker.entity, tracker.project)))
    done, failures, there = Done(folder() / f"{where}.json", cfg.force), [], set()
    for job in tqdm(todo, desc="uploading", unit="run"):
        content = job.make()
        trouble = None if done.has(job.id, content) else job.write(content)
        if trouble is None:
            done.note(job.id, content)
            there.add(job.id)
        else:
            failures.append(trouble.said)
            if not trouble.reached:  # what follows would fail likewise
                break
    cells = sum(job.cell for job in todo if job.id in there)
    print(f"{len(there)} of {len(todo)} runs, {cells} of them cells, are in W&B project '{tracker.project}'")
    if failures:
        left = [job.id for job in todo if job.id not in there]
        some = ", ".join(left[:5]) + (", ..." if len(left) > 5 else "")
        failures.append(f"{len(left)} runs are left ({some}): make sync goes on with them")
        print("\n".join(failures), file=sys.stderr)
        sys.exit(1)


def jobs(ledger, session) -> Iterator[Job]:
    """Every run that a ledger makes: what cells were measured with first, so that they can name it, sweeps last."""
    from fastdiff.report.rows import Cells
    from fastdiff.report.table import lines
    from fastdiff.tracking import sweep_id, track, track_source, track_sweep
    from fastdiff.tracking.views import cell_view, sources
    from fastdiff_benchmarks.commands import commands

    cells = Cells(ledger)
    records = cells.records
    if not records:
        return
    used = {source.name: source for record in records.values() for source in sources(ledger, record)}
    for name, source in used.items():
        yield Job(name, False, lambda source=source: source, partial(track_source, session))
    grids = {grid["grid"]: lines(cells, grid["keys"], len(grid.get("dropped", []))) for grid in ledger.all("grids")}
    swept = {line["key"]: (line, name) for name, found in grids.items() for line in found}
    alone = lines(cells, [key for key in records if key not in swept])
    typed = commands(list(records.values()))
    for key, (line, grid) in (swept | {line["key"]: (line, None) for line in alone}).items():
        view = partial(cell_view, cells, line, grid, typed[key])
        yield Job(key, True, view, partial(track, session))
    for name, found in grids.items():
        if found:
            yield Job(sweep_id(name), False, lambda found=found: found, partial(track_sweep, session, name))


class Done:
    """Which runs were uploaded, with what: a file of digests by id."""

    def __init__(self, path: Path, force: bool):
        from fastdiff.files import read_json

        self.path = path
        self.known = read_json(path) if path.exists() and not force else {}

    def has(self, id: str, content) -> bool:
        return self.known.get(id) == digest(content)

    def note(self, id: str, content) -> None:
        from fastdiff.files import write_json

        self.known[id] = digest(content)
        with suppress(OSError):  # then the next call uploads it again, which changes nothing
            write_json(self.path, self.known)


def digest(content) -> str:
    """Of everything W&B is shown in a run, images and files too."""
    import numpy as np

    from fastdiff.files import sha256

    found = hashlib.sha256()

    def add(value):
        if dataclasses.is_dataclass(value):
            add({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
        elif isinstance(value, dict):
            add(list(value.items()))
        elif isinstance(value, (list, tuple)):
            found.update(f"{len(value)}:".encode())
            for each in value:
                add(each)
        elif isinstance(value, np.ndarray):
            found.update(value.tobytes())
        else:
            found.update((sha256(value) if isinstance(value, Path) else repr(value)).encode())

    add(content)
    return found.hexdigest()


if __name__ == "__main__":
    main()
