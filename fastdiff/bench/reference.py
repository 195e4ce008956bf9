"""The reference that generated images are scored against: statistics and up to 10,000 features of training images.

The ledger keeps one for each data set, extractor and part, with a card that describes it. It is read only where the
card matches.
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import __version__
from ..files import locate, read_npz, write_npz
from ..metrics import Moments, moments
from ..metrics.kid import within
from ..metrics.prdc import radii
from ..metrics.reference import ReferenceCard, read_reference, write_reference
from .cell import Cell, key
from .ledger import Ledger

HALVES = {"all": slice(None), "tune": slice(0, None, 2), "confirm": slice(1, None, 2)}  # images of each `Budget.part`
SPLITS = {"all": "train", "tune": "train, images of even number", "confirm": "train, images of odd number"}
KEPT = 10_000  # images whose features are kept, for the metrics that compare all pairs


class Sample(NamedTuple):
    """features: float16 (m D). within: mean kernel between them (`kid.within`). radii: squared, of their balls (m)."""

    features: np.ndarray
    within: float
    radii: np.ndarray


class Reference(NamedTuple):
    """moments: of all images. sample: of at most `KEPT` of them; None where the statistics come from a file."""

    moments: Moments
    sample: Sample | None


def reference_of(cell: Cell, ledger: Ledger, images: Any, extractor: Any) -> Reference | None:
    """The reference of a cell, or None where its metrics need none. It is computed where the ledger has none.

    Raises ValueError, naming the field, where kept statistics do not match the cell.
    """
    if not cell.metrics.needs_reference:
        return None
    asked = card_of(cell)
    if cell.metrics.reference is not None:
        return Reference(_imported(cell, asked), None)
    path = ledger.path("reference", reference_key(cell), ".npz")
    beside = path.with_name(f"{path.stem}.sample.npz")
    if not (path.exists() and beside.exists()):
        found = extractor(images.pixels[HALVES[cell.budget.part]]).features
        write_reference(path, moments(found), dataclasses.replace(asked, n=len(found)))
        _keep(beside, found)
    kept = read_npz(beside)
    known = read_reference(path, dataclasses.replace(asked, code_version=None))  # the same in all versions
    return Reference(known.moments, Sample(kept["features"], float(kept["within"]), kept["radii"]))


def reference_key(cell: Cell) -> str:
    """The ledger's key of a cell's reference. It is not used where the statistics come from a file."""
    identity = {"data": cell.data.identity(), "extractor": cell.metrics.extractor_identity()}
    return key(identity | cell.budget.parted())


def card_of(cell: Cell) -> ReferenceCard:
    """The card that a cell's reference must have."""
    metrics = cell.metrics
    return ReferenceCard(
        data_sha256=cell.data.sha256,
        split=SPLITS[cell.budget.part],
        resize=metrics.mode or "none",
        extractor=metrics.extractor,
        extractor_sha256=metrics.sha256,
        code_version=__version__,
    )


def _imported(cell: Cell, asked: ReferenceCard) -> Moments:
    """Statistics from the file metrics.reference. Fields that its card does not know are not checked."""
    path = Path(locate(cell.metrics.reference))
    found = read_reference(path, dataclasses.replace(asked, split=None, code_version=None)).moments
    if len(found.mean) != cell.metrics.dimensions:
        raise ValueError(
            f"{path} has statistics of {len(found.mean)} features, but '{cell.metrics.extractor}' has"
            f" {cell.metrics.dimensions}; give statistics of the same extractor"
        )
    return found


def _keep(path: Path, features: np.ndarray) -> None:
    """Write the sample: at most `KEPT` images, drawn without replacement (seed 2020)."""
    drawn = np.sort(np.random.RandomState(2020).permutation(len(features))[:KEPT])
    kept = features[drawn]
    write_npz(path, features=kept, within=np.float64(within(kept).mean()), radii=radii(kept, min(5, len(kept) - 1)))
