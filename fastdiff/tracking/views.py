"""What W&B is shown of a ledger: cells beside their baselines, and what they were measured with.

Only the ledger is needed, on any machine.
"""

from pathlib import Path

from ..bench.cell import Cell, key
from ..bench.config import recorded
from ..bench.ledger import Ledger
from ..bench.records import Quality
from ..bench.reference import reference_key
from ..bench.score_norms import joint_identity, norms_identity
from ..files import read_json
from ..report.rows import Cells
from ..report.samples import kept
from .cells import CellView
from .curves import curve
from .sweeps import Source


def cell_view(cells: Cells, line: dict, group: str | None, command: str = "") -> CellView:
    """A cell as W&B is shown it. line: its row of a table. command: what to type for the cell."""
    record = cells.records[line["key"]]
    names = [each.name for each in record.accelerators]
    tags = (*(names or (["baseline"] if record.baseline else [])), line["sampler"])
    config = {"settings": record.settings, "made": record.made, "command": command}
    points = []
    try:
        points = curve(record, cells.ledger)
    except (LookupError, OSError, ValueError) as error:  # a copied ledger may lack what only curves need
        config["no_curves"] = " ".join(str(error).split())
    baseline = cells.baseline_of(record.key)
    beside = None if baseline in (None, record.key) else kept(cells, baseline)
    uses = tuple(source.name for source in sources(cells.ledger, record))
    generation = key(record.generation)
    return CellView(line, cells.knobs, config, generation, group, tags, points, kept(cells, record.key), beside, uses)


def sources(ledger: Ledger, record: Quality) -> list[Source]:
    """What a record was measured with, as far as the ledger has it: reference statistics and score norms."""
    try:
        cell = recorded(record)
        found = [_reference(ledger, cell), *_norms(ledger, cell)]
    except (LookupError, OSError, ValueError):  # a file that only the machine of the measurement has
        return []
    return [source for source in found if source is not None]


def _reference(ledger: Ledger, cell: Cell) -> Source | None:
    if not cell.metrics.needs_reference or cell.metrics.reference is not None:
        return None
    name = reference_key(cell)
    paths = [ledger.path("reference", name, suffix) for suffix in (".npz", ".card.json", ".sample.npz")]
    found = tuple(path for path in paths if path.exists())
    metadata = {"data": cell.data.name, "extractor": cell.metrics.extractor, "part": cell.budget.part}
    return Source(f"reference-{name}", "reference", found, metadata) if found else None


def _norms(ledger: Ledger, cell: Cell) -> list[Source]:
    """The stores of score norms that the sampler reads."""
    if not (cell.analytic or cell.optimal) or cell.score_norms.file is not None:
        return []
    identities = [norms_identity(cell) if cell.analytic else norms_identity(cell) | {"of": "bound"}]
    identities += [joint_identity(cell)] if cell.joint else []
    stores = {key(identity): ledger.path("norms", key(identity)) for identity in identities}
    return [_norm_source(cell, name, path) for name, path in stores.items() if path.exists()]


def _norm_source(cell: Cell, name: str, path: Path) -> Source:
    points: dict[float, dict] = {}
    for statistic, entries in read_json(path).items():
        for sigma, mean, se in (entry for entry in entries if statistic != "identity" and len(entry) == 3):
            points.setdefault(sigma, {"sigma": sigma}).update({statistic: mean, f"{statistic}_se": se})
    curve = [points[sigma] for sigma in sorted(points)]  # norms of shallow calls are at two levels each: no curve
    return Source(f"score-norms-{name}", "score_norms", (path,), {"model": cell.model.name}, curve)
