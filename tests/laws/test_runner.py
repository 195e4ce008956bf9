"""Graphs are made twice a network and never again, whatever is swept, and compute what the eager walk computes."""

import dataclasses
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from fastdiff.accelerators import DeepCache, SkipTuning, joins_of
from fastdiff.samplers import DPMpp2M, preset
from fastdiff.sampling.denoiser import Denoiser
from fastdiff.sampling.generate import generate
from fastdiff.unets import Runner
from fastdiff.unets.runner import products


def labels(indices) -> np.ndarray:
    return np.asarray(indices) % 3


def test_a_sweep_compiles_two_graphs_and_nothing_anew(random_unet, make_card, traced):
    """rho (on some calls 1), interval, steps, sampler and seed vary, the last batch is short: no recompilation."""
    card, runner = make_card(), Runner(random_unet, joins_of((SkipTuning(0.8),), random_unet.rungs), 2, "default")
    denoiser = Denoiser(random_unet, card, (SkipTuning(0.8), DeepCache(2, 2)), runner=runner)
    made = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    list(generate(denoiser, preset("ddim", steps=2), 0, np.arange(4), labels, None, 4))
    assert runner.graphs == 2 and runner.seconds > 0
    with torch._dynamo.config.patch(error_on_recompile=True):
        knobs = itertools.product((0.9, 0.8), (2, 3), (3, 4), ("increasing", "window"))
        for seed, (rho, interval, steps, over) in enumerate(knobs):
            tuning = SkipTuning(rho, over_level=over, window=(0.3, 0.7))
            cell = dataclasses.replace(denoiser, accelerators=(tuning, DeepCache(interval, 2)))
            for sampler in (preset("ddpm", steps=steps), DPMpp2M(steps)):
                batches = list(generate(cell, sampler, seed, np.arange(6), labels, None, 4))
                assert [len(batch.pixels) for batch in batches] == [4, 2]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] - made == 2


@pytest.mark.slow
def test_graphs_compute_what_the_eager_walk_does(random_unet, make_card):
    card, plans = make_card(), (SkipTuning(0.7, 0.9), DeepCache(2, 3))
    joins, sigmas = joins_of(plans, random_unet.rungs), (9.0, 4.0, 1.0)
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    runs = []
    for compile in ("none", "default"):
        denoiser = Denoiser(random_unet, card, plans, runner=Runner(random_unet, joins, 3, compile))
        with torch.inference_mode():
            denoise = denoiser.start(sigmas, torch.tensor([0, 1, 2, 0]))
            runs.append([denoise(x, sigma) for sigma in sigmas])
    for eager, compiled in zip(*runs):
        torch.testing.assert_close(compiled, eager, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_branches_do_not_share_a_limit_of_recompilations(random_unet, make_card, traced):
    """Ten branches and shapes are more than torch lets one code object have."""
    for branch in (1, 2, 3, 4, 5):
        for batch in (2, 3):
            runner = Runner(random_unet, (), branch, "default")
            denoiser = Denoiser(random_unet, make_card(classes=0), (DeepCache(2, branch),), runner=runner)
            denoiser.prepare(batch, None, [2.0, 1.0])
            assert runner.graphs == 2


@pytest.mark.slow
def test_graphs_made_once_serve_later_processes_from_the_disk(tmp_path):
    script = """
import torch
from torch._dynamo.utils import counters
from fastdiff.accelerators import SkipTuning, joins_of
from fastdiff.unets import Runner, build

torch.manual_seed(0)
unet = build("native", dict(size=8, in_channels=1, channels=8, multipliers=(1, 2), blocks=1, attention=(), classes=0))
run = Runner(unet.eval().requires_grad_(False), joins_of([SkipTuning(0.5)], unet.rungs), 1, "default")
with torch.inference_mode():
    x, c_noise, factors = torch.zeros(2, 1, 8, 8), torch.ones(2), [torch.ones(unet.rungs, 1)]
    run.shallow(x, c_noise, None, factors, run.full(x, c_noise, None, factors)[1])
print(run.graphs, *(counters["inductor"][f"fxgraph_cache_{word}"] for word in ("miss", "hit")))
"""
    where = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    run = [sys.executable, "-c", script]
    first, later = (subprocess.run(run, env=where, capture_output=True, text=True, check=True).stdout for _ in range(2))
    assert first.split() == ["2", "2", "0"] and later.split() == ["2", "0", "2"]


def test_a_short_batch_of_graphs_has_the_images_that_it_would_have_alone(random_unet, make_card, traced):
    denoiser = Denoiser(random_unet, make_card(classes=0), runner=Runner(random_unet, compile="default"))
    sampler = preset("ddpm", steps=3)
    whole, part = (list(generate(denoiser, sampler, 0, np.arange(n), None, None, 4)) for n in (8, 6))
    assert np.array_equal(part[1].pixels, whole[1].pixels[:2])


def test_unit_factors_multiply_nothing_eagerly(random_unet, make_card, monkeypatch):
    from fastdiff.unets import runner

    seen = []
    walk = runner.walk
    monkeypatch.setattr(runner, "walk", lambda *a: seen.append(a[4]) or walk(*a))
    x = torch.randn(1, 1, 8, 8)
    for tuning in (SkipTuning(), SkipTuning(0.5)):
        Denoiser(random_unet, make_card(), (tuning,)).start([2.0])(x, 2.0)
    window = SkipTuning(0.5, over_level="window", window=(0.0, 0.1))
    Denoiser(random_unet, make_card(), (window,)).start([2.0])(x, 2.0)
    assert [join is None for join in seen] == [True, False, True]


def test_products_of_a_gpu_are_as_asked_while_it_runs_and_as_before_afterwards():
    backend = torch.backends.cudnn.conv
    before = backend.fp32_precision
    for asked in ("tf32", "ieee"):
        with products(asked):
            assert backend.fp32_precision == asked == torch.backends.cuda.matmul.fp32_precision
    with pytest.raises(RuntimeError), products("tf32"):
        raise RuntimeError
    assert backend.fp32_precision == before


def test_a_runner_of_another_branch_and_an_unknown_word_are_refused(random_unet, make_card):
    with pytest.raises(ValueError, match="the runner was made for other accelerators"):
        Denoiser(random_unet, make_card(), (DeepCache(2, 2),), runner=Runner(random_unet, branch=1))
    with pytest.raises(ValueError, match="the runner was made for other accelerators"):
        Denoiser(random_unet, make_card(), (SkipTuning(0.5),), runner=Runner(random_unet))
    with pytest.raises(ValueError, match="compile 'fast' is not one of: default, none, reduce-overhead"):
        Runner(random_unet, compile="fast")
