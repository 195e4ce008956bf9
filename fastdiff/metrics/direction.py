"""Which way a metric points: the one place that knows."""

LOWER = ("fid", "kid", "nll")  # lower is better
HIGHER = ("clip_score", "coverage", "density", "is", "precision", "recall")  # higher is better


def sign(name: str) -> int:
    """1 where lower is better, -1 where higher is: sign(name) * value is a loss, the smaller the better.

    name: of a metric, or of a value: `fid`, `clip_score[ViT-B/32,n=5000]`. Raises ValueError for any other.
    """
    metric = name.partition("[")[0]
    if metric not in (*LOWER, *HIGHER):
        raise ValueError(f"metric '{metric}' is not one of: {', '.join(sorted((*LOWER, *HIGHER)))}")
    return 1 if metric in LOWER else -1


def words(name: str) -> str:
    """`lower is better` or `higher is better`."""
    return "lower is better" if sign(name) > 0 else "higher is better"
