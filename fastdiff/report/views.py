"""What W&B is shown of a ledger (`fastdiff.tracking`): cells beside their plain cells, and what they were measured
with. Only the ledger is needed, on any machine."""

import numpy as np
import pandas as pd

from ..bench.cell import Cell, key
from ..bench.config import recorded
from ..bench.ledger import Ledger
from ..bench.reference import reference_key
from ..bench.score_norms import joint_identity, norms_identity
from ..files import read_json
from ..tracking import CellView, Source
from .curves import curve
from .rivals import plain_cell
from .rows import KNOBS, rows
from .words import methods


def cell_view(
    ledger: Ledger, record: dict, line: dict, group: str | None, every: pd.DataFrame | None = None, command: str = ""
) -> CellView:
    """A quality record as W&B is shown it. line: its row of a table. every: `rows` of all records, where they are known
    already. command: what to type for the cell."""
    if every is None:
        every = rows(ledger.all("quality"), ledger)
    tags = (*(methods(line) or ("plain",)), line["sampler"])
    config = {"settings": record["settings"], "made": record["made"], "command": command}
    points, why = [], None
    try:
        points = curve(record, ledger)
    except (LookupError, OSError, ValueError) as error:  # a copied ledger may lack what only curves need
        why = " ".join(str(error).split())
    config |= {"no_curves": why} if why else {}
    generation = key(record["identity"]["generation"])
    uses = tuple(source.name for source in sources(ledger, record))
    images = ledger.samples(generation), _plain_samples(ledger, line, every)
    return CellView(line, KNOBS, config, generation, group, tags, points, *images, uses)


def _plain_samples(ledger: Ledger, line: dict, every: pd.DataFrame) -> np.ndarray | None:
    """Kept images of the plain cell of the same steps; None where it is not measured, or is this very cell."""
    plain = plain_cell(pd.Series(line), every)
    if plain is None or plain["key"] == line["key"]:
        return None
    return ledger.samples(key(ledger.read("quality", plain["key"])["identity"]["generation"]))


def sources(ledger: Ledger, record: dict) -> list[Source]:
    """What a record was measured with, as far as the ledger has it: reference statistics and score norms."""
    try:
        cell = recorded(record)
        found = [_reference(ledger, cell), *_norms(ledger, cell)]
    except (LookupError, OSError, ValueError):  # of a file that only the machine of the measurement has
        return []
    return [source for source in found if source is not None]


def _reference(ledger: Ledger, cell: Cell) -> Source | None:
    if not cell.metrics.needs_reference or cell.metrics.reference is not None:
        return None
    name = reference_key(cell)
    paths = [ledger.path("reference", name, suffix) for suffix in (".npz", ".card.json", ".sample.npz")]
    kept = tuple(path for path in paths if path.exists())
    metadata = {"data": cell.data.name, "extractor": cell.metrics.extractor, "part": cell.budget.part}
    return Source(f"reference-{name}", "reference", kept, metadata) if kept else None


def _norms(ledger: Ledger, cell: Cell) -> list[Source]:
    """Stores of score norms behind a variance, of shallow calls too, and behind an optimal trajectory."""
    if not (cell.analytic or cell.optimal) or cell.score_norms.file is not None:
        return []
    identities = [norms_identity(cell) if cell.analytic else norms_identity(cell) | {"of": "bound"}]
    identities += [joint_identity(cell)] if cell.joint else []
    stores = {key(identity): ledger.path("norms", key(identity)) for identity in identities}
    return [_norm_source(cell, name, path) for name, path in stores.items() if path.exists()]


def _norm_source(cell: Cell, name: str, path) -> Source:
    points: dict[float, dict] = {}
    for statistic, entries in read_json(path).items():
        for sigma, mean, se in (entry for entry in entries if statistic != "identity" and len(entry) == 3):
            points.setdefault(sigma, {"sigma": sigma}).update({statistic: mean, f"{statistic}_se": se})
    curve = [points[sigma] for sigma in sorted(points)]  # of shallow calls, at two levels each, there is no curve
    return Source(f"score-norms-{name}", "score_norms", (path,), {"model": cell.model.name}, curve)
