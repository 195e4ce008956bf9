"""From features to quality values with intervals, against reference moments kept in the ledger."""

import numpy as np

from .cell import Cell, key
from .files import read_npz, write_npz
from .likelihood import PARTS, bits
from .metrics import Moments, frechet, inception_score, moments, shuffled
from .metrics.clip_score import clip_score
from .records import Ledger
from .statistics import estimate, frechet_expansion, inception_score_influence, outside

HALVES = {"all": slice(None), "tune": slice(0, None, 2), "confirm": slice(1, None, 2)}  # by `Budget.part`


def reference_moments(cell: Cell, ledger: Ledger, images, extractor) -> Moments | None:
    """Moments of the training images' features, computed once for each data, extractor and part (half of the images,
    `Budget.part`); None where prompts are the reference."""
    if cell.metrics.prompted:
        return None
    identity = {"data": cell.data.identity(), "extractor": cell.metrics.extractor_identity()} | cell.budget.parted()
    path = ledger.path("reference", key(identity), ".npz")
    if path.exists():
        return Moments(**read_npz(path))
    found = moments(extractor(images.pixels[HALVES[cell.budget.part]]).features)
    write_npz(path, **found._asdict())
    return found


def score(cell: Cell, features: np.ndarray, probabilities: np.ndarray, reference: Moments | None) -> tuple[dict, dict]:
    """Values by protocol, each with its 95 % interval where it has one, and influence values by metric: (n), or (2 n)
    with those of the second order."""
    if cell.metrics.prompted:
        found = [("clip_score", *clip_score(features))]
    else:
        found = [("fid", frechet(moments(features), reference), frechet_expansion(features, reference))]
    if probabilities.shape[1]:
        given = probabilities, shuffled(len(probabilities)), cell.metrics.is_splits
        found.append(("is", inception_score(*given), inception_score_influence(*given)))
    values, influence = {}, {}
    for metric, value, psi in found:
        interval = {"no_interval": outside(*features.shape)} if psi is None else estimate(value, psi)._asdict()
        values[_protocol(cell, metric, len(features))] = {"metric": metric, "value": value, **interval}
        if psi is not None:
            influence[metric] = psi
    return values, influence


def _protocol(cell: Cell, metric: str, n: int) -> str:
    """The value's name, with the part where that is not `all`: fid[mnist-classifier,part=tune,n=1000]."""
    name, part = cell.metrics.protocol(metric, n), cell.budget.part
    return name if part == "all" else name.replace(",n=", f",part={part},n=")


def score_bound(cell: Cell, denoiser, held_out, cov_x0: list[float] | None, progress) -> tuple[dict, dict]:
    """The likelihood bound on the first n held-out images as such a value: bits per dimension, with its parts."""
    n, seed, batch = cell.budget.n, cell.budget.seed, cell.device.batch
    shares = bits(denoiser, cell.sampler, held_out, n, seed, cov_x0, batch, progress)
    each, parts = shares.sum(0), dict(zip(PARTS, shares.mean(1).tolist()))
    value = float(each.mean())
    psi = each - value
    found = {"metric": "nll", **estimate(value, psi)._asdict(), "parts": parts}
    return {cell.metrics.protocol("nll", n): found}, {"nll": psi}
