"""What everything around the network costs: the loop, the plans, the noise, the conversion, the cutting into rungs."""

import numpy as np

from fastdiff_benchmarks.versus.network import SHAPE, Timed, synchronise
from fastdiff_benchmarks.versus.targets import Target, overhead


def measure(timed: Timed, batch: int, steps: int, how: tuple, options: dict) -> tuple[dict, list[Target]]:
    """how: precision and memory format of the trajectories."""
    import torch

    from fastdiff.generate import generate
    from fastdiff.profiling import interleaved
    from fastdiff.samplers import preset

    sync, unet = synchronise(timed.device), timed.ours(*how[:2])
    denoiser = timed.denoiser(unet)
    x = torch.randn(batch, *SHAPE, dtype=next(unet.parameters()).dtype, device=timed.device)
    c_noise, ones = torch.full((batch,), 500.0, device=timed.device), torch.ones(unet.rungs, device=timed.device)

    @torch.inference_mode()
    def bare():
        for _ in range(steps):
            out, _ = denoiser.runner.full(x, c_noise, None, None)
        return out

    def trajectory(name: str, cov=None, **knobs):
        sampler = preset(name, steps=steps, **knobs)
        return lambda: list(generate(denoiser, sampler, 0, np.arange(batch), None, cov, batch))[0].pixels

    name = f"{steps} steps, batch {batch}, {how[0]}"
    bare_arms = {"bare network calls": bare, "ddim": trajectory("ddim"), "ddpm": trajectory("ddpm")}
    arms = interleaved(bare_arms, sync, batch, **options)
    found = [overhead(f"trajectory over its bare network calls ({each}), {name}", arms, each, 1.01)
             for each in ("ddim", "ddpm")]  # fmt: skip
    cov = [0.01] * steps
    both = {"ddpm sampling": trajectory("ddpm"), "analytic_ddpm sampling": trajectory("analytic_ddpm", cov)}
    variance = interleaved(both, sync, batch, **options)
    found += [overhead(f"Analytic-DPM's sampling over DDPM's, {name}", variance, "analytic_ddpm sampling", 1.005)]
    forward = timed.official(x.dtype, how[1] == "channels_last").forward
    return arms | variance | _walks(timed, unet, forward, x, c_noise, ones, found, how, options), found


def _walks(timed, unet, forward, x, c_noise, ones, found: list[Target], how: tuple, options: dict) -> dict:
    """The walk, with and without factors, beside the official forward: eager and compiled. Adds to the targets."""
    import torch

    from fastdiff.profiling import interleaved
    from fastdiff.unets import Runner

    half, every = torch.full_like(ones, 0.5), {}
    for compile, goal in (("none", 1.01), ("default", 1.003)):
        runner = Runner(unet, None, compile)
        straight = forward if compile == "none" else torch.compile(forward, fullgraph=True, dynamic=False)
        word = "eager" if compile == "none" else "compiled"

        def inferred(run):
            with torch.inference_mode():
                return run()

        factors = None if compile == "none" else ones
        arms = {
            f"straight forward, {word}": lambda straight=straight: inferred(lambda: straight(x, c_noise).sample),
            f"walk, {word}": lambda: inferred(lambda: runner.full(x, c_noise, None, factors)),  # noqa: B023
            f"walk with factors, {word}": lambda: inferred(lambda: runner.full(x, c_noise, None, half)),  # noqa: B023
        }
        timed_arms = interleaved(arms, synchronise(timed.device), len(x), **options)
        name = f"walk over a straight forward, {word}, batch {len(x)}, {how[0]}"
        found.append(overhead(name, timed_arms, f"walk, {word}", goal))
        tuned = f"walk with factors, {word}"
        found.append(overhead(f"{tuned}, over a straight forward, batch {len(x)}, {how[0]}", timed_arms, tuned, goal))
        every |= timed_arms
    return every
