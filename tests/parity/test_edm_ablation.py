"""EDM's ablation sampler: every noise schedule and scaling leads to the same exact solution of Gaussian data."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from edm_ablation import EDMAblation, curve, iddpm_levels
from gaussian import S2, Gaussian, ones

from fastdiff.diffusion.preconditioning import IDDPM, VP
from fastdiff.samplers import Euler, Heun

SCHEDULES, SCALINGS = ("linear", "ve", "vp"), ("none", "vp")


def run(sampler, denoiser=None, noise=ones):
    denoiser = denoiser or Gaussian()
    out = sampler(denoiser, noise)
    return [*denoiser.calls, (0.0, out)]


def error(**knobs) -> float:
    """Relative distance from the exact solution, x / s(t) at the last call."""
    (high, first), *_, (low, last), _ = run(EDMAblation(state_dtype="float64", **knobs))
    return abs(float(last / first) / math.sqrt((S2 + low**2) / (S2 + high**2)) - 1)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("solver", "alpha", "order"), [("euler", 1.0, 1), ("heun", 1.0, 2), ("heun", 0.5, 2)])
def test_a_solver_converges_with_its_order_on_every_schedule_and_scaling(solver, alpha, order, schedule, scaling):
    knobs = dict(solver=solver, alpha=alpha, noise_schedule=schedule, scaling=scaling)
    found = np.array([error(steps=steps, **knobs) for steps in (200, 400, 800)])
    slopes = np.log2(found[:-1] / found[1:])
    if alpha == 0.5 and scaling == "none" and schedule != "vp":
        order = 3  # a Gaussian's solution is sqrt(S^2 + sigma^2), and the midpoint happens to cancel its next term
    assert abs(slopes[-1] - order) < 0.05, slopes


@pytest.mark.parametrize("churn", [dict(), dict(churn=3.0, churn_min=0.05, churn_max=50.0, noise_scale=1.003)])
def test_on_edms_own_choices_it_is_heun(churn):
    def noise(index):
        return torch.full((1, 1, 1, 1), math.cos(index))

    ours = run(EDMAblation(7, state_dtype="float64", **churn), noise=noise)
    heun = run(Heun(7, state_dtype="float64", **churn), noise=noise)
    for (sigma, x), (sigma_heun, x_heun) in zip(ours, heun, strict=True):
        assert sigma == pytest.approx(sigma_heun, rel=1e-14)
        torch.testing.assert_close(x, x_heun, rtol=1e-10, atol=1e-12)


def test_euler_on_the_linear_schedule_is_euler():
    ours, euler = run(EDMAblation(7, "euler", state_dtype="float64")), run(Euler(7, state_dtype="float64"))
    for (sigma, x), (sigma_euler, x_euler) in zip(ours, euler, strict=True):
        assert sigma == pytest.approx(sigma_euler, rel=1e-14)
        torch.testing.assert_close(x, x_euler, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_derivatives_and_the_inverse_of_a_curve_are_its_own(schedule, scaling):
    of = curve(schedule, scaling, VP())
    for t in (0.01, 0.3, 0.9):
        step = 1e-5 * t
        assert of.t(of.sigma(t)) == pytest.approx(t, rel=1e-9)
        assert of.sigma_deriv(t) == pytest.approx((of.sigma(t + step) - of.sigma(t - step)) / (2 * step), rel=1e-5)
        assert of.s_deriv(t) == pytest.approx((of.s(t + step) - of.s(t - step)) / (2 * step), rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("solver", ["euler", "heun"])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_calls_are_those_said_and_only_the_start_is_noise(solver, steps):
    denoiser, sampler, asked = Gaussian(), EDMAblation(steps, solver), []
    sampler(denoiser, lambda i: (asked.append(i), torch.ones(1, 1, 1, 1))[1])
    expected = steps if solver == "euler" else 2 * steps - 1
    called = [sigma for sigma, _ in denoiser.calls]
    assert len(called) == sampler.asked == expected and called == sampler.call_sigmas(denoiser.noise_levels)
    assert denoiser.begun == (called, expected) and asked == [0]


RANGES = {"vp": (VP().sigma(1e-3), VP().sigma(1)), "ve": (0.02, 100.0), "iddpm": (0.002, 81.0), "edm": (0.002, 80.0)}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("discretization", RANGES)
def test_the_levels_lie_by_their_rule_whatever_the_schedule(discretization, schedule):
    sigmas = np.array(
        EDMAblation(9, discretization=discretization, noise_schedule=schedule).sigmas(Gaussian().noise_levels)
    )
    low, high = RANGES[discretization]
    assert sigmas[-1] == 0 and (np.diff(sigmas) < 0).all()
    if discretization == "iddpm":
        levels = [u for u in iddpm_levels(0.001, 0.008, 1000) if low <= u <= high]
        places = [int(np.abs(np.array(levels) / sigma - 1).argmin()) for sigma in sigmas[:-1]]
        np.testing.assert_allclose(np.array(levels)[places], sigmas[:-1], rtol=1e-9)
        assert places[0] == 0 and places[-1] == len(levels) - 1 and np.ptp(np.diff(places)) <= 1
        return
    np.testing.assert_allclose([sigmas[0], sigmas[-2]], [high, low], rtol=1e-9)
    even = {"ve": math.log, "edm": lambda sigma: sigma ** (1 / 7), "vp": VP().t}[discretization]
    np.testing.assert_allclose(np.diff([even(sigma) for sigma in sigmas[:-1].tolist()], 2), 0, atol=1e-9)


def betas(low, high, epsilon_s=1e-3):
    """The VP process with sigma(epsilon_s) = low and sigma(1) = high: two linear equations."""
    rows = [[t**2 / 2, t] for t in (epsilon_s, 1)]
    return tuple(np.linalg.solve(rows, np.log1p(np.square([low, high]))).tolist())


def test_the_ends_are_moved_into_the_networks_range_and_the_vp_process_with_them():
    sigmas = EDMAblation(6, discretization="vp", noise_schedule="vp", scaling="vp").sigmas(
        Gaussian(0.02, 100.0).noise_levels
    )
    assert sigmas[0] == pytest.approx(100, rel=1e-12) and sigmas[-2] == pytest.approx(0.02, rel=1e-9)
    process = VP(*betas(0.02, 100.0))
    np.testing.assert_allclose(np.diff([process.t(sigma) for sigma in sigmas[:-1]], 2), 0, atol=1e-9)
    narrow = EDMAblation(6, sigma_min=0.5, sigma_max=3.0).sigmas(Gaussian(0.02, 100.0).noise_levels)
    assert (narrow[0], narrow[-2]) == (pytest.approx(3.0), pytest.approx(0.5))


def test_the_start_has_the_scale_of_the_noise_alone():
    """sigma(t_0) s(t_0) z, as in the official code: with scaling vp a little less than 1."""
    for scaling in SCALINGS:
        (sigma, x), *_ = run(EDMAblation(3, scaling=scaling, state_dtype="float64"))
        assert float(x) == pytest.approx(sigma, rel=1e-12)  # the network is given x / s


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_churn_keeps_the_variance_of_the_level_it_raises_to(schedule, scaling):
    sampler = EDMAblation(6, "euler", noise_schedule=schedule, scaling=scaling, churn=1.2, state_dtype="float64")
    denoiser, steps = Gaussian(), 6

    def noise(index):  # the i-th unit vector: x then holds the coefficients of its noises
        return torch.eye(steps + 1, dtype=torch.float64)[index].reshape(-1, 1, 1, 1)

    sigmas = sampler.sigmas(denoiser.noise_levels)
    sampler(denoiser, noise)
    for i, (sigma, x) in enumerate(denoiser.calls):
        assert sigma == pytest.approx(1.2 * sigmas[i], rel=1e-9)
        assert float(x[i + 1]) == pytest.approx(math.sqrt(sigma**2 - sigmas[i] ** 2), rel=1e-9)


def test_iddpms_levels_are_nearly_those_of_the_network_that_counts_in_float32():
    levels, network = iddpm_levels(0.001, 0.008, 1000), IDDPM()
    assert len(levels) == 1001 and levels[-1] == 0 and (np.diff(levels) < 0).all()
    np.testing.assert_allclose(levels[:-1], network.u[:-1], rtol=6e-4)
    rounding = Gaussian(network.domain[0], network.domain[1], network.nearest)
    sampler = EDMAblation(5, discretization="iddpm")
    assert set(sampler.sigmas(rounding.noise_levels)[:-1]) <= set(network.u.tolist())
    with pytest.raises(ValueError, match="none of iDDPM's levels lies in sigma_min 0.01 .. sigma_max 0.0101"):
        EDMAblation(5, discretization="iddpm", sigma_min=0.01, sigma_max=0.0101).sigmas(Gaussian().noise_levels)


@pytest.mark.parametrize(("knobs", "reason"), [
    ({"steps": 0}, "steps is 0"),
    ({"solver": "rk4"}, "solver 'rk4' is not one of: euler, heun"),
    ({"discretization": "ddim"}, "discretization 'ddim' is not one of: edm, iddpm, ve, vp"),
    ({"noise_schedule": "cosine"}, "noise_schedule 'cosine' is not one of: linear, ve, vp"),
    ({"scaling": "ve"}, "scaling 've' is not one of: none, vp"),
    ({"state_dtype": "float16"}, "not one of: float32, float64"),
    ({"alpha": 0.0}, r"alpha is 0.0; it must be in \(0, 1\]"),
    ({"epsilon_s": 1.0}, "epsilon_s is 1.0"),
    ({"C_2": 0.0}, "must be positive"),
    ({"churn": -1.0}, "cannot be negative"),
])  # fmt: skip
def test_senseless_knobs_are_refused(knobs, reason):
    with pytest.raises(ValueError, match=reason):
        EDMAblation(**{"steps": 3} | knobs)


def test_ends_the_wrong_way_round_are_refused():
    with pytest.raises(ValueError, match="sigma_min 90, sigma_max 80: 0 < sigma_min < sigma_max"):
        EDMAblation(3, sigma_min=90.0).sigmas(Gaussian().noise_levels)


def test_ends_outside_the_range_of_the_network_and_churn_above_it_are_refused_before_anything_runs():
    narrow = SimpleNamespace(sigma_min=0.01, sigma_max=60.0, rounded=lambda sigma: sigma)
    with pytest.raises(ValueError, match="sigma_min .* sigma_max"):
        EDMAblation(3, sigma_min=70.0, sigma_max=90.0).sigmas(narrow)
    with pytest.raises(
        ValueError, match="churn raises sigma 60 to 84.8528, .* ends at 60: give a churn_max below 42.43"
    ):
        EDMAblation(5, churn=40.0).sigmas(narrow)
    assert EDMAblation(5, churn=40.0, churn_max=42.0).sigmas(narrow)[0] == pytest.approx(60)


def test_knobs_that_nothing_reads_are_no_part_of_the_identity():
    assert EDMAblation(5, epsilon_s=0.1, M=10, churn_min=1.0).identity() == {"solver": "edm_ablation/heun", "steps": 5}
    euler = EDMAblation(5, "euler", "iddpm", alpha=0.5, karras_rho=3.0, M=10)
    assert euler.identity() == {"solver": "edm_ablation/euler", "steps": 5, "discretization": "iddpm", "M": 10}
    assert EDMAblation(5, noise_schedule="vp", epsilon_s=0.1).identity()["epsilon_s"] == 0.1
