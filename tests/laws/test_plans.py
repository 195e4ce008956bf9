"""Plans answer pure questions about a trajectory; the trunk they lead to belongs to one trajectory."""

import numpy as np
import pytest
import torch
from networks import scaled

from fastdiff.accelerators import DeepCache, SkipTuning
from fastdiff.samplers import DDIM
from fastdiff.sampling.denoiser import Denoiser
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
    assert len(sampler.call_sigmas(denoiser.noise_levels)) == 16  # range(0, 1000, 1000 // 15), as in ermongroup/ddim
    calls = DeepCache(interval).full_calls(16, asked=15)
    assert len(calls) == 16
    assert [i for i, is_full in enumerate(calls) if is_full] == full


def test_the_network_runs_every_rung_on_just_the_full_calls_of_a_trajectory_longer_than_asked(random_unet, make_card):
    bottlenecks = []
    random_unet.mids[0].register_forward_hook(lambda *_: bottlenecks.append(1))
    sampler = DDIM(15, spacing="stride")
    for interval, full in ((1, 16), (3, 5), (5, 3)):
        bottlenecks.clear()
        denoiser = Denoiser(random_unet, make_card(), (DeepCache(interval, 2),))
        sampler(denoiser, lambda i: torch.zeros(1, 1, 8, 8), torch.tensor([0]))
        assert len(bottlenecks) == full


def test_knobs_outside_their_range_are_refused_with_the_reason():
    for knobs, said in (
        ({"interval": 0}, "at least 1"),
        ({"branch": -1}, r"branch is -1; 0 keeps the output, 1 \.\. K"),
    ):
        with pytest.raises(ValueError, match=said):
            DeepCache(**knobs)
    for knobs in ({"rho_bottom": -0.1}, {"rho_top": 2.1}):
        with pytest.raises(ValueError, match=next(iter(knobs))):
            SkipTuning(**knobs)


def test_a_trajectory_refuses_one_call_more_than_it_was_begun_for(denoiser):
    step, x = denoiser.start([1.0] * 3, torch.tensor([0])), torch.zeros(1, 1, 8, 8)
    for _ in range(3):
        step(x, 1.0)
    with pytest.raises(RuntimeError, match="3 network calls"):
        step(x, 1.0)


def test_interleaved_trajectories_of_one_denoiser_do_not_share_a_trunk(random_unet, make_card):
    denoiser = Denoiser(random_unet, make_card(), (DeepCache(4, 2),))
    x = torch.randn(2, 4, 1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    sigmas, cond = [20.0, 5.0, 1.0, 0.2], torch.tensor([1])

    alone = []
    for arm in range(2):
        step = denoiser.start(sigmas, cond)
        alone.append([step(x[arm, i], t) for i, t in enumerate(sigmas)])
    steps = [denoiser.start(sigmas, cond) for _ in range(2)]
    together = [[step(x[arm, i], t) for arm, step in enumerate(steps)] for i, t in enumerate(sigmas)]
    for i in range(4):
        for arm in range(2):
            assert torch.equal(together[i][arm], alone[arm][i])
    assert not torch.equal(
        alone[0][1], denoiser.start(sigmas[1:2], cond)(x[0, 1], sigmas[1])
    )  # the second call was indeed shallow


@pytest.mark.parametrize("branch", [1, 2, 5])
def test_a_trajectory_with_both_plans_is_the_loop_of_walks_written_by_hand(random_unet, make_card, branch):
    plans = SkipTuning(0.5, 0.9), DeepCache(3, branch)
    card, cond, sampler = make_card(), torch.tensor([0, 2]), DDIM(7)
    scales = torch.tensor(plans[0].scales(6))
    start = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    denoiser = Denoiser(random_unet, card, plans)
    sigmas, trunk = sampler.sigmas(denoiser.noise_levels), None
    x = (1 + sigmas[0] ** 2) ** 0.5 * start
    for i, (t, s) in enumerate(zip(sigmas, sigmas[1:])):
        n = torch.full((2,), float(1 + abs(card.noise_levels.levels - t).argmin()))
        out, trunk = walk(random_unet, x / (1 + t**2) ** 0.5, n, cond, scaled(scales), branch, trunk if i % 3 else None)
        x0 = x - t * out
        x = x0 + s * ((x - x0) / t)
    assert torch.equal(sampler(denoiser, lambda i: start, cond), x)


def full_of(plan: DeepCache, calls: int) -> list[int]:
    return [i for i, full in enumerate(plan.full_calls(calls)) if full]


CENTRED = {  # horseee/DeepCache, sample_from_quad_center: (calls, interval, center, power) -> full calls
    (50, 5, 15, 1.4): [0, 5, 9, 13, 17, 21, 26, 31, 37, 43],
    (50, 5, 10, 1.5): [0, 4, 7, 10, 14, 19, 24, 30, 36, 43],
    (50, 10, 15, 1.4): [0, 9, 17, 26, 37],
    (50, 3, 15, 1.3): [0, 3, 6, 8, 11, 13, 15, 17, 20, 23, 26, 29, 32, 35, 39, 42, 46],
    (100, 10, 30, 1.4): [0, 9, 18, 26, 34, 43, 52, 63, 75, 87],
    (250, 20, 120, 1.2): [0, 22, 42, 62, 80, 98, 116, 132, 149, 168, 187, 207, 228],
    (250, 20, 120, 1.4): [0, 22, 42, 61, 80, 98, 115, 131, 149, 168, 187, 207, 228],
}


@pytest.mark.parametrize("knobs", CENTRED)
def test_centred_full_calls_are_the_official_ones_and_not_those_of_a_signed_power(knobs):
    calls, interval, center, power = knobs
    found = full_of(DeepCache(interval, schedule="centred", center=center, power=power), calls)
    assert found == CENTRED[knobs]
    nodes = np.linspace(-(center ** (1 / power)), (calls - center) ** (1 / power), -(-calls // interval) + 1)
    signed = np.unique(np.int32(np.sign(nodes) * np.abs(nodes) ** power))[1:-1] + center
    assert found != [0, *signed.tolist()]


def test_quadratic_full_calls_are_those_of_the_official_ldm_code_with_its_default_power():
    expected = [0, 5, 15, 27, 42, 59, 78, 98, 120, 144, 168, 194, 221]
    assert full_of(DeepCache(20, schedule="quadratic"), 250) == expected
    assert full_of(DeepCache(20, schedule="quadratic", power=1.5), 250) == expected


@pytest.mark.parametrize("schedule", ["uniform", "centred", "quadratic"])
@pytest.mark.parametrize("interval", [2, 3, 5, 7])
def test_every_schedule_spends_the_same_number_of_full_calls(schedule, interval):
    found = full_of(DeepCache(interval, schedule=schedule, center=20, power=1.2), 100)
    assert found[0] == 0 and len(found) == -(-100 // interval)


def test_a_list_of_full_calls_is_taken_as_it_is_and_the_first_call_is_full_anyway():
    assert full_of(DeepCache(schedule="list", full=(7, 3, 3)), 9) == [0, 3, 7]
    with pytest.raises(ValueError, match="full names call 9, but this trajectory has calls 0 .. 8"):
        DeepCache(schedule="list", full=(9,)).full_calls(9)


def test_protected_calls_are_full_whatever_the_schedule_says():
    assert full_of(DeepCache(5, protect_first=2, protect_last=2), 10) == [0, 1, 5, 8, 9]
    assert full_of(DeepCache(5, protect_last=1), 16) == [0, 5, 10, 15]
    assert DeepCache(4, protect_last=1).full_calls(16, asked=15)[-1]  # also a call beyond the steps asked for
    assert full_of(DeepCache(5, protect_first=99), 10) == list(range(10))


def test_knobs_that_a_schedule_does_not_read_are_no_part_of_its_identity():
    assert DeepCache(3, 2, center=7, power=1.2).identity() == {"interval": 3, "branch": 2}
    assert DeepCache(3, 2, "centred").identity() == DeepCache(3, 2, "centred", power=1.4).identity()
    assert DeepCache(9, 2, "list", full=(1,)).identity() == {"branch": 2, "schedule": "list", "full": (1,)}
    assert DeepCache().off and DeepCache(1, schedule="centred").off and not DeepCache(1, 1, "list", full=(0,)).off
    assert SkipTuning(1, 1, "from_one", "decreasing", apply="deep").identity() == {}
    assert SkipTuning(0.8, window=(0.2, 0.4)).identity() == {"rho_bottom": 0.8}
    assert SkipTuning(0.8, 0.8, "from_one").identity() == SkipTuning(0.8, 0.8).identity()


def test_the_two_one_off_readings_miss_one_end_each():
    # the paper's example, 0.5 -> 1.0 over 16 skips, innermost first
    outward = {index: SkipTuning(0.5, 1.0, index).scales(16)[::-1] for index in ("from_zero", "from_one")}
    np.testing.assert_allclose(outward["from_zero"], 0.5 + 0.5 / 16 * np.arange(16), atol=1e-15)
    np.testing.assert_allclose(outward["from_one"], 0.5 + 0.5 / 16 * np.arange(1, 17), atol=1e-15)
    assert outward["from_zero"][-1] == 0.96875 and outward["from_one"][0] == 0.53125


def test_rho_over_the_noise_level_goes_between_the_factor_and_one():
    fixed = SkipTuning(0.6, 0.8).scales(5)
    rising, falling = (SkipTuning(0.6, 0.8, over_level=name) for name in ("increasing", "decreasing"))
    assert rising.scales(5, 0.0) == fixed and rising.scales(5, 1.0) == [1.0] * 5
    assert falling.scales(5, 1.0) == fixed and falling.scales(5, 0.0) == [1.0] * 5
    for level in (0.25, 0.5):
        np.testing.assert_allclose(rising.scales(5, level), np.array(fixed) * (1 - level) + level, atol=1e-15)
        np.testing.assert_allclose(rising.scales(5, level), falling.scales(5, 1 - level), atol=1e-15)


def test_windows_that_tile_the_levels_leave_none_out_and_none_twice():
    edges = np.linspace(0, 1, 14)  # the paper's search: 13 disjoint windows
    plans = [SkipTuning(0.5, 0.5, over_level="window", window=(a, b)) for a, b in zip(edges, edges[1:])]
    for level in [*np.linspace(0, 1, 101), *edges]:
        tuned = [plan.scales(3, float(level)) for plan in plans]
        assert tuned.count([0.5] * 3) == 1 and tuned.count([1.0] * 3) == 12


def test_skip_tuning_under_deepcache_goes_to_all_calls_to_full_ones_or_to_the_rungs_below_the_cache():
    fixed, ones = SkipTuning(0.5, 0.8).scales(6), [1.0] * 6
    for full in (True, False):
        assert SkipTuning(0.5, 0.8, apply="all").scales(6, full=full, branch=2) == fixed
        assert SkipTuning(0.5, 0.8, apply="full").scales(6, full=full, branch=2) == (fixed if full else ones)
        assert SkipTuning(0.5, 0.8, apply="deep").scales(6, full=full, branch=2) == [1.0, 1.0, *fixed[2:]]
    for apply in ("all", "full", "deep"):
        assert SkipTuning(0.5, 0.8, apply=apply).scales(6) == fixed


def test_rho_of_a_trajectory_follows_the_level_of_each_call(random_unet, make_card):
    """What a time-dependent plan computes is the loop of walks, each with the factors of its own noise level."""
    plan = SkipTuning(0.3, 0.9, over_level="decreasing")
    card, cond, sampler = make_card(), torch.tensor([0, 2]), DDIM(5)
    denoiser = Denoiser(random_unet, card, (plan,))
    start = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    low, high = np.log(card.noise_levels.levels[[0, -1]])
    sigmas = sampler.sigmas(denoiser.noise_levels)
    x = (1 + sigmas[0] ** 2) ** 0.5 * start
    for t, s in zip(sigmas, sigmas[1:]):
        scales = torch.tensor(plan.scales(6, (np.log(t) - low) / (high - low)))
        n = torch.full((2,), float(1 + abs(card.noise_levels.levels - t).argmin()))
        x0 = x - t * walk(random_unet, x / (1 + t**2) ** 0.5, n, cond, scaled(scales))[0]
        x = x0 + s * ((x - x0) / t)
    torch.testing.assert_close(sampler(denoiser, lambda i: start, cond), x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("knobs, reason", [
    ({"schedule": "log"}, "'log' is not one of: centred, list, quadratic, uniform"),
    ({"interval": 2, "schedule": "centred", "power": 1.0}, "power is 1.0"),
    ({"interval": 2, "schedule": "centred", "power": float("nan")}, "power is nan"),
    ({"center": 0}, "center is 0"),
    ({"schedule": "list"}, "go together"),
    ({"full": (3,)}, "go together"),
    ({"schedule": "list", "full": (-1,)}, "counted from 0"),
    ({"protect_last": -1}, "cannot be negative"),
])  # fmt: skip
def test_senseless_caching_is_refused_with_the_reason(knobs, reason):
    with pytest.raises(ValueError, match=reason):
        DeepCache(**knobs)


@pytest.mark.parametrize("knobs, reason", [
    ({"index": "log"}, "'log' is not one of: from_one, from_zero, linspace"),
    ({"over_level": "late"}, "'late' is not one of: constant, decreasing, increasing, window"),
    ({"apply": "some"}, "'some' is not one of: all, deep, full"),
    ({"window": (0.6, 0.4)}, "window is"),
])  # fmt: skip
def test_senseless_tuning_is_refused_with_the_menu(knobs, reason):
    with pytest.raises(ValueError, match=reason):
        SkipTuning(**knobs)


def test_a_centre_beyond_the_trajectory_is_refused():
    with pytest.raises(ValueError, match=r"center is call 15, but the calls asked for are 0 \.\. 9"):
        DeepCache(3, schedule="centred").full_calls(10)
