"""From features to quality values with intervals, against reference moments kept in the ledger."""

import numpy as np

from .cell import Cell, key
from .files import read_npz, write_npz
from .metrics import Moments, frechet, inception_score, moments, shuffled
from .records import Ledger
from .statistics import estimate, frechet_influence, inception_score_influence


def reference_moments(cell: Cell, ledger: Ledger, images, extractor) -> Moments:
    """Moments of the training images' features, computed once for each data and extractor."""
    identity = {"data": cell.data.identity(), "extractor": cell.metrics.extractor_identity()}
    path = ledger.path("reference", key(identity), ".npz")
    if path.exists():
        return Moments(**read_npz(path))
    found = moments(extractor(images.pixels).features)
    write_npz(path, **found._asdict())
    return found


def score(cell: Cell, features: np.ndarray, probabilities: np.ndarray, reference: Moments) -> tuple[dict, dict]:
    """Values by protocol, each with its 95 % interval where it has one, and the influence values (n) by metric."""
    found = [("fid", frechet(moments(features), reference), frechet_influence(features, reference))]
    if probabilities.shape[1]:
        given = probabilities, shuffled(len(probabilities)), cell.metrics.is_splits
        found.append(("is", inception_score(*given), inception_score_influence(*given)))
    values, influence = {}, {}
    for metric, value, psi in found:
        interval = {} if psi is None else estimate(value, psi)._asdict()
        values[cell.metrics.protocol(metric, len(features))] = {"metric": metric, "value": value, **interval}
        if psi is not None:
            influence[metric] = psi
    return values, influence
