"""Pools: many images of one arm. A calibration draws its pairs from them.

A partner of an arm has the noise r z + sqrt(1 - r^2) w, where z is the arm's noise and w has another seed. This noise
is standard normal too, and its correlation with z is r. Both arms then have the same law. At r = 0 they share only
their labels.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from fastdiff.bench.cell import Cell, key
from fastdiff.device import BLOCK
from fastdiff.diffusion.noise import Noise, noise_of
from fastdiff.sampling.generate import generate


@dataclass(frozen=True)
class Mixed:
    """The noise of a partner: r z + sqrt(1 - r^2) w, where w has the seed `other` and 0 <= r < 1."""

    r: float
    other: int

    def __post_init__(self):
        if not 0 <= self.r < 1:
            raise ValueError(f"correlation {self.r} of the noise must be in [0, 1); at 1 both arms are the same")

    def noise(self, seed: int, indices: np.ndarray, shape: tuple[int, ...], device) -> Noise:
        z, w = (noise_of(each, indices, shape, device) for each in (seed, self.other))
        return lambda step: self.r * z(step) + math.sqrt(1 - self.r**2) * w(step)


def pool_key(cell: Cell, mixed: Mixed | None) -> str:
    """The key of the blocks of a pool. Without mixed noise `fastdiff run` makes the same blocks under the same key."""
    return key(cell.generation() | ({} if mixed is None else {"mixed": asdict(mixed)}))


def pool(
    cell: Cell, ledger, denoiser, labels: Callable | None, extractor, n: int, mixed: Mixed | None, progress: Callable
) -> np.ndarray:
    """Features (n D), float16, of the first n images of a cell. Blocks that the ledger has are read from there.

    progress(images) is called after every block.
    """
    name, scorer, found = pool_key(cell, mixed), key(cell.metrics.extractor_identity()), []
    for first in range(0, n, BLOCK):
        count = min(BLOCK, n - first)
        block = ledger.read_block(name, first // BLOCK, scorer, count)
        if block is None:
            batches = generate(denoiser, cell.sampler, cell.budget.seed, np.arange(first, first + count), labels, None,
                               cell.device.batch, noise_of if mixed is None else mixed.noise)  # fmt: skip
            block = extractor(np.concatenate([batch.pixels for batch in batches]))._asdict()
            ledger.write_block(name, first // BLOCK, scorer, **block)
        found.append(block["features"])
        progress(count)
    return np.concatenate(found)
