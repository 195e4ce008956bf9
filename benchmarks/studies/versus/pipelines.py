"""DDIM: ours beside diffusers' DDIMPipeline, eager and compiled, from the call to uint8 images in memory."""

from collections.abc import Callable

import numpy as np

from fastdiff_benchmarks.studies.versus.apart import taken_apart, trajectories
from fastdiff_benchmarks.studies.versus.network import SHAPE, Timed, brief, synchronise
from fastdiff_benchmarks.studies.versus.targets import beside

EAGER, COMPILED = "diffusers, float32, eager", "diffusers, bfloat16, channels-last, compiled"
FLOAT32, FASTEST = "ours, float32, channels-last, compiled", "ours, bfloat16, channels-last, compiled"
NO_GRAPHS = "ours, bfloat16, channels-last, eager"
CONTIGUOUS = (
    "ours, bfloat16, contiguous, compiled"  # inductor chooses layouts itself: which is faster is the CPU's affair
)


def measure(timed: Timed, batch: int, steps: int, bfloat16: bool, options: dict):
    """Arms of both in one run, their targets, and a table of the time around the network in the compiled arms.

    bfloat16: whether the device computes in bfloat16. options: arguments of `interleaved`.
    """
    from fastdiff.profiling import interleaved

    arms = {EAGER: theirs(timed, batch, steps), "ours, float32, eager": ours(timed, batch, steps)}
    arms |= {NO_GRAPHS: ours(timed, batch, steps, "bfloat16", "channels_last")}
    arms |= {COMPILED: theirs(timed, batch, steps, compiled=True)}
    arms |= {FASTEST: ours(timed, batch, steps, "bfloat16", "channels_last", "default")}
    arms |= {CONTIGUOUS: ours(timed, batch, steps, "bfloat16", "contiguous", "default")}
    if not bfloat16:
        arms |= {FLOAT32: ours(timed, batch, steps, "float32", "channels_last", "default")}
    sync = synchronise(timed.device)
    found = interleaved(arms, sync, batch, **options, briefly=brief(arms))
    apart = taken_apart({name: arms[name] for name in (FASTEST, COMPILED)}, sync, rounds=6)
    around = [each.row(name) for name, each in apart.items()]
    said = "; ".join(f"{who} {line['around_ms']:.0f} ms" for who, line in zip(("ours", "theirs"), around))
    name = f"DDIM, {steps} steps, batch {batch}"
    best = (FASTEST, NO_GRAPHS) if bfloat16 else (FLOAT32,)
    targets = [beside(f"{name}: {each}, against diffusers eager float32", found, each, EAGER, 2.0) for each in best]
    targets += [beside(f"{name}: against diffusers compiled bfloat16", found, FASTEST, COMPILED, 1.0, bfloat16,
                       note=f"around the network of a trajectory: {said}")]  # fmt: skip
    return found, targets, around


def theirs(timed: Timed, batch: int, steps: int, compiled: bool = False, interval: int = 1, bfloat16: bool = False,
           channels_last: bool = False):  # fmt: skip
    """diffusers' pipeline as users call it. interval: with the helper of the DeepCache package.

    In bfloat16 the pipeline fails at its end, because numpy has no such type. Then the same loop is used, as in the
    tutorials of diffusers.
    """
    import torch
    from diffusers import DDIMPipeline, DDIMScheduler

    low = compiled or bfloat16
    unet = timed.official(torch.bfloat16 if low else None, channels_last=compiled or channels_last)
    if compiled:
        unet = torch.compile(unet)
    pipe = DDIMPipeline(unet, DDIMScheduler(1000, beta_schedule="linear"))
    pipe.set_progress_bar_config(disable=True)
    if interval > 1:
        from DeepCache import DeepCacheSDHelper

        helper = DeepCacheSDHelper(pipe)
        helper.set_params(cache_interval=interval, cache_branch_id=0)
        helper.enable()

    def work(steps: int = steps, clocked: Callable | None = None) -> np.ndarray:
        generator = torch.Generator(timed.device).manual_seed(0)
        if low:
            images = _loop(pipe, clocked(pipe.unet) if clocked else pipe.unet, batch, steps, generator)
        else:
            images = pipe(batch_size=batch, generator=generator, num_inference_steps=steps, output_type="np").images
        return (images * 255).round().astype(np.uint8)

    return work


def _loop(pipe, network: Callable, batch: int, steps: int, generator) -> np.ndarray:
    """The loop of DDIMPipeline, with a last conversion through float32. Returns images (B H W C) in 0 .. 1."""
    import torch

    with torch.no_grad():
        x = torch.randn((batch, *SHAPE), generator=generator, device=generator.device, dtype=pipe.unet.dtype)
        pipe.scheduler.set_timesteps(steps)
        for t in pipe.scheduler.timesteps:
            x = pipe.scheduler.step(network(x, t).sample, t, x, eta=0.0, generator=generator).prev_sample
        return (x / 2 + 0.5).clamp(0, 1).float().cpu().permute(0, 2, 3, 1).numpy()


def ours(timed: Timed, batch: int, steps: int, precision="float32", memory_format="contiguous", compile="none",
         interval: int = 1, branch: int = 1):  # fmt: skip
    """A batch of `generate`, including noise and conversion."""
    from fastdiff.samplers import preset

    denoiser = timed.denoiser(timed.ours(precision, memory_format), interval, branch, compile=compile)
    return trajectories(denoiser, batch, steps, lambda steps: preset("ddim", steps=steps, spacing="stride"))
