"""Optimal trajectories: the dynamic programme against every path there is, its costs against the sampler's own."""

import itertools
import math

import numpy as np
import pytest

from fastdiff.diffusion.noise_levels import Curves
from fastdiff.diffusion.schedules import Schedule
from fastdiff.diffusion.spacing import algorithm_1, cheapest, log_ratios, optimal
from fastdiff.samplers import DDIM
from fastdiff.samplers.optimal import bound_terms, counted, placed

LEVELS = Schedule("linear", 9, 1e-4, 0.3).levels()
NORMS = np.array([0.03, 0.1, 0.35, 0.3, 0.6, 0.55, 0.9, 0.97, 0.96])  # no network's: the more to decide


def every_path(M: int, steps: int):
    """All ways of `steps` steps from node 0 to node M - 1."""
    return [(0, *inner, M - 1) for inner in itertools.combinations(range(1, M - 1), steps - 1)]


def total(cost, path) -> float:
    return sum(cost[s, t] for s, t in itertools.pairwise(path))


@pytest.mark.parametrize("steps", range(1, 7))
def test_the_programme_finds_the_cheapest_of_all_paths(steps):
    random = np.random.default_rng(steps)
    for _ in range(20):
        cost = np.where(np.triu(np.ones((7, 7)), 1) > 0, random.normal(size=(7, 7)), np.inf)
        best = min(every_path(7, steps), key=lambda path: total(cost, path))
        assert cheapest(cost, steps) == list(best)


@pytest.mark.parametrize("eta", [0.2, 0.7, 1.0])
def test_the_cost_of_a_step_is_log_sigma2_over_lam2_of_the_sampler_up_to_what_telescopes(eta):
    cost = log_ratios(LEVELS, NORMS, eta)
    assert (np.isfinite(cost) == (np.triu(np.ones((9, 9)), 1) > 0)).all()
    for s, t in itertools.combinations(range(9), 2):
        sigmas = [LEVELS[t], LEVELS[s], 0.0]
        sampler = DDIM(2, eta=eta, variance="analytic")
        (_, var), _ = sampler.coefficients(sigmas, [LEVELS[t] ** 2 * (1 - NORMS[t]), 0.0], vp=True)
        (_, lam2), _ = DDIM(2, eta=eta).coefficients(sigmas, None, vp=True)
        expected = math.log(var / lam2) - math.log(LEVELS[t] ** 2 / LEVELS[s] ** 2)
        assert cost[s, t] == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_for_ddpm_the_cost_is_corollary_4():
    alpha_bar = 1 / (1 + LEVELS**2)
    for s, t in itertools.combinations(range(9), 2):
        beta, gamma = 1 - alpha_bar[t] / alpha_bar[s], NORMS[t] / (1 - alpha_bar[t])  # beta_{t|s}, E ||score||^2 / d
        assert log_ratios(LEVELS, NORMS)[s, t] == pytest.approx(math.log(1 - beta * gamma), rel=1e-9)


@pytest.mark.parametrize("steps", range(2, 10))
@pytest.mark.parametrize("eta", [0.4, 1.0])
def test_algorithm_1_has_the_least_sum_of_j_of_all_trajectories_from_1_to_n(steps, eta):
    found = algorithm_1(LEVELS, NORMS, steps, eta)
    assert (found[0], found[-1], len(found)) == (1, 9, steps)

    def J(path):
        s, t = LEVELS[list(path[:-1])], LEVELS[list(path[1:])]
        lam2 = eta**2 * s**2 * (1 - s**2 / t**2)
        rest = (1 - np.sqrt(s**2 - lam2) / t) ** 2 * t**2 * (1 - NORMS[list(path[1:])])
        return np.log((lam2 + rest) / lam2).sum()

    least = min(J(path) for path in every_path(9, steps - 1))
    assert J([n - 1 for n in found]) == pytest.approx(least, rel=1e-12, abs=1e-12)
    assert optimal(LEVELS, NORMS, steps, eta) == found  # no norm above 1: the official variant is the algorithm


def test_for_gaussian_data_the_sum_of_j_of_ddpm_does_not_depend_on_the_trajectory():
    levels = Schedule().levels()
    cost = log_ratios(levels, levels**2 / (0.25 + levels**2))
    random = np.random.default_rng(0)
    sums = [total(cost, [0, *sorted(random.choice(998, k, replace=False) + 1), 999]) for k in (0, 1, 5, 50, 500)]
    # log of the ratio of marginal variances, less what telescopes: (S2 + s^2) / (S2 + t^2) over the whole span
    exact = math.log((0.25 + levels[0] ** 2) / (0.25 + levels[-1] ** 2))
    assert sums == pytest.approx([exact] * 5, rel=1e-9)
    other = log_ratios(levels, levels**2 / (0.25 + levels**2), eta=0.5)
    assert abs(total(other, [0, 999]) - total(other, [0, 500, 999])) > 0.01  # true of the Markov process alone


def test_norms_above_1_cost_nothing_to_the_printed_algorithm_and_are_set_apart_by_the_official_one():
    levels = Schedule().levels()
    eps_ms = levels**2 / (0.25 + levels**2) * (1 + 0.05 * np.sin(np.arange(1000)) * np.exp(-levels))
    eps_ms[960:] = 1.001
    plain, official = algorithm_1(levels, eps_ms, 20), optimal(levels, eps_ms, 20)
    assert len(plain) == len(official) == 20 and (plain[0], plain[-1]) == (official[0], official[-1]) == (1, 1000)
    assert plain == algorithm_1(levels, np.minimum(eps_ms, 1), 20) and plain != official
    assert official[-2:] == [920, 1000]  # the programme ends twice the 40 unsure ones below N; one step is left
    eps_ms[400] = 1.001
    assert len(algorithm_1(levels, eps_ms, 20)) == 20
    with pytest.raises(ValueError, match="no optimal trajectory of 20 steps over 1000 levels, 600 with unsure"):
        optimal(levels, eps_ms, 20)


RECON = np.linspace(0.001, 0.3, 9)
DECODER = np.linspace(0.5, 4.0, 9)


@pytest.mark.parametrize("variance, eta", [("small", 1.0), ("small", 0.6), ("large", 1.0)])
def test_terms_of_a_bound_are_gaussian_divergences_with_the_sampler_s_own_variances(variance, eta):
    F = bound_terms(LEVELS, RECON, DECODER, eta, variance)
    assert F[0, 1:].tolist() == DECODER.tolist()
    assert (np.isfinite(F) == (np.triu(np.ones((10, 10)), 1) > 0)).all()
    for s, t in itertools.combinations(range(9), 2):
        sigmas = [LEVELS[t], LEVELS[s], 0.0]
        (keep, var), _ = DDIM(2, eta=eta, variance=variance).coefficients(sigmas, None, vp=True)
        (_, lam2), _ = DDIM(2, eta=eta).coefficients(sigmas, None, vp=True)
        gap2 = (1 - keep / LEVELS[t]) ** 2 * RECON[t]  # of the two means, squared
        expected = (lam2 + gap2) / (2 * var) - 0.5 + math.log(var / lam2) / 2
        assert F[s + 1, t + 1] == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("steps", [1, 3, 6, 9])
def test_spacing_dp_of_a_given_variance_has_the_least_bound_of_all_trajectories_from_0_to_n(variance, steps):
    F = bound_terms(LEVELS, RECON, DECODER, 1.0, variance)
    best = min(every_path(10, steps), key=lambda path: total(F, path))
    curves = Curves(tuple(LEVELS.tolist()), recon=tuple(RECON.tolist()), decoder=tuple(DECODER.tolist()))
    found = placed(curves, "dp", steps, 1.0, variance)
    assert found == tuple(LEVELS[n - 1] for n in reversed(best[1:]))


@pytest.mark.parametrize(
    "knobs, said",
    [
        (dict(spacing="dp"), "minimises a variational bound, and at eta=0 every bound is infinite"),
        (dict(spacing="dp_plain", variance="analytic"), "at eta=0 every bound is infinite"),
        (dict(spacing="dp_plain", eta=1.0), "'dp_plain' is of the analytic variance"),
    ],
)
def test_a_trajectory_that_no_bound_prefers_is_refused_with_the_reason(knobs, said):
    with pytest.raises(ValueError, match=said):
        DDIM(10, **knobs)


def test_impossible_numbers_of_steps_are_refused_before_any_norm_is_known():
    for steps, levels, variance in (
        (1, LEVELS, "analytic"),
        (0, LEVELS, "small"),
        (10, LEVELS, "small"),
        (1, None, "analytic"),
    ):
        with pytest.raises(ValueError, match=f"steps is {steps}; spacing 'dp' takes [12] .. (9|N)"):
            counted("dp", steps, levels, variance)
    assert counted("dp", 9, LEVELS, "analytic") == 9 and counted("dp", 50, None, "analytic") == 50
