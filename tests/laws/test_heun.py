"""EDM's second-order sampler against what is exactly true of Gaussian data N(0, S^2 I)."""

import math

import numpy as np
import pytest
import torch
from gaussian import S2, Gaussian, ones

from fastdiff.samplers import Heun


def at_the_last_call(steps: int, **knobs) -> float:
    """x at sigma_min over x at sigma_max."""
    denoiser = Gaussian()
    Heun(steps, state_dtype="float64", **knobs)(denoiser, ones)
    return float(denoiser.calls[-1][1] / denoiser.calls[0][1])


def test_heun_converges_to_the_exact_ode_solution_with_order_two():
    exact = math.sqrt((S2 + 0.002**2) / (S2 + 80**2))
    errors = [abs(at_the_last_call(steps) - exact) for steps in (20, 40, 80, 160)]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(np.abs(orders - 2) < 0.25) and abs(orders[-1] - 2) < 0.05


@pytest.mark.parametrize("steps", [1, 2, 5, 18])
def test_a_trajectory_of_n_steps_takes_2n_minus_1_calls_and_says_so_to_the_plans(steps):
    denoiser, sampler = Gaussian(), Heun(steps)
    sampler(denoiser, ones)
    assert len(denoiser.calls) == sampler.asked == 2 * steps - 1
    assert denoiser.begun == (sampler.call_sigmas(denoiser.noise_levels), 2 * steps - 1)


def test_the_sigmas_are_equation_5_and_end_with_zero():
    sigmas = Heun(5).sigmas(Gaussian().noise_levels)
    expected = [(80 ** (1 / 7) + i / 4 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(5)] + [0]
    np.testing.assert_allclose(sigmas, expected, rtol=1e-12)


def test_ends_are_moved_into_the_networks_own_range():
    sigmas = Heun(7).sigmas(Gaussian(0.02, 50.0).noise_levels)
    assert sigmas[0] == pytest.approx(50, rel=1e-12) and sigmas[-2] == pytest.approx(0.02, rel=1e-12)


def test_a_network_that_rounds_sigma_is_called_at_what_it_rounds_to():
    denoiser = Gaussian(rounded=lambda sigma: round(sigma, 1) or 0.1)
    Heun(6, churn=3.0)(denoiser, ones)
    assert all(sigma == round(sigma, 1) for sigma, _ in denoiser.calls)


def test_churn_keeps_the_variance_of_the_level_it_raises_to():
    """x' = x + sqrt(t'^2 - t^2) z: from variance S^2 + t^2 to S^2 + t'^2, and only inside churn_min .. churn_max."""
    sampler, denoiser = Heun(6, churn=1.2, churn_min=0.05, churn_max=50.0), Gaussian()
    steps = 6

    def noise(index):  # the i-th unit vector: x then holds the coefficients of its noises
        return torch.eye(steps + 1, dtype=torch.float64)[index].reshape(-1, 1, 1, 1)

    sigmas = sampler.sigmas(denoiser.noise_levels)
    sampler(denoiser, noise)
    raised = [sigma for sigma, _ in denoiser.calls[::2]]
    gamma = min(1.2 / 6, math.sqrt(2) - 1)
    inside = [0.05 <= t <= 50 for t in sigmas[:-1]]
    np.testing.assert_allclose(raised, [t * (1 + gamma * each) for t, each in zip(sigmas, inside)], rtol=1e-12)
    for call, (sigma, x) in enumerate(denoiser.calls[::2]):
        assert (float(x[call + 1].abs()) > 0) == inside[call]
        if inside[call]:
            assert float(x[call + 1]) == pytest.approx(math.sqrt(sigma**2 - sigmas[call] ** 2), rel=1e-6)


def test_ends_outside_the_network_s_range_and_churn_above_it_are_refused_before_anything_runs():
    narrow = Gaussian(0.01, 60.0).noise_levels
    with pytest.raises(ValueError, match="sigma_min .* sigma_max"):
        Heun(3, sigma_min=70.0, sigma_max=90.0).sigmas(narrow)
    with pytest.raises(
        ValueError, match="churn raises sigma 60 to 84.8528, .* ends at 60: give a churn_max below 42.43"
    ):
        Heun(5, churn=40.0).sigmas(narrow)
    assert Heun(5, churn=40.0, churn_max=42.0).sigmas(narrow)[0] == pytest.approx(60)


@pytest.mark.parametrize("knobs, reason", [
    ({"steps": 0}, "steps is 0"),
    ({"steps": 3, "sigma_min": 90.0}, "0 < sigma_min < sigma_max"),
    ({"steps": 3, "karras_rho": 0.0}, "karras_rho is 0"),
    ({"steps": 3, "churn": -1.0}, "cannot be negative"),
    ({"steps": 3, "state_dtype": "float16"}, "not one of: float32, float64"),
])  # fmt: skip
def test_senseless_knobs_are_refused(knobs, reason):
    with pytest.raises(ValueError, match=reason):
        Heun(**knobs)


def test_limits_of_a_churn_that_is_off_are_no_part_of_the_identity():
    assert Heun(5, churn_min=0.1, noise_scale=1.01).identity() == {"solver": "heun", "steps": 5}
    assert Heun(5, churn=1.0, churn_min=0.1).identity() == {
        "solver": "heun",
        "steps": 5,
        "churn": 1.0,
        "churn_min": 0.1,
    }
