"""Plans answer pure questions about a trajectory; the trunk they lead to belongs to one trajectory."""

import numpy as np
import pytest
import torch

from fastdiff.denoise import Denoiser
from fastdiff.plans import DeepCache, SkipTuning
from fastdiff.samplers import DDIM
from fastdiff.unets import walk


@pytest.mark.parametrize("rungs", [2, 9, 12, 16])
def test_scales_run_linearly_from_rho_top_at_rung_0_to_rho_bottom_at_the_innermost(rungs):
    scales = SkipTuning(rho_bottom=0.5, rho_top=1.0).scales(rungs)
    np.testing.assert_allclose(scales, np.linspace(1.0, 0.5, rungs), rtol=0, atol=1e-15)
    assert (scales[0], scales[-1]) == (1.0, 0.5)


def test_the_sixteen_skips_of_the_papers_example_step_by_a_thirtieth():
    # Ma et al. 2024, "rho_bottom=0.5, linearly increasing to rho_top=1.0", read so that both ends are hit
    steps = np.diff(SkipTuning(0.5, 1.0).scales(16)[::-1])
    np.testing.assert_allclose(steps, 1 / 30, atol=1e-15)


def test_the_three_outer_scales_of_a_twelve_skip_network_are_those_by_hand():
    # 12 skips, rho 0.5 -> 1, m = 3: 0.909, 0.955, 1.0
    assert [round(scale, 3) for scale in SkipTuning(0.5, 1.0).scales(12, full=False, branch=3)[:3]] == [
        1.0,
        0.955,
        0.909,
    ]


def test_a_rung_keeps_its_factor_on_shallow_calls_and_at_every_level():
    plan = SkipTuning(0.4, 1.2)
    always = plan.scales(9)
    assert all(
        plan.scales(9, level, full, branch) == always for level in (0, 1) for full in (0, 1) for branch in (1, 5, 9)
    )


def test_unit_rhos_give_scales_of_exactly_one():
    assert SkipTuning().scales(9) == [1.0] * 9


def test_the_first_call_is_full_and_then_every_interval_th():
    assert DeepCache(3).full_calls(8) == [True, False, False, True, False, False, True, False]
    for interval in (1, 2, 5, 100):
        calls = DeepCache(interval).full_calls(50)
        assert [i for i, full in enumerate(calls) if full] == list(range(0, 50, interval))


@pytest.mark.parametrize(
    "interval, full", [(1, list(range(16))), (3, [0, 3, 6, 9, 12]), (4, [0, 4, 8, 12]), (5, [0, 5, 10])]
)
def test_calls_beyond_the_steps_asked_for_are_shallow_unless_nothing_is_cached(denoiser, interval, full):
    sampler = DDIM(15, spacing="stride")
    assert sampler.calls(denoiser) == 16  # range(0, 1000, 1000 // 15), as in ermongroup/ddim
    calls = DeepCache(interval).full_calls(16, asked=15)
    assert len(calls) == 16
    assert [i for i, is_full in enumerate(calls) if is_full] == full


def test_the_network_runs_every_rung_on_just_the_full_calls_of_a_trajectory_longer_than_asked(random_unet, make_card):
    bottlenecks = []
    random_unet.mids[0].register_forward_hook(lambda *_: bottlenecks.append(1))
    sampler = DDIM(15, spacing="stride")
    for interval, full in ((1, 16), (3, 5), (5, 3)):
        bottlenecks.clear()
        denoiser = Denoiser(random_unet, make_card(), deepcache=DeepCache(interval, 2))
        sampler(denoiser, lambda i: torch.zeros(1, 1, 8, 8), torch.tensor([0]))
        assert len(bottlenecks) == full


def test_knobs_outside_their_range_are_refused_with_the_reason():
    for knobs in ({"interval": 0}, {"branch": 0}):
        with pytest.raises(ValueError, match="1"):
            DeepCache(**knobs)
    for knobs in ({"rho_bottom": -0.1}, {"rho_top": 2.1}):
        with pytest.raises(ValueError, match=next(iter(knobs))):
            SkipTuning(**knobs)


def test_a_trajectory_refuses_one_call_more_than_it_was_begun_for(denoiser):
    step, x = denoiser.start(3, torch.tensor([0])), torch.zeros(1, 1, 8, 8)
    for _ in range(3):
        step(x, 1.0)
    with pytest.raises(RuntimeError, match="3 network calls"):
        step(x, 1.0)


def test_interleaved_trajectories_of_one_denoiser_do_not_share_a_trunk(random_unet, make_card):
    denoiser = Denoiser(random_unet, make_card(), deepcache=DeepCache(4, 2))
    x = torch.randn(2, 4, 1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    sigmas, cond = [20.0, 5.0, 1.0, 0.2], torch.tensor([1])

    alone = []
    for arm in range(2):
        step = denoiser.start(4, cond)
        alone.append([step(x[arm, i], t) for i, t in enumerate(sigmas)])
    steps = [denoiser.start(4, cond) for _ in range(2)]
    together = [[step(x[arm, i], t) for arm, step in enumerate(steps)] for i, t in enumerate(sigmas)]
    for i in range(4):
        for arm in range(2):
            assert torch.equal(together[i][arm], alone[arm][i])
    assert not torch.equal(
        alone[0][1], denoiser.start(1, cond)(x[0, 1], sigmas[1])
    )  # the second call was indeed shallow


@pytest.mark.parametrize("branch", [1, 2, 5])
def test_a_trajectory_with_both_plans_is_the_loop_of_walks_written_by_hand(random_unet, make_card, branch):
    plans = {"skip_tuning": SkipTuning(0.5, 0.9), "deepcache": DeepCache(3, branch)}
    card, cond, sampler = make_card(), torch.tensor([0, 2]), DDIM(7)
    scales = torch.tensor(plans["skip_tuning"].scales(6))
    start = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    denoiser = Denoiser(random_unet, card, **plans)
    sigmas, trunk = sampler.sigmas(denoiser), None
    x = (1 + sigmas[0] ** 2) ** 0.5 * start
    for i, (t, s) in enumerate(zip(sigmas, sigmas[1:])):
        n = torch.full((2,), float(1 + abs(card.levels - t).argmin()))
        out, trunk = walk(random_unet, x / (1 + t**2) ** 0.5, n, cond, scales, branch, trunk if i % 3 else None)
        x0 = x - t * out
        x = x0 + s * ((x - x0) / t)
    assert torch.equal(sampler(denoiser, lambda i: start, cond), x)
