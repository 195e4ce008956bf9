"""DDIM: ours beside diffusers' DDIMPipeline, eager and compiled, from a call to uint8 images in memory."""

import numpy as np

from fastdiff_benchmarks.versus.network import SHAPE, Timed, synchronise
from fastdiff_benchmarks.versus.targets import Target, beside

EAGER, COMPILED = "diffusers, float32, eager", "diffusers, bfloat16, channels-last, compiled"
FLOAT32, FASTEST = "ours, float32, channels-last, compiled", "ours, bfloat16, channels-last, compiled"


def measure(timed: Timed, batch: int, steps: int, bfloat16: bool, options: dict) -> tuple[dict, list[Target]]:
    """Arms of both, all in one run, and the targets they are about. options: of `interleaved`."""
    from fastdiff.profiling import interleaved

    best = FASTEST if bfloat16 else FLOAT32
    arms = {EAGER: theirs(timed, batch, steps), "ours, float32, eager": ours(timed, batch, steps)}
    arms |= {"ours, bfloat16, eager": ours(timed, batch, steps, "bfloat16")}
    arms |= {COMPILED: theirs(timed, batch, steps, compiled=True)}
    arms |= {FASTEST: ours(timed, batch, steps, "bfloat16", "channels_last", "default")}
    if best not in arms:
        arms |= {best: ours(timed, batch, steps, "float32", "channels_last", "default")}
    found = interleaved(arms, synchronise(timed.device), batch, **options)
    name = f"DDIM, {steps} steps, batch {batch}"
    return found, [
        beside(f"{name}: against diffusers eager float32", found, best, EAGER, 2.0, note=best),
        beside(f"{name}: against diffusers compiled bfloat16", found, FASTEST, COMPILED, 1.0, bfloat16),
    ]


def theirs(timed: Timed, batch: int, steps: int, compiled: bool = False, interval: int = 1, bfloat16: bool = False):
    """diffusers' pipeline, as its users call it. In bfloat16 it fails at its end, where it asks numpy for such an
    array: then the same loop, as diffusers' tutorials write it. interval: with the DeepCache package's helper.
    """
    import torch
    from diffusers import DDIMPipeline, DDIMScheduler

    low = compiled or bfloat16
    unet = timed.official(torch.bfloat16 if low else None, channels_last=compiled)
    if compiled:
        unet = torch.compile(unet)
    pipe = DDIMPipeline(unet, DDIMScheduler(1000, beta_schedule="linear"))
    pipe.set_progress_bar_config(disable=True)
    if interval > 1:
        from DeepCache import DeepCacheSDHelper

        helper = DeepCacheSDHelper(pipe)
        helper.set_params(cache_interval=interval, cache_branch_id=0)
        helper.enable()

    def work() -> np.ndarray:
        generator = torch.Generator(timed.device).manual_seed(0)
        if low:
            images = _loop(pipe, batch, steps, generator)
        else:
            images = pipe(batch_size=batch, generator=generator, num_inference_steps=steps, output_type="np").images
        return (images * 255).round().astype(np.uint8)

    return work


def _loop(pipe, batch: int, steps: int, generator) -> np.ndarray:
    """What DDIMPipeline does, its last conversion through float32. Images (B H W C) in 0 .. 1."""
    import torch

    with torch.no_grad():
        x = torch.randn((batch, *SHAPE), generator=generator, device=generator.device, dtype=pipe.unet.dtype)
        pipe.scheduler.set_timesteps(steps)
        for t in pipe.scheduler.timesteps:
            x = pipe.scheduler.step(pipe.unet(x, t).sample, t, x, eta=0.0, generator=generator).prev_sample
        return (x / 2 + 0.5).clamp(0, 1).float().cpu().permute(0, 2, 3, 1).numpy()


def ours(timed: Timed, batch: int, steps: int, precision="float32", memory_format="contiguous", compile="none",
         interval: int = 1, branch: int = 1):  # fmt: skip
    """A batch of `generate`, noise and conversion included."""
    from fastdiff.generate import generate
    from fastdiff.samplers import preset

    denoiser = timed.denoiser(timed.ours(precision, memory_format), interval, branch, compile=compile)
    sampler = preset("ddim", steps=steps, spacing="stride")

    def work() -> np.ndarray:
        (found,) = generate(denoiser, sampler, 0, np.arange(batch), None, None, batch)
        return found.pixels

    return work
