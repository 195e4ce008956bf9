"""Where steps lie: among training levels, or anywhere in a network's range."""

import json
from pathlib import Path

import numpy as np
import pytest

from fastdiff.diffusion.noise_levels import NoiseLevels
from fastdiff.diffusion.spacing import karras, logsnr, power2, quadratic, trajectory

ANALYTIC = Path(__file__).parent.parent / "fixtures" / "analytic"


def trained(levels: np.ndarray) -> NoiseLevels:
    """The noise levels of a network that was trained at these."""
    return NoiseLevels(levels, (levels[0], levels[-1]), levels[0], levels[-1])


def test_quadratic_spacing_is_the_official_one_with_its_duplicates():
    # ermongroup/ddim: int(linspace(0, sqrt(0.8 N), steps)^2), counted from 0
    assert [n - 1 for n in quadratic(1000, 10)] == [0, 9, 39, 88, 158, 246, 355, 483, 632, 800]
    hundred = quadratic(1000, 100)
    assert len(hundred) == 100 and len(set(hundred)) == 96
    assert [n - 1 for n in hundred[:8]] == [0, 0, 0, 0, 1, 2, 2, 3] and hundred[-1] == 801


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_power2_spacing_is_the_official_one(schedule):
    facts = json.loads((ANALYTIC / f"variances_{schedule}.json").read_text())
    official = facts["trajectories"]["power2"]
    assert {name: power2(facts["config"]["N"], int(name.removeprefix("K"))) for name in official} == official
    assert len(official) == 4


def test_power2_spacing_hits_both_ends_and_repeats_no_level():
    assert power2(1000, 1) == [1000] and power2(1000, 2) == [1, 1000]
    for steps in (3, 500, 700, 999, 1000):  # from 500 on, rounding alone would repeat the first levels
        chosen = power2(1000, steps)
        assert (chosen[0], chosen[-1], len(set(chosen))) == (1, 1000, steps) and chosen == sorted(chosen)


def test_karras_steps_are_even_in_the_root_and_logsnr_steps_in_the_logarithm():
    np.testing.assert_allclose(np.diff(np.array(karras(0.002, 80, 9)) ** (1 / 7), 2), 0, atol=1e-12)
    np.testing.assert_allclose(np.diff(np.log(logsnr(0.002, 80, 9)), 2), 0, atol=1e-12)
    for rule in (karras, logsnr):
        sigmas = rule(0.002, 80, 9)
        assert sigmas[0] == pytest.approx(80) and sigmas[-1] == pytest.approx(0.002)
        assert rule(0.002, 80, 1) == pytest.approx([80])


def test_a_network_without_training_levels_refuses_the_rules_that_need_them():
    continuous = NoiseLevels(None, (0.002, 80.0), 0.0, np.inf)
    for spacing in ("even", "leading", "power2", "quadratic", "stride"):
        with pytest.raises(ValueError, match=f"'{spacing}' places steps on training levels; .* use karras, logsnr"):
            trajectory(spacing, 5, continuous)
    assert trajectory("logsnr", 3, continuous) == [*logsnr(0.002, 80.0, 3), 0.0]
    with pytest.raises(ValueError, match="steps is 0"):
        trajectory("karras", 0, continuous)
    with pytest.raises(ValueError, match="'sqrt' is not one of"):
        trajectory("sqrt", 3, trained(np.arange(1.0, 9)))


@pytest.mark.parametrize("spacing", ["even", "karras", "logsnr", "power2", "quadratic", "stride"])
def test_every_trajectory_descends_to_zero(spacing):
    noise_levels = trained(np.geomspace(0.01, 150, 1000))
    for steps in (1, 2, 7, 100):
        sigmas = trajectory(spacing, steps, noise_levels)
        assert sigmas[-1] == 0 < sigmas[-2] and all(a >= b for a, b in zip(sigmas, sigmas[1:]))


def test_leading_spacing_is_a_level_above_stride_and_never_beyond_the_last():
    levels = np.geomspace(0.01, 150, 1000)
    for steps in (1, 50, 250, 500):
        sigmas = trajectory("leading", steps, trained(levels))
        assert sigmas[:-1] == [levels[n] for n in reversed(range(1, 1000, 1000 // steps))]  # n counts from 0 here
    with pytest.raises(ValueError, match="'leading' lies above `stride`: with 1000 noise levels at most 500 steps"):
        trajectory("leading", 501, trained(levels))
