"""Metrics against the originals, and their intervals against what intervals promise."""

import numpy as np
import pytest
import torch
from cleanfid.fid import fid_from_feats
from scipy import stats
from torchmetrics.image.inception import InceptionScore

from fastdiff.metrics import frechet, inception_score, moments, shuffled
from fastdiff.metrics.fid import Moments, root
from fastdiff.statistics import difference, estimate, frechet_expansion, inception_score_influence

# clean-fid 0.1.35 calls sqrtm in a way that SciPy 1.18 will end; the project holds SciPy below that
pytestmark = pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated")


def correlated(seed: int, n: int, D: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(n, D)) @ random.normal(size=(D, D)) / D**0.5 + random.normal(size=D)


@pytest.mark.parametrize("n, D", [(500, 16), (300, 64), (2000, 32)])
def test_frechet_is_clean_fids_distance_of_the_same_features(n, D):
    a, b = correlated(0, n, D), correlated(1, n + 50, D)
    assert frechet(moments(a), moments(b)) == pytest.approx(fid_from_feats(a, b), rel=1e-4)


def test_features_kept_in_float16_give_clean_fids_distance_of_their_values():
    # clean-fid is given them widened: numpy's mean of a float16 array is itself rounded to float16
    a, b = (correlated(seed, 500, 32).astype(np.float16) for seed in (0, 1))
    expected = fid_from_feats(a.astype(np.float64), b.astype(np.float64))
    assert frechet(moments(a), moments(b)) == pytest.approx(expected, rel=1e-4)
    full = frechet(moments(correlated(0, 500, 32)), moments(correlated(1, 500, 32)))
    assert frechet(moments(a), moments(b)) == pytest.approx(full, rel=1e-4)  # and rounding them costs no more than that


def test_frechet_of_known_gaussians_is_its_closed_form():
    # diagonal covariances commute: d^2 = |m - m'|^2 + sum (sd - sd')^2 (Dowson & Landau 1982)
    a = Moments(10, np.array([1.0, 2.0, 3.0]), np.diag([1.0, 4.0, 9.0]))
    b = Moments(10, np.array([0.0, 2.0, 5.0]), np.diag([4.0, 4.0, 1.0]))
    assert frechet(a, b) == pytest.approx(5 + 1 + 0 + 4, rel=1e-12)


def test_frechet_is_symmetric_and_zero_only_for_equal_moments():
    a, b = moments(correlated(0, 400, 16)), moments(correlated(1, 400, 16))
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-10)
    assert abs(frechet(a, a)) < 1e-10 * np.trace(a.cov)
    assert frechet(a, b) > 0.1


def test_frechet_does_not_depend_on_the_basis_of_the_features():
    a, b = correlated(0, 400, 16), correlated(1, 400, 16)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(16, 16)))[0]
    assert frechet(moments(a @ turn), moments(b @ turn)) == pytest.approx(frechet(moments(a), moments(b)), rel=1e-10)


@pytest.mark.parametrize("rank", [96, 59, 3])
def test_the_root_of_a_covariance_squares_to_it_whatever_its_rank(rank):
    half = np.random.default_rng(0).normal(size=(96, rank))
    L = root(half @ half.T)
    np.testing.assert_allclose(L @ L.T, half @ half.T, atol=1e-10 * rank)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_name_the_first_bad_image(bad):
    features = correlated(0, 50, 8).astype(np.float16)
    features[[17, 30], 3] = bad
    with pytest.raises(ValueError, match=r"features of image 17 are NaN or infinite \(2 of 50 are\)"):
        moments(features)


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore` will save all", "ignore:std")
@pytest.mark.parametrize("splits", [1, 5, 10])
def test_inception_score_is_that_of_torchmetrics(splits):
    # 400 images, because torch.chunk cuts only what divides evenly as the original code does
    logits = 2 * torch.randn(400, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    metric = InceptionScore(feature=torch.nn.Identity(), splits=splits).set_dtype(torch.float64)
    metric.update(logits)
    torch.manual_seed(7)
    expected, _ = metric.compute()
    torch.manual_seed(7)
    order = torch.randperm(400).numpy()  # how it shuffles
    assert inception_score(logits.softmax(1).numpy(), order, splits) == pytest.approx(float(expected), rel=1e-10)


@pytest.mark.parametrize("n", [305, 600])
def test_the_shuffle_leaves_no_image_out(n):
    assert sorted(shuffled(n)) == list(range(n))


def test_inception_score_lies_between_one_and_the_number_of_classes():
    same, sure = np.full((100, 10), 0.1), np.eye(10)[np.arange(100) % 10]
    assert inception_score(same, np.arange(100), 2) == pytest.approx(1, abs=1e-12)
    assert inception_score(sure, np.arange(100), 2) == pytest.approx(10, abs=1e-12)  # log 0 does no harm


def test_more_splits_than_images_are_refused():
    with pytest.raises(ValueError, match="5 images cannot be cut into 10 splits"):
        inception_score(np.full((5, 2), 0.5), np.arange(5), 10)


def weighted(features: np.ndarray, weights: np.ndarray) -> Moments:
    """Moments of a distribution that gives image i the probability weights[i]."""
    x = features - weights @ features
    return Moments(len(features), weights @ features, (weights[:, None] * x).T @ x)


def test_frechet_influence_is_the_derivative_towards_a_point_mass():
    n, D, h = 4000, 8, 1e-5
    features, reference = correlated(0, n, D), moments(correlated(1, 500, D))
    psi = frechet_expansion(features, reference)[0]
    even = np.full(n, 1 / n)
    for i in [0, 17, int(psi.argmax()), int(psi.argmin())]:
        sides = []
        for step in (h, -h):  # (1 - h) F + h delta_i
            weights = (1 - step) * even
            weights[i] += step
            sides.append(frechet(weighted(features, weights), reference))
        # the covariance psi is taken at is divided by n - 1, the weighted one by n: a part in n of psi's own spread
        assert psi[i] == pytest.approx((sides[0] - sides[1]) / (2 * h), rel=2 / n, abs=2 / n * psi.std())


def test_frechet_influence_has_mean_zero_up_to_the_n_minus_1_of_the_covariance():
    n, D = 300, 8
    features, reference = correlated(0, n, D), moments(correlated(1, 500, D))
    arm, psi = moments(features), frechet_expansion(features, reference)[0]
    # what is left is -tr((I - T) S) / n, and tr(T S) is the sum of the roots that is in the distance itself
    gap = arm.mean - reference.mean
    roots = (gap @ gap + np.trace(arm.cov) + np.trace(reference.cov) - frechet(arm, reference)) / 2
    assert psi.mean() == pytest.approx(-(np.trace(arm.cov) - roots) / n, rel=1e-9)
    assert abs(psi.mean()) < 0.1 * psi.std() / n**0.5


def test_frechet_influence_of_a_rank_deficient_reference_is_finite():
    features = correlated(0, 300, 8)
    flat = correlated(1, 300, 8)
    flat[:, 3] = flat[:, 2]
    assert np.isfinite(frechet_expansion(features, moments(flat))[0]).all()


def test_there_is_no_interval_below_3_9_images_a_dimension():
    reference = moments(correlated(1, 500, 16))
    assert frechet_expansion(correlated(0, 62, 16), reference) is None
    assert frechet_expansion(correlated(0, 63, 16), reference).shape == (2, 63)


@pytest.fixture
def probabilities():
    logits = 2 * np.random.default_rng(0).normal(size=(305, 7))
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


@pytest.mark.parametrize("splits", [1, 10])  # 305 in 10 splits: some have 30 images, some 31
def test_inception_score_influence_is_the_derivative_towards_a_point_mass(probabilities, splits):
    n, h, order = len(probabilities), 1e-6, shuffled(305)
    psi = inception_score_influence(probabilities, order, splits)
    parts = [order[i * n // splits : (i + 1) * n // splits] for i in range(splits)]

    def score(weights):
        total = 0
        for part in parts:
            p, w = probabilities[part], weights[part] / weights[part].sum()
            total += np.exp(w @ (p * np.log(p / (w @ p))).sum(1)) / splits
        return total

    assert score(np.full(n, 1 / n)) == pytest.approx(inception_score(probabilities, order, splits), rel=1e-12)
    for i in [0, 100, int(psi.argmax()), int(psi.argmin())]:
        sides = []
        for step in (h, -h):
            weights = np.full(n, (1 - step) / n)
            weights[i] += step
            sides.append(score(weights))
        # differences of 1e-6 of a score of about 2, known to 1e-15: nine digits less a few
        assert psi[i] == pytest.approx((sides[0] - sides[1]) / (2 * h), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("splits", [1, 10])
def test_inception_score_influence_has_mean_zero(probabilities, splits):
    psi = inception_score_influence(probabilities, shuffled(305), splits)
    assert abs(psi.mean()) < 1e-12


D, N, PAIRS = 16, 500, 400
MIX = np.random.default_rng(99).normal(size=(D, D)) / D**0.5


def gaussian(z):
    return z @ MIX


def skewed(z):
    """Exponential features, by way of normals that may be correlated between arms."""
    return -np.log(stats.norm.sf(z)) @ MIX


@pytest.fixture(scope="module")
def reference():
    random = np.random.default_rng(1)
    return moments(0.8 * random.normal(size=(5000, D)) @ MIX + 0.5)


@pytest.mark.parametrize("law", [gaussian, skewed])
@pytest.mark.parametrize("r", [0.0, 0.9], ids=["unpaired", "paired"])
def test_arms_that_do_not_differ_are_told_apart_in_about_5_of_100_cases(reference, law, r):
    """2-8 %: 400 pairs know a rate of 5 % to 1.1 %, and the interval is a first-order one."""
    random = np.random.default_rng(0)
    false, widths = 0, []
    for _ in range(PAIRS):
        a = random.normal(size=(N, D))
        b = r * a + (1 - r**2) ** 0.5 * random.normal(size=(N, D))
        values, psis = zip(
            *((frechet(moments(x), reference), frechet_expansion(x, reference)[0]) for x in (law(a), law(b)))
        )
        found = difference(*values, *psis, paired=r > 0)
        false += not found.low <= 0 <= found.high
        widths.append(found.se / difference(*values, *psis, paired=False).se)
    assert 0.02 <= false / PAIRS <= 0.08
    if r:
        # what pairing is for: sqrt(1 - r) = 0.32 of the width where psi is linear, sqrt(1 - r^2) = 0.44 where quadratic
        assert 0.31 < np.mean(widths) < 0.45


def test_the_interval_of_a_value_has_the_spread_of_the_value_over_samples(reference):
    random = np.random.default_rng(0)
    samples = [gaussian(random.normal(size=(N, D))) for _ in range(300)]
    values = [frechet(moments(x), reference) for x in samples]
    errors = [estimate(0.0, frechet_expansion(x, reference)[0]).se for x in samples]
    # the spread of 300 values is known to 1 / sqrt(600) = 4 %
    assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.15)


def test_arms_that_differ_are_told_apart(reference):
    random = np.random.default_rng(0)
    a = random.normal(size=(N, D))
    arms = [gaussian(a), gaussian(a + 0.3)]
    values, psis = zip(*((frechet(moments(x), reference), frechet_expansion(x, reference)[0]) for x in arms))
    found = difference(*values, *psis, paired=True)
    assert not found.low <= 0 <= found.high


def test_identical_arms_differ_by_exactly_nothing_without_doubt(reference):
    x = gaussian(np.random.default_rng(0).normal(size=(N, D)))
    value, psi = frechet(moments(x), reference), frechet_expansion(x, reference)[0]
    assert difference(value, value, psi, psi.copy(), paired=True) == (0.0, 0.0, 0.0, 0.0)


def test_paired_arms_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="paired arms need the same images: 3 and 4"):
        difference(1.0, 1.0, np.zeros(3), np.zeros(4), paired=True)


def test_the_interval_is_value_plus_minus_1_96_se():
    found = estimate(5.0, np.array([-1.0, 1.0, -1.0, 1.0]))
    se = (4 / 3 / 4) ** 0.5
    assert found == pytest.approx((5.0, se, 5 - stats.norm.ppf(0.975) * se, 5 + stats.norm.ppf(0.975) * se), rel=1e-12)
