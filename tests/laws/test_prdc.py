"""Precision, recall, density and coverage: by the definition, and where distances are equal."""

import sys

import numpy as np
import pytest

from fastdiff.metrics import prdc
from fastdiff.metrics.prdc import radii


@pytest.fixture
def sets():
    random = np.random.default_rng(0)
    return random.normal(size=(40, 5)), random.normal(size=(60, 5)) + 0.5


def by_definition(x, y, k):
    def ball(s):
        return np.sort(np.linalg.norm(s[:, None] - s, axis=2), axis=1)[:, k]

    apart = np.linalg.norm(x[:, None] - y, axis=2)
    inside = apart <= ball(y)
    recalled = apart <= ball(x)[:, None]
    return inside.any(1).mean(), recalled.any(0).mean(), inside.sum(1).mean() / k, inside.any(0).mean()


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("block", [2**22, 300])
def test_the_four_are_what_their_definition_says_whatever_the_blocks(sets, k, block, monkeypatch):
    monkeypatch.setattr(sys.modules["fastdiff.metrics.prdc"], "BLOCK", block)
    for closed in (True, False):  # nothing is on a surface here
        assert prdc(*sets, k, closed) == pytest.approx(by_definition(*sets, k), rel=1e-12)


def test_radii_are_distances_to_the_kth_other_image(sets):
    apart = np.linalg.norm(sets[0][:, None] - sets[0], axis=2)
    np.testing.assert_allclose(np.sqrt(radii(sets[0], 3)), np.sort(apart, axis=1)[:, 3], rtol=1e-10)


def test_a_set_against_itself_is_perfect(sets):
    found = prdc(sets[0], sets[0].copy())
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)


def test_arm_and_reference_exchanged_exchange_precision_and_recall(sets):
    x, y = sets
    assert prdc(x, y)[:2] == prdc(y, x)[1::-1]


def test_far_away_sets_share_nothing(sets):
    assert prdc(sets[0] + 100, sets[1]) == (0, 0, 0, 0)


@pytest.mark.parametrize("shift", [0, 1000.3])
def test_an_image_on_a_surface_is_in_a_closed_ball_and_in_no_open_one(shift):
    """Points of a line, one apart: the balls of k = 1 end at the neighbours; the arm sits on the reference's end."""
    reference = np.arange(5.0)[:, None] * np.ones((1, 3)) / 3 + shift
    arm = reference[:2] - 1 / 3  # the place below the lowest, and the lowest
    assert prdc(arm[:1].repeat(2, 0), reference, 1, closed=True).precision == 1
    assert prdc(arm[:1].repeat(2, 0), reference, 1, closed=False).precision == 0
    assert prdc(arm, reference, 1, closed=True) == (1, 2 / 5, 3 / 2, 2 / 5)


def test_copies_of_reference_images_lie_in_closed_balls_even_where_these_have_no_size():
    """k + 1 equal images make balls of radius 0, which an open ball leaves empty."""
    reference = np.repeat(np.random.default_rng(0).normal(size=(4, 7)), 6, axis=0)
    assert prdc(reference, reference) == (1, 1, 6 / 5, 1)
    assert prdc(reference, reference, closed=False) == (0, 0, 0, 0)


def test_kept_radii_change_nothing(sets):
    x, y = sets
    assert prdc(x, y, 3, reference_radii=radii(y, 3)) == prdc(x, y, 3)


def test_what_has_no_kth_neighbour_or_no_number_is_refused(sets):
    x, y = sets
    with pytest.raises(ValueError, match="5-th other image, but there are 5 images; lower k"):
        prdc(x[:5], y)
    bad = x.copy()
    bad[9] = np.inf
    with pytest.raises(ValueError, match="features of image 9 are NaN or infinite"):
        prdc(bad, y)
