"""The reader's own network and settings: uncached, and cached at some intervals."""

import dataclasses

import numpy as np


def measure(settings: dict, intervals: list[int], options: dict) -> tuple[dict, list[dict]]:
    """Arms by interval, the uncached one first, and their speed-up beside the one that MACs promise."""
    from fastdiff.bench.config import cell_of
    from fastdiff.bench.run_cell import costs, labels_of, load_denoiser
    from fastdiff.data import load
    from fastdiff.profiling import interleaved
    from fastdiff.sampling.generate import generate
    from fastdiff_benchmarks.versus.network import synchronise

    cell = cell_of(settings)
    if cell.analytic or cell.optimal:  # neither costs anything in the loop, and their norms need not be had
        usual = {"variance": "small"} | ({"spacing": "logsnr"} if cell.optimal else {})
        cell = dataclasses.replace(cell, sampler=dataclasses.replace(cell.sampler, **usual))
    batch = cell.device.batch
    images, labels = np.arange(batch), labels_of(cell, load(cell.data)[0])
    work, macs = {}, {}
    for interval in dict.fromkeys([1, *intervals]):
        arm = dataclasses.replace(cell, deepcache=dataclasses.replace(cell.deepcache, interval=interval))
        denoiser = load_denoiser(arm)
        name = f"interval {interval}"
        macs[name] = costs(arm, denoiser)["macs"]
        work[name] = lambda denoiser=denoiser: list(
            generate(denoiser, cell.sampler, 0, images, labels, None, batch)
        )[0].pixels  # fmt: skip
    arms = interleaved(work, synchronise(cell.device.name), batch, **options)
    first = next(iter(macs.values()))
    rows = [{"arm": name, "MMACs": round(macs[name] / 1e6), "images_per_s": arm.latency.images_per_s,
             "speedup": arm.speedup, "speedup.low": arm.speedup_low, "speedup.high": arm.speedup_high,
             "promised": first / macs[name]}
            for name, arm in arms.items()]  # fmt: skip
    return arms, rows
