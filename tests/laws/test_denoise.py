"""Every parameterisation, guided or not, cached or not, is one `denoise(x, sigma) -> x0`."""

import math

import numpy as np
import pytest
import torch
from networks import ones

from fastdiff.accelerators import DeepCache, SkipTuning
from fastdiff.diffusion.schedules import Schedule
from fastdiff.sampling.denoiser import Denoiser
from fastdiff.unets import build, walk


def test_networks_of_eps_x0_and_v_built_from_one_another_give_one_x0(fake_unet, make_card):
    levels = make_card().noise_levels.levels

    def eps_of(x_vp, n):
        return torch.tanh(x_vp) + 1e-3 * n.reshape(-1, 1, 1, 1)

    def sigma_of(n):
        return torch.from_numpy(levels)[n.long() - 1].reshape(-1, 1, 1, 1)

    def x0_of(x_vp, n):
        sigma = sigma_of(n)
        return x_vp * (1 + sigma**2).sqrt() - sigma * eps_of(x_vp, n)

    def v_of(x_vp, n):  # Salimans & Ho 2022: v = alpha eps - sqrt(1 - alpha^2) x0 with alpha = 1 / sqrt(1 + sigma^2)
        alpha = 1 / (1 + sigma_of(n) ** 2).sqrt()
        return alpha * eps_of(x_vp, n) - (1 - alpha**2).sqrt() * x0_of(x_vp, n)

    torch.manual_seed(0)
    for n in (1, 2, 500, 1000):
        t = float(levels[n - 1])
        x, found = t * torch.randn(2, 1, 8, 8, dtype=torch.float64), {}
        for parameterisation, function in (("eps", eps_of), ("x0", x0_of), ("v", v_of)):
            unet = fake_unet(lambda x_vp, c_noise, cond, function=function: function(x_vp, c_noise), torch.float64)
            denoiser = Denoiser(unet, make_card(parameterisation=parameterisation, classes=0))
            found[parameterisation] = denoiser.start([t])(x, t)
        expected = x - t * eps_of(x / math.sqrt(1 + t**2), torch.tensor([n], dtype=torch.float64))
        scale = float(x.abs().max())  # eps and v subtract numbers of the size of x
        for parameterisation, x0 in found.items():
            torch.testing.assert_close(x0, expected, rtol=0, atol=1e-13 * scale, msg=parameterisation)


def test_an_unknown_parameterisation_is_refused_with_the_menu(make_card):
    with pytest.raises(ValueError, match="'score' is not one of: edm, eps, v, x0"):
        make_card(parameterisation="score")


def test_the_network_is_fed_x_divided_by_its_standard_deviation_in_the_network_s_precision(fake_unet, make_card):
    unet = fake_unet(lambda x, n, cond: x, torch.float32)
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    x0 = Denoiser(unet, make_card()).start([3.0], torch.tensor([0, 1]))(x, 3.0)
    assert torch.equal(unet.calls[0][0], (x / 10**0.5).float())
    assert x0.dtype == torch.float64


@pytest.mark.parametrize("schedule", [Schedule(), Schedule("cosine"), Schedule("linear", N=40)])
def test_c_noise_is_exact_at_training_levels(fake_unet, make_card, schedule):
    for shift, scale in ((0.0, 1.0), (-1.0, 1.0), (-1.0, 0.25)):
        card = make_card(schedule=schedule, time_shift=shift, time_scale=scale)
        denoiser = Denoiser(fake_unet(None), card)
        found = [denoiser.c_noise(float(sigma)) for sigma in card.noise_levels.levels]
        assert found == [scale * (n + shift) for n in range(1, schedule.N + 1)]


def test_c_noise_between_two_levels_is_linear_in_log_sigma(fake_unet, make_card):
    denoiser = Denoiser(fake_unet(None), make_card())
    low, high = denoiser.noise_levels.levels[99:101]
    assert denoiser.c_noise(math.sqrt(low * high)) == pytest.approx(100.5, abs=1e-9)


@pytest.mark.parametrize("factor", [0.0, -1.0, 0.99])
def test_noise_levels_outside_the_training_range_are_refused(fake_unet, make_card, factor):
    denoiser = Denoiser(fake_unet(None), make_card())
    with pytest.raises(ValueError, match="outside this network's range"):
        denoiser.c_noise(factor * denoiser.noise_levels.sigma_min)
    with pytest.raises(ValueError, match="outside this network's range"):
        denoiser.c_noise((2 - factor) * denoiser.noise_levels.sigma_max)


def test_a_denoiser_says_what_a_sampler_needs_to_know(fake_unet, make_card):
    card = make_card()
    denoiser = Denoiser(fake_unet(None), card, value_range=(0.0, 1.0))
    assert denoiser.cov_max == 0.25
    assert denoiser.shape == (1, 8, 8)
    levels = denoiser.noise_levels
    assert (levels.sigma_min, levels.sigma_max) == (levels.levels[0], levels.levels[-1])
    assert levels.prior_scale(3.0) == 10**0.5
    assert Denoiser(fake_unet(None), card).cov_max == 1
    assert Denoiser(fake_unet(None), card, value_range=(-math.inf, math.inf)).cov_max == math.inf


@pytest.fixture
def x():
    return torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


COND = torch.tensor([0, 1, 2])


def test_unit_guidance_changes_no_bit(random_unet, make_card, x):
    card = make_card()
    t = float(card.noise_levels.levels[499])
    out = walk(random_unet, x / (1 + t**2) ** 0.5, torch.full((3,), 500.0), COND, ones(random_unet))[0]
    assert torch.equal(Denoiser(random_unet, card, guidance=1.0).start([t], COND)(x, t), x - t * out)
    assert torch.equal(Denoiser(random_unet, card, guidance=1).start([t], COND)(x, t), x - t * out)


@pytest.mark.parametrize("guidance", [0.0, 0.5, 3.0])
def test_guidance_is_two_separate_calls_combined(random_unet, make_card, x, guidance):
    unet, x = random_unet.double(), x.double()
    plain, card = Denoiser(unet, make_card()), make_card()
    t = float(card.noise_levels.levels[499])
    conditional, none = plain.start([t], COND)(x, t), plain.start([t], None)(x, t)
    guided = Denoiser(unet, card, guidance=guidance).start([t], COND)(x, t)
    expected = none + guidance * (conditional - none)
    torch.testing.assert_close(guided, expected, rtol=1e-12, atol=1e-12 * float(x.abs().max() * t))


def test_guided_halves_share_one_call_and_one_trunk(random_unet, make_card, x):
    """The cond half of the trunk serves the cond half only: as two cached trajectories, run apart, would have it."""
    unet, card, batches = random_unet.double(), make_card(), []
    plans = SkipTuning(0.7, 0.9), DeepCache(3, 2)
    x, sigmas = x.double(), [20.0, 5.0, 1.0, 0.2]
    apart = [Denoiser(unet, card, plans).start(sigmas, cond) for cond in (COND, None)]
    expected = []
    for t in sigmas:
        conditional, none = (step(x * t, t) for step in apart)
        expected.append(none + 2.5 * (conditional - none))

    unet.mids[0].register_forward_hook(lambda module, args, out: batches.append(len(out)))
    guided = Denoiser(unet, card, plans, guidance=2.5).start(sigmas, COND)
    for t, x0 in zip(sigmas, expected):
        torch.testing.assert_close(guided(x * t, t), x0, rtol=1e-12, atol=1e-11 * t)
    assert batches == [6, 6]  # two full calls of the four, each on both halves


def test_guidance_without_labels_to_guide_by_is_refused(random_unet, make_card):
    with pytest.raises(ValueError, match="unconditional"):
        Denoiser(random_unet, make_card(classes=0), guidance=2.0)
    with pytest.raises(ValueError, match="needs labels"):
        Denoiser(random_unet, make_card(), guidance=2.0).start([1.0])


def test_a_branch_beyond_the_networks_skips_is_refused(random_unet, make_card):
    Denoiser(random_unet, make_card(), (DeepCache(2, branch=6),))
    with pytest.raises(ValueError, match=r"branch is 7; this network's skips are 1 \.\. 6"):
        Denoiser(random_unet, make_card(), (DeepCache(2, branch=7),))


def test_the_uncached_denoiser_differs_in_nothing_but_the_cache(random_unet, make_card):
    cached = Denoiser(random_unet, make_card(), (SkipTuning(0.5), DeepCache(2, 3)), 2.0, (0.0, 1.0))
    assert cached.uncached() == Denoiser(random_unet, cached.card, (SkipTuning(0.5), DeepCache()), 2.0, (0.0, 1.0))


def test_a_schedule_has_the_levels_of_its_alpha_bars():
    # Ho et al. 2020: beta from 1e-4 to 0.02 in 1000 steps; Nichol & Dhariwal 2021: beta capped at 0.999
    np.testing.assert_allclose(
        1 / (1 + Schedule().levels() ** 2), np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)), rtol=1e-12
    )
    cosine = Schedule("cosine")
    assert cosine.betas().max() == 0.999
    assert (np.diff(cosine.levels()) > 0).all()
    with pytest.raises(ValueError, match="'sqrt' is not one of: cosine, linear, scaled_linear"):
        Schedule("sqrt")


def test_guidance_is_refused_where_no_label_stands_for_none_or_labels_are_rows(make_card, random_unet):
    arch = dict(in_channels=1, model_channels=32, out_channels=1, num_res_blocks=1, attention_resolutions=[],
                channel_mult=[1], num_classes=3)  # fmt: skip
    card = make_card(family="adm", arch=arch)
    Denoiser(build("adm", arch), card)
    with pytest.raises(ValueError, match='knows its 3 labels and was not trained with "no label"; use guidance=1'):
        Denoiser(build("adm", arch), card, guidance=2.0)
    edm = dict(model_type="SongUNet", img_resolution=8, img_channels=1, label_dim=3, model_channels=32,
               channel_mult=[1], num_blocks=1, attn_resolutions=[])  # fmt: skip
    card = make_card(family="edm", parameterisation="edm", arch=edm)
    with pytest.raises(ValueError, match='knows its 3 labels and was not trained with "no label"; use guidance=1'):
        Denoiser(build("edm", edm), card, guidance=2.0)
    Denoiser(build("edm", edm | {"label_dropout": 0.1}), card, guidance=2.0)
    with pytest.raises(ValueError, match=r"integer labels \(B\), not cond of shape \(2, 3\)"):
        Denoiser(random_unet, make_card(), guidance=2.0).start([1.0], torch.eye(3)[:2])
