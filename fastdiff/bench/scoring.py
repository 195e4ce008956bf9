"""Quality values of a cell with their intervals, from the features of its images."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..analytic.likelihood_bound import PARTS, bits
from ..device import BLOCK
from ..metrics.clip_score import clip_score
from ..metrics.inception_score import shuffled
from ..metrics.prdc import K
from ..statistics import (
    estimate,
    few,
    frechet_expansion,
    inception_score_influence,
    kid_influence,
    outside,
    prdc_influence,
)
from .cell import Cell
from .records import Value
from .reference import Reference

SCORED = 3  # raised when metrics or intervals change; records of a lower number are scored again from kept features
PAIRS = ("kid", "precision", "recall", "density", "coverage")  # metrics that compare all pairs of images


def score(
    cell: Cell, features: np.ndarray, probabilities: np.ndarray, reference: Reference | None
) -> tuple[dict[str, Value], dict[str, np.ndarray]]:
    """Score the images of a cell. features (n D), probabilities (n classes): from its extractor.

    Returns values by protocol, each with its 95 % interval or the reason why it has none, and influence values by
    metric: (n), or (2 n) with the second order.
    """
    from torchmetrics import MetricCollection

    values, influence, n = {}, {}, len(features)
    made = _metrics(cell, features, probabilities, reference)
    groups = [[name for name in made if name != "is"], [name for name in made if name == "is"]]  # fid, kid, prdc share
    metrics = MetricCollection(made, compute_groups=[group for group in groups if group])  # the state of features
    for first in range(0, n, BLOCK):
        images = np.arange(first, min(first + BLOCK, n))
        metrics.update(features=features[images], probabilities=probabilities[images], images=images)
    found = {name: float(value) for name, value in metrics.compute().items()}
    for metric, psi, words in _influence(cell, made, features, probabilities, reference):
        reason = outside(*features.shape) if metric == "fid" else few(n) if metric in PAIRS else None
        interval = {"value": found[metric], "no_interval": reason} if reason else estimate(found[metric], psi)._asdict()
        values[_protocol(cell, metric, n, *words)] = Value(metric, **interval)
        if not reason:
            influence[metric] = psi
    return values, influence


def _metrics(cell: Cell, features: np.ndarray, probabilities: np.ndarray, reference: Reference | None) -> dict:
    """The metrics that can be computed, by name."""
    import torch

    from ..metrics.torch_metrics import FID, KID, PRDC, CLIPScore, InceptionScore

    n, kept, classified = len(features), *(torch.from_numpy(each[:0]).dtype for each in (features, probabilities))
    if not cell.metrics.needs_reference:
        return {"clip_score": CLIPScore(n, kept)}
    metrics = {"fid": FID(reference.moments, n, kept)}
    if probabilities.shape[1]:
        splits = cell.metrics.is_splits
        metrics["is"] = InceptionScore(n, probabilities.shape[1], splits, dtype=classified)
    sample = reference.sample
    if sample is not None and min(n, len(sample.features)) > K:  # a ball of k neighbours needs more than k images
        metrics["kid"] = KID(sample.features, n, dtype=kept, reference_within=sample.within)
        metrics["prdc"] = PRDC(sample.features, n, dtype=kept, reference_radii=sample.radii)
    return metrics


def _influence(
    cell: Cell, metrics: dict, features: np.ndarray, probabilities: np.ndarray, reference: Reference | None
) -> Iterator[tuple[str, np.ndarray | None, tuple[str, ...]]]:
    """(metric, influence values, words of its protocol) of each value, once the metrics are computed."""
    if "clip_score" in metrics:
        yield "clip_score", clip_score(features)[1], ()
        return
    yield "fid", frechet_expansion(features, reference.moments), ()
    if "is" in metrics:
        yield "is", inception_score_influence(probabilities, shuffled(len(features)), cell.metrics.is_splits), ()
    if "kid" in metrics:
        m = f"m={len(reference.sample.features)}"
        yield "kid", kid_influence(*metrics["kid"].means), (m,)
        for metric, psi in prdc_influence(metrics["prdc"].counts).items():
            yield metric, psi, (f"k={K}", m)


def _protocol(cell: Cell, metric: str, n: int, *words: str) -> str:
    """Name of a value. It has the part, unless that is `all`: fid[mnist-classifier,part=tune,n=1000]."""
    part = () if cell.budget.part == "all" else (f"part={cell.budget.part}",)
    return cell.metrics.protocol(metric, n, *words, *part)


def score_bound(
    cell: Cell, denoiser: Any, held_out: Any, cov_x0: list[float] | None, progress: Callable
) -> tuple[dict, dict]:
    """The likelihood bound on the first n held-out images, in bits per dimension, in the form that `score` returns.

    The value also has the bound's `parts`. cov_x0: the score covariances of an analytic variance.
    """
    n, seed, batch = cell.budget.n, cell.budget.seed, cell.device.batch
    shares = bits(denoiser, cell.sampler, held_out, n, seed, cov_x0, batch, progress)
    each, parts = shares.sum(0), dict(zip(PARTS, shares.mean(1).tolist()))
    value = float(each.mean())
    psi = each - value
    found = Value("nll", **estimate(value, psi)._asdict(), parts=parts)
    return {cell.metrics.protocol("nll", n): found}, {"nll": psi}
