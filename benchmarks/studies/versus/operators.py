"""The time of one full network call by operator, and the time that its arithmetic alone needs."""

import time
from statistics import median

from fastdiff_benchmarks.studies.versus.network import SHAPE, Timed, config, synchronise

SIDE, SHOWN = 2048, 12


def measure(timed: Timed, batch: int, how: tuple, calls: int = 20) -> list[dict]:
    """Rows with operator, calls and milliseconds per network call, and share: the largest operators, then all others.

    The last row is the floor: the MACs of the call at the speed of a product of two SIDE x SIDE matrices in the same
    precision. The network runs in eager mode with the precision and memory format of `how`, because a graph has no
    separate operators. On a GPU the times are kernel times.
    """
    import torch
    from torch.profiler import ProfilerActivity, profile

    from fastdiff.profiling import call_cost
    from fastdiff.sampling.denoiser import DTYPES

    unet, dtype = timed.ours(*how[:2]), DTYPES[how[0]]
    x = torch.randn(batch, *SHAPE, dtype=dtype, device=timed.device)
    denoiser = timed.denoiser(unet)
    c_noise = torch.full((batch,), 500.0, device=timed.device)
    gpu = timed.device.startswith("cuda")
    with torch.inference_mode():
        for _ in range(3):
            denoiser.runner.full(x, c_noise, None)
        with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]) as seen:
            for _ in range(calls):
                denoiser.runner.full(x, c_noise, None)
    spent = [
        (each.key, each.count / calls, (each.self_device_time_total if gpu else each.self_cpu_time_total) / 1e3 / calls)
        for each in seen.key_averages()
    ]
    spent.sort(key=lambda each: -each[2])
    total = sum(ms for *_, ms in spent)
    rest = spent[SHOWN:]
    lines = [*spent[:SHOWN], (f"{len(rest)} more", sum(n for _, n, _ in rest), sum(ms for *_, ms in rest))]
    rows = [{"operator": name, "calls": n, "ms": ms, "share_of_time": ms / total} for name, n, ms in lines]
    floor = 1e3 * batch * call_cost("hf", config(timed.width), SHAPE).macs * _seconds_per_mac(dtype, timed.device)
    name = f"floor: its MACs at the speed of a product of {SIDE} x {SIDE}"
    return [*rows, {"operator": name, "calls": 1, "ms": floor, "share_of_time": floor / total}]


def _seconds_per_mac(dtype, device: str, repeats: int = 10) -> float:
    """Seconds per MAC of a product of two square matrices, the median of `repeats`."""
    import torch

    sync, matrix, spent = synchronise(device), torch.randn(SIDE, SIDE, device=device).to(dtype), []
    for _ in range(repeats + 2):
        sync()
        begun = time.perf_counter()
        matrix @ matrix
        sync()
        spent.append(time.perf_counter() - begun)
    return median(spent[2:]) / SIDE**3
