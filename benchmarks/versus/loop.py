"""What everything around the network costs: the loop, the plans, the noise, the conversion, the cutting into rungs."""

import numpy as np

from fastdiff_benchmarks.versus.network import SHAPE, Timed, brief, synchronise
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
    c_noise = torch.full((batch,), 500.0, device=timed.device)

    @torch.inference_mode()
    def bare(steps: int = steps):
        for _ in range(steps):
            out, _ = denoiser.runner.full(x, c_noise, None, None)
        return out

    def trajectory(name: str, analytic: bool = False):
        def work(steps: int = steps):
            cov = [0.01] * steps if analytic else None
            (found,) = generate(denoiser, preset(name, steps=steps), 0, np.arange(batch), None, cov, batch)
            return found.pixels

        return work

    arms = {"bare network calls": bare, "ddim": trajectory("ddim"), "ddpm": trajectory("ddpm"),
            "analytic_ddpm": trajectory("analytic_ddpm", analytic=True)}  # fmt: skip
    arms = interleaved(arms, sync, batch, **options, briefly=brief(arms))
    how_said = f"{steps} steps, batch {batch}, {how[0]}"
    found = [overhead(f"trajectory over its bare network calls ({each}), {how_said}", arms, each, "bare network calls",
                      1.01) for each in ("ddim", "ddpm")]  # fmt: skip
    found += [overhead(f"Analytic-DPM's sampling over DDPM's, {how_said}", arms, "analytic_ddpm", "ddpm", 1.005)]
    unet, forward = timed.ours(how[0]), timed.official(x.dtype).forward  # contiguous, where both run the same modules
    longer = {name: 4 * options[name] for name in ("repeats", "seconds")}  # short calls, and a fraction of a per cent
    for word, goal in (("eager", 1.01), ("compiled", 1.003)):
        walks = interleaved(_walks(word, unet, forward, x), sync, batch, **options | longer)
        arms |= walks
        for name in (f"walk, {word}", f"walk with factors, {word}"):
            said = f"{name}, over a straight forward, batch {batch}, {how[0]}"
            found.append(overhead(said, walks, name, f"straight forward, {word}", goal))
    return arms, found


def _walks(word: str, unet, forward, x) -> dict:
    """The walk, with factors of 1 and of 0.5, and before them the official forward: all eager, or all compiled."""
    import torch

    from fastdiff.unets import Runner

    compiled = word == "compiled"
    runner = Runner(unet, None, "default" if compiled else "none")
    straight = torch.compile(forward, fullgraph=True, dynamic=False) if compiled else forward
    c_noise = torch.full((len(x),), 500.0, device=x.device)
    ones = torch.ones(unet.rungs, device=x.device) if compiled else None  # eagerly nothing is multiplied by 1
    halves = torch.full((unet.rungs,), 0.5, device=x.device)

    def inferred(call, *arguments):
        return torch.inference_mode()(lambda: call(*arguments))

    return {
        f"straight forward, {word}": inferred(straight, x, c_noise),
        f"walk, {word}": inferred(runner.full, x, c_noise, None, ones),
        f"walk with factors, {word}": inferred(runner.full, x, c_noise, None, halves),
    }
