"""Blocks of 250 images: their features, found in the ledger or made of generated images."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..device import BLOCK
from .cell import Cell, key
from .ledger import Ledger


class Blocks(NamedTuple):
    """features (n D) and probabilities (n classes) of a cell's images, how many of its blocks had to be made, and the
    seconds of the full batches that were generated for them."""

    features: np.ndarray
    probabilities: np.ndarray
    made: int
    seconds: list[float]


def sampling(cell: Cell, denoiser: Any, labels: Callable | None, cov_x0: list[float] | None) -> Callable:
    """indices -> the batches of those images."""
    from ..diffusion.noise import IMAGES, noise_of
    from ..sampling.generate import generate

    noise = partial(noise_of, stream=IMAGES[cell.budget.part])
    return lambda indices: generate(
        denoiser, cell.sampler, cell.budget.seed, indices, labels, cov_x0, cell.device.batch, noise
    )


def blocks(
    cell: Cell, ledger: Ledger, sample: Callable, extractor: Any, progress: Callable, keep: Callable, texts: Any = None
) -> Blocks:
    """The blocks of a cell's n images.

    sample: `sampling`. keep(number of the first, pixels) is given the images of every block that had to be made.
    progress(images done). texts: indices -> prompts, for an extractor that is told them.
    """
    generation, scorer = key(cell.generation()), key(cell.metrics.extractor_identity())
    found, seconds, made, n = [], [], 0, cell.budget.n
    for index in range(-(-n // BLOCK)):
        first, count = index * BLOCK, min(BLOCK, n - index * BLOCK)
        block = ledger.read_block(generation, index, scorer, count)
        if block is None:
            batches = []
            indices = np.arange(first, first + count)
            for batch in sample(indices):
                batches.append(batch)
                progress(first + sum(len(each.pixels) for each in batches))
            pixels = np.concatenate([batch.pixels for batch in batches])
            seconds += [batch.seconds for batch in batches if len(batch.pixels) == cell.device.batch]
            block = extractor(pixels, *([texts(indices)] if texts else []))._asdict()
            ledger.write_block(generation, index, scorer, **block)
            if index == 0:
                ledger.write_samples(generation, pixels)
            keep(first, pixels)
            made += 1
        progress(first + count)
        found.append(block)
    features, probabilities = (np.concatenate([block[name] for block in found]) for name in block)
    return Blocks(features, probabilities, made, seconds)
