"""Analytic-DPM's official numbers (baofff/Analytic-DPM@2d7a28c) come out of the one update.

Out of scope for now, because no code is there yet: `outputs/ddpm_ms_eps_ot_*` of sampling_linear (its sampler takes no
trajectory of its own yet), and the `power2` and `quad_ddim` trajectories in the json. Everything else is checked here.

Official variances are of the VP state x / sqrt(1 + sigma^2): ours divided by 1 + s^2. Official arrays ascend, ours
descend and end with the noise-free step to 0.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fastdiff.denoise import Denoiser
from fastdiff.gamma import Norm, covariances
from fastdiff.samplers import DDIM
from fastdiff.schedules import Schedule
from fastdiff.spacing import optimal

STEPS = [10, 25, 50, 100]
SCHEDULES = ["linear", "cosine"]


class Levels:
    """As much of a denoiser as placing steps needs."""

    def __init__(self, name):
        self.levels = Schedule(name).levels()


def official(sampler, sigmas, cov_x0) -> np.ndarray:
    """Variances of all steps but the last, in VP space, ascending."""
    rows = sampler.coefficients(sigmas, cov_x0, vp=True)[:-1]
    return np.array([var / (1 + s**2) for (_, var), s in zip(rows, sigmas[1:])])[::-1]


@pytest.fixture
def check(golden):
    """check(schedule, output, found): within the fixture's own tolerance."""

    def compare(schedule: str, output: str, found) -> None:
        tensors, facts = golden("analytic", f"variances_{schedule}")
        expected = tensors[f"outputs/{output}"].numpy()
        np.testing.assert_allclose(
            found, expected, rtol=0, atol=facts["tolerance_abs"][f"outputs/{output}"], err_msg=output
        )

    return compare


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_have_the_official_betas_and_alpha_bars(check, schedule):
    # index 0 is the official padding: beta 0, alpha_bar 1
    check(schedule, "betas", np.append(0.0, Schedule(schedule).betas()))
    check(schedule, "alpha_bars", np.append(1.0, 1 / (1 + Schedule(schedule).levels() ** 2)))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", STEPS)
def test_even_spacing_is_the_official_linear_trajectory(golden, schedule, steps):
    denoiser, (_, facts) = Levels(schedule), golden("analytic", f"variances_{schedule}")
    expected = [denoiser.levels[n - 1] for n in facts["trajectories"]["even"][f"even_K{steps}"]]
    assert DDIM(steps).sigmas(denoiser)[-2::-1] == expected


def covariance(golden, schedule, sigmas, norms: str, clipped: bool) -> list[float]:
    """cov_x0 of each step from the fixture's ms_eps; the official code without its np.clip where not `clipped`."""
    ms_eps = golden("analytic", f"variances_{schedule}")[0][f"inputs/{norms}"].numpy()
    levels = Schedule(schedule).levels()
    store = {float(sigma): Norm(float(value), 0.0) for sigma, value in zip(levels, ms_eps[1:])}
    if clipped:
        return covariances(store, sigmas, None, "eps_ms", cov_max=1.0)
    return [t**2 * (1 - store[t].eps_ms) for t in sigmas[:-1]]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("name, eta", [("ddpm", 1.0), ("ddim_eta0", 0.0), ("ddim_eta0.5", 0.5)])
def test_analytic_variances_are_the_official_ones(check, golden, schedule, steps, name, eta):
    sampler = DDIM(steps, eta=eta, variance="analytic")
    sigmas = sampler.sigmas(Levels(schedule))
    for kind in ("clipped", "unclipped"):
        cov_x0 = covariance(golden, schedule, sigmas, "ms_eps", kind == "clipped")
        check(schedule, f"sigma2_{name}_K{steps}_{kind}", official(sampler, sigmas, cov_x0))

    pixels = golden("analytic", f"variances_{schedule}")[1]["config"]["clip_pixel"]
    clipped = DDIM(steps, eta=eta, variance="analytic", sigma2_clip=pixels)
    cov_x0 = covariance(golden, schedule, sigmas, "ms_eps", True)
    check(schedule, f"sigma2_{name}_K{steps}_clipped_finalclip", official(clipped, sigmas, cov_x0))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("name, eta", [("ddpm", 1.0), ("ddim_eta0", 0.0)])
def test_noisy_score_norms_are_clipped_on_both_sides_as_officially(check, golden, schedule, steps, name, eta):
    sampler = DDIM(steps, eta=eta, variance="analytic")
    sigmas = sampler.sigmas(Levels(schedule))
    for kind in ("clipped", "unclipped"):
        cov_x0 = covariance(golden, schedule, sigmas, "ms_eps_noisy", kind == "clipped")
        check(schedule, f"sigma2_{name}_K{steps}_noisy_{kind}", official(sampler, sigmas, cov_x0))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("variance", ["large", "small"])
def test_ddpm_variances_are_the_official_ones(check, schedule, steps, variance):
    sampler = DDIM(steps, eta=1.0, variance=variance)
    check(schedule, f"sigma2_ddpm_naive_{variance}_K{steps}", official(sampler, sampler.sigmas(Levels(schedule)), None))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_output_of_the_fixture_is_checked_here_or_named_out_of_scope(golden, schedule):
    checked = {"betas", "alpha_bars"}
    for K in STEPS:
        for name in ("ddpm", "ddim_eta0", "ddim_eta0.5"):
            checked |= {f"sigma2_{name}_K{K}_{kind}" for kind in ("clipped", "unclipped", "clipped_finalclip")}
        checked |= {
            f"sigma2_{name}_K{K}_noisy_{kind}" for name in ("ddpm", "ddim_eta0") for kind in ("clipped", "unclipped")
        }
        checked |= {f"sigma2_ddpm_naive_{kind}_K{K}" for kind in ("large", "small")}
    outputs = {
        name.removeprefix("outputs/") for name in golden("analytic", f"variances_{schedule}")[0] if "outputs" in name
    }
    assert len(outputs) == 74
    assert {name for name in outputs if not name.startswith("ot_")} == checked


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
        sigmas = sampler.sigmas(Levels(schedule))
        cov_x0 = covariances({t: Norm(ms_eps, 0.0) for t in sigmas[:-1]}, sigmas, None, "eps_ms", cov_max=1.0)
        assert f"{official(sampler, sigmas, cov_x0)[0]:.2e}" == f"{float(printed):.2e}"


RUNS = {
    "ddpm_ms_eps": dict(eta=1.0, variance="analytic", clip="x0_and_eps", sigma2_clip=2.0),
    "ddim_ms_eps_eta0": dict(eta=0.0, variance="analytic", clip="x0", sigma2_clip=2.0),
    "ddpm_naive_large": dict(eta=1.0, variance="large", clip="x0_and_eps"),
    "ddim_naive_eta0": dict(eta=0.0, clip="x0"),
}


@pytest.mark.parametrize("run", RUNS)
def test_trajectories_follow_the_official_code_call_by_call(golden, fake_unet, make_card, run):
    tensors, facts = golden("analytic", "sampling_linear")
    assert set(facts["call"]) == {*RUNS, "ddpm_ms_eps_ot"}
    weights = {name.removeprefix("weights/"): tensor for name, tensor in tensors.items() if name.startswith("weights/")}

    def eps_net(x, t, cond):  # as the json's config.eps_net describes it
        rates = torch.exp(-torch.log(torch.tensor(10000.0)) * torch.arange(8) / 8)
        angles = t[:, None] * rates
        emb = torch.cat([angles.sin(), angles.cos()], 1) @ weights["temb_w"].T
        h = F.conv2d(x, weights["conv1_w"], weights["conv1_b"], padding=1) + emb[:, :, None, None]
        return 0.8 * x + F.conv2d(F.silu(h), weights["conv2_w"], weights["conv2_b"], padding=1)

    unet = fake_unet(eps_net)
    denoiser = Denoiser(unet, make_card(shape=(3, 8, 8), classes=0))
    sampler = DDIM(10, **RUNS[run])
    sigmas = sampler.sigmas(denoiser)
    ms_eps = tensors["inputs/ms_eps"].numpy()
    store = {float(sigma): Norm(float(value), 0.0) for sigma, value in zip(denoiser.levels, ms_eps[1:])}
    cov_x0 = covariances(store, sigmas, None, "eps_ms", denoiser.cov_max) if sampler.variance == "analytic" else None
    tape = [tensors["inputs/x_N"], *tensors["inputs/noise"]]

    found = sampler(denoiser, lambda i: tape[i], cov_x0=cov_x0)

    for i, (x, t, _) in enumerate(unet.calls):
        tolerance = facts["tolerance_abs_per_leading_index"][f"outputs/{run}_calls_x"][i]
        torch.testing.assert_close(x, tensors[f"outputs/{run}_calls_x"][i], rtol=0, atol=tolerance, msg=f"call {i}")
        assert (t == tensors[f"outputs/{run}_calls_t"][i]).all()
    assert len(unet.calls) == 10
    torch.testing.assert_close(
        found, tensors[f"outputs/{run}_x0"], rtol=0, atol=facts["tolerance_abs"][f"outputs/{run}_x0"]
    )


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [5, 10, 25])
@pytest.mark.parametrize("kind, norms", [("clean", "ms_eps"), ("bad", "ms_eps_with_bad_tail")])
def test_optimal_trajectories_and_their_costs_are_the_official_ones(golden, schedule, steps, kind, norms):
    tensors, facts = golden("analytic", f"variances_{schedule}")
    levels, eps_ms = Schedule(schedule).levels(), tensors[f"inputs/{norms}"].numpy()[1:]
    found = optimal(levels, eps_ms, steps)
    assert found == tensors[f"outputs/ot_{kind}_K{steps}_steps"].int().tolist()
    nodes = np.array(found[: facts["ot"][f"{kind}_K{steps}"]["K1"]]) - 1  # those that the dynamic programme places
    s, t = levels[nodes[:-1]], levels[nodes[1:]]
    left = 1 - (1 - s**2 / t**2) * eps_ms[nodes[1:]]
    # a difference of numbers near 1, down to 2e-9, which the official code takes in alpha_bar: each rounds by 2^-53
    rounding = (4 * 2.0**-53 / left).sum() + 1e-12
    assert np.log(left).sum() == pytest.approx(tensors[f"outputs/ot_{kind}_K{steps}_cost"].item(), rel=0, abs=rounding)
