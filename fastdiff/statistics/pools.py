"""Pools: many images of one arm, from which a calibration draws its pairs again and again.

The noise of a partner arm is r z + sqrt(1 - r^2) w, z that of the arm itself, w of another seed: standard normal again,
so that both arms have one law, and correlated r with z. At r = 0 they share nothing but their labels.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from ..bench.cell import Cell, key
from ..device import BLOCK
from ..diffusion.noise import Noise, noise_of
from ..sampling.generate import generate


@dataclass(frozen=True)
class Mixed:
    """Noise r z + sqrt(1 - r^2) w of a partner arm; w has the seed `other`."""

    r: float
    other: int

    def __post_init__(self):
        if not 0 <= self.r < 1:
            raise ValueError(f"correlation {self.r} of the noise must be in [0, 1); at 1 both arms are one")

    def noise(self, seed: int, indices: np.ndarray, shape: tuple[int, ...], device) -> Noise:
        z, w = (noise_of(each, indices, shape, device) for each in (seed, self.other))
        return lambda step: self.r * z(step) + math.sqrt(1 - self.r**2) * w(step)


def pool_key(cell: Cell, mixed: Mixed | None) -> str:
    """The name of a pool's blocks; without mixed noise that of the cell's own, which `fastdiff run` makes too."""
    return key(cell.generation() | ({} if mixed is None else {"mixed": asdict(mixed)}))


def pool(
    cell: Cell, ledger, denoiser, labels: Callable | None, extractor, n: int, mixed: Mixed | None, progress: Callable
) -> np.ndarray:
    """Features (n D), float16, of the first n images of a cell; blocks that the ledger has are not made again.

    ledger: where they are kept. progress(images) is called after every block.
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
