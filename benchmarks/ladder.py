"""The sample ladder of a sweep: it measures all cells with few images, and only those near the front with more.

    python benchmarks/run.py +grid=combined budget.n=2000 budget.ladder=[250,500,750]

The cells of a rung are ordinary cells of n images. Blocks of 250 images are kept from rung to rung.
`fastdiff/statistics/ladder.py` decides which arms are dropped.
"""

from dataclasses import dataclass, field, replace

from omegaconf import DictConfig
from tqdm import tqdm

from fastdiff.bench.cell import Cell
from fastdiff.bench.ledger import Ledger
from fastdiff.device import BLOCK
from fastdiff.statistics import outside
from fastdiff_benchmarks.entry import settings_of


@dataclass
class Climbed:
    """The result of a ladder.

    keys: of the arms that reached the full n. dropped: the arms that fell or failed before, each with rung, key, reason
    and, where the ledger has a full run, `check`. failures: key -> reason. images: how many were needed.
    """

    keys: list[str] = field(default_factory=list)
    dropped: list[dict] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    images: int = 0


def check(cells: list[Cell]) -> None:
    """Refuse a ladder whose arms cannot be compared: they need the same budget (and so noise), data and metrics."""
    if all(cell.budget.ladder is None for cell in cells):
        return
    for name in ("budget", "data", "metrics"):
        if len({repr(getattr(cell, name)) for cell in cells}) > 1:
            raise ValueError(f"the arms of a ladder are compared with one another, and this sweep varies {name}; give"
                             " it one, or leave budget.ladder out")  # fmt: skip
    metrics, rungs = cells[0].metrics, cells[0].budget.ladder
    if not metrics.generates_images:
        return
    if wrong := [n for n in rungs if n % BLOCK]:
        raise ValueError(
            f"budget.ladder has {wrong[0]}, and images are kept in blocks of {BLOCK}: give multiples of it"
        )
    if reason := outside(rungs[0], metrics.dimensions):
        raise ValueError(f"after {rungs[0]} images no arm of this ladder can fall ({reason})")


def at_rung(cell: Cell, n: int) -> Cell:
    """An arm as an ordinary cell of n images."""
    return replace(cell, budget=replace(cell.budget, n=n, ladder=None))


def settings_at(cfg: DictConfig, n: int) -> dict:
    """The settings of an arm at n images."""
    settings = settings_of(cfg)
    return settings | {"budget": settings["budget"] | {"n": n, "ladder": None}}


def climb(cells: list[Cell], points: list[DictConfig], ledger: Ledger, force: bool) -> Climbed:
    """Climb from the first rung, which the sweep's jobs have measured, to the full n. points: settings of each cell."""
    from fastdiff.statistics.ladder import fallen

    found, before = Climbed(), 0
    rungs, full = cells[0].budget.ladder, cells[0].budget.n
    arms = list({cell.key: (cell, cfg) for cell, cfg in zip(cells, points)}.values())
    family = len(arms)
    for n in (*rungs, full):
        if before:
            measure(arms, n, ledger, force)
        keys = [at_rung(cell, n).key for cell, _ in arms]
        records = {key: ledger.read("quality", key) for key in keys}
        found.failures |= {key: why(ledger, key) for key in keys if records[key] is None}
        kept = before if cells[0].metrics.generates_images else 0
        found.images, before = found.images + len(arms) * (n - kept), n
        if n == full:
            found.keys = [key for key in keys if records[key]]
            break
        plain = {key for (cell, _), key in zip(arms, keys) if cell.baseline}
        known = [arm(record, ledger, key in plain) for key, record in records.items() if record]
        falls = fallen(known, full, family)
        reasons = {key: f"failed: {reason}" for key, reason in found.failures.items() if key in records}
        reasons |= {fall.name: fall.sentence() for fall in falls}
        gone = [(cell, key) for (cell, _), key in zip(arms, keys) if key in reasons]
        found.dropped += [{"rung": n, "key": key, "reason": reasons[key], "full": at_rung(cell, full).key}
                          for cell, key in gone]  # fmt: skip
        arms, total = [each for each, key in zip(arms, keys) if key not in reasons], len(arms)
        failed = f", {len(reasons) - len(falls)} failed" if len(reasons) > len(falls) else ""
        print(f"rung {n}: {total} arms; {len(arms)} promoted, {len(falls)} dropped{failed}", flush=True)
    verify(found, ledger)
    return found


def verify(found: Climbed, ledger: Ledger) -> None:
    """Compare each arm that fell with those that stayed, where the ledger has its full run. Adds `check` to the arm.

    against: of the arms that stayed and need no more MACs, the best one that the fallen arm is not better than at 5 %;
    if it is better than all, the best one. difference: fallen minus that one, as a loss. p: of this comparison alone,
    two-sided. lost: whether the fallen arm is better than all of them, which a ladder should prevent.
    """
    from fastdiff.statistics import LEVEL, difference, p_value

    stayed = [arm(ledger.read("quality", key), ledger) for key in found.keys]
    for entry in found.dropped:
        record = ledger.read("quality", entry["full"])
        if record is None:
            continue
        own, checks = arm(record, ledger), []
        for each in sorted(stayed, key=lambda one: one.loss):
            if each.macs <= own.macs and each.psi is not None and own.psi is not None:
                change = difference(own.loss, each.loss, own.psi, each.psi, paired=True)
                lost = change.value < 0 and p_value(change) < LEVEL
                said = {"against": each.name, "difference": change.value, "p": p_value(change)}
                checks.append(said | {"lost": lost})
        if checks:
            entry["check"] = min(checks, key=lambda check: check["lost"])  # the first, that is the best, of equals
    known = [entry["check"]["lost"] for entry in found.dropped if "check" in entry]
    if known:
        print(f"{len(known)} arms that fell have full runs here; {sum(known)} of them are better than all that stayed")


def measure(arms: list[tuple[Cell, DictConfig]], n: int, ledger: Ledger, force: bool) -> None:
    """Measure a rung, with a bar and a line for each cell. force: make records again. The first rung has then made the
    blocks again."""
    from fastdiff_benchmarks.run import measured

    form = "{desc} {percentage:3.0f}%|{bar}| {n_fmt} of {total_fmt} cells, {elapsed} < {remaining}"
    with tqdm(total=len(arms), desc=f"rung {n}", bar_format=form, smoothing=0) as bar:
        for cell, cfg in arms:
            cell = at_rung(cell, n)
            if force:
                ledger.forget(cell, None)
            tqdm.write(f"  {measured(cell, settings_at(cfg, n), cfg, False, 1).line}")
            bar.update()


def why(ledger: Ledger, key: str) -> str:
    """Why an arm has no quality record."""
    record = ledger.read("failed", key)
    return record.reason if record else "it was not measured"


def arm(record, ledger: Ledger, stays: bool = False):
    """A quality record by the value that cells are compared by, with influence values where it has an interval."""
    from fastdiff.metrics.cards import judged_by, sign
    from fastdiff.statistics.ladder import Arm

    value = record.values[judged_by(record.values)]
    way, psi = sign(value.metric), ledger.influence(record.key).get(value.metric)
    return Arm(record.key, record.cost.macs, way * value.value, None if psi is None else way * psi, stays)
