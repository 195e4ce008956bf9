"""Errors of what compares all images with all: exact where that is possible, else measured on known distributions."""

import numpy as np
import pytest

from fastdiff.metrics import kid, prdc
from fastdiff.metrics.kid import between, halves, within
from fastdiff.metrics.prdc import counts, radii
from fastdiff.statistics import estimate, standard_error
from fastdiff.statistics.kernel import kid_expansion
from fastdiff.statistics.neighbours import prdc_influence

FOUR = ("precision", "recall", "density", "coverage")


@pytest.fixture
def sets():
    random = np.random.default_rng(0)
    return random.normal(size=(61, 3)), random.normal(size=(80, 3)) + 0.3


@pytest.mark.parametrize("k", [1, 3, 5])
def test_influence_of_the_four_is_what_leaving_each_image_out_changes(sets, k):
    x, y = sets
    reference_radii, n = radii(y, k), len(x)
    whole, psi = prdc(x, y, k), prdc_influence(counts(x, y, k))
    without = [prdc(np.delete(x, i, 0), y, k, reference_radii=reference_radii) for i in range(n)]
    for name in FOUR:
        change = np.array([(n - 1) * (getattr(whole, name) - getattr(each, name)) for each in without])
        np.testing.assert_allclose(psi[name], change - change.mean(), atol=1e-12)


def test_an_image_that_alone_recalls_loses_what_no_widened_ball_regains():
    """On a line: images at 0, 1, 2, 9 have balls to their neighbours; what lies at 5 is recalled by 9's ball alone."""
    x, y = np.array([[0.0], [1.0], [2.0], [9.0]]), np.array([[0.5], [5.0], [9.5], [30.0]])
    found = counts(x, y, 1, reference_radii=np.full(4, 1e-9))
    assert found.recalling.tolist() == [2, 1, 1, 0] and found.sole_recall[1:3].tolist() == [3, 3]
    psi = prdc_influence(found)["recall"]
    without = [prdc(np.delete(x, i, 0), y, 1, reference_radii=np.full(4, 1e-9)).recall for i in range(4)]
    assert without == [0.75, 0.75, 0.75, 0.25]
    np.testing.assert_allclose(psi, [-0.375, -0.375, -0.375, 1.125])


def test_the_value_and_first_order_of_kid_are_those_of_its_definition(sets):
    x, y = sets
    value, (psi, delta) = kid_expansion(x, y, within(y).mean())
    assert value == pytest.approx(kid(x, y), rel=1e-12)
    first = 2 * (within(x) - between(x, y))
    np.testing.assert_allclose(psi, first - first.mean(), rtol=1e-12, atol=1e-12)
    assert delta.mean() == pytest.approx(0, abs=1e-12)


def test_sums_of_even_and_odd_images_do_not_depend_on_the_size_of_the_blocks(sets, monkeypatch):
    import sys

    x = sets[0]
    pairs = (x @ x.T / 3 + 1) ** 3
    np.fill_diagonal(pairs, 0)
    np.testing.assert_allclose(halves(x), [pairs[:, ::2].sum(1), pairs[:, 1::2].sum(1)], rtol=1e-12)
    for rows in (3, 4):
        monkeypatch.setattr(sys.modules["fastdiff.metrics.kid"], "BLOCK", rows * len(x))
        np.testing.assert_allclose(halves(x), [pairs[:, ::2].sum(1), pairs[:, 1::2].sum(1)], rtol=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_stated_errors_of_kid_are_those_it_has_at_the_reference_and_far_from_it(shift):
    """300 samples of 200 images: +-4 % of a spread. Without the second order 1.2 times too wide at the reference."""
    random = np.random.default_rng(5)
    y = random.normal(size=(1000, 8))
    own = within(y).mean()
    values, expansions = zip(*(kid_expansion(random.normal(size=(200, 8)) + shift, y, own) for _ in range(300)))
    stated = np.mean([estimate(0, psi).se for psi in expansions]) / np.std(values)
    assert 0.85 < stated < 1.1
    if shift == 0:
        assert np.mean([standard_error(psi[0]) for psi in expansions]) / np.std(values) > 1.1


def test_stated_errors_of_means_are_those_they_have_and_of_recall_and_coverage_never_too_narrow():
    """200 samples: +-5 % of a spread. The jackknife is an upper bound on average (Efron & Stein 1981)."""
    random = np.random.default_rng(6)
    y = random.normal(size=(600, 6))
    reference_radii = radii(y)
    found = [counts(random.normal(size=(200, 6)) + 0.2, y, reference_radii=reference_radii) for _ in range(200)]
    values = np.array([each.values() for each in found])
    stated = np.array([[standard_error(prdc_influence(each)[name]) for name in FOUR] for each in found])
    ratio = dict(zip(FOUR, stated.mean(0) / values.std(0)))
    assert all(0.85 < ratio[name] < 1.15 for name in ("precision", "density")), ratio
    assert all(0.95 < ratio[name] < 1.65 for name in ("recall", "coverage")), ratio


def test_too_few_images_for_two_halves_are_refused(sets):
    with pytest.raises(ValueError, match="two halves of two images at least; 3 images were given"):
        kid_expansion(sets[0][:3], sets[1], 0.0)
