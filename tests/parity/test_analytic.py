"""Numbers that Analytic-DPM's paper prints, from the schedules alone. Its code's numbers are in test_parity.py."""

import pytest
from official.analytic import noise_levels, official

from fastdiff.analytic import Norm, covariances
from fastdiff.diffusion.schedules import Schedule
from fastdiff.samplers import DDIM

STEPS = [10, 25, 50, 100]

# Bao et al. 2022, Table 7: lower bound and least upper bound of sigma_2^2 at K = 10, 25, 50, 100.
# The DDIM lower bound is 0: lambda is.
TABLE_7 = {
    ("linear", "ddpm", "lower"): "9.99e-5 9.96e-5 9.84e-5 9.55e-5",
    ("linear", "ddpm", "upper"): "1.45e-1 2.24e-2 6.20e-3 2.10e-3",
    ("linear", "ddim", "upper"): "1.37e-1 1.96e-2 4.82e-3 1.36e-3",
    ("linear", "ddim", "lower"): "0 0 0 0",
    ("cosine", "ddpm", "lower"): "4.12e-5 4.10e-5 4.04e-5 3.89e-5",
    ("cosine", "ddpm", "upper"): "3.56e-2 6.15e-3 1.85e-3 6.80e-4",
    ("cosine", "ddim", "upper"): "3.33e-2 5.22e-3 1.37e-3 4.18e-4",
    ("cosine", "ddim", "lower"): "0 0 0 0",
}


@pytest.mark.parametrize("schedule, forward, bound", TABLE_7)
def test_the_bounds_of_table_7_are_the_ends_of_the_covariance_clip(schedule, forward, bound):
    ms_eps = {"lower": 1.0, "upper": 0.0}[bound]  # no covariance left, all that pixels in [-1, 1] can have
    for steps, printed in zip(STEPS, TABLE_7[schedule, forward, bound].split()):
        sampler = DDIM(steps, eta=1.0 if forward == "ddpm" else 0.0, variance="analytic")
        sigmas = sampler.sigmas(noise_levels(Schedule(schedule).levels()))
        cov_x0 = covariances({t: Norm(ms_eps, 0.0) for t in sigmas[:-1]}, sigmas, None, "eps_ms", cov_max=1.0)
        assert f"{official(sampler, sigmas, cov_x0)[0]:.2e}" == f"{float(printed):.2e}"
