"""The best batch for the reader's own cell: doubled while images come faster, given up where memory ends."""

import dataclasses

import numpy as np

GAIN = 1.02  # a batch twice as large has to be so many times as fast
LARGEST = 250  # a block's images


def measure(settings: dict, options: dict) -> list[dict]:
    """A line a batch size: images per second and peak memory, the best marked. One network call stands for all."""
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
            break  # no longer faster
        batch = LARGEST if batch < LARGEST < 2 * batch else 2 * batch
    best = max(lines, key=lambda line: line["images_per_s"], default=None)
    if best is None:
        raise ValueError("not even a batch of one image fits into memory; choose a smaller network or another device")
    return [line | {"best": "<- device.batch" if line is best else ""} for line in lines]


def short_of_memory(error: Exception) -> bool:
    """Whether an error means that memory has ended; torch says so in several ways."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error).lower() for words in ("out of memory", "can't allocate memory", "not enough memory"))


def _device(cell):
    import torch

    return torch.device(cell.device.name)


def _images_per_s(cell, batch: int, options: dict):
    """Of one full network call at that batch, and the call."""
    import torch

    from fastdiff.bench.run_cell import labels_of, load_denoiser
    from fastdiff.data import load
    from fastdiff.profiling import interleaved
    from fastdiff_benchmarks.versus.network import synchronise

    cell = dataclasses.replace(cell, device=dataclasses.replace(cell.device, batch=batch))
    denoiser, labels = load_denoiser(cell).uncached(), labels_of(cell, load(cell.data)[0])
    cond = None if labels is None else labels(np.arange(batch))
    x = torch.randn(batch, *denoiser.shape, device=denoiser.device)

    @torch.inference_mode()
    def call():
        given = torch.from_numpy(cond).to(denoiser.device) if isinstance(cond, np.ndarray) else cond
        return denoiser.start(1, given)(x, denoiser.span[1])

    arms = interleaved({"call": call}, synchronise(cell.device.name), batch, **options)
    return arms["call"].latency.images_per_s, call
