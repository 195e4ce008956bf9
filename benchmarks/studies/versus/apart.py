"""The time of a trajectory inside its network calls and around them."""

import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np


class Apart(NamedTuple):
    """Seconds of the trajectories of one arm, whole and inside the network, one entry per round."""

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
    """Run arms in turns (A B, B A, ...) and measure the time inside and around their network calls.

    arms: name -> work(clocked=...), which calls its network through clocked(network). Both times come from the same
    trajectory. A machine may drift by 10 % in a minute and a difference of 1 % is still visible. A trajectory also
    slows its network calls down, because the CPU caches are cold. To see this, add an arm of `bare` calls. The device
    is idle before and after every call.
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
    """work(steps, clocked) -> pixels of a batch of `generate`, including noise and conversion.

    sampler_of: steps -> sampler. cov: covariance of x0 at every step, for Analytic samplers. clocked: see
    `taken_apart`; the denoiser must be uncached.
    """
    from fastdiff.sampling.generate import generate

    def work(steps: int = steps, clocked: Callable | None = None) -> np.ndarray:
        denoise = denoiser
        if clocked:
            run = denoiser.runner
            kept = {name: getattr(run, name) for name in ("branch", "joins", "compile", "static", "graphs", "shallow")}
            denoise = replace(denoiser, runner=SimpleNamespace(full=clocked(run.full), **kept))
        covariances = None if cov is None else [cov] * steps
        (found,) = generate(denoise, sampler_of(steps), 0, np.arange(batch), None, covariances, batch)
        return found.pixels

    return work


def bare(denoiser, batch: int, steps: int) -> Callable:
    """work(steps, clocked): `steps` network calls one after the other, and nothing else."""
    import torch

    weight = next(denoiser.unet.parameters())
    x = torch.randn(batch, *denoiser.shape, dtype=weight.dtype, device=denoiser.device)
    c_noise = torch.full((batch,), 500.0, device=denoiser.device)

    def work(steps: int = steps, clocked: Callable | None = None) -> None:
        call = denoiser.runner.full if clocked is None else clocked(denoiser.runner.full)
        with torch.inference_mode():
            for _ in range(steps):
                call(x, c_noise, None)

    return work
