"""Solvers with one call a step (euler, dpmpp_2m, unipc) against what is exactly true of Gaussian data N(0, S^2 I)."""

import math

import numpy as np
import pytest
import torch
from gaussian import S2, Gaussian, ones

from fastdiff.diffusion.schedules import Schedule
from fastdiff.samplers import DDIM, SAMPLERS, DPMpp2M, Euler, UniPC

ALL = [Euler, DPMpp2M, UniPC]


def errors(make, steps) -> np.ndarray:
    """Relative distance from the exact ODE solution x sqrt((S^2 + s^2) / (S^2 + t^2)), at the last call."""
    found = []
    for n in steps:
        denoiser = Gaussian()
        make(n)(denoiser, ones)
        (high, first), (low, last) = denoiser.calls[0], denoiser.calls[-1]
        found.append(abs(float(last / first) / math.sqrt((S2 + low**2) / (S2 + high**2)) - 1))
    return np.array(found)


@pytest.mark.parametrize("spacing", ["karras", "logsnr"])
@pytest.mark.parametrize(
    ("solver", "knobs", "order"),
    [
        (Euler, {}, 1),
        (DPMpp2M, {}, 2),
        (UniPC, {"order": 1}, 2),
        (UniPC, {"order": 2, "variant": "bh1"}, 3),
        (UniPC, {"order": 2, "variant": "bh2"}, 3),
        (UniPC, {"order": 3}, 4),
    ],
)
def test_a_solver_converges_to_the_exact_ode_solution_with_its_order(solver, knobs, order, spacing):
    found = errors(lambda n: solver(n, spacing, "float64", **knobs), (50, 100, 200, 400))
    slopes = np.log2(found[:-1] / found[1:])
    assert abs(slopes[-1] - order) < 0.15, slopes


def test_at_twenty_steps_a_higher_order_is_nearer():
    euler, second, third = (errors(lambda n, each=each: each(n), [20])[0] for each in ALL)
    assert third < second < euler


@pytest.mark.parametrize("spacing", ["even", "logsnr", "stride"])
def test_euler_is_ddim_without_noise_or_clipping(spacing):
    trajectories = []
    for sampler in (Euler(9, spacing, "float64"), DDIM(9, spacing, clip="none", state_dtype="float64")):
        denoiser = Gaussian(levels=Schedule().levels())
        out = sampler(denoiser, ones)
        trajectories.append([*denoiser.calls, (0.0, out)])
    for (sigma, x), (sigma_ddim, x_ddim) in zip(*trajectories, strict=True):
        assert sigma == sigma_ddim
        torch.testing.assert_close(x, x_ddim, rtol=1e-14, atol=0)


def test_dpmpp_2m_is_the_published_update():
    # Lu et al. 2022, Algorithm 2: D = (1 + 1 / 2r) x0 - 1 / 2r x0_last, r = h_last / h, x_s = (s / t) x - (e^-h - 1) D
    denoiser, sampler = Gaussian(), DPMpp2M(6, state_dtype="float64")
    out = sampler(denoiser, ones)
    points = [*denoiser.calls, (0.0, out)]
    for i in range(1, 5):
        (before, x_before), (t, x), (s, after) = points[i - 1 : i + 2]
        x0, last = S2 / (S2 + t**2) * x, S2 / (S2 + before**2) * x_before
        h, h_last = math.log(t) - math.log(s), math.log(before) - math.log(t)
        r = h_last / h
        D = (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * last
        torch.testing.assert_close(after, s / t * x - math.expm1(-h) * D, rtol=1e-12, atol=0)
    for i in (0, 5):  # no x0 before the first step, no middle of the last one
        (t, x), (s, after) = points[i : i + 2]
        x0 = S2 / (S2 + t**2) * x
        torch.testing.assert_close(after, x0 + s / t * (x - x0), rtol=1e-14, atol=0)


@pytest.mark.parametrize("r", [[-0.8, 1.0], [-1.3, -2.1], [-1.3, -2.1, 1.0]])
def test_unipcs_gains_integrate_polynomials_exactly(r):
    """sum_k gains_k (q(r_k) - q(0)) = int_0^h e^(u - h) (q(u / h) - q(0)) du for every q of that degree."""
    h, q = 0.7, np.polynomial.Polynomial([0.3, -1.2, 0.8, 2.0][: len(r) + 1])
    nodes, weights = np.polynomial.legendre.leggauss(30)
    u = (nodes + 1) * h / 2
    exact = (weights * h / 2 * np.exp(u - h) * (q(u / h) - q(0))).sum()
    found = sum(gain * (q(place) - q(0)) for gain, place in zip(UniPC(5).gains(h, r), r))
    assert found == pytest.approx(exact, rel=1e-12)


def test_unipcs_second_order_predictor_with_bh2_is_dpmpp_2m():
    # and with bh1 it is the same in the limit of small steps
    for h, h_last in ((0.7, 0.5), (1e-4, 2e-4)):
        expected = -(1 - math.exp(-h)) * h / (2 * h_last)
        assert UniPC(5, variant="bh2").gains(h, [-h_last / h])[0] == pytest.approx(expected, rel=1e-10)
        assert UniPC(5, variant="bh1").gains(h, [-h_last / h])[0] == pytest.approx(expected, rel=h)


def test_unipc_corrects_a_point_with_the_call_made_at_the_predicted_one():
    """Two steps by hand, first order: predict, call, correct by half the difference, predict from there."""
    denoiser, sampler = Gaussian(), UniPC(2, order=1, state_dtype="float64")
    out = sampler(denoiser, ones)
    (t, x), (s, predicted) = denoiser.calls
    x0, x0_s = S2 / (S2 + t**2) * x, S2 / (S2 + s**2) * predicted
    torch.testing.assert_close(predicted, x0 + s / t * (x - x0), rtol=1e-14, atol=0)
    torch.testing.assert_close(out, x0_s, rtol=1e-14, atol=0)  # to sigma 0 nothing of the corrected point is left
    sampler, denoiser = UniPC(3, order=1, state_dtype="float64"), Gaussian()
    sampler(denoiser, ones)
    (t, x), (s, predicted), (u, third) = denoiser.calls
    x0, x0_s = S2 / (S2 + t**2) * x, S2 / (S2 + s**2) * predicted
    corrected = predicted + (1 - s / t) / 2 * (x0_s - x0)
    torch.testing.assert_close(third, x0_s + u / s * (corrected - x0_s), rtol=1e-14, atol=0)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc_begins_and_ends_with_fewer_levels(order):
    rows = UniPC(7, order=order).coefficients(UniPC(7).sigmas(Gaussian().noise_levels))
    assert [len(predictor) + 1 for predictor, _ in rows] == [min(order, p) for p in (1, 2, 3, 4, 3, 2, 1)]
    assert [len(corrector) for _, corrector in rows[:-1]] == [min(order, p) for p in (1, 2, 3, 4, 3, 2)]


@pytest.mark.parametrize("solver", ALL)
@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_a_trajectory_takes_one_call_a_step_and_no_noise_but_the_start(solver, steps):
    denoiser, sampler, asked = Gaussian(), solver(steps), []
    out = sampler(denoiser, lambda i: (asked.append(i), torch.ones(2, 1, 3, 3))[1])
    assert asked == [0] and out.shape == (2, 1, 3, 3)
    assert len(denoiser.calls) == sampler.asked == steps
    assert denoiser.begun == (sampler.call_sigmas(denoiser.noise_levels), steps)
    assert [sigma for sigma, _ in denoiser.calls] == sampler.sigmas(denoiser.noise_levels)[:-1]
    assert sampler.sigmas(denoiser.noise_levels)[-1] == 0


@pytest.mark.parametrize("solver", ALL)
def test_a_spacing_with_more_levels_than_steps_takes_more_calls_than_asked(solver):
    denoiser, sampler = Gaussian(levels=Schedule().levels()), solver(15, "stride")
    sampler(denoiser, ones)
    assert len(denoiser.calls) == 16
    assert denoiser.begun == (sampler.call_sigmas(denoiser.noise_levels), 15) and sampler.asked == 15


@pytest.mark.parametrize("solver", ALL)
def test_the_last_step_gives_what_the_network_gave(solver):
    """Whatever is far away: x is 80 times the data's size, and one rounding of it would show."""
    denoiser = Gaussian()
    out = solver(1)(denoiser, ones)
    assert torch.equal(out, S2 / (S2 + 80.0**2) * denoiser.calls[0][1])


@pytest.mark.parametrize("solver", ALL)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_state_has_the_dtype_asked_for(solver, dtype):
    denoiser = Gaussian()
    out = solver(4, state_dtype=dtype)(denoiser, ones)
    assert {str(x.dtype) for _, x in denoiser.calls} | {str(out.dtype)} == {f"torch.{dtype}"}


@pytest.mark.parametrize("solver", [DPMpp2M, UniPC])
def test_levels_that_come_twice_are_refused_where_the_solver_divides_by_their_distance(solver):
    denoiser = Gaussian(levels=Schedule().levels())
    with pytest.raises(ValueError) as raised:
        solver(100, "quadratic").sigmas(denoiser.noise_levels)
    assert str(raised.value) == (
        f"spacing 'quadratic' repeats noise levels at 100 steps; {solver.solver} divides by their distance: use fewer"
        " steps or another spacing"
    )
    assert len(solver(10, "quadratic").sigmas(denoiser.noise_levels)) == 11
    coarse = Gaussian(rounded=lambda sigma: max(round(sigma), 1))
    with pytest.raises(ValueError, match="spacing 'karras' repeats noise levels at 20 steps"):
        solver(20)(coarse, ones)


def test_euler_steps_over_levels_that_come_twice():
    denoiser = Gaussian(levels=Schedule().levels())
    out = Euler(100, "quadratic")(denoiser, ones)
    assert len(denoiser.calls) == 100 and torch.isfinite(out).all()


@pytest.mark.parametrize("solver", ALL)
def test_a_network_that_rounds_sigma_is_called_at_what_it_rounds_to(solver):
    denoiser = Gaussian(rounded=lambda sigma: 2.0 ** round(math.log2(sigma)))
    solver(5)(denoiser, ones)
    assert all(math.log2(sigma).is_integer() for sigma, _ in denoiser.calls)


@pytest.mark.parametrize(("knobs", "reason"), [
    ({"spacing": "sqrt"}, "spacing 'sqrt' is not one of: even, karras, .*, stride"),
    ({"state_dtype": "float16"}, "state_dtype 'float16' is not one of: float32, float64"),
    ({"order": 4}, "order '4' is not one of: 1, 2, 3"),
    ({"variant": "bh3"}, "variant 'bh3' is not one of: bh1, bh2"),
])  # fmt: skip
def test_senseless_knobs_are_refused_with_the_menu(knobs, reason):
    with pytest.raises(ValueError, match=reason):
        UniPC(5, **knobs)


@pytest.mark.parametrize("solver", ALL)
def test_impossible_numbers_of_steps_are_refused(solver):
    with pytest.raises(ValueError, match="steps is 0"):
        solver(0).sigmas(Gaussian().noise_levels)
    with pytest.raises(ValueError, match=r"takes 1 \.\. 1000"):
        solver(1001, "even").sigmas(Gaussian(levels=Schedule().levels()).noise_levels)


def test_the_identity_is_the_solver_and_what_differs_from_its_defaults():
    assert UniPC(5).identity() == {"solver": "unipc", "steps": 5}
    assert UniPC(5, "logsnr", order=3).identity() == {"solver": "unipc", "steps": 5, "spacing": "logsnr", "order": 3}
    solvers = {SAMPLERS.get(name) for name in SAMPLERS.names()}
    assert len({str(sampler(5).identity()) for sampler in solvers}) == len(solvers) > len(ALL)
    assert all(SAMPLERS.get(solver.solver) is solver for solver in ALL)
