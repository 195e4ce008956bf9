"""The kernel distance: what its estimates are estimates of."""

import numpy as np
import pytest
from cleanfid.fid import kernel_distance

from fastdiff.metrics import kid, kid_subsets
from fastdiff.metrics.kid import between, kernel, within


@pytest.fixture
def sets():
    random = np.random.default_rng(0)
    return random.normal(size=(41, 6)), random.normal(size=(53, 6)) + 0.2


def test_the_full_estimate_is_the_sum_over_all_pairs(sets):
    x, y = sets

    def mean(pairs):
        return np.mean([(a @ b / 6 + 1) ** 3 for a, b in pairs])

    own = [mean((a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j) for s in sets]
    expected = sum(own) - 2 * mean((a, b) for a in x for b in y)
    assert kid(x, y) == pytest.approx(expected, rel=1e-12)


def test_the_means_of_each_image_do_not_depend_on_the_size_of_the_blocks(sets, monkeypatch):
    import sys

    x, y = sets
    whole = within(x), between(x, y)
    monkeypatch.setattr(sys.modules["fastdiff.metrics.kid"], "BLOCK", 5 * 53)  # five rows at once
    np.testing.assert_allclose(within(x), whole[0], rtol=1e-13)
    np.testing.assert_allclose(between(x, y), whole[1], rtol=1e-13)


def test_one_subset_of_all_images_is_the_full_estimate(sets):
    x, y = sets[0], sets[1][:41]
    assert kid_subsets(x, y, subsets=3, size=1000) == pytest.approx(3 * [kid(x, y)], rel=1e-11)


@pytest.mark.parametrize("seed", [0, 2020])
def test_subsets_are_those_of_clean_fid_with_the_same_seed(sets, seed, monkeypatch):
    x, y = sets
    monkeypatch.setattr(np.random, "choice", np.random.RandomState(seed).choice)  # the global one, which it draws from
    expected = kernel_distance(y, x, num_subsets=7, max_subset_size=20)
    assert kid_subsets(x, y, 7, 20, seed).mean() == pytest.approx(expected, rel=1e-11)


def test_the_seed_alone_tells_the_subsets(sets):
    assert (kid_subsets(*sets, 2, 10) == kid_subsets(*sets, 2, 10)).all()


def test_it_has_no_bias():
    """Mean 0 over pairs of samples of one law, whose biased estimate would be 0.29: 400 of them know it to se."""
    random = np.random.default_rng(0)
    values = np.array([kid(random.normal(size=(20, 4)), random.normal(size=(20, 4))) for _ in range(400)])
    assert abs(values.mean()) < 3 * values.std() / 20
    assert values.std() / 20 < 0.02


def test_kept_parts_of_the_reference_change_nothing(sets):
    x, y = sets
    assert kid(x, y, within(y).mean()) == kid(x, y)


def test_float16_features_are_widened_before_the_kernel(sets):
    x, y = (s.astype(np.float16) for s in sets)
    assert kid(x, y) == kid(x.astype(np.float64), y.astype(np.float64))
    assert kernel(np.ones((1, 4)), np.ones((1, 4))) == 8


def test_bad_features_are_refused(sets):
    x, y = sets
    bad = x.copy()
    bad[[4, 7]] = np.nan
    for estimate in (kid, kid_subsets):
        with pytest.raises(ValueError, match="features of image 4 are NaN or infinite"):
            estimate(bad, y)
        with pytest.raises(ValueError, match="needs at least 2; 1 was given"):
            estimate(x[:1], y)
