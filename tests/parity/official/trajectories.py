"""Whole trajectories, call by call (families ddim_unet, deepcache, edm_sampler, skip_tuning)."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from edm_ablation import EDMAblation

from fastdiff.accelerators import DeepCache, SkipTuning
from fastdiff.accelerators.deepcache import centred
from fastdiff.knobs import build as read_knobs
from fastdiff.samplers import DDIM, Heun
from fastdiff.sampling.denoiser import Denoiser
from fastdiff.unets import build

from . import networks
from .case import Case, Check

SPACING = {"quad": "quadratic", "uniform": "stride"}


class Tape:
    """A denoiser that records its calls as (x, sigma, x0)."""

    def __init__(self, denoiser: Denoiser):
        self.denoiser, self.calls = denoiser, []

    def __getattr__(self, name):
        return getattr(self.denoiser, name)

    def start(self, *args, **kwargs):
        denoise = self.denoiser.start(*args, **kwargs)

        def call(x, sigma):
            x0 = denoise(x, sigma)
            self.calls.append((x, sigma, x0))
            return x0

        return call


def given(case: Case, start: str):
    """The noise of the case: the start, then one tensor per step."""
    return lambda index: case.inputs[start] if index == 0 else case.inputs["noise"][index - 1]


def ddim_tape(case: Case, deepcache: DeepCache) -> tuple[Tape, torch.Tensor]:
    """ermongroup's generalized_steps. Returns the tape, and the states x / sqrt(1 + sigma^2) from x_T to the image."""
    call, card = case.facts["call"], case.card("ddim", case.facts["config"])
    tape = Tape(Denoiser(build("ddim", case.facts["config"], case.state), card, deepcache=deepcache))
    sampler = DDIM(call["timesteps"], spacing=SPACING[call["skip_type"]], eta=call["eta"])
    image = sampler(tape, given(case, "x_T"))
    states = [x / (1 + sigma**2) ** 0.5 for x, sigma, _ in tape.calls]
    return tape, torch.stack([*states, image])


def ddim(case: Case) -> Iterator[Check]:
    tape, states = ddim_tape(case, DeepCache())
    levels = tape.levels.tolist()
    steps = [levels.index(sigma) for _, sigma, _ in reversed(tape.calls)]
    yield case.exact("seq", steps, case.facts["call"]["seq"])
    found = {"xs": states, "x_final": states[-1], "x0_preds": torch.stack([x0 for *_, x0 in tape.calls])}
    for output in case.outputs:
        if output in found:
            yield case.check(output, found[output])


def cache_of(run: str) -> DeepCache:
    """The cache of a run `k5_b2_c10_p1.4`: interval, official branch (ours minus 2), centre and power."""
    knobs = {name: float(value) for name, value in re.findall(r"([kbcp])([\d.]+)", run)}
    shape = {"schedule": "centred", "center": int(knobs["c"]), "power": knobs["p"]} if "c" in knobs else {}
    return DeepCache(int(knobs["k"]), int(knobs["b"]) + 2, **shape)


def deepcache(case: Case) -> Iterator[Check]:
    if "x_full" in case.inputs:
        yield from _single_calls(case)
        return
    for run, expected in case.facts.get("full_steps", {}).items():
        plan, call = cache_of(run), case.facts["call"]
        full_calls = plan.full_calls(len(call["seq"]), call["timesteps"])
        yield case.exact(f"full_steps_{run}", [i for i, full in enumerate(full_calls) if full], expected)
        _, states = ddim_tape(case, plan)
        output = f"xs_{run}"
        yield case.check(output, states[len(states) - len(case.outputs[output]) :])
    for run, expected in case.facts.get("interval_seq_table", {}).items():
        calls, interval, center, power = re.fullmatch(r"T(\d+)_k(\d+)_c(\d+)_p([\d.]+)", run).groups()
        chosen = centred(int(calls), -(-int(calls) // int(interval)), int(center), float(power))
        yield case.exact(f"interval_seq_{run}", chosen, expected["interval_seq"])


def _single_calls(case: Case) -> Iterator[Check]:
    """For every branch: one full call, then one shallow call with another input and time."""
    unet, given = build("ddim", case.facts["config"], case.state), case.inputs
    full, quick = (given["x_full"], given["t_full"]), (given["x_quick"], given["t_quick"])
    for output, of in (("eps_full", full), ("eps_true_quick_input", quick)):
        if output in case.outputs:
            yield case.check(output, networks.call(unet, *of)[0])
    for b in sorted(int(name.removeprefix("eps_quick_b")) for name in case.outputs if name.startswith("eps_quick_b")):
        trunk = networks.call(unet, *full, branch=b + 2)[1]
        yield case.check(f"cached_feature_b{b}", trunk)
        yield case.check(f"eps_quick_b{b}", networks.call(unet, *quick, branch=b + 2, trunk=trunk)[0])


@dataclass(frozen=True)
class Listed:
    """Any factors, rung 0 first. Skip-Tuning's two knobs make linear ones only."""

    factors: tuple[float, ...]

    def scales(self, rungs, level=0.0, full=True, branch=None) -> list[float]:
        return list(self.factors)


def tuning(case: Case, rungs: int):
    """The rho of the case (innermost skip first), as SkipTuning if it is linear, else as a list."""
    if "rho" not in case.inputs:
        return SkipTuning()
    rho = case.inputs["rho"].tolist()
    plan = SkipTuning(rho[0], rho[-1])
    made = plan.scales(rungs)[::-1]
    linear = len(made) == len(rho) and max(abs(a - b) for a, b in zip(made, rho)) < 1e-12
    return plan if linear else Listed(tuple(rho[::-1]))


class Unbounded(Denoiser):
    """Accepts any noise level, like the official wrappers. Churn may raise the first level above the trained range."""

    def c_noise(self, sigma: float) -> float:
        return self.card.preconditioning.noise(sigma)


def edm_denoiser(case: Case) -> Denoiser:
    arch = networks.edm_arch(case)
    unet = build("edm", arch, case.state)
    return Unbounded(unet, case.card("edm", arch, "edm"), tuning(case, unet.rungs))


# Official arguments with another name here. The other arguments of the ablation sampler have the official name.
OURS = {"num_steps": "steps", "rho": "karras_rho", "schedule": "noise_schedule", "S_churn": "churn",
        "S_min": "churn_min", "S_max": "churn_max", "S_noise": "noise_scale"}  # fmt: skip
EDM_SAMPLERS = {"ablation_sampler": EDMAblation, "edm_sampler": Heun}


def edm_sampler(case: Case) -> Iterator[Check]:
    call = case.facts["call"]
    given_knobs = {name: value for name, value in call["kwargs"].items() if value not in ("inf", math.inf)}  # no limit
    knobs = {"steps": 18, "state_dtype": "float64"} | {OURS.get(name, name): v for name, v in given_knobs.items()}
    sampler = read_knobs(EDM_SAMPLERS[call["function"]], knobs, call["function"])
    tape = Tape(edm_denoiser(case))
    image = sampler(tape, given(case, "latents"), case.labels)
    found = {"x_final": image, "calls_x": torch.stack([x for x, *_ in tape.calls])}
    found["calls_sigma"] = torch.tensor([sigma for _, sigma, _ in tape.calls], dtype=torch.float64)
    for output in case.outputs:
        if output in found:
            yield case.check(output, found[output])


def skip_tuning(case: Case) -> Iterator[Check]:
    if "latents" in case.inputs:
        yield from edm_sampler(case)
        return
    tuned = edm_denoiser(case)
    for output, denoiser in {"D_x_rho1": Denoiser(tuned.unet, tuned.card), "D_x_rho": tuned}.items():
        if output not in case.outputs:
            continue
        found = []
        for i, (x, sigma) in enumerate(zip(case.inputs["x"], case.inputs["sigma"].tolist())):
            label = None if case.labels is None else case.labels[i : i + 1]
            found.append(denoiser.start(1, label)(x[None], sigma))
        yield case.check(output, torch.cat(found))
