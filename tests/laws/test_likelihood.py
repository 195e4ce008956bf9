"""The variational bound of a sampler's chain, against what is exactly true of Gaussian data.

For data N(0, S2 I) and the exact denoiser, a step's divergence with the analytic variance is log(var / lam2) / 2 per
pixel, and the steps of any DDPM trajectory add up to what x knows of x0 at the last level more than at the first:
(log((S2 + s^2) / s^2) - log((S2 + t^2) / t^2)) / 2.
"""

import itertools
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fastdiff.accelerators import DeepCache
from fastdiff.analytic import Norm, ScoreNorms, covariances, estimate, estimate_joint, joints
from fastdiff.analytic.likelihood_bound import bits, decoder_var, discretised, estimate_terms, prior, terms
from fastdiff.data import Images
from fastdiff.diffusion.noise import LIKELIHOOD, noise_of
from fastdiff.diffusion.schedules import Schedule
from fastdiff.samplers import DDIM
from fastdiff.samplers.optimal import bound_terms
from fastdiff.sampling.denoiser import Denoiser

LEVELS, S2, D = Schedule().levels(), 0.01, 64
VARIANCES = ("analytic", "large", "small")


@pytest.fixture
def gaussian(fake_unet, make_card):
    """The exact denoiser of N(0, S2 I) in float64; S2 is so small that the clip to [-1, 1] never binds."""

    def eps(x_vp, n, cond):
        t = torch.from_numpy(LEVELS)[n.long() - 1].reshape(-1, 1, 1, 1)
        return t / (S2 + t**2) * x_vp * (1 + t**2).sqrt()

    return Denoiser(fake_unet(eps, torch.float64), make_card(classes=0))


def drawn(count: int):
    """x0 (B 1 8 8) of the Gaussian, and noise of the likelihood's stream, both float64."""
    x0 = math.sqrt(S2) * noise_of(1, range(count), (1, 8, 8))(0).double()
    noise = noise_of(2, range(count), (1, 8, 8), stream=LIKELIHOOD)
    return x0, lambda i: noise(i).double()


def exact_cov(sigmas):
    return covariances({t: Norm(t**2 / (S2 + t**2), 0.0) for t in sigmas[:-1]}, sigmas, None, "eps_ms", 1.0)


def bound(denoiser, sampler, count=500):
    x0, noise = drawn(count)
    sigmas = sampler.sigmas(denoiser.noise_levels)
    cov_x0 = exact_cov(sigmas) if sampler.variance == "analytic" else None
    with torch.inference_mode():
        return terms(denoiser, sampler, x0, noise, cov_x0=cov_x0).numpy(), sigmas


def close(values, expected):
    """Means over images beside their exact values, within 4.5 standard errors."""
    se = values.std(-1, ddof=1) / math.sqrt(values.shape[-1])
    return (np.abs(values.mean(-1) - expected) < 4.5 * se + 1e-9).all()


@pytest.mark.parametrize("eta", [0.3, 1.0])
@pytest.mark.parametrize("variance", ["analytic", "small"])
def test_every_step_is_the_divergence_that_gaussian_data_has_in_closed_form(gaussian, variance, eta):
    found, sigmas = bound(gaussian, DDIM(8, eta=eta, variance=variance))
    expected = []
    for t, s in zip(sigmas, sigmas[1:-1]):
        lam2 = eta**2 * s**2 * (1 - s**2 / t**2)
        keep, rest = math.sqrt(s**2 - lam2), S2 * t**2 / (S2 + t**2)  # Var[x0 | x_t]
        optimal = lam2 + (1 - keep / t) ** 2 * rest
        per_pixel = math.log(optimal / lam2) / 2 if variance == "analytic" else (optimal / lam2 - 1) / 2
        expected.append(D * per_pixel)
    assert close(found[1:-1], expected[::-1])


def test_large_variance_is_the_divergence_of_that_variance(gaussian):
    found, sigmas = bound(gaussian, DDIM(8, eta=1.0, variance="large"))
    expected = []
    for t, s in zip(sigmas, sigmas[1:-1]):
        lam2, var = s**2 * (1 - s**2 / t**2), (t**2 - s**2) * (1 + s**2) / (1 + t**2)
        optimal = lam2 + (1 - s**2 / t**2) ** 2 * S2 * t**2 / (S2 + t**2)
        expected.append(D * (optimal / var - 1 + math.log(var / lam2)) / 2)
    assert close(found[1:-1], expected[::-1])


def test_the_steps_of_ddpm_add_up_to_the_same_whatever_the_trajectory(gaussian):
    s, t = LEVELS[0], LEVELS[-1]
    exact = D * (math.log((S2 + s**2) / s**2) - math.log((S2 + t**2) / t**2)) / 2
    for steps, spacing in ((2, "even"), (5, "even"), (20, "even"), (12, "power2")):
        found, _ = bound(gaussian, DDIM(steps, spacing, eta=1.0, variance="analytic"))
        assert close(found[1:-1].sum(0), exact)


def test_of_all_variances_the_analytic_one_has_the_lowest_bound(gaussian):
    totals = {v: bound(gaussian, DDIM(6, eta=1.0, variance=v))[0].sum(0).mean() for v in VARIANCES}
    assert totals["analytic"] < min(totals["large"], totals["small"])


# --- under DeepCache: a chain that remembers the input of its last full call ---


def cached_bound(denoiser, sampler, cov_x0=None, count=500):
    x0, noise = drawn(count)
    with torch.inference_mode():
        return terms(denoiser, sampler, x0, noise, cov_x0=cov_x0).numpy()


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_a_cached_chain_whose_calls_are_all_full_has_the_bound_of_the_uncached_network(gaussian, eta):
    """Its noise is a chain of q and not independent from term to term; the mean of each term is the same."""
    sampler = DDIM(8, eta=eta)
    plain, _ = bound(gaussian, sampler)
    full = replace(gaussian, accelerators=(DeepCache(2, protect_first=8),))
    assert not np.array_equal(plain, chain := cached_bound(full, sampler))
    se = np.hypot(plain.std(1, ddof=1), chain.std(1, ddof=1)) / math.sqrt(plain.shape[1])
    assert (np.abs(plain.mean(1) - chain.mean(1)) < 4.5 * se + 1e-9).all()
    steps = chain[1:-1] - chain[1:-1].mean(1, keepdims=True)
    neighbours = (steps[1:] * steps[:-1]).mean(1) / (steps[1:].std(1) * steps[:-1].std(1))
    assert neighbours.max() > 0.2  # neighbouring terms share noise


@pytest.mark.parametrize("eta", [0.4, 1.0])
def test_terms_of_shallow_calls_are_those_of_x_t_and_x_full_of_one_chain(fake_unet, make_card, eta):
    """A one-rung network on its trunk alone, eps = a x_full: every term in closed form."""
    a, interval = 0.5, 3
    unet = fake_unet(lambda x, n, cond: a * x, torch.float64)
    sampler = DDIM(7, eta=eta)
    denoiser = Denoiser(unet, make_card(classes=0), (DeepCache(interval, 1),))
    sigmas = sampler.sigmas(denoiser.noise_levels)
    wide = replace(denoiser, value_range=(-1e6, 1e6))  # no clip, so that the moments are those of Gaussians
    found = cached_bound(wide, sampler, count=2000)[1:-1][::-1]
    expected, correlation, t_full = [], 1.0, sigmas[0]
    for i, (t, s) in enumerate(zip(sigmas, sigmas[1:-1])):
        if i % interval == 0:
            correlation, t_full = 1.0, t
        # x0_net - x0 = t (eps_t - b x_full), b = a / sqrt(1 + t_full^2), <eps_t, eps_full> = correlation
        b = a / math.sqrt(1 + t_full**2)
        gap = t**2 * (1 - 2 * b * t_full * correlation + b**2 * (S2 + t_full**2))
        k2 = 1 - eta**2 * (1 - s**2 / t**2)
        lam2, keep = s**2 * (1 - k2), s * math.sqrt(k2)
        expected.append(D * (1 - keep / t) ** 2 * gap / (2 * lam2))
        correlation *= math.sqrt(k2)
    assert close(found, np.array(expected))


def test_no_variance_bounds_a_cached_chain_better_than_its_own_joint_mse(random_unet, make_card, images):
    plan, sampler = DeepCache(3, 1), DDIM(6, eta=1.0, variance="analytic", clip="x0_and_eps")
    denoiser, knobs = Denoiser(random_unet, make_card(classes=0), (plan,)), ScoreNorms(images=300)
    sigmas = sampler.sigmas(denoiser.noise_levels)
    full, calls = plan.full_calls(6), joints(sigmas[:-1], plan.full_calls(6), 1.0)
    norms = estimate(denoiser, images, [t for t, f in zip(sigmas, full) if f], knobs, 100)
    shallow = estimate_joint(denoiser, images, [call for call in calls if call], knobs, 100)
    store = norms | {(call.t, call.t_full): norm for call, norm in shallow.items()}
    joint = covariances(store, sigmas, full, "mse", 1.0, "x0_and_eps", 1.0)
    base = covariances(estimate(denoiser, images, sigmas[:-1], knobs, 100), sigmas, None, "mse", 1.0, "x0_and_eps", 1.0)
    own = bits(denoiser, sampler, images, 300, 0, joint, 100).sum(0)
    others = [base, [0.7 * cov for cov in joint], [1.4 * cov for cov in joint], [0.0] * 6]
    for cov_x0 in others:
        worse = bits(denoiser, sampler, images, 300, 0, cov_x0, 100).sum(0) - own
        assert worse.mean() > 3 * worse.std(ddof=1) / math.sqrt(300)


def test_the_prior_is_the_divergence_from_the_first_level_to_pure_noise():
    x0, t = drawn(5)[0], 3.0
    normal, pure = torch.distributions.Normal, torch.tensor([0.0, math.sqrt(1 + t**2)], dtype=torch.float64)
    expected = torch.distributions.kl_divergence(normal(x0, t), normal(*pure)).sum((1, 2, 3))
    torch.testing.assert_close(prior(x0, t), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("low, high", [(-1.0, 1.0), (0.0, 1.0), (-2.0, 4.0)])
def test_the_decoder_gives_the_256_grey_levels_a_total_mass_of_one(low, high):
    grey = torch.arange(256).reshape(256, 1, 1, 1) / 255 * (high - low) + low
    for mean, std in ((0.3, 0.01), (0.5, 0.3), (0.99, 0.02), (0.0, 2.0)):
        v = (std * (high - low)) ** 2
        mass = (-discretised(grey, torch.full_like(grey, low + mean * (high - low)), v, (low, high))).exp()
        assert float(mass.sum()) == pytest.approx(1, abs=1e-5)


def test_the_decoder_is_the_normal_mass_of_a_bin_of_one_grey_level():
    x0, mean, std = torch.tensor([[[[0.2, 0.25]]]]), torch.tensor([[[[0.21, 0.2]]]]), 0.03
    normal = torch.distributions.Normal(mean.double(), std)
    mass = normal.cdf(x0.double() + 1 / 255) - normal.cdf(x0.double() - 1 / 255)
    found = discretised(x0, mean, std**2, (-1.0, 1.0))
    assert float(found) == pytest.approx(float(-mass.log().sum()), abs=5e-3)  # the tanh form is good to 3e-4
    far = discretised(x0, mean + 1, std**2, (-1.0, 1.0))
    assert float(far) == pytest.approx(-2 * math.log(1e-12))  # no bin has less mass than that


def test_the_variance_of_the_decoder_is_that_between_the_first_two_levels_or_all_of_a_higher_one():
    alpha_bar = 1 / (1 + LEVELS**2)
    beta_2 = 1 - alpha_bar[1] / alpha_bar[0]
    assert decoder_var(LEVELS, LEVELS[0]) == pytest.approx(beta_2 * (1 - alpha_bar[0]) / (1 - alpha_bar[1]), rel=1e-9)
    assert decoder_var(LEVELS, LEVELS[1]) == pytest.approx(1 - alpha_bar[1], rel=1e-9)


def test_the_decoder_s_term_is_the_same_for_every_variance(gaussian):
    analytic, large, small = (bound(gaussian, DDIM(6, eta=1.0, variance=v), 50)[0][0] for v in VARIANCES)
    assert np.array_equal(analytic, small) and np.array_equal(analytic, large)


def test_a_step_from_a_level_to_itself_has_no_term(gaussian):
    found, sigmas = bound(gaussian, DDIM(100, "quadratic", eta=1.0), 5)
    assert len(set(sigmas)) < len(sigmas) and len(found) == len(set(sigmas)) and np.isfinite(found).all()


def test_clips_of_pictures_do_not_enter_the_bound(gaussian):
    plain = bound(gaussian, DDIM(6, eta=1.0, variance="large"), 5)[0]
    clipped = bound(gaussian, DDIM(6, eta=1.0, variance="large", clip="x0_and_eps", sigma2_clip=2.0), 5)[0]
    assert np.array_equal(plain, clipped)


def test_what_the_network_says_outside_the_data_s_range_is_clipped(fake_unet, make_card):
    wild = Denoiser(fake_unet(lambda x, n, cond: x + 50), make_card(classes=0))
    x0, noise = drawn(3)
    with torch.inference_mode():
        found = terms(wild, DDIM(4, eta=1.0), x0.float(), lambda i: noise(i).float())
    gap = (x0 + 1).square().sum((1, 2, 3))  # x0_net is -1 everywhere
    t, s = LEVELS[-1], LEVELS[666]
    expected = (1 - s**2 / t**2) ** 2 * gap / (2 * s**2 * (1 - s**2 / t**2))
    torch.testing.assert_close(found[-2], expected, rtol=1e-5, atol=1e-9)


def test_a_network_that_is_not_vp_and_latents_are_refused(random_unet, make_card):
    edm = make_card(parameterisation="edm", arch={"preconditioning": "EDMPrecond"})
    for denoiser in (
        Denoiser(random_unet, edm),
        Denoiser(random_unet, make_card(), value_range=(-math.inf, math.inf)),
    ):
        with pytest.raises(ValueError, match="the bound is of VP networks on pixels"):
            terms(denoiser, DDIM(4, "karras", eta=1.0), *drawn(2))


@pytest.fixture(scope="module")
def images():
    pixels = (noise_of(1, range(300), (1, 8, 8))(0) * math.sqrt(S2) * 127.5 + 127.5).round().to(torch.uint8)
    return Images(pixels.numpy(), None)


def test_bits_are_nats_over_d_log_2_image_by_image_whatever_the_batch(gaussian, images):
    sampler, done = DDIM(4, eta=1.0), []
    found = bits(gaussian, sampler, images, 7, 3, None, 5, done.append)
    assert found.shape == (3, 7) and done == [5, 7]
    np.testing.assert_allclose(found, bits(gaussian, sampler, images, 7, 3, None, 2), rtol=1e-6)
    x0 = torch.from_numpy(images.pixels[:7]).float() / 255 * 2 - 1
    with torch.inference_mode():
        nats = terms(gaussian, sampler, x0, noise_of(3, range(7), (1, 8, 8), stream=LIKELIHOOD)).numpy()
    np.testing.assert_allclose(found.sum(0), nats.sum(0) / (64 * math.log(2)), rtol=1e-6)


def test_terms_by_level_are_what_a_trajectory_s_bound_is_made_of(gaussian, images):
    """bound_terms of estimated recon and decoder: the mean bound over other noise, within four standard errors."""
    sampler = DDIM(5, eta=1.0, variance="large")
    sigmas = sampler.sigmas(gaussian.noise_levels)[:-1]
    known = estimate_terms(gaussian, images, sigmas, ScoreNorms(images=300), 100)
    recon, decoder = (np.array([known[t][i] for t in sigmas[::-1]]) for i in (0, 2))
    F = bound_terms(np.array(sigmas[::-1]), recon, decoder, 1.0, "large")
    path = sum(F[s, t] for s, t in itertools.pairwise(range(6)))
    found = bits(gaussian, sampler, images, 300, 0, None, 100)[:2].sum(0) * math.log(2)
    assert abs(found.mean() - path) < 4 * found.std() / math.sqrt(300)
    for t in sigmas:
        assert abs(known[t].recon - S2 * t**2 / (S2 + t**2)) < 5 * known[t].recon_se + 0.02 * S2


def test_the_value_of_a_cell_is_the_mean_with_an_interval_from_its_images(gaussian, images):
    from fastdiff.bench.scoring import score_bound
    from fastdiff.metrics import LikelihoodBound

    cell = SimpleNamespace(
        budget=SimpleNamespace(n=40, seed=0), device=SimpleNamespace(batch=20), sampler=DDIM(4, eta=1.0),
        metrics=LikelihoodBound(),
    )  # fmt: skip
    values, influence = score_bound(cell, gaussian, images, None, id)
    ((name, value),) = values.items()
    each = bits(gaussian, cell.sampler, images, 40, 0, None, 20).sum(0)
    assert name == "nll[bits/dim,n=40]"
    np.testing.assert_allclose(influence["nll"], each - each.mean(), atol=1e-12)
    assert value.value == pytest.approx(each.mean()) == pytest.approx(sum(value.parts.values()))
    half = 1.959964 * each.std(ddof=1) / math.sqrt(40)
    assert (value.low, value.high) == pytest.approx((each.mean() - half, each.mean() + half))
