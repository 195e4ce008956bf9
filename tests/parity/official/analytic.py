"""Variances, trajectories and sampling runs of Analytic-DPM (family analytic). `bounds` has its bounds.

Official variances belong to the VP state x / sqrt(1 + sigma^2): they are ours divided by 1 + s^2. Official arrays
ascend. Ours descend and end with the noise-free step to 0.
"""

import re
from collections.abc import Iterator

import numpy as np
import torch

from fastdiff.analytic import Norm, covariances
from fastdiff.diffusion.schedules import Schedule
from fastdiff.diffusion.spacing import optimal, quadratic
from fastdiff.samplers import DDIM

from .bounds import likelihoods, pairs
from .case import Case, Check
from .eps_net import denoiser_of
from .trajectories import Tape

SIGMA2 = re.compile(r"sigma2_(ddpm|ddim_eta[\d.]+)_K(\d+)(_noisy)?_(clipped|unclipped)(_finalclip)?")
NAIVE = re.compile(r"sigma2_ddpm_naive_(large|small)_K(\d+)")
OPTIMAL = re.compile(r"ot_(clean|bad)_K(\d+)_(steps|cost)")
SPACING = {"dp_seg": "dp", "linear": "even", "power2": "power2", "quad_ddim": "quadratic"}


class Levels:
    """The part of a denoiser that is needed to place steps."""

    def __init__(self, levels: np.ndarray):
        self.levels = levels


def official(sampler: DDIM, sigmas: list[float], cov_x0: list[float] | None) -> np.ndarray:
    """Variances of all steps except the last, in VP space, ascending."""
    rows = sampler.coefficients(sigmas, cov_x0, vp=True)[:-1]
    return np.array([var / (1 + s**2) for (_, var), s in zip(rows, sigmas[1:])])[::-1]


def norms(case: Case, name: str, levels: np.ndarray) -> dict[float, Norm]:
    values = case.inputs[name].numpy()[1:]
    return {float(sigma): Norm(float(value), 0.0) for sigma, value in zip(levels, values)}


def checks(case: Case) -> Iterator[Check]:
    if "alpha_bars" in case.outputs:
        yield from variances(case)
    elif "x_N" in case.inputs:
        yield from sampling(case)
    elif "x_0" in case.inputs:
        yield from likelihoods(case)
    elif "data" in case.inputs:
        yield from pairs(case)


def variances(case: Case) -> Iterator[Check]:
    schedule = Schedule(case.facts["config"]["schedule"], case.facts["config"]["N"])
    levels = schedule.levels()
    yield case.check("betas", np.append(0.0, schedule.betas()))  # index 0 is the official padding
    yield case.check("alpha_bars", np.append(1.0, 1 / (1 + levels**2)))
    for name, nodes in case.facts["trajectories"]["even"].items():
        sigmas = DDIM(len(nodes)).sigmas(Levels(levels))[-2::-1]
        yield case.exact(name, sigmas, [levels[n - 1] for n in nodes])
    for name, nodes in case.facts["trajectories"].get("quad_ddim", {}).items():
        yield case.exact(f"quad_ddim_{name}", quadratic(len(levels), len(nodes)), nodes)
    for output in case.outputs:
        if found := SIGMA2.fullmatch(output):
            yield case.check(output, _analytic(case, levels, *found.groups()))
        elif found := NAIVE.fullmatch(output):
            sampler = DDIM(int(found[2]), eta=1.0, variance=found[1])
            yield case.check(output, official(sampler, sampler.sigmas(Levels(levels)), None))
        elif found := OPTIMAL.fullmatch(output):
            yield from _optimal(case, levels, output, *found.groups())


def _analytic(case, levels, forward, steps, noisy, kind, final) -> np.ndarray:
    eta = 1.0 if forward == "ddpm" else float(forward.removeprefix("ddim_eta"))
    pixels = case.facts["config"]["clip_pixel"] if final else 0.0
    sampler = DDIM(int(steps), eta=eta, variance="analytic", sigma2_clip=pixels)
    sigmas, store = sampler.sigmas(Levels(levels)), norms(case, "ms_eps_noisy" if noisy else "ms_eps", levels)
    if kind == "clipped":
        return official(sampler, sigmas, covariances(store, sigmas, None, "eps_ms", cov_max=1.0))
    return official(sampler, sigmas, [t**2 * (1 - store[t].eps_ms) for t in sigmas[:-1]])


def _optimal(case, levels, output, kind, steps, what) -> Iterator[Check]:
    eps_ms = case.inputs["ms_eps" if kind == "clean" else "ms_eps_with_bad_tail"].numpy()[1:]
    found = optimal(levels, eps_ms, int(steps))
    if what == "steps":
        yield case.exact(output, found, case.outputs[output].int().tolist())
        return
    nodes = np.array(found[: case.facts["ot"][f"{kind}_K{steps}"]["K1"]]) - 1  # placed by the programme
    s, t = levels[nodes[:-1]], levels[nodes[1:]]
    left = 1 - (1 - s**2 / t**2) * eps_ms[nodes[1:]]
    # the official code subtracts numbers near 1 (down to 2e-9) in alpha_bar: each rounds by 2^-53
    rounding = float((4 * 2.0**-53 / left).sum() + 1e-12)
    error = abs(float(np.log(left).sum()) - case.outputs[output].item())
    yield Check(case.family, case.name, output, error, rounding)


def run_of(name: str, call: dict, steps: int) -> DDIM:
    """The sampler of a run by its official name (`ddpm_ms_eps`, `ddim_naive_eta0`, ...) and arguments."""
    ddpm = name.startswith("ddpm")
    eta = float(call.get("eta", 1.0 if ddpm else 0.0))
    variance = "small" if call.get("small_sigma", True) else "large"
    clip = ("x0_and_eps" if ddpm else "x0") if call.get("clip_denoise", True) else "none"
    spacing = SPACING[call.get("steps_type", "linear")]
    return DDIM(steps, spacing, eta, "analytic" if "ms_eps" in name else variance, clip, call.get("clip_pixel", 0.0))


def sampling(case: Case) -> Iterator[Check]:
    noise = [case.inputs["x_N"], *case.inputs["noise"]]
    for run, call in case.facts["call"].items():
        if f"{run}_x0" not in case.outputs:
            continue
        sampler = run_of(run, call, case.facts["config"]["sample_steps"])
        tape = Tape(denoiser_of(case, case.inputs["x_N"]))
        sigmas, store = sampler.sigmas(tape), norms(case, "ms_eps", tape.levels)
        cov_x0 = covariances(store, sigmas, None, "eps_ms", 1.0) if sampler.variance == "analytic" else None
        image = sampler(tape, noise.__getitem__, cov_x0=cov_x0)
        yield case.check(f"{run}_calls_x", torch.stack([x / (1 + t**2) ** 0.5 for x, t, _ in tape.calls]))
        fed = torch.tensor([tape.c_noise(t) for _, t, _ in tape.calls])
        official_t = case.outputs[f"{run}_calls_t"]
        yield case.check(f"{run}_calls_t", fed.reshape(-1, *[1] * (official_t.ndim - 1)).expand(official_t.shape))
        yield case.check(f"{run}_x0", image)
