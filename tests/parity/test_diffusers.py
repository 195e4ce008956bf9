"""dpmpp_2m and unipc beside diffusers' schedulers: the same network, levels and start, point by point."""

import numpy as np
import pytest
import torch
from official import networks
from official.trajectories import Tape

from fastdiff.diffusion.schedules import Schedule
from fastdiff.samplers import DPMpp2M, UniPC
from fastdiff.sampling.denoiser import Denoiser

diffusers = pytest.importorskip("diffusers")

CASES = [
    (DPMpp2M, {}, "DPMSolverMultistepScheduler", {"lower_order_final": True}),
    (DPMpp2M, {}, "DPMSolverMultistepScheduler", {"lower_order_final": False}),  # changes nothing before sigma 0
    (UniPC, {"order": 1}, "UniPCMultistepScheduler", {"solver_order": 1, "solver_type": "bh2"}),
    (UniPC, {"order": 1, "variant": "bh1"}, "UniPCMultistepScheduler", {"solver_order": 1, "solver_type": "bh1"}),
    (UniPC, {}, "UniPCMultistepScheduler", {"solver_order": 2, "solver_type": "bh2"}),
    (UniPC, {"variant": "bh1"}, "UniPCMultistepScheduler", {"solver_order": 2, "solver_type": "bh1"}),
    (UniPC, {"order": 3}, "UniPCMultistepScheduler", {"solver_order": 3, "solver_type": "bh2"}),
    (UniPC, {"order": 3, "variant": "bh1"}, "UniPCMultistepScheduler", {"solver_order": 3, "solver_type": "bh1"}),
]


def scheduler_of(name: str, steps: int, spacing: str, **knobs):
    """A scheduler whose levels are ours.

    diffusers takes sigma_n = sqrt((1 - alpha_bar_n) / alpha_bar_n) at its integer timesteps n - 1, with alpha_bar a
    product in float32: at the least noise 1 - alpha_bar is a difference of nearly equal numbers, and sigma_1 is off by
    3e-4. So it is given alpha_bar in float64; its `sigmas` are then ours to the last digit of float32.
    """
    made = getattr(diffusers, name)(timestep_spacing=spacing, **knobs)
    made.alphas_cumprod = np.cumprod(1 - Schedule().betas())
    made.set_timesteps(steps)
    return made


def on_its_levels(solver, scheduler):
    """Our solver on the training levels that the scheduler runs through; none of our spacings is one of diffusers'."""

    class OnItsLevels(solver):
        def sigmas(self, noise_levels):
            return [*(float(noise_levels.levels[n]) for n in scheduler.timesteps.tolist()), 0.0]

    return OnItsLevels


def theirs(unet, scheduler, z, cond) -> list[torch.Tensor]:
    """What the network is given, x / sqrt(1 + sigma^2), call by call, and the image: diffusers' own sampling loop."""
    states = [z]
    for timestep in scheduler.timesteps:
        eps = networks.call(unet, states[-1], torch.full((len(z),), float(timestep)), cond)[0]
        states.append(scheduler.step(eps, timestep, states[-1]).prev_sample)
    return states


@pytest.mark.parametrize(("steps", "spacing"), [(10, "trailing"), (7, "linspace"), (20, "leading")])
@pytest.mark.parametrize(("solver", "knobs", "name", "official"), CASES)
def test_the_trajectory_is_that_of_diffusers(random_unet, make_card, solver, knobs, name, official, steps, spacing):
    scheduler = scheduler_of(name, steps, spacing, **official)
    denoiser = Tape(Denoiser(random_unet, make_card(time_shift=-1.0)))
    sampler = on_its_levels(solver, scheduler)(steps, **knobs)
    np.testing.assert_allclose(scheduler.sigmas.numpy(), sampler.sigmas(denoiser.noise_levels), rtol=2e-7)
    z = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    cond = torch.tensor([0, 1, 2])
    with torch.inference_mode():
        image = sampler(denoiser, lambda i: z, cond)
        expected = theirs(random_unet, scheduler, z, cond)
    found = [x / (1 + sigma**2) ** 0.5 for x, sigma, _ in denoiser.calls] + [image]
    if official.get("solver_type") == "bh1":  # diffusers' B(h) is infinite on the step to sigma 0, and its image NaN
        assert expected.pop().isnan().all()
        torch.testing.assert_close(found.pop(), denoiser.calls[-1][2])
    for ours, official_state in zip(found, expected, strict=True):
        assert float((ours - official_state).abs().max() / official_state.abs().max()) < 2e-5
