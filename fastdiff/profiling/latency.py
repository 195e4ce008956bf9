"""Throughput from the batches that were generated anyway (protocol `quick`)."""

from typing import NamedTuple

import numpy as np


class Throughput(NamedTuple):
    """Median over batches: images_per_s, latency_ms per batch, and the batches behind them."""

    images_per_s: float
    latency_ms: float
    batches: int


def throughput(seconds: list[float], batch: int) -> Throughput:
    """Of synchronised trajectory times of full batches, warm-up already dropped."""
    if not seconds:
        raise ValueError("no timed batch: at least one full batch after the warm-up is needed")
    median = float(np.median(seconds))
    return Throughput(batch / median, 1000 * median, len(seconds))
