"""PLMS against diffusers' PNDMScheduler with skip_prk_steps, run here on the same network."""

import numpy as np
import pytest
import torch
from official.trajectories import Tape

from fastdiff.accelerators import DeepCache
from fastdiff.diffusion.schedules import Schedule
from fastdiff.samplers import PLMS
from fastdiff.sampling.denoiser import Denoiser

pytest.importorskip("diffusers")
KINDS = [("scaled_linear", 0.00085, 0.012), ("linear", 1e-4, 0.02)]


def official(network, labels, z, steps, offset, name, start, end) -> tuple[torch.Tensor, list[int]]:
    """The scheduler's own loop in float64: the image, and what the network was fed."""
    from diffusers import PNDMScheduler

    scheduler = PNDMScheduler(1000, start, end, name, skip_prk_steps=True, steps_offset=offset)
    betas = torch.from_numpy(Schedule(name, 1000, start, end).betas())
    scheduler.alphas_cumprod = torch.cumprod(1 - betas, 0)  # float64, as ours are
    scheduler.final_alpha_cumprod = scheduler.alphas_cumprod[0]
    scheduler.set_timesteps(steps)
    x, fed = z, []
    for t in scheduler.timesteps:
        fed.append(int(t))
        x = scheduler.step(network(x, torch.full((len(x),), float(t)), labels), t, x).prev_sample
    return x, fed


@pytest.mark.parametrize("steps", [2, 3, 5, 7, 50])
@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize(("name", "start", "end"), KINDS)
def test_plms_is_diffusers_scheduler_call_by_call(random_unet, make_card, steps, offset, name, start, end):
    network = random_unet.double()
    z, labels = (
        torch.randn(2, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)),
        torch.tensor([0, 2]),
    )
    card = make_card(schedule=Schedule(name, 1000, start, end), time_shift=-1.0)
    tape = Tape(Denoiser(network, card))
    with torch.inference_mode():
        expected, timesteps = official(network, labels, z, steps, offset, name, start, end)
        sampler = PLMS(steps, offset, "float64")
        found = sampler(tape, lambda i: z, labels)
    assert [round(tape.c_noise(sigma)) for _, sigma, *_ in tape.calls] == timesteps
    assert len(timesteps) == len(sampler.call_sigmas(card.noise_levels)) == steps + 1
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)


def test_deepcache_counts_the_one_call_more_and_makes_it_shallow(denoiser):
    sampler = PLMS(50)
    full = DeepCache(5, 2).full_calls(len(sampler.call_sigmas(denoiser.noise_levels)), sampler.asked)
    assert len(full) == 51 and np.flatnonzero(full).tolist() == list(range(0, 50, 5))


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        (dict(steps=1), "steps is 1; plms needs at least 2"),
        (dict(steps=5, offset=-1), "offset is -1; it counts training levels"),
        (dict(steps=5, state_dtype="half"), "state_dtype 'half' is not one of: float32, float64"),
        (dict(steps=1000), "1000 plms steps with offset 1 need more than the network's 1000 levels"),
    ],
)
def test_impossible_knobs_are_refused(denoiser, knobs, said):
    with pytest.raises(ValueError, match=said):
        PLMS(**knobs).sigmas(denoiser.noise_levels)


def test_a_network_without_training_levels_is_refused(make_card):
    card = make_card(family="edm", parameterisation="edm", arch={"class_name": "EDMPrecond", "model_type": "SongUNet"})
    with pytest.raises(ValueError, match="plms steps over the training levels of a VP network"):
        PLMS(5).sigmas(card.noise_levels)
