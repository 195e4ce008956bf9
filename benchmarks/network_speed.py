"""How fast the network of the settings is: uncached, with cached steps, and by batch size."""

import dataclasses
from collections.abc import Callable
from functools import partial

import numpy as np

GAIN = 1.02  # a batch of twice the size must be at least this much faster, or the search ends
LARGEST = 250  # the images of one block


def by_interval(settings: dict, intervals: list[int], options: dict) -> tuple[dict, list[dict]]:
    """Time the cell of the settings without a cache and at some DeepCache intervals, in turns.

    options: arguments of `fastdiff.profiling.interleaved`. Returns its arms and a table: images per second, the
    speed-up with its 95 % interval, and the speed-up that the MACs promise.
    """
    from fastdiff.bench.config import cell_of
    from fastdiff.bench.cost import cost_of
    from fastdiff.bench.resources import Resources, labels_of, load_denoiser
    from fastdiff.data import load
    from fastdiff.profiling import interleaved
    from fastdiff.sampling.generate import generate, synchronise

    def at(interval: int):
        """The cell of the settings with that interval."""
        accelerator = settings["accelerator"]
        deepcache = accelerator["deepcache"] | {"interval": interval, "schedule": "uniform", "full": []}
        return cell_of(settings | {"accelerator": accelerator | {"deepcache": deepcache}})

    owner, cell = Resources(), cell_of(settings)
    sampler = cell.sampler
    if cell.analytic or cell.optimal:  # neither takes time in the loop, and so the score norms are not needed
        usual = {"variance": "small"} | ({"spacing": "logsnr"} if cell.optimal else {})
        sampler = dataclasses.replace(cell.sampler, **usual)
    batch = cell.device.batch
    images, labels = np.arange(batch), labels_of(cell, load(cell.data)[0], owner)
    work, macs = {}, {}
    for interval in dict.fromkeys([1, *intervals]):
        arm = dataclasses.replace(at(interval), sampler=sampler)
        denoiser, name = load_denoiser(arm, owner), f"interval {interval}"
        macs[name] = cost_of(arm, owner, denoiser.noise_levels, denoiser.unet.rungs).macs
        work[name] = lambda denoiser=denoiser: list(
            generate(denoiser, sampler, 0, images, labels, None, batch)
        )[0].pixels  # fmt: skip
    arms = interleaved(work, partial(synchronise, _device(cell)), batch, **options)
    first = next(iter(macs.values()))
    rows = [{"arm": name, "MMACs": round(macs[name] / 1e6), "images_per_s": arm.latency.images_per_s,
             "speedup": arm.speedup, "speedup.low": arm.speedup_low, "speedup.high": arm.speedup_high,
             "promised": first / macs[name]}
            for name, arm in arms.items()]  # fmt: skip
    return arms, rows


def by_batch(settings: dict, options: dict) -> list[dict]:
    """Images per second and peak memory by batch size, from one network call each. The best size is marked.

    The size doubles until it is no faster or the memory is full. Raises ValueError if one image does not fit.
    """
    from fastdiff.bench.config import cell_of
    from fastdiff.profiling import peak_mb

    cell, lines, batch = cell_of(settings), [], 1
    while batch <= LARGEST:
        try:
            speed, call = _images_per_s(cell, batch, options)
            memory = peak_mb(call, _device(cell))
        except (MemoryError, RuntimeError) as error:
            if not short_of_memory(error):
                raise
            print(f"  batch {batch}: out of memory; {lines[-1]['batch'] if lines else 0} is the largest that fits")
            break
        lines.append({"batch": batch, "images_per_s": speed, "peak_mb": memory})
        if len(lines) > 2 and speed < GAIN * max(line["images_per_s"] for line in lines[:-1]):
            break
        batch = LARGEST if batch < LARGEST < 2 * batch else 2 * batch
    best = max(lines, key=lambda line: line["images_per_s"], default=None)
    if best is None:
        raise ValueError("not even a batch of one image fits into memory; choose a smaller network or another device")
    return [line | {"best": "<- device.batch" if line is best else ""} for line in lines]


def short_of_memory(error: Exception) -> bool:
    """Whether an error means that the memory is full. torch has several error types and sentences for this."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error).lower() for words in ("out of memory", "can't allocate memory", "not enough memory"))


def _device(cell):
    import torch

    return torch.device(cell.device.name)


def _images_per_s(cell, batch: int, options: dict) -> tuple[float, Callable]:
    """The speed of one full network call at that batch size, and the call."""
    import torch

    from fastdiff.bench.resources import Resources, labels_of, load_denoiser
    from fastdiff.data import load
    from fastdiff.profiling import interleaved
    from fastdiff.sampling.generate import synchronise

    owner = Resources()
    cell = dataclasses.replace(cell, device=dataclasses.replace(cell.device, batch=batch))
    denoiser, labels = load_denoiser(cell, owner).uncached(), labels_of(cell, load(cell.data)[0], owner)
    cond = None if labels is None else labels(np.arange(batch))
    x = torch.randn(batch, *denoiser.shape, device=denoiser.device)

    @torch.inference_mode()
    def call():
        given = torch.from_numpy(cond).to(denoiser.device) if isinstance(cond, np.ndarray) else cond
        highest = denoiser.noise_levels.span[1]
        return denoiser.start([highest], given)(x, highest)

    arms = interleaved({"call": call}, partial(synchronise, _device(cell)), batch, **options)
    return arms["call"].latency.images_per_s, call
