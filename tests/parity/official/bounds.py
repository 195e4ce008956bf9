"""The variational bounds of Analytic-DPM (family analytic): terms, totals and cheapest paths."""

import math
import re
from collections.abc import Iterator

import numpy as np

from fastdiff.analytic import Norm, covariances, moments
from fastdiff.analytic.likelihood_bound import at_level, prior, terms
from fastdiff.diffusion.spacing import cheapest
from fastdiff.samplers import DDIM
from fastdiff.samplers.optimal import bound_terms

from .case import Case, Check
from .eps_net import denoiser_of

RUN = re.compile(r"((?:ms_eps|naive)_\w*?K(\d+))_(terms_nats|nelbo_nats|bpd)")
PATH = re.compile(r"dp_K(\d+)_(path|nelbo_nats)")


def likelihoods(case: Case) -> Iterator[Check]:
    """Bounds of single images, by run: `ms_eps_K10`, `ms_eps_ot_K10` (optimal trajectory), `naive_large_K10`."""
    x0, made = case.inputs["x_0"], {}
    denoiser = denoiser_of(case, x0)
    for output in case.outputs:
        if not (found := RUN.fullmatch(output)):
            continue
        run, steps, what = found.groups()
        if run not in made:
            variance = "analytic" if run.startswith("ms_eps") else "large" if "large" in run else "small"
            sampler = DDIM(int(steps), "dp" if "_ot_" in run else "even", eta=1.0, variance=variance)
            noise, cov_x0 = case.inputs["noise"], None
            if variance == "analytic":
                store = {t: Norm(value, 0.0) for t, value in zip(*denoiser.noise_levels.curves[:2])}
                cov_x0 = covariances(store, sampler.sigmas(denoiser.noise_levels), None, "eps_ms", denoiser.cov_max)
            made[run] = terms(denoiser, sampler, x0, noise.__getitem__, cov_x0=cov_x0)
        nats = made[run] if what == "terms_nats" else made[run].sum(0)
        yield case.check(output, nats / (x0[0].numel() * math.log(2)) if what == "bpd" else nats)


def pairs(case: Case) -> Iterator[Check]:
    """The same images at every level: ms_eps, the terms F of the bound for all pairs of levels, the cheapest paths."""
    x0, noise, outputs = case.inputs["data"], case.inputs["noise"], case.outputs
    denoiser, d = denoiser_of(case, x0), x0[0].numel()
    levels = denoiser.noise_levels.levels
    norms = [
        float(moments(denoiser.start([t]), x0, z, t, denoiser.value_range)[0].mean()) for t, z in zip(levels, noise)
    ]
    found = {"ms_eps": np.array([0.0, *norms]), "nll_last_term": np.array([float(prior(x0, levels[-1]).mean())])}
    each = [at_level(denoiser.start([t]), denoiser, x0, z, t) for t, z in zip(levels, noise)]
    recon, decoder = (np.array([float(values.mean()) / d for values in part]) for part in zip(*each))
    for variance in ("large", "small"):
        F = d * bound_terms(levels, recon, decoder, 1.0, variance)
        name = f"nll_terms_F_{variance}_sigma"
        if name in outputs:
            yield beside(case, name, F)
        if variance == "large":  # the official trajectory uses these terms
            paths = {output: PATH.fullmatch(output) for output in outputs}
            for output, what in paths.items():
                if what:
                    path = cheapest(F, int(what[1]))
                    total = found["nll_last_term"] + sum(F[s, t] for s, t in zip(path, path[1:]))
                    found[output] = np.array(path) if what[2] == "path" else total
    for output, value in found.items():
        if output in outputs:
            yield case.check(output, value)


def beside(case: Case, output: str, found: np.ndarray) -> Check:
    """Like case.check, for arrays whose infinities must be at the same indices."""
    expected = case.outputs[output].double().numpy()
    limit = case.facts["tolerance_abs"][f"outputs/{output}"]
    if found.shape != expected.shape or not np.array_equal(np.isposinf(found), np.isposinf(expected)):
        return Check(case.family, case.name, output, math.inf, limit)
    finite = np.isfinite(expected)
    return Check(case.family, case.name, output, float(np.abs(found[finite] - expected[finite]).max()), limit)
