"""One update for DDPM, DDIM and Analytic-DPM, against what is exactly true of Gaussian data.

For data N(0, S^2 I) the exact denoiser is linear, x0 = S^2 / (S^2 + sigma^2) x, so a whole trajectory is a linear map
of its noises. Noise i is given as the i-th unit vector: x then holds the map's coefficients, whose squares add up to
Var x, without any sampling.
"""

import math

import numpy as np
import pytest
import torch

from fastdiff.analytic import Norm, covariances
from fastdiff.diffusion.noise_levels import NoiseLevels
from fastdiff.diffusion.schedules import Schedule
from fastdiff.samplers import DDIM, PRESETS, preset

S2 = 0.25


class Marginal(NoiseLevels):
    def prior_scale(self, sigma):
        return math.sqrt(S2 + sigma**2)


class Gaussian:
    """The exact denoiser of N(0, S^2 I), begun at its exact marginal; what it was called with is kept."""

    value_range, cov_max = (-1.0, 1.0), 1.0

    def __init__(self, levels=None):
        levels = Schedule().levels() if levels is None else levels
        self.noise_levels = Marginal(levels, (levels[0], levels[-1]), levels[0], levels[-1], vp=True)
        self.calls = []

    def start(self, sigmas, cond=None, asked=None):
        def denoise(x, sigma):
            self.calls.append((sigma, x))
            return S2 / (S2 + sigma**2) * x

        return denoise


def unit_noise(steps):
    return lambda i: torch.eye(steps, dtype=torch.float64)[i].reshape(steps, 1, 1, 1)


def exact_cov(sigmas):
    """cov_x0 from the exact score norms, E ||eps||^2 / d = sigma^2 / (S^2 + sigma^2)."""
    return covariances({t: Norm(t**2 / (S2 + t**2), 0.0) for t in sigmas[:-1]}, sigmas, None, "eps_ms", 1.0)


def run(sampler, denoiser):
    """Var x at each call, beside its exact value, and the final variance."""
    sigmas = sampler.sigmas(denoiser.noise_levels)
    cov = exact_cov(sigmas) if sampler.variance == "analytic" else None
    out = sampler(denoiser, unit_noise(len(sigmas) - 1), cov_x0=cov)
    found = np.array([float(x.square().sum()) for _, x in denoiser.calls])
    return found, S2 + np.array([sigma**2 for sigma, _ in denoiser.calls]), float(out.square().sum())


@pytest.mark.parametrize("spacing", ["even", "stride"])
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_analytic_variance_keeps_a_gaussian_at_its_exact_marginal_at_three_steps(eta, spacing):
    sampler = DDIM(3, spacing, eta=eta, variance="analytic", state_dtype="float64")
    found, exact, last = run(sampler, Gaussian())
    np.testing.assert_allclose(found / exact, 1, rtol=0, atol=1e-9)
    t = sampler.sigmas(Gaussian().noise_levels)[
        -2
    ]  # the last step returns E[x0 | x], which has lost the posterior's variance
    assert last == pytest.approx(S2**2 / (S2 + t**2), rel=1e-9)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_small_variance_does_not_keep_it(eta):
    found, exact, _ = run(DDIM(3, eta=eta, state_dtype="float64"), Gaussian())
    assert found[0] == pytest.approx(exact[0])
    assert abs(found[1:] - exact[1:]).min() > 1e-2
    assert abs(found[-1] / exact[-1] - 1) > 1e-2


def ddim_error(steps: int) -> float:
    """Relative distance of DDIM from the exact solution x_T sqrt((S^2 + s^2) / (S^2 + T^2)) at the smallest level."""
    levels = np.geomspace(0.01, 20, 2**12 + 1)
    denoiser = Gaussian(levels)
    DDIM(steps + 1, state_dtype="float64")(denoiser, unit_noise(steps + 1))
    found, exact = float(denoiser.calls[-1][1][0]), math.sqrt(S2 + levels[0] ** 2)
    return abs(found / exact - 1)


def test_ddim_converges_to_the_exact_ode_solution_with_order_one():
    errors = [ddim_error(2**k) for k in range(6, 11)]
    slopes = [math.log2(coarse / fine) for coarse, fine in zip(errors, errors[1:])]
    assert all(0.9 < slope < 1.1 for slope in slopes), slopes


def test_ddim_step_is_the_published_formula():
    # Song et al. 2021, eq. 12, eta = 0: x_s = x0 + (s / t) (x_t - x0)
    denoiser, sampler = Gaussian(), DDIM(4, state_dtype="float64")
    sampler(denoiser, unit_noise(4))
    for (t, x), (s, after) in zip(denoiser.calls, denoiser.calls[1:]):
        x0 = S2 / (S2 + t**2) * x
        torch.testing.assert_close(after, x0 + s / t * (x - x0), rtol=1e-14, atol=1e-14)


def analytic_variance(eta, s, t):
    """Variance of the step t -> s in x squared, for the exact Gaussian score."""
    sigmas = [t, s, 0.0]
    return DDIM(2, eta=eta, variance="analytic").coefficients(sigmas, exact_cov(sigmas), vp=True)[0][1]


@pytest.mark.parametrize(
    "s, t, ddpm, ddim",
    # E Cov[x_s | x_t] of the VP process in closed form, linear schedule, S^2 = .25, worked out apart from this code
    [(1, 112, 9.160883e-2, 8.688042e-2), (100, 200, 1.716679e-1, 4.229969e-2)],
)
def test_analytic_variance_is_the_published_posterior_covariance(s, t, ddpm, ddim):
    levels = Schedule().levels()
    s, t = levels[s - 1], levels[t - 1]
    for eta, golden in ((1.0, ddpm), (0.0, ddim)):
        assert f"{analytic_variance(eta, s, t) / (1 + s**2):.6e}" == f"{golden:.6e}"


@pytest.mark.parametrize("n_s, n_t", [(1, 2), (1, 334), (112, 223), (500, 1000), (999, 1000)])
def test_analytic_variance_is_the_exact_posterior_covariance_of_the_forward_process(n_s, n_t):
    s, t = Schedule().levels()[[n_s - 1, n_t - 1]]
    # DDPM: x_t = x_s + fresh noise, so Cov(x_s, x_t) = Var x_s. DDIM: one eps serves both, Cov = S^2 + s t.
    for eta, shared in ((1.0, S2 + s**2), (0.0, S2 + s * t)):
        exact = S2 + s**2 - shared**2 / (S2 + t**2)
        # both are small differences: `exact` of numbers like Var x_s, cov_x0 = t^2 (1 - eps_ms) of numbers like t^2
        assert analytic_variance(eta, s, t) == pytest.approx(exact, rel=1e-12, abs=4 * 2.0**-53 * (S2 + t**2))


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_no_step_keeps_more_noise_than_the_next_level_has(eta):
    sigmas = DDIM(10, eta=eta).sigmas(Gaussian().noise_levels)
    for (keep, var), s in zip(DDIM(10, eta=eta).coefficients(sigmas, None, vp=True), sigmas[1:]):
        assert keep**2 + var == pytest.approx(s**2, rel=1e-12)


def test_small_variance_is_analytic_variance_of_data_without_spread():
    sigmas = DDIM(10).sigmas(Gaussian().noise_levels)
    for eta in (0.0, 0.7, 1.0):
        small = DDIM(10, eta=eta).coefficients(sigmas, None, vp=True)
        analytic = DDIM(10, eta=eta, variance="analytic").coefficients(sigmas, [0.0] * 10, vp=True)
        assert small == analytic


@pytest.mark.parametrize("spacing", ["even", "stride"])
def test_a_trajectory_descends_through_training_levels_to_zero(spacing):
    denoiser = Gaussian()
    for steps in (1, 2, 3, 10, 15, 50, 1000):
        sampler = DDIM(steps, spacing)
        sigmas = sampler.sigmas(denoiser.noise_levels)
        assert sigmas[-1] == 0
        assert (np.diff(sigmas) < 0).all()
        assert set(sigmas[:-1]) <= set(denoiser.noise_levels.levels.tolist())
        assert sampler.call_sigmas(denoiser.noise_levels) == sigmas[:-1]
        if spacing == "even":
            assert len(sigmas) == steps + 1
            assert sigmas[0] == denoiser.noise_levels.levels[-1]


def test_even_spacing_is_the_official_trajectory_of_ten_steps():
    # Bao et al. 2022, App. F.4, for N = 1000, K = 10
    levels = Schedule().levels()
    expected = [1, 112, 223, 334, 445, 556, 667, 778, 889, 1000]
    assert DDIM(10).sigmas(Gaussian().noise_levels)[-2::-1] == [levels[n - 1] for n in expected]


def test_a_single_step_is_one_network_call_from_pure_noise():
    denoiser = Gaussian()
    out = DDIM(1, eta=1.0)(denoiser, lambda i: torch.ones(2, 1, 1, 1))
    assert len(denoiser.calls) == 1
    assert out.shape == (2, 1, 1, 1)


def test_the_noise_of_a_step_is_asked_for_by_its_number_and_only_where_there_is_variance():
    for sampler, expected in ((DDIM(4, eta=1.0), [0, 1, 2, 3]), (DDIM(4, eta=0.0), [0])):
        asked = []
        sampler(Gaussian(), lambda i, asked=asked: (asked.append(i), torch.zeros(1, 1, 1, 1))[1])
        assert asked == expected


def test_sigma2_clip_binds_on_the_step_that_lands_on_the_smallest_level_and_on_no_other():
    sigmas = DDIM(10).sigmas(Gaussian().noise_levels)
    free = DDIM(10, eta=1.0, variance="large").coefficients(sigmas, None, vp=True)
    clipped = DDIM(10, eta=1.0, variance="large", sigma2_clip=1.0).coefficients(sigmas, None, vp=True)
    assert [a == b for a, b in zip(free, clipped)] == [True] * 8 + [False, True]
    # Bao et al. 2022, App. F.2: the threshold is 9.66e-5 for y = 1 and 3.87e-4 for y = 2, in VP space
    s = sigmas[-2]
    assert f"{clipped[-2][1] / (1 + s**2):.2e}" == "9.66e-05"
    twice = DDIM(10, eta=1.0, variance="large", sigma2_clip=2.0).coefficients(sigmas, None, vp=True)
    assert f"{twice[-2][1] / (1 + s**2):.2e}" == "3.87e-04"
    # E |noise added| = sqrt(2 / pi) sqrt(var): no more than 2 y / 255, on a scale where the data spans 2
    assert math.sqrt(2 / math.pi * twice[-2][1] / (1 + s**2)) == pytest.approx(4 / 255)


def test_sigma2_clip_of_a_network_that_is_not_vp_has_no_factor_1_plus_s2():
    rows = DDIM(2, eta=1.0, sigma2_clip=1.0).coefficients([80.0, 1.0, 0.0], None, vp=False)
    assert rows[0][1] == pytest.approx((2 / 255) ** 2 * math.pi / 2, rel=1e-12)


class Wild(Gaussian):
    """Raw x0 far outside the data's range."""

    def start(self, sigmas, cond=None, asked=None):
        return lambda x, sigma: (self.calls.append((sigma, x)), x + 5.0)[1]


@pytest.mark.parametrize("clip, eps_from", [("x0_and_eps", "clipped"), ("x0", "raw"), ("none", "raw")])
def test_clips_differ_in_what_eps_is_taken_from(clip, eps_from):
    denoiser, sampler = Wild(), DDIM(3, clip=clip, state_dtype="float64")
    out = sampler(denoiser, unit_noise(3))
    t, x = denoiser.calls[0]
    s, after = denoiser.calls[1]
    clipped = torch.ones_like(x) if clip != "none" else x + 5
    eps = (x - (clipped if eps_from == "clipped" else x + 5)) / t
    torch.testing.assert_close(after, clipped + s * eps, rtol=1e-12, atol=1e-12)
    assert (out.abs().max() <= 1) == (clip != "none")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_state_has_the_dtype_asked_for(dtype):
    denoiser = Gaussian()
    out = DDIM(3, eta=1.0, state_dtype=dtype)(denoiser, lambda i: torch.randn(2, 1, 2, 2))
    assert {str(x.dtype) for _, x in denoiser.calls} | {str(out.dtype)} == {f"torch.{dtype}"}


@pytest.mark.parametrize(
    "knobs, message",
    [
        ({"variance": "medium"}, "variance 'medium' is not one of: analytic, large, small"),
        ({"clip": "x"}, "clip 'x' is not one of: none, x0, x0_and_eps"),
        ({"state_dtype": "float16"}, "state_dtype 'float16' is not one of: float32, float64"),
        ({"variance": "large"}, "needs eta=1"),
        ({"variance": "large", "eta": 0.5}, "needs eta=1"),
        ({"eta": 1.5}, r"must be in \[0, 1\]"),
        ({"sigma2_clip": -1.0}, "cannot be negative"),
    ],
)
def test_impossible_knobs_are_refused_with_the_menu(knobs, message):
    with pytest.raises(ValueError, match=message):
        DDIM(10, **knobs)


def test_an_unknown_spacing_is_refused_with_the_menu():
    menu = "dp, dp_plain, even, karras, leading, logsnr, power2, quadratic, stride"
    with pytest.raises(ValueError, match=f"spacing 'sqrt' is not one of: {menu}"):
        DDIM(10, "sqrt").sigmas(Gaussian().noise_levels)


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_impossible_numbers_of_steps_are_refused(steps):
    with pytest.raises(ValueError, match=r"takes 1 \.\. 1000"):
        DDIM(steps).sigmas(Gaussian().noise_levels)


def test_analytic_variance_without_score_norms_is_refused():
    with pytest.raises(ValueError, match="needs cov_x0"):
        DDIM(3, variance="analytic")(Gaussian(), unit_noise(3))


def test_large_variance_of_a_network_that_is_not_vp_is_refused():
    with pytest.raises(ValueError, match="not VP"):
        DDIM(2, eta=1.0, variance="large").coefficients([1.0, 0.1, 0.0], None, vp=False)


def test_presets_are_the_five_rows_of_table_2_and_an_unknown_one_is_refused_with_the_menu():
    rows = {name: (preset(name, steps=10).eta, preset(name, steps=10).variance) for name in PRESETS}
    assert rows == {
        "ddpm": (1.0, "small"),
        "ddpm_large": (1.0, "large"),
        "ddim": (0.0, "small"),
        "analytic_ddpm": (1.0, "analytic"),
        "analytic_ddim": (0.0, "analytic"),
    }
    assert preset("ddim", steps=5, eta=0.5) == DDIM(5, eta=0.5, clip="x0", sigma2_clip=1.0)
    with pytest.raises(ValueError, match="'heun' is not one of: analytic_ddim, analytic_ddpm, ddim, ddpm, ddpm_large"):
        preset("heun", steps=10)
