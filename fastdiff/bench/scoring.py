"""From features to quality values with intervals, against the reference of a cell."""

from collections.abc import Iterator

import numpy as np

from ..analytic.likelihood_bound import PARTS, bits
from ..metrics import frechet, inception_score, moments, shuffled
from ..metrics.clip_score import clip_score
from ..metrics.prdc import K, counts
from ..statistics import estimate, few, frechet_expansion, inception_score_influence, outside
from ..statistics.kernel import kid_influence
from ..statistics.neighbours import prdc_influence
from .cell import Cell
from .records import Value
from .reference import Reference

SCORED = 3  # raised when metrics or their intervals change: earlier records are scored anew, from kept features
PAIRS = ("kid", "precision", "recall", "density", "coverage")  # what compares all images with all

Found = tuple[str, float, np.ndarray | None, tuple[str, ...]]  # metric, value, influence values, words of its name


def score(
    cell: Cell, features: np.ndarray, probabilities: np.ndarray, reference: Reference | None
) -> tuple[dict[str, Value], dict[str, np.ndarray]]:
    """Values by protocol, each with its 95 % interval, or why it has none, and influence values by metric: (n), or
    (2 n) with those of the second order."""
    values, influence = {}, {}
    for metric, value, psi, said in _measured(cell, features, probabilities, reference):
        n = len(features)
        reason = outside(*features.shape) if metric == "fid" else few(n) if metric in PAIRS else None
        interval = {"value": value, "no_interval": reason} if reason else estimate(value, psi)._asdict()
        values[_protocol(cell, metric, n, *said)] = Value(metric, **interval)
        if not reason:
            influence[metric] = psi
    return values, influence


def _measured(cell: Cell, features, probabilities, reference: Reference | None) -> Iterator[Found]:
    if cell.metrics.prompted:
        yield ("clip_score", *clip_score(features), ())
        return
    n = len(features)
    yield "fid", frechet(moments(features), reference.moments), frechet_expansion(features, reference.moments), ()
    if probabilities.shape[1]:
        given = probabilities, shuffled(n), cell.metrics.is_splits
        yield "is", inception_score(*given), inception_score_influence(*given), ()
    if reference.sample is None:
        return
    if n <= K or len(reference.sample.features) <= K:  # no ball has so many neighbours
        return
    m = f"m={len(reference.sample.features)}"
    yield ("kid", *kid_influence(features, reference.sample.features, reference.sample.within), (m,))
    counted = counts(features, reference.sample.features, K, reference_radii=reference.sample.radii)
    psi = prdc_influence(counted)
    for metric, value in counted.values()._asdict().items():
        yield metric, value, psi[metric], (f"k={K}", m)


def _protocol(cell: Cell, metric: str, n: int, *said: str) -> str:
    """The value's name, with the part where that is not `all`: fid[mnist-classifier,part=tune,n=1000]."""
    part = () if cell.budget.part == "all" else (f"part={cell.budget.part}",)
    return cell.metrics.protocol(metric, n, *said, *part)


def score_bound(cell: Cell, denoiser, held_out, cov_x0: list[float] | None, progress) -> tuple[dict, dict]:
    """The likelihood bound on the first n held-out images as such a value: bits per dimension, with its parts."""
    n, seed, batch = cell.budget.n, cell.budget.seed, cell.device.batch
    shares = bits(denoiser, cell.sampler, held_out, n, seed, cov_x0, batch, progress)
    each, parts = shares.sum(0), dict(zip(PARTS, shares.mean(1).tolist()))
    value = float(each.mean())
    psi = each - value
    found = Value("nll", **estimate(value, psi)._asdict(), parts=parts)
    return {cell.metrics.protocol("nll", n): found}, {"nll": psi}
