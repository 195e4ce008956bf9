"""What generated images are scored against: statistics of the training images, and up to 10,000 of their features.

Computed once for each data, extractor and part, kept in the ledger with a card that says of what they are, and read
back only for what the card says.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import __version__
from ..files import locate, read_npz, write_npz
from ..metrics import Moments, moments
from ..metrics.kid import within
from ..metrics.prdc import radii
from ..metrics.reference import ReferenceCard, read_reference, write_reference
from .cell import Cell, key
from .ledger import Ledger

HALVES = {"all": slice(None), "tune": slice(0, None, 2), "confirm": slice(1, None, 2)}  # by `Budget.part`
SPLITS = {"all": "train", "tune": "train, images of even number", "confirm": "train, images of odd number"}
KEPT = 10_000  # images whose features are kept: KID and precision, recall, density, coverage need all pairs


class Sample(NamedTuple):
    """features float16 (m D), the mean of their kernel between one another, squared radii (m) of their balls."""

    features: np.ndarray
    within: float
    radii: np.ndarray


class Reference(NamedTuple):
    """moments of all images; sample: of at most 10,000 of them, None where statistics came from a file."""

    moments: Moments
    sample: Sample | None


def reference_of(cell: Cell, ledger: Ledger, images, extractor) -> Reference | None:
    """The reference of a cell; None where prompts are the reference. extractor is called only where nothing is kept.

    Raises ValueError, naming the field, where kept statistics are of something else than the cell asks for.
    """
    if cell.metrics.prompted:
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
    known = read_reference(path, dataclasses.replace(asked, code_version=None))  # another version's are as good
    return Reference(known.moments, Sample(kept["features"], float(kept["within"]), kept["radii"]))


def reference_key(cell: Cell) -> str:
    """What the statistics of a cell's reference are filed under, unless they came from a file."""
    identity = {"data": cell.data.identity(), "extractor": cell.metrics.extractor_identity()}
    return key(identity | cell.budget.parted())


def card_of(cell: Cell) -> ReferenceCard:
    """What a cell's reference has to be of."""
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
    """Statistics that others computed, as far as they are known to be of what is asked for."""
    path = Path(locate(cell.metrics.reference))
    found = read_reference(path, dataclasses.replace(asked, split=None, code_version=None)).moments
    if len(found.mean) != cell.metrics.dimensions:
        raise ValueError(
            f"{path} has statistics of {len(found.mean)} features, but '{cell.metrics.extractor}' has"
            f" {cell.metrics.dimensions}; give those of the same extractor"
        )
    return found


def _keep(path: Path, features: np.ndarray) -> None:
    """The features of at most `KEPT` images, drawn without replacement (seed 2020), and what is asked of them."""
    drawn = np.sort(np.random.RandomState(2020).permutation(len(features))[:KEPT])
    kept = features[drawn]
    write_npz(path, features=kept, within=np.float64(within(kept).mean()), radii=radii(kept, min(5, len(kept) - 1)))
