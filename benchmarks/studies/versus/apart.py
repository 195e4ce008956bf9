"""A trajectory taken apart while it runs: seconds inside its network calls, and around them."""

import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np


class Apart(NamedTuple):
    """Seconds of whole trajectories of one arm, and of those the ones inside the network, round by round."""

    whole: list[float]
    inside: list[float]

    @property
    def around(self) -> list[float]:
        return [whole - inside for whole, inside in zip(self.whole, self.inside)]

    def row(self, arm: str) -> dict:
        """Medians in ms, and around / inside with its 95 % interval."""
        from fastdiff.profiling import median_interval

        shares = [around / inside for around, inside in zip(self.around, self.inside)]
        low, high = median_interval(shares)
        line = {"arm": arm, "network_ms": 1e3 * median(self.inside), "around_ms": 1e3 * median(self.around)}
        return line | {"overhead": median(shares), "overhead.low": low, "overhead.high": high}


def taken_apart(arms: dict[str, Callable], sync: Callable[[], object], rounds: int) -> dict[str, Apart]:
    """arms: name -> work(clocked=...), which calls its network through clocked(network). In turns: A B, B A, ...

    What is around a call is measured in the very trajectory whose calls it is compared with, so that a machine that
    drifts by a tenth in a minute does not hide a hundredth. That a trajectory also slows its calls down (they find the
    caches cold) is not in it: for that, `bare` calls take their turn too. The device is idle before and after a call.
    """
    found = {name: Apart([], []) for name in arms}
    for turn in range(-1, rounds):  # the first warms up
        for name in list(arms)[:: 1 if turn % 2 else -1]:
            inside: list[float] = []

            def clocked(network: Callable, inside=inside) -> Callable:
                def call(*arguments):
                    sync()
                    begun = time.perf_counter()
                    result = network(*arguments)
                    sync()
                    inside.append(time.perf_counter() - begun)
                    return result

                return call

            sync()
            begun = time.perf_counter()
            arms[name](clocked=clocked)
            whole = time.perf_counter() - begun
            if turn >= 0:
                found[name].whole.append(whole)
                found[name].inside.append(sum(inside))
    return found


def trajectories(denoiser, batch: int, steps: int, sampler_of: Callable, cov: float | None = None) -> Callable:
    """work(steps, clocked) -> pixels of a batch of `generate`, noise and conversion included. sampler_of(steps). cov:
    of x0 at every step, for Analytic samplers. clocked: see `taken_apart`; of an uncached denoiser."""
    from fastdiff.sampling.generate import generate

    def work(steps: int = steps, clocked: Callable | None = None) -> np.ndarray:
        denoise = denoiser
        if clocked:
            run = denoiser.runner
            kept = {name: getattr(run, name) for name in ("branch", "static", "graphs", "shallow")}
            denoise = replace(denoiser, runner=SimpleNamespace(full=clocked(run.full), **kept))
        covariances = None if cov is None else [cov] * steps
        (found,) = generate(denoise, sampler_of(steps), 0, np.arange(batch), None, covariances, batch)
        return found.pixels

    return work


def bare(denoiser, batch: int, steps: int) -> Callable:
    """work(steps, clocked): as many network calls, one behind the other, and nothing else."""
    import torch

    weight = next(denoiser.unet.parameters())
    x = torch.randn(batch, *denoiser.shape, dtype=weight.dtype, device=denoiser.device)
    c_noise = torch.full((batch,), 500.0, device=denoiser.device)
    ones = torch.ones(denoiser.unet.rungs, device=denoiser.device) if denoiser.runner.static else None

    def work(steps: int = steps, clocked: Callable | None = None) -> None:
        call = denoiser.runner.full if clocked is None else clocked(denoiser.runner.full)
        with torch.inference_mode():
            for _ in range(steps):
                call(x, c_noise, None, ones)

    return work
