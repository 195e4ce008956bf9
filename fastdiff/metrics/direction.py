"""Which way a metric points: the one place that knows."""

from collections.abc import Mapping
from typing import Protocol

LOWER = ("feature_distance", "fid", "kid", "largest_difference", "nll")  # lower is better
HIGHER = ("clip_score", "coverage", "density", "is", "precision", "psnr", "recall", "ssim")  # higher is better
JUDGED = ("fid", "clip_score", "nll")  # what cells are compared by: each has one of these


class Measured(Protocol):
    """A value that says which metric it is of."""

    metric: str


def sign(name: str) -> int:
    """1 where lower is better, -1 where higher is: sign(name) * value is a loss, the smaller the better.

    name: of a metric, or of a value: `fid`, `clip_score[ViT-B/32,n=5000]`. Raises ValueError for any other.
    """
    metric = name.partition("[")[0]
    if metric not in (*LOWER, *HIGHER):
        raise ValueError(f"metric '{metric}' is not one of: {', '.join(sorted((*LOWER, *HIGHER)))}")
    return 1 if metric in LOWER else -1


def judged_by(values: Mapping[str, Measured]) -> str:
    """The name of the value that cells are compared by, out of the values of a quality record."""
    return next(name for name, value in values.items() if value.metric in JUDGED)


def words(name: str) -> str:
    """`lower is better` or `higher is better`."""
    return "lower is better" if sign(name) > 0 else "higher is better"
